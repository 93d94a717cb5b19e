"""``odradek activity`` for activities without a workflow, against processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Fleet, Process, run_command


def test_from_start_to_result(fleet: Fleet) -> None:
    done = fleet.run("activity", "execute", "charge", "--queue", "orders", "--id", "pay-1", "--input", '"A1"')
    assert (done.exit_code, done.stdout) == (0, '"charged A1"\n'), done.stderr
    started = fleet.run(
        "activity", "start", "charge", "--queue", "orders", "--id", "pay-2", "--input", '"A2"', "--ordering-key", "Ada"
    )
    assert started.stdout.startswith('started activity "pay-2", run ')
    assert fleet.run("activity", "result", "pay-2").stdout == '"charged A2"\n'
    again = fleet.run(
        "activity", "start", "charge", "--queue", "orders", "--id", "pay-2", "--if-closed", "reject-duplicate"
    )
    assert "ODR-202" in again.stderr
    listed = json.loads(fleet.run("activity", "list", "--query", "ActivityId = 'pay-1'", "--json").stdout)
    assert [(one["activity_id"], one["status"]) for one in listed] == [("pay-1", "completed")]
    assert "pay-2" in fleet.run("activity", "list").stdout
    assert json.loads(fleet.run("activity", "describe", "pay-2", "--json").stdout)["result"] is None
    told = json.loads(fleet.run("activity", "describe", "pay-2", "--json", "--values").stdout)
    assert (told["attempt"], told["ordering_key"], told["result"]) == (1, "Ada", "charged A2")
    assert "pay-" not in fleet.run("workflow", "list").stdout


def test_one_that_is_open(fleet: Fleet) -> None:
    later = ("--start-to-close", "60", "--queue", "nobody")
    for number in (1, 2, 3, 4):
        fleet.run("activity", "start", "charge", *later, "--id", f"open-{number}")
    assert fleet.run("activity", "pause", "open-1", "--standalone").stdout == "paused activity open-1\n"
    told = fleet.run("activity", "describe", "open-1").stdout
    assert "paused" in told
    assert fleet.run("activity", "unpause", "open-1", "--standalone").exit_code == 0
    done = fleet.run("activity", "complete", "open-2", "--standalone", "--result", "42")
    assert (done.exit_code, done.stdout) == (0, "completed activity open-2\n"), done.stderr
    assert fleet.run("activity", "result", "open-2").stdout == "42\n"
    assert fleet.run("activity", "terminate", "open-3", "--reason", "enough").exit_code == 0
    ended = fleet.run("activity", "result", "open-3")
    assert ended.exit_code == 1
    assert "enough" in ended.stderr
    assert fleet.run("activity", "cancel", "open-4").exit_code == 0
    assert "cancel-requested" in fleet.run("activity", "describe", "open-4").stdout


def test_mistakes_are_told(fleet: Fleet) -> None:
    assert "name the activity" in fleet.run("activity", "complete", "order-1").stderr
    assert "no workflow" in fleet.run("activity", "pause", "a", "b", "--standalone").stderr
    missing = fleet.run("activity", "describe", "nowhere")
    assert missing.exit_code == 3
    assert 'activity "nowhere"' in missing.stderr
    assert "start" in run_command("activity", "--help").stdout


def test_an_orchestrator_needs_no_module(spawn: Callable[..., Process], tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "mail")
    orchestrator = spawn(*where, "orchestrator", "--health-port", "0", "--health-host", "127.0.0.1")
    orchestrator.await_ready()
    assert orchestrator.stop() == 0
