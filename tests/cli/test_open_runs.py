"""``odradek replay --open``: what a new build would do to the open runs of a namespace that is being served."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from odradek.cli.open_runs import EXAMPLES_MAX, GROUPS_MAX, Findings, OpenRun, Trouble
from odradek.log import Log, open_log
from odradek.log.namespace import append_all, create_namespace, open_namespace
from odradek.log.sqlite import SqliteLog
from odradek.orchestrator.core import keys
from tests.cli.conftest import REPOSITORY, Fleet, everything, run_command
from tests.orchestrator.partition import Owner, Partition
from tests.transfer.works import Sleeping

SHOP = "tests/cli/shop.py"
WORKS = "tests.transfer.works"


@pytest.fixture(scope="module")
def served(fleet: Fleet) -> Fleet:
    """Open runs of three types, and a closed one."""
    for number in range(4):
        fleet.start("Waiting", f"waiting-{number}")
    fleet.start("Order", "order-1", "--input", '"A1"')
    fleet.start("Stocked", "stocked-1")
    fleet.start("Order", "order-2", "--input", '"A2"')
    fleet.run("workflow", "signal", "order-2", "approve", "--input", '"Ada"')
    fleet.run("workflow", "result", "order-2")
    return fleet


def changed(folder: Path, *changes: tuple[str, str]) -> str:
    text = (REPOSITORY / SHOP).read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    module = folder / f"changed_{abs(hash(changes))}.py"
    module.write_text(text)
    return str(module)


def looked(fleet: Fleet, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = fleet.run("replay", "--open", *arguments, "--json")
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def test_the_code_that_serves_them_fits_and_nothing_is_written(served: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it writes, or joins a group")

    for name in ("appender", "membership", "create_topics", "delete_records"):
        monkeypatch.setattr(SqliteLog, name, refuse)
    status, found = looked(served, SHOP)
    assert (status, found["open"], found["replayed"], found["failed"], found["troubles"]) == (0, 6, 6, 0, [])
    assert found["records"] > 6
    text = served.run("replay", "--open", SHOP)
    assert text.stdout == "6 open runs, 6 replayed: 0 would park\n"
    assert "events/s" in text.stderr


def test_a_change_that_does_not_fit_is_named_with_its_line_once_for_all_runs(served: Fleet, tmp_path: Path) -> None:
    module = changed(tmp_path, ("workflow.start_activity(ship,", "workflow.start_activity(charge,"))
    line = next(n for n, text in enumerate(Path(module).read_text().splitlines(), 1) if "start_activity(charge" in text)
    status, found = looked(served, module)
    assert (status, found["failed"]) == (1, 4)
    (trouble,) = found["troubles"]
    assert (trouble["code"], trouble["workflow_type"], trouble["runs"]) == ("ODR-161", "Waiting", 4)
    assert trouble["place"].startswith(f"{module}:{line}, in Waiting.run")
    assert "ship" in trouble["recorded"]
    assert "charge" in trouble["made"]
    assert {example["workflow_id"] for example in trouble["examples"]} == {f"waiting-{n}" for n in range(4)}
    assert {example["event"] for example in trouble["examples"]} == {2}
    text = served.run("replay", "--open", module)
    assert text.exit_code == 1
    assert text.stdout.count("ODR-161") == 1
    assert "and so 3 more: waiting-" in text.stdout
    assert text.stdout.endswith("6 open runs, 6 replayed: 4 would park\n")


def test_a_type_that_the_new_build_lacks_is_named(served: Fleet, tmp_path: Path) -> None:
    module = changed(tmp_path, ("class Waiting:", "class Patient:"))
    status, found = looked(served, module)
    assert (status, found["open"], found["replayed"], found["failed"]) == (1, 6, 2, 4)
    assert [(t["code"], t["workflow_type"], t["runs"]) for t in found["troubles"]] == [("ODR-072", "Waiting", 4)]
    assert '(workflow "waiting-' in served.run("replay", "--open", module).stdout


def test_a_version_that_the_new_build_lacks_is_named(served: Fleet, tmp_path: Path) -> None:
    """It would not do to replay it with the class that is there."""
    module = changed(tmp_path, ('version="1.9"', 'version="1.10"'))
    status, found = looked(served, module)
    assert (status, found["open"], found["replayed"], found["failed"]) == (1, 6, 5, 1)
    (trouble,) = found["troubles"]
    assert (trouble["code"], trouble["workflow_type"], trouble["version"]) == ("ODR-151", "Stocked", "1.9")
    assert trouble["examples"][0]["workflow_id"] == "stocked-1"


def test_only_one_type_and_a_sample_of_it(served: Fleet) -> None:
    status, found = looked(served, SHOP, "--type", "Waiting")
    assert (status, found["open"], found["replayed"]) == (0, 4, 4)
    log = open_log(served.address)
    names = open_namespace(log, "shop")
    apart = {names.partition(f"waiting-{number}") for number in range(4)}
    log.close()
    status, found = looked(served, SHOP, "--type", "Waiting", "--per-type", "1")
    assert (status, found["open"], found["replayed"]) == (0, 4, len(apart))


def test_partitions_shared_out_among_processes_say_the_same(served: Fleet, tmp_path: Path) -> None:
    module = changed(tmp_path, ("workflow.start_activity(ship,", "workflow.start_activity(charge,"))
    _, alone = looked(served, module)
    status, shared = looked(served, module, "--processes", "2")
    assert status == 1
    for found in (alone, shared):
        del found["seconds"], found["records"]  # its owner goes on writing
        found["troubles"][0]["examples"].sort(key=lambda example: example["workflow_id"])
    assert shared == alone


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def still(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Log, str]]:
    """A log with a namespace that has an open run, and that nobody serves."""
    kafka = request.param == "kafka"
    address = f"kafka://{request.getfixturevalue('kafka_broker')}" if kafka else f"sqlite:///{tmp_path}/log.db"
    name = f"still-{secrets.token_hex(3)}"
    partition = Partition([Sleeping])
    partition.start("sleeping", "Sleeping")
    Owner(partition).run()
    with closing(open_log(address)) as log:
        create_namespace(log, name, partitions=1)
        append_all(log, f"{name}.history", 0, dict(record for record in partition.history if record))
        yield log, name


def gate(log: Log, name: str, *arguments: str) -> Result:
    return run_command("--log", log.address, "--namespace", name, "replay", "--open", *arguments)


def test_no_topic_has_grown_afterwards(still: tuple[Log, str]) -> None:
    """Whether the code fits or not."""
    before = everything(*still)
    assert before[f"{still[1]}.history", 0].end == 2
    for module, status in ((WORKS, 0), (SHOP, 1)):
        for more in ((), ("--processes", "2")):
            done = gate(*still, module, *more)
            assert done.exit_code == status, done.output
            assert "1 open runs" in done.stdout
    assert everything(*still) == before


def test_a_history_that_cannot_be_read_is_told_apart_from_code_that_does_not_fit(still: tuple[Log, str]) -> None:
    """It is no reason to keep the build before: that cannot read it either."""
    log, name = still
    append_all(log, f"{name}.history", 0, {keys.chunk("broken", "run", 1, 0): b"\2garbage"})
    for arguments, status in (((WORKS,), 8), ((WORKS, "--skip-damaged"), 0), ((SHOP, "--skip-damaged"), 1)):
        done = gate(log, name, *arguments)
        assert done.exit_code == status, done.output
        assert 'ODR-079: a history record of workflow "broken" (run run) cannot be read' in done.stdout
        fits = int(WORKS in arguments)
        assert f"2 open runs, {fits} replayed: {1 - fits} would park, 1 cannot be read" in done.stdout
    found = json.loads(gate(log, name, WORKS, "--json").stdout)
    assert (found["failed"], found["damaged"]) == (0, 1)


def test_errors_are_said_before_anything_is_read(served: Fleet, tmp_path: Path) -> None:
    assert "ODR-182" in served.run("replay", "--open", "no.such.module", "--processes", "2").stderr
    assert run_command("replay", "--open", SHOP, "--id", "x").exit_code == 2
    missing = run_command("--log", served.address, "--namespace", "none", "replay", "--open", SHOP)
    assert (missing.exit_code, "ODR-189" in missing.stderr) == (3, True)


def test_findings_stay_small() -> None:
    """However many runs there are, and however many reasons."""
    found = Findings()
    for number in range(GROUPS_MAX + 5):
        for run in range(3 if number else EXAMPLES_MAX + 7):
            example = OpenRun(f"w-{run}", "r", 1, "message")
            found.note(Trouble("ODR-161", f"type-{number}", "", runs=1, examples=[example]))
    assert len(found.troubles) == GROUPS_MAX
    assert found.more == 5 * 3
    assert found.failed == EXAMPLES_MAX + 7 + (GROUPS_MAX - 1) * 3 + 15
    assert max(len(trouble.examples) for trouble in found.troubles.values()) == EXAMPLES_MAX
