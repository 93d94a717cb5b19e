"""The readable history: every kind of event has its words."""

from __future__ import annotations

import io
import typing
from datetime import UTC

from rich.console import Console

from odradek.cli.history_view import history_table, lines
from odradek.client import WorkflowHistory
from odradek.schemas import records as r

JSON = r.Payload("json/plain", b'{"sku":"A1"}')
FAILURE = r.Failure("application", "no funds", "CardDeclined", cause=r.Failure("timeout", "slow bank"))
ORIGIN = r.MessageOrigin("shop", "cart-1", "r0", 1, 0)
SEEN = r.RequestSeen("q1", 0)
START_MS = 1_896_084_000_000

BODIES: list[tuple[r.EventBody, tuple[str, str, int | None, str]]] = [
    (
        r.RunStarted("Order", "orders", "r1", input=[JSON], identity="me", start_delay_ms=2000),
        ("Workflow started", "Order", None, '({"sku":"A1"}), queue orders, begins in 2.0 s, by me'),
    ),
    (r.RequestJoined(SEEN), ("Start request joined", "", None, "request q1")),
    (r.RequestRefused(SEEN, "ODR-101", "in use"), ("Request refused", "", None, "ODR-101: in use")),
    (
        r.SignalReceived("approve", origin=ORIGIN),
        ("Signal received", "approve", None, 'from workflow "cart-1"'),
    ),
    (r.CancelRequested("enough"), ("Cancel requested", "", None, "enough")),
    (
        r.ActivityScheduled(1, "1", "charge", "payments", [JSON]),
        ("Activity scheduled", "charge", None, '({"sku":"A1"}), queue payments'),
    ),
    (
        r.ActivityCompleted(1, JSON, 2, START_MS - 250, "w1", FAILURE),
        (
            "Activity completed",
            "charge",
            2,
            '→ {"sku":"A1"}, took 250 ms, before: CardDeclined: no funds ← timeout: slow bank',
        ),
    ),
    (
        r.ActivityFailed(1, FAILURE, 3, "maximum-attempts-reached"),
        ("Activity failed", "charge", 3, "CardDeclined: no funds ← timeout: slow bank, maximum attempts reached"),
    ),
    (r.ActivityCancelRequested(1), ("Activity asked to cancel", "charge", None, "")),
    (r.TimerStarted(2, START_MS + 5000, "cool-off"), ("Timer started", "cool-off", None, "fires in 5.0 s")),
    (r.TimerFired(2), ("Timer fired", "cool-off", None, "")),
    (r.TimerCancelled(9), ("Timer cancelled", "timer 9", None, "")),
    (
        r.MessageSent(3, "cart-1", None, "checked", 0, [JSON]),
        ("Signal sent", "checked", None, 'to workflow "cart-1", ({"sku":"A1"})'),
    ),
    (r.MessageAnswered(3), ("Message answered", "checked", None, "taken in")),
    (r.DeferredApplied(2), ("Parked input applied", "", None, "2 more to come")),
    (r.RunCompleted(JSON), ("Workflow completed", "", None, '→ {"sku":"A1"}')),
    (r.RunFailed(FAILURE), ("Workflow failed", "", None, "CardDeclined: no funds ← timeout: slow bank")),
    (r.RunCancelled(), ("Workflow cancelled", "", None, "")),
    (r.RunTerminated("enough", identity="me"), ("Workflow terminated", "", None, "enough, by me")),
    (r.RunTimedOut("run"), ("Workflow timed out", "", None, "run")),
    (r.UpdateAccepted("u1", "add", [JSON], identity="me"), ("Update accepted", "add", None, '({"sku":"A1"}), by me')),
    (
        r.UpdateRejected("u2", "add", FAILURE),
        ("Update rejected", "add", None, "CardDeclined: no funds ← timeout: slow bank"),
    ),
    (r.UpdateCompleted("u1", JSON), ("Update completed", "add", None, '→ {"sku":"A1"}')),
    (
        r.ChildScheduled(4, "ship-1", "Ship", "orders", 0, "depot", [JSON]),
        ("Child scheduled", "Ship", None, '"ship-1", namespace depot, ({"sku":"A1"})'),
    ),
    (r.ChildStarted(4, "r9"), ("Child started", "Ship", None, "run r9")),
    (
        r.ChildStartFailed(4, FAILURE),
        ("Child not started", "Ship", None, "CardDeclined: no funds ← timeout: slow bank"),
    ),
    (r.ChildClosed(4, "completed", JSON), ("Child completed", "Ship", None, '→ {"sku":"A1"}')),
    (
        r.StepEnded(5, "price", JSON, 1, START_MS - 250),
        ("Step completed", "price", 1, '→ {"sku":"A1"}, took 250 ms'),
    ),
    (r.VersionMarked("new-carrier", 1), ("Version marked", "new-carrier", None, "version 1")),
    (r.VersionTaken("2"), ("Version taken", "2", None, "")),
    (r.SearchAttributesUpserted({"City": JSON}), ("Search attributes set", "", None, 'City={"sku":"A1"}')),
    (r.MemoUpserted({"note": JSON}), ("Memo set", "", None, 'note={"sku":"A1"}')),
    (
        r.RunContinued(r.Successor("r2", r.RunStarted("Order", "orders", "r1"))),
        ("Workflow continued as new", "", None, "run r2 follows"),
    ),
]


def history() -> WorkflowHistory:
    events = [r.Event(n, START_MS, body) for n, (body, _) in enumerate(BODIES)]
    return WorkflowHistory("order-77", events, run_id="r1")


def test_every_event_has_its_words() -> None:
    told = [(line.event, line.step, line.attempt, line.details) for line in lines(history().events)]
    assert told == [words for _, words in BODIES]


def test_no_kind_of_event_is_forgotten() -> None:
    assert {type(body) for body, _ in BODIES} == set(typing.get_args(r.EventBody))


def test_inputs_of_a_parked_run_say_so() -> None:
    event = r.Event(1, START_MS, r.SignalReceived("approve"), deferred=True)
    assert lines([event])[0].details == "recorded while the run was parked"


def test_unreadable_values_are_shown_by_size() -> None:
    payload = r.Payload("binary/encrypted", b"x" * 10)
    assert lines([r.Event(1, 0, r.RunCompleted(payload))])[0].details == "→ <binary/encrypted, 10 bytes>"


def test_table_has_one_row_for_each_event_and_no_markup() -> None:
    events = [r.Event(1, START_MS, r.SignalReceived("[red]approve[/red]")), *history().events]
    table = history_table(WorkflowHistory("order-77", events), UTC)
    assert table.row_count == len(events)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    assert "[red]approve[/red]" in text
    assert "2030-01-31 10:00:00.000" in text
