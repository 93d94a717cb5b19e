"""Costs become fleets, and fleets a page: pure functions."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.capacity.__main__ import PAGE, arguments, assumptions, is_complete, show
from benchmarks.capacity.figures import FORMAT, Line, Load, Run, Turn, quantile, quantiles
from benchmarks.capacity.model import (
    Assumptions,
    disk_tb,
    needs,
    orchestrator_steps_max,
    reply_readers,
    settings,
    traffic_mb,
)
from benchmarks.capacity.page import BEGIN, END, spliced, text
from benchmarks.capacity.predict import Compared, checked, curve
from benchmarks.capacity.rows import RATES, Result, changes, failures, sized, tables
from benchmarks.capacity.volume import disk_factor
from tests.benchmarks.capacity_figures import figures, run

GIVEN = Assumptions()


@pytest.fixture(scope="module")
def result() -> Result:
    made, found = run(), sized(run(), GIVEN)
    points = curve(needs(2_000, made.three, GIVEN), made.three, 2_000)
    return Result(made, GIVEN, found, [points] * len(found), [Compared("limit, steps/s", 90, 100)])


def test_a_line_goes_through_both_lengths() -> None:
    line = Line.through((5, 110.0), (25, 310.0))
    assert (line.per_workflow, line.per_step) == (60.0, 10.0)
    assert line.of(5) == 110
    assert line.a_step(5) == 22


def test_what_noise_makes_negative_is_nothing() -> None:
    assert Line.through((5, 100.0), (25, 90.0)).per_step == 0
    assert Line.through((5, 10.0), (25, 90.0)).per_workflow == 0


def test_a_turn_is_what_a_record_alone_costs_more_than_one_in_a_crowd() -> None:
    turn = Turn(200e-6, 30e-6)
    again = Turn.through(turn.seconds(1), turn.seconds(300) / 300, 300)
    assert again.fixed == pytest.approx(200e-6)
    assert again.per_record == pytest.approx(30e-6)
    assert Turn.through(1.0, 2.0, 300) == Turn(0.0, 1.0)


def test_quantiles_are_values_that_were_measured() -> None:
    values = [float(n) for n in range(1000)]
    assert quantile(values, 0.5) == 500
    assert quantile([7.0], 0.99) == 7
    assert quantiles(values, 4) == [125, 375, 625, 875]


def test_an_orchestrator_does_what_full_turns_leave_room_for() -> None:
    """Twelve passes of 25 µs for five steps."""
    assert orchestrator_steps_max(figures(), 5) == pytest.approx(5 / (12 * 25e-6))


def test_processes_follow_from_the_load_that_they_may_have() -> None:
    found = needs(100_000, figures(), replace(GIVEN, load=0.5))
    assert found.orchestrators == 12, "16,667 steps/s each, half of it used"
    assert found.workers == 4
    assert found.partitions == 96, "four for each after the load has doubled"
    assert found.partitions % 32 == 0


def test_more_load_never_takes_less() -> None:
    made = [needs(rate, figures(), GIVEN) for rate in (1, 1_000, 9_000, 10_000, 100_000, 1_000_000, 3_000_000)]
    for small, large in pairwise(made):
        for name in ("orchestrators", "workers", "brokers", "partitions", "mb_in", "mb_out", "open_workflows"):
            assert getattr(small, name) <= getattr(large, name), name
        assert all(small.cores[role] <= large.cores[role] for role in small.cores)
        assert small.retention_days >= large.retention_days


def test_a_smaller_share_of_each_process_takes_more_of_them() -> None:
    assert needs(50_000, figures(), replace(GIVEN, load=0.3)).orchestrators == pytest.approx(
        2 * needs(50_000, figures(), GIVEN).orchestrators, abs=1
    )


def test_a_little_namespace_has_what_everybody_has() -> None:
    found = needs(100, figures(), GIVEN)
    assert (found.orchestrators, found.workers, found.brokers, found.partitions) == (1, 1, 3, 32)
    changed = [setting for _, setting, _ in settings(found, GIVEN)]
    assert not any("partitions" in setting or "retention" in setting for setting in changed)


def test_traffic_counts_copies_and_readers() -> None:
    """Six topics of 220 bytes a step, three of them read once; three copies are two to be sent on."""
    size = 220 * 1.1
    assert traffic_mb(1_000_000, figures(), GIVEN) == (
        pytest.approx(6 * size * 3),
        pytest.approx(3 * size + 6 * size * 2),
    )


def test_answers_are_read_by_all_who_share_their_partition() -> None:
    assert reply_readers(8, 32) == 1
    assert reply_readers(320, 1_000) == 10
    once, tenfold = (traffic_mb(1_000_000, figures(), GIVEN, times)[1] for times in (1, 10))
    assert tenfold - once == pytest.approx(9 * 220 * 1.1)


def test_disk_is_rate_times_retention_times_copies() -> None:
    found = disk_tb(1_000, figures(), GIVEN, 32, 7)
    assert found["archive"] == pytest.approx(1_000 * 220 * 1.1 * 7 * 86_400 * 3 / 1e12)
    assert found["inbox"] == pytest.approx(32 * 2**30 * 3 / 1e12)
    half = disk_tb(1_000, figures(), GIVEN, 32, 3.5)
    assert half["archive"] == pytest.approx(found["archive"] / 2)


def test_records_are_kept_for_as_long_as_the_disks_of_the_brokers_allow() -> None:
    plenty = needs(100_000, figures(), replace(GIVEN, broker_disk_tb=10_000))
    assert plenty.retention_days == 7
    scarce = needs(100_000, figures(), GIVEN)
    assert scarce.retention_days < 7
    changed = {setting for _, setting, _ in settings(scarce, GIVEN)}
    assert f"`--set tasks.QUEUE={scarce.retention_days:g}`" in changed
    assert scarce.disk_tb_default > sum(scarce.disk_tb.values())


def test_summaries_outlive_messages_between_workflows() -> None:
    found = needs(1_000_000, figures(), replace(GIVEN, broker_disk_tb=0.1))
    changed = [setting for _, setting, _ in settings(found, GIVEN)]
    assert found.retention_days < 1
    assert "`--retention 2`" in changed


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"broker_mb_in": 0.1}, "network in"),
        ({"broker_mb_out": 0.1}, "network out"),
        ({"broker_disk_tb": 0.001}, "disk"),
        ({"broker_cores": 0.1}, "CPU"),
    ],
)
def test_the_scarcest_decides_how_many_brokers_there_are(change: dict[str, float], first: str) -> None:
    found = needs(100_000, figures(), replace(GIVEN, **change))  # type: ignore[arg-type]
    assert found.first == first
    assert found.brokers == pytest.approx(found.brokers_by[first], abs=1)


def test_compression_is_named_where_the_network_decides() -> None:
    scarce = needs(100_000, figures(), replace(GIVEN, broker_mb_in=10))
    assert any("compression.type" in setting for _, setting, _ in settings(scarce, GIVEN))
    enough = needs(100_000, figures(), replace(GIVEN, broker_mb_in=10_000, broker_mb_out=10_000))
    assert not any("compression.type" in setting for _, setting, _ in settings(enough, GIVEN))


def test_a_setting_that_several_sizes_need_is_one_row(result: Result) -> None:
    rows = changes(result).rows
    assert len({row[1:] for row in rows}) == len(rows)
    assert any(row[0] == "100,000; 1,000,000" for row in rows)


def test_a_process_that_holds_more_than_by_default_is_told_so() -> None:
    found = needs(100_000, figures(), replace(GIVEN, open_seconds=3_600))
    (setting,) = [s for _, s, _ in settings(found, GIVEN) if "max-workflows" in s]
    assert int(setting.strip("`").split()[1]) >= found.workflows_per_process
    assert found.memory_gib["orchestrators"] > found.open_workflows * 6 * 1024 / 2**30


def test_the_factor_of_disks_is_that_of_one_copy() -> None:
    assert disk_factor(330, 100.0, 3) == pytest.approx(1.1)
    assert disk_factor(0, 100.0, 3) == 1.0


def test_a_prediction_is_judged_by_its_factor_in_both_directions() -> None:
    assert Compared("a", 50, 100).factor == Compared("a", 100, 50).factor == 2
    assert list(failures([Compared("a", 50, 100), Compared("b", 1, 100, judged=False)])) == []
    (line,) = failures([Compared("the limit", 49, 100)])
    assert line == "the limit: simulated 49.0, measured 100.0, a factor of 2.04"
    assert not Compared("nothing came through", 0, 100).is_close


def test_the_small_fleet_is_simulated_as_it_was_measured() -> None:
    found = {one.what: one for one in checked(replace(figures(1), limit=Load(9_000, 30, 60, 2, 200)))}
    limit = found["limit, steps/s"]
    assert limit.measured == 9_000
    assert limit.simulated == pytest.approx(2 / (12 / 5 * 25e-6 + 20e-6 + 18 / 5 * 10e-6), rel=0.25)
    quarter = found["a quarter of it: p50 of a step, ms"]
    assert quarter.judged
    assert quarter.measured == 4
    assert not found["half of it: p50 of a step, ms"].judged, "two shared cores are almost full"


def test_more_load_keeps_threads_busier_and_turns_fuller() -> None:
    points = curve(needs(2_000, figures(), GIVEN), figures(), 10_000)
    for low, high in pairwise(points):
        assert low.busy_mean <= high.busy_mean
        assert low.records_per_turn <= high.records_per_turn
        assert low.p50_ms <= high.p50_ms
    assert all(point.busy_mean <= point.busy_most for point in points)


def test_a_run_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    run().save(tmp_path / "results" / "capacity.json")
    assert Run.load(tmp_path / "results" / "capacity.json") == run()


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(f'{{"format": {FORMAT}}}')
    with pytest.raises(ValueError, match=rf"other\.json holds no capacity figures of format {FORMAT}"):
        Run.load(tmp_path / "other.json")


def test_the_page_says_all_sizes_and_where_it_was_measured(result: Result) -> None:
    made = text(result)
    for rate in RATES:
        assert f"{rate:,} steps/s" in made
    assert "on 2 cores (a processor), 8 GiB, Linux 6, Python 3.12.1 (9.0 ms for a reference loop)" in made
    for title in ("What it takes", "Settings to change", "Load and latency", "What was measured", "Simulated and"):
        assert f"### {title}" in made
    assert "quick run" not in made


def test_every_row_has_a_cell_for_each_column(result: Result) -> None:
    for shown in tables(result):
        assert {len(row) for row in shown.rows} == {len(shown.columns)}, shown.title


def test_the_terminal_shows_what_the_page_says(result: Result) -> None:
    console = Console(file=io.StringIO(), width=200)
    for shown in tables(result):
        show(shown, console)
    assert isinstance(console.file, io.StringIO)
    assert "partitions of the namespace" in console.file.getvalue()
    assert "**" not in console.file.getvalue()


def test_what_stands_around_is_kept() -> None:
    assert spliced(f"before {BEGIN} old {END} after", "new") == f"before {BEGIN}\n\nnew\n\n{END} after"
    with pytest.raises(ValueError, match="the page lacks"):
        spliced("only by hand", "figures")


def test_the_real_page_has_its_marks() -> None:
    assert END in PAGE.read_text().partition(BEGIN)[2]


def test_only_a_whole_run_with_the_stated_assumptions_is_the_page() -> None:
    assert is_complete(arguments([]))
    assert not is_complete(arguments(["--quick"]))
    assert not is_complete(arguments(["--broker-cores", "16"]))
    assert assumptions(arguments(["--broker-cores", "16", "--copies", "2"])) == replace(
        GIVEN, broker_cores=16, copies=2
    )


def test_an_assumption_is_above_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--load", "0"])
    assert "0 is not above 0" in capsys.readouterr().err
