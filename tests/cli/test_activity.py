"""``odradek activity`` against an orchestrator and a worker in other processes."""

from __future__ import annotations

import time

from tests.cli.conftest import Fleet, run_command


def test_an_activity_completed_by_hand(fleet: Fleet) -> None:
    fleet.start("ByHand", "order-1", "--input", '"A1"')
    until_shown(fleet, "order-1", "to be completed from outside")
    assert "approval" in fleet.run("workflow", "show", "order-1").stdout
    done = fleet.run("activity", "complete", "order-1", "approval", "--result", '"by Ada"')
    assert (done.exit_code, done.stdout) == (0, 'completed activity approval of workflow "order-1"\n')
    assert fleet.run("workflow", "result", "order-1").stdout == '"by Ada"\n'
    gone = fleet.run("activity", "complete", "order-1", "approval")
    assert gone.exit_code == 3
    assert "ODR-102" in gone.stderr


def test_one_that_is_failed_by_hand(fleet: Fleet) -> None:
    fleet.start("ByHand", "order-2", "--input", '"A2"')
    until_shown(fleet, "order-2", "to be completed from outside")
    failed = fleet.run("activity", "fail", "order-2", "approval", "--reason", "no", "--type", "Refused", "--final")
    assert failed.exit_code == 0, failed.stderr
    result = fleet.run("workflow", "result", "order-2")
    assert "Refused: no" in result.stderr


def test_pause_change_reset_unpause(fleet: Fleet) -> None:
    fleet.start("ByHand", "order-3", "--input", '"A3"')
    until_shown(fleet, "order-3", "to be completed from outside")
    for arguments, said in (
        (("pause", "order-3", "approval", "--reason", "look first"), "paused activity approval"),
        (("change", "order-3", "approval", "--start-to-close", "none", "--schedule-to-close", "600"), "changed"),
        (("reset", "order-3", "--type", "approve_by_hand", "--keep-paused"), "reset activities of type"),
    ):
        done = fleet.run("activity", *arguments)
        assert done.exit_code == 0, done.stderr
        assert said in done.stdout
    assert "paused: look first" in fleet.run("workflow", "show", "order-3").stdout
    assert fleet.run("activity", "unpause", "order-3", "--jitter", "5").stdout == (
        'unpaused all open activities of workflow "order-3"\n'
    )
    assert "to be completed from outside" in fleet.run("workflow", "show", "order-3").stdout


def test_mistakes_are_told(fleet: Fleet) -> None:
    fleet.start("ByHand", "order-4", "--input", '"A4"')
    assert "ODR-115" in fleet.run("activity", "pause", "order-4", "other").stderr
    assert "say what to change" in fleet.run("activity", "change", "order-4", "approval").stderr
    soon = fleet.run("activity", "change", "order-4", "approval", "--heartbeat", "soon")
    assert "ODR-185: --heartbeat 'soon' must be seconds" in soon.stderr
    assert "complete" in run_command("activity", "--help").stdout


def until_shown(fleet: Fleet, workflow_id: str, words: str) -> None:
    deadline = time.monotonic() + 20
    while words not in fleet.run("workflow", "show", workflow_id).stdout:
        assert time.monotonic() < deadline, fleet.run("workflow", "show", workflow_id).stdout
        time.sleep(0.05)
