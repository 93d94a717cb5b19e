"""Table, plots and page are made from recorded results alone."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.peers.page import BEGIN, END, spliced, text, write
from benchmarks.peers.plots import PLOTS, draw
from benchmarks.peers.results import Measurement, Run, Sample, percentile
from benchmarks.peers.table import Row, sections, show

RECORDED = Path(__file__).parent / "recorded.json"


@pytest.fixture
def run() -> Run:
    return Run.load(RECORDED)


def shown(run: Run) -> str:
    console = Console(file=io.StringIO(), width=250)
    show(run, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_saved_is_what_is_loaded(run: Run, tmp_path: Path) -> None:
    run.save(tmp_path / "results" / "again.json")
    assert json.loads((tmp_path / "results" / "again.json").read_text()) == json.loads(RECORDED.read_text())


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"other\.json holds no results of format 1"):
        Run.load(tmp_path / "other.json")


def test_the_table_has_every_contestant_and_work(run: Run) -> None:
    table = shown(run)
    for title in ("raw loop on Kafka", "odradek on Kafka", "DBOS on PostgreSQL"):
        assert title in table
    for work in ("Chain of 5 steps, remote", "Chain of 5 steps, in process", "Latency", "Fan-out", "signal", "SIGKILL"):
        assert work in table


def test_who_is_left_out_and_what_failed_is_said_with_its_reason(run: Run) -> None:
    for made in (shown(run), text(run, Path("docs/benchmarks.md"), {})):
        assert 'Go is not installed (no "go" on the path)' in made
        assert "odradek on Kafka: fan_out local: fan_out: WorkFailed: it has ended" in made
        assert "and more of it" not in made


def test_ratios_are_to_the_best_peer_only() -> None:
    row = Row("steps/s", {"raw": [900.0], "odradek": [300.0, 100.0, 200.0], "dbos": [50.0], "restate": [100.0]}, True)
    assert row.best_peer() == "restate"
    assert row.ratio("odradek") == 2.0
    assert row.cell_with_ratio("odradek") == "100 / 200 / 300 (2.00x)"
    assert row.cell_with_ratio("restate") == "100"


def test_less_is_better_for_costs() -> None:
    row = Row("CPU", {"odradek": [0.1], "dbos": [2.0], "restate": [1.0]}, form="{:.1f}")
    assert row.best_peer() == "restate"
    assert row.ratio("odradek") == 10.0


def test_ours_alone_has_no_ratio() -> None:
    assert Row("steps/s", {"raw": [900.0], "odradek": [300.0]}).ratio("odradek") is None


def test_cpu_time_is_split_by_process(run: Run) -> None:
    chain = next(section for section in sections(run) if section.title == "Chain of 5 steps, in process")
    rows = {row.name.strip(): row for row in chain.rows}
    assert rows["database"].values["dbos"]
    assert not rows["database"].values["odradek"]
    found = run.find("dbos", "chain", "local")
    assert found is not None
    one = found.samples[0]
    assert one.cpu_per_1000() == pytest.approx(sum(one.cpu_per_1000(name) for name in one.cpu_seconds))


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 50) == 51
    assert percentile(values, 99) == 100
    assert percentile([7.0], 99) == 7


def test_facts_of_a_sample_are_values_too() -> None:
    found = Measurement("odradek", "load", "remote", [Sample(2.0, 10, facts={"callers": 8.0})])
    assert found.values("callers") == [8.0]
    assert found.values("per_second") == [5.0]


def test_every_plot_is_drawn_and_the_same_each_time(run: Run, tmp_path: Path) -> None:
    first, second = draw(run, tmp_path / "one"), draw(run, tmp_path / "two")
    assert set(first) == set(PLOTS)
    for name, path in first.items():
        assert path.read_text() == second[name].read_text()
        assert "odradek on Kafka" in path.read_text()


def test_the_page_keeps_what_stands_around(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(f"by hand\n\n{BEGIN}\n\nold figures\n\n{END}\n\nalso by hand\n")
    write(run, page)
    made = page.read_text()
    assert made.startswith("by hand\n")
    assert made.endswith("also by hand\n")
    assert "old figures" not in made
    pictures = re.findall(r"\]\((benchmarks/\w+\.svg)\)", made)
    assert len(pictures) == len(PLOTS)
    assert all((tmp_path / picture).is_file() for picture in pictures)


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="the page lacks"):
        spliced("only by hand", "figures")


def test_the_real_page_has_its_marks() -> None:
    page = Path(__file__).parents[2] / "docs" / "benchmarks.md"
    assert END in page.read_text().partition(BEGIN)[2]
