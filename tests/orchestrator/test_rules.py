"""Rules that need no log: priorities, delays, sizes, how a child's end is told, closed runs in memory."""

from __future__ import annotations

import pytest

from odradek.orchestrator.core import closed_runs
from odradek.orchestrator.core.backoff import next_delay_ms
from odradek.orchestrator.core.children import closed
from odradek.orchestrator.core.closed_runs import ClosedRuns
from odradek.orchestrator.core.conversion import failure_bytes
from odradek.orchestrator.core.run import Child, inherited
from odradek.schemas import records as r
from odradek.schemas.records import FailureKind, TaskPriority


def test_the_gaps_of_a_priority_are_filled_by_that_of_the_workflow() -> None:
    workflow = TaskPriority(2, "tenant", 3.0)
    assert inherited(TaskPriority(1, "own", 5.0), workflow) == TaskPriority(1, "own", 5.0)
    assert inherited(TaskPriority(), workflow) == workflow
    assert inherited(None, workflow) == inherited(workflow, None) == workflow


def test_what_is_cancelled_is_not_tried_again() -> None:
    cancelled = r.Failure(FailureKind.CANCELLED, "stop", non_retryable=True)
    assert next_delay_ms(r.RetryPolicy(), 1, cancelled) == (None, "cancel-requested")


def test_a_failure_is_as_large_as_all_that_it_says() -> None:
    cause = r.Failure(FailureKind.APPLICATION, "123", stack_trace="12345", encoded=r.Payload("", b"1234567"))
    assert failure_bytes(r.Failure(FailureKind.APPLICATION, "1", details=[r.Payload("", b"12")], cause=cause)) == 18


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        (None, "retry-policy-not-set"),
        (r.RetryPolicy(non_retryable_error_types=["Final"]), "non-retryable-failure"),
        (r.RetryPolicy(), "maximum-attempts-reached"),
    ],
    ids=str,
)
def test_a_parent_is_told_why_its_child_is_not_tried_again(policy: r.RetryPolicy | None, state: str) -> None:
    scheduled = r.ChildScheduled(1, "child", "Child", "queue", 0, retry_policy=policy)
    failure = r.Failure(FailureKind.APPLICATION, "no", "Final")
    result = r.ChildResult("parent", 1, "run", "failed", None, failure)
    told = closed(Child(scheduled), "test", result)
    assert told.failure is not None
    assert told.failure.attributes["retry_state"] == state


def test_the_closed_runs_that_were_asked_for_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_runs, "CLOSED_RUNS_MAX", 3)
    monkeypatch.setattr(closed_runs, "CLOSED_EVENTS_MAX", 6)
    runs = ClosedRuns()

    def read(run_id: str, count: int = 1) -> list[str]:
        begin, after = r.Event(1, 1, r.RunStarted("T", "q", run_id)), r.Event(2, 1, r.CancelRequested())
        runs.have_read("w", run_id, [begin, *[after] * (count - 1)])
        return [*runs.known]

    for run_id in ("a", "b", "c"):
        read(run_id)
    assert runs.get("a") is not None
    assert read("d") == ["c", "a", "d"]
    assert read("e", 4) == ["a", "d", "e"]
    assert read("f", 2) == ["e", "f"]
    assert read("g", 100) == ["g"]
    known = runs.get("g")
    assert known is not None
    assert known.started.first_run_id == "g"
    runs.clear()
    assert not runs.known
