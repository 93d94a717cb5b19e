"""``odradek task-queue`` against an orchestrator and a worker in other processes."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Fleet, run_command


def described(fleet: Fleet, queue: str = "orders") -> dict[str, Any]:
    result = fleet.run("task-queue", "describe", queue, "--window", "0", "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_who_serves_a_queue_and_what_runs_there(fleet: Fleet) -> None:
    fleet.start("Held", "held-1")
    fleet.until(lambda out: '"workflow_id": "held-1"' in out, "task-queue", "describe", "orders", "--json")
    (worker,) = described(fleet)["workers"]
    assert worker["running"] == 1
    assert {"charge", "hold"} <= set(worker["activity_types"])
    (longest,) = worker["longest_running"]
    assert (longest["activity_type"], longest["namespace"], longest["attempt"]) == ("hold", "shop", 1)
    shown = fleet.run("task-queue", "describe", "orders").stdout
    assert "/s added" in shown
    assert "1 worker." in shown
    assert "held-1" in shown
    assert "orders" in fleet.run("task-queue", "list").stdout
    assert [queue["name"] for queue in json.loads(fleet.run("task-queue", "list", "--json").stdout)] == ["orders"]
    fleet.run("workflow", "terminate", "held-1", "--reason", "seen")


def test_a_paused_queue_keeps_tasks_until_it_is_resumed(fleet: Fleet) -> None:
    """The worker in the other process hears of it, and so do those who look at the workflow."""
    paused = fleet.run("task-queue", "pause", "orders", "--reason", "the bank is down")
    assert (paused.exit_code, paused.stdout) == (0, 'paused task queue "orders"\n')
    heard = "is paused by"
    fleet.worker.wait_for(lambda: any(heard in message["message"] for message in fleet.worker.messages()))
    fleet.start("Quick", "paused-1", "--input", '"A1"')
    found = json.loads(fleet.until(lambda out: '"backlog": 1' in out, "task-queue", "describe", "orders", "--json"))
    assert found["pause"]["reason"] == "the bank is down"
    assert found["oldest_waiting"] is not None
    words = fleet.run("task-queue", "describe", "orders", "--window", "0").stdout
    assert "1 task waits, the oldest for" in words
    assert ": the bank is down." in words
    assert "paused since" in fleet.run("task-queue", "list").stdout
    resumed = fleet.run("task-queue", "resume", "orders")
    assert (resumed.exit_code, resumed.stdout) == (0, 'resumed task queue "orders"\n')
    assert fleet.run("workflow", "result", "paused-1").stdout == '"charged A1"\n'
    fleet.until(lambda out: '"backlog": 0' in out, "task-queue", "describe", "orders", "--json", "--window", "0")
    assert described(fleet)["pause"] is None


def test_an_operators_limit(fleet: Fleet) -> None:
    assert "begins 50 tasks per second" in fleet.run("task-queue", "limit", "orders", "--rate", "50").stdout
    assert "limited to 50/s" in fleet.run("task-queue", "list").stdout.lower()
    fleet.start("Quick", "limited-1", "--input", '"A2"')
    assert fleet.run("workflow", "result", "limited-1").stdout == '"charged A2"\n'
    assert "no operator's limit any more" in fleet.run("task-queue", "limit", "orders", "--rate", "none").stdout
    assert described(fleet)["tasks_per_second_max"] is None


def test_mistakes_are_told(fleet: Fleet) -> None:
    unknown = fleet.run("task-queue", "pause", "ordres")
    assert unknown.exit_code == 3
    assert 'ODR-207: namespace "shop" has no task queue "ordres" (there are: orders)' in unknown.stderr
    for rate in ("0", "-1", "many", "inf"):
        refused = fleet.run("task-queue", "limit", "orders", "--rate", rate)
        assert "must be tasks per second, more than 0" in refused.stderr
    assert "describe" in run_command("task-queue", "--help").stdout


def test_a_paused_workflow_type(fleet: Fleet) -> None:
    paused = fleet.run("workflow", "pause-type", "Quick", "--reason", "a bad deploy")
    assert (paused.exit_code, paused.stdout) == (0, 'paused workflow type "Quick"\n')
    heard = 'workflow type "Quick" is paused by'
    fleet.orchestrator.wait_for(lambda: any(heard in m["message"] for m in fleet.orchestrator.messages()))
    fleet.start("Quick", "typed-1", "--input", '"A3"')
    shown = fleet.until(lambda out: "parked" in out, "workflow", "show", "typed-1")
    assert "ODR-206" in shown
    assert "a bad deploy" in shown
    (listed,) = json.loads(fleet.run("workflow", "paused-types", "--json").stdout)
    assert (listed["type"], listed["reason"]) == ("Quick", "a bad deploy")
    assert 'type "Quick" is paused by' in fleet.run("doctor").stdout
    assert fleet.run("workflow", "resume-type", "Quick").stdout == 'resumed workflow type "Quick"\n'
    assert fleet.run("workflow", "result", "typed-1").stdout == '"charged A3"\n'


def test_a_queue_that_nobody_serves(fleet: Fleet) -> None:
    fleet.start("Elsewhere", "lost-1")
    shown = fleet.until(lambda out: "no worker has served" in out, "workflow", "show", "lost-1")
    assert 'no worker has served "nobodys" for' in shown
    checked = fleet.run("doctor")
    assert "ODR-205: start one" in checked.stdout
    assert '"nobodys": 1 tasks wait or run, 0 workers, the oldest task for' in checked.stdout
    listed = fleet.run("task-queue", "list").stdout
    assert "no worker serves it" in listed
    fleet.run("workflow", "terminate", "lost-1")
