"""Which run follows one that closes: continue-as-new, a retry, the next turn of a cron schedule. Pure.

The closing event names the successor whole, so it exists from the moment that this event is durable.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from odradek.common.cron import CronSchedule
from odradek.orchestrator.core.backoff import next_delay_ms
from odradek.orchestrator.core.run import Run
from odradek.schemas import records as r
from odradek.schemas.records import FailureKind


def derived_run_id(*origin: object) -> str:
    """The run ID that follows from what begins the run: whoever decides means the same run."""
    digest = hashlib.sha256("/".join(map(str, origin)).encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def with_successor(run: Run, closing: Any, now_ms: int) -> Any:
    """The closing event with the run that follows, if one does."""
    match closing:
        case r.RunContinued(next=asked):
            return r.RunContinued(_successor(run, asked.started, now_ms, delay_ms=asked.started.start_delay_ms))
        case r.RunFailed(failure=failure):
            return _after_failure(run, closing, failure, now_ms)
        case r.RunTimedOut(timeout_type="run"):
            failure = r.Failure(FailureKind.TIMEOUT, "Workflow timed out", timeout_type="start-to-close")
            return _after_failure(run, closing, failure, now_ms)
        case r.RunCompleted(result=result) if run.started is not None and run.started.cron_schedule:
            return r.RunCompleted(result, _next_turn(run, None, now_ms, result))
        case _:
            return closing


def _after_failure(run: Run, closing: Any, failure: r.Failure, now_ms: int) -> Any:
    return dataclasses.replace(closing, next=_again(run, failure, now_ms) or _next_turn(run, failure, now_ms))


def _again(run: Run, failure: r.Failure, now_ms: int) -> r.Successor | None:
    """The next attempt, if a retry policy wants one."""
    started = run.started
    if started is None or started.retry_policy is None:
        return None
    delay_ms = next_delay_ms(started.retry_policy, started.attempt, failure)[0]
    if delay_ms is None or _too_late(run, now_ms + delay_ms):
        return None
    again = dataclasses.replace(started, attempt=started.attempt + 1, signals=(), update=None)
    return _successor(run, again, now_ms, delay_ms=delay_ms, failure=failure)


def _next_turn(run: Run, failure: r.Failure | None, now_ms: int, result: r.Payload | None = None) -> r.Successor | None:
    """The next run of a cron schedule."""
    started = run.started
    if started is None or not started.cron_schedule:
        return None
    due_ms = CronSchedule.parse(started.cron_schedule).next_after(now_ms)
    if _too_late(run, due_ms):
        return None
    turn = dataclasses.replace(started, attempt=1, signals=(), update=None)
    return _successor(run, turn, now_ms, delay_ms=due_ms - now_ms, failure=failure, result=result)


def _too_late(run: Run, time_ms: int) -> bool:
    return any(name == "execution" and limit_ms <= time_ms for limit_ms, name in run.limits())


def _successor(
    run: Run,
    started: r.RunStarted,
    now_ms: int,
    *,
    delay_ms: int | None,
    failure: r.Failure | None = None,
    result: r.Payload | None = None,
) -> r.Successor:
    before = run.started
    assert before is not None
    lineage = before.lineage or r.Lineage()
    lineage = r.Lineage(
        run.run_id,
        run.execution_started_ms,
        lineage.last_result if result is None else result,
        failure,
        lineage.parent,
    )
    following = dataclasses.replace(
        started,
        first_run_id=before.first_run_id,
        request=None,
        execution_timeout_ms=before.execution_timeout_ms,
        start_delay_ms=delay_ms or None,
        cron_schedule=before.cron_schedule,
        lineage=lineage,
        priority=before.priority,
    )
    return r.Successor(derived_run_id(run.run_id, "next"), following)
