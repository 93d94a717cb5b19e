"""``odradek workflow`` against an orchestrator and a worker in other processes."""

from __future__ import annotations

import json
import re

from odradek.log import partition_of
from tests.cli.conftest import Fleet, get, run_command


def test_order_from_start_to_result(fleet: Fleet) -> None:
    started = fleet.start("Order", "order-1", "--input", '"A1"', "--memo", "sku=7", "--summary", "first", "--json")
    run_id = json.loads(started.stdout)["run_id"]
    shown = fleet.run("workflow", "show", "order-1").stdout
    assert re.match(r"Running, waits for: condition lambda: bool\(self.approved_by\) \(shop.py:\d+\)\n", shown)
    assert run_id in shown
    assert "memo sku" in shown
    assert fleet.run("workflow", "query", "order-1", "approved", "--consistent").stdout == '""\n'
    signalled = fleet.run("workflow", "signal", "order-1", "approve", "--input", '"Ada"')
    assert (signalled.exit_code, signalled.stdout) == (0, "")
    assert fleet.run("workflow", "result", "order-1").stdout == '"charged A1"\n'
    assert fleet.run("workflow", "show", "order-1").stdout.startswith("Completed ")


def test_updates_print_their_answer(fleet: Fleet) -> None:
    fleet.start("Order", "order-9", "--input", '"A9"')
    updated = fleet.run("workflow", "update", "order-9", "rename", "--input", '"B9"', "--update-id", "u1")
    assert (updated.exit_code, updated.stdout) == (0, '"renamed B9"\n')
    accepted = fleet.run("workflow", "update", "order-9", "rename", "--input", '"C9"', "--wait-for", "accepted")
    assert (accepted.exit_code, accepted.stdout) == (0, "")
    failed = fleet.run("workflow", "update", "order-9", "rename", "--input", '""')
    assert failed.exit_code == 1
    assert "Nameless: an order needs a name" in failed.stderr
    unknown = fleet.run("workflow", "update", "order-9", "nonsense")
    assert unknown.exit_code == 1
    assert "ODR-138" in unknown.stderr
    story = fleet.run("workflow", "history", "order-9").stdout
    for words in ("Update accepted", "Update completed", "Update rejected", "rename"):
        assert words in story
    fleet.run("workflow", "signal", "order-9", "approve", "--input", '"Bob"')
    fleet.run("workflow", "result", "order-9")
    assert fleet.run("workflow", "query", "order-9", "approved").stdout == '"Bob"\n', "of a closed run"


def test_history_is_a_story_and_json(fleet: Fleet) -> None:
    fleet.start("Order", "order-2", "--input", '"A2"')
    fleet.run("workflow", "signal", "order-2", "approve", "--input", '"Bob"')
    fleet.run("workflow", "result", "order-2")
    blind = fleet.run("workflow", "history", "order-2").stdout
    assert "A2" not in blind
    assert "→ <json, 12 bytes>" in blind
    story = fleet.run("workflow", "history", "order-2", "--values").stdout
    for words in ("Workflow started", "Signal received", "approve", "Activity completed", "charge", '→ "charged A2"'):
        assert words in story
    events = json.loads(fleet.run("workflow", "history", "order-2", "--json").stdout)["events"]
    assert [event["type"] for event in events][::4] == ["RunStarted", "RunCompleted"]


def test_start_with_wait_prints_the_result_only(fleet: Fleet) -> None:
    failed = fleet.run("workflow", "start", "Failing", "--queue", "orders", "--wait")
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert "CardDeclined: no funds" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_show_names_timer_and_failing_activity(fleet: Fleet) -> None:
    fleet.start("Waiting", "waiting-1")
    shown = fleet.until(lambda out: "next in" in out, "workflow", "show", "waiting-1")
    first = shown.splitlines()[0]
    assert 'timer "cool-off", fires ' in first
    assert 'activity "ship", attempt 2, next in ' in first
    assert first.endswith(" min after LookupError: no truck")
    described = json.loads(fleet.run("workflow", "show", "waiting-1", "--json").stdout)
    assert {wait["kind"] for wait in described["waits"]} == {"timer", "activity"}
    assert described["status"] == "running"


def test_show_says_why_a_run_is_parked(fleet: Fleet) -> None:
    fleet.start("Broken", "broken-1")
    shown = fleet.until(lambda out: "parked since" in out, "workflow", "show", "broken-1")
    assert "next try in" in shown.splitlines()[0]
    assert "ODR-" in shown.splitlines()[0]
    fleet.run("workflow", "terminate", "broken-1")


def test_wrong_arguments_park_their_run_and_no_other(fleet: Fleet) -> None:
    """A start without the arguments that the code needs is visible, and the partition goes on."""
    fleet.start("Order", "wrong-0")
    shown = fleet.until(lambda out: "parked since" in out, "workflow", "show", "wrong-0")
    assert "missing 1 required positional argument" in shown
    ids = (f"beside-{number}" for number in range(1000))
    beside = next(id for id in ids if partition_of(id.encode(), 8) == partition_of(b"wrong-0", 8))
    fleet.start("Quick", beside, "--input", '"A1"', "--wait")
    assert fleet.run("workflow", "terminate", "wrong-0").exit_code == 0


def test_list_filters_and_limits(fleet: Fleet) -> None:
    for number in range(3):
        fleet.start("Order", f"listed-{number}", "--input", '"A1"')
    query = ("workflow", "list", "--query", "WorkflowId STARTS_WITH 'listed-'")
    listed = fleet.until(lambda out: out.count("listed-") == 3, *query)
    assert listed.split()[:3] == ["status", "type", "id"]
    limited = fleet.run(*query, "--limit", "2", "--json")
    assert [run["status"] for run in json.loads(limited.stdout)] == ["running", "running"]
    assert fleet.run("workflow", "list", "--query", "Nonsense ==").exit_code == 2


def test_cancel_and_terminate(fleet: Fleet) -> None:
    fleet.start("Order", "ended-1", "--input", '"A1"')
    assert fleet.run("workflow", "cancel", "ended-1", "--reason", "changed my mind").exit_code == 0
    cancelled = fleet.run("workflow", "result", "ended-1")
    assert (cancelled.exit_code, "CancelledError" in cancelled.stderr) == (1, True)
    fleet.start("Order", "ended-2", "--input", '"A1"')
    assert fleet.run("workflow", "terminate", "ended-2", "--reason", "a test").exit_code == 0
    assert "TerminatedError: a test" in fleet.run("workflow", "result", "ended-2").stderr
    closed = fleet.run("workflow", "signal", "ended-2", "approve", "--input", '"x"')
    assert closed.exit_code == 3
    assert "ODR-102" in closed.stderr


def test_terminating_several_asks_first(fleet: Fleet) -> None:
    """Nothing is destroyed by a script that did not say --yes."""
    for number in range(2):
        fleet.start("Order", f"several-{number}", "--input", '"A1"')
    refused = fleet.run("workflow", "terminate", "several-0", "several-1")
    assert refused.exit_code == 2
    assert "ODR-187" in refused.stderr
    query = "WorkflowId STARTS_WITH 'several-'"
    fleet.until(lambda out: out.count("several-") == 2, "workflow", "list", "--query", query)
    assert fleet.run("workflow", "terminate", "--query", query, "--yes").stderr.count("terminated") == 2


def test_exit_codes_tell_errors_apart(fleet: Fleet) -> None:
    fleet.start("Order", "codes-1", "--input", '"A1"')
    twice = fleet.run("workflow", "start", "Order", "--id", "codes-1", "--queue", "orders")
    assert (twice.exit_code, "ODR-101" in twice.stderr) == (7, True)
    for command in (["show"], ["history"], ["result"], ["cancel"], ["terminate"]):
        missing = fleet.run("workflow", *command, "no-such")
        assert (missing.exit_code, "ODR-100" in missing.stderr) == (3, True), command
    late = fleet.run("workflow", "result", "codes-1", "--timeout", "0.5")
    assert (late.exit_code, "ODR-13" in late.stderr) == (4, True)
    unknown = fleet.run("workflow", "query", "codes-1", "nonsense")
    assert (unknown.exit_code, "ODR-107" in unknown.stderr) == (1, True)
    invalid = fleet.run("workflow", "signal", "codes-1", "approve", "--input", "Ada")
    assert (invalid.exit_code, "ODR-185" in invalid.stderr) == (2, True)
    assert "ODR-100" in fleet.run("-v", "workflow", "show", "no-such").stderr


def test_nobody_makes_a_namespace_by_asking(fleet: Fleet) -> None:
    """A mistyped name is an error, not a new namespace."""
    missing = run_command("--log", fleet.address, "--namespace", "typo", "workflow", "list")
    assert missing.exit_code == 3
    assert 'there are: "shop"' in missing.stderr
    assert '"typo"' in run_command("--log", fleet.address, "--namespace", "typo", "workflow", "list").stderr


def test_doctor_finds_everybody_well(fleet: Fleet) -> None:
    found = fleet.run("doctor", "--json")
    levels = {finding["check"]: finding for finding in json.loads(found.stdout)}
    assert found.exit_code == 0, found.stdout
    assert {finding["level"] for finding in levels.values()} == {"ok"}
    assert levels["orchestrators"]["text"] == "1 at work"
    assert "1 workers" in levels["queues"]["text"]


def test_health_of_both(fleet: Fleet) -> None:
    for process in (fleet.orchestrator, fleet.worker):
        url = process.urls()[0]
        assert get(f"{url}/healthz") == (200, "ok\n")
        assert get(f"{url}/readyz") == (200, "ok\n")
        assert get(f"{url}/else")[0] == 404
    assert 'odradek_partitions_owned{namespace="shop"} 8.0' in get(f"{fleet.orchestrator.urls()[0]}/metrics")[1]
    assert 'task_queue="orders"' in get(f"{fleet.worker.urls()[0]}/metrics")[1]
