"""How a run ended, as the value or the exception that its caller gets."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from odradek.client.connection import Question
from odradek.client.errors import WorkflowFailureError
from odradek.client.exchange import Exchange
from odradek.client.refusals import expect
from odradek.exceptions import CancelledError, TerminatedError, TimeoutError, TimeoutType
from odradek.schemas.records import AwaitResult, RunOutcome, RunStatus
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client


async def ask_for_outcome(
    client: Client, workflow_id: str, run_id: str | None, deadline: float | None, asked_seconds: float | None
) -> RunOutcome:
    """Waits until the run is closed; ``deadline`` is monotonic, ``asked_seconds`` what to say when it has passed.

    Raises ``RPCError``.
    """
    timeout_seconds = None if deadline is None else max(0.0, deadline - time.monotonic())
    lane = await client.connection.lane(client.namespace)
    body = AwaitResult(lane.request(client.identity, timeout_seconds=timeout_seconds), run_id)
    answer = await lane.ask_until_answered(Question(workflow_id, body, timeout_seconds, asked_seconds))
    return expect(RunOutcome, answer, workflow_id, body)


async def outcome_of_start(client: Client, exchange: Exchange, timeout_seconds: float | None) -> RunOutcome | None:
    """The second answer to a start; None when it has not come for so long that somebody had better ask for it."""
    outcome = exchange.outcome
    if outcome is None or exchange.loop is not asyncio.get_running_loop():
        return None
    lane = await client.connection.lane(client.namespace)
    timer = None
    if not outcome.done() and (timeout_seconds is not None or not exchange.watched):
        longest = lane.policy.retry_seconds_max
        wait_seconds = longest if timeout_seconds is None else min(timeout_seconds, longest)
        timer = exchange.loop.call_later(wait_seconds, exchange.expire_outcome)
    try:
        answer = await outcome
    finally:
        if timer is not None:
            timer.cancel()
        lane.forget(exchange)
    return answer if isinstance(answer, RunOutcome) else None


async def value_of(client: Client, workflow_id: str, outcome: RunOutcome, result_type: Any) -> Any:
    """The result. Raises ``WorkflowFailureError`` for every other way to end."""
    if outcome.status == RunStatus.COMPLETED:
        return await client.value(outcome.result, result_type, workflow_id)
    raise WorkflowFailureError(cause=await _cause(client, workflow_id, outcome))


async def _cause(client: Client, workflow_id: str, outcome: RunOutcome) -> BaseException:
    if outcome.failure is not None:
        return await client.converter_for(workflow_id).decode_failure(outcome.failure)
    match outcome.status:
        case RunStatus.CANCELLED:
            return CancelledError("Workflow cancelled")
        case RunStatus.TERMINATED:
            return TerminatedError("Workflow terminated")
        case RunStatus.TIMED_OUT:
            return TimeoutError("Workflow timed out", type=TimeoutType.START_TO_CLOSE)
        case _:
            return RPCError(f'the run ended as "{outcome.status}", and does not say why', RPCStatusCode.UNKNOWN)
