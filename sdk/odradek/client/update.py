"""An update of a workflow as its sender holds it, and the start that an update may bring with it."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from odradek.client.connection import Lane, Question
from odradek.client.errors import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from odradek.client.exchange import Answer, Exchange
from odradek.client.refusals import expect, refusal
from odradek.client.status import WorkflowUpdateStage
from odradek.schemas.records import Accepted, AwaitUpdate, Refused, StartWorkflow, UpdateOutcome, UpdateWorkflow
from odradek.service import NO_RPC_METADATA, RPCError, RpcMetadata, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client

R_co = TypeVar("R_co", covariant=True)

_CANNOT_NOW: Final = "ODR-108"
_PAUSE_SECONDS: Final = 0.2
_PAUSE_SECONDS_MAX: Final = 5.0


class WorkflowUpdateHandle(Generic[R_co]):
    """Made by ``WorkflowHandle.start_update`` and ``get_update_handle``; cheap, and shareable."""

    def __init__(
        self,
        client: Client,
        id: str,
        workflow_id: str,
        *,
        name: str | None = None,
        workflow_run_id: str | None = None,
        result_type: Any = None,
        known_outcome: UpdateOutcome | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._name = name
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type
        self._known_outcome = known_outcome

    def __repr__(self) -> str:
        return f"<WorkflowUpdateHandle {self._id!r} of {self._workflow_id!r}>"

    @property
    def id(self) -> str:
        """Counts once in its run, however often it is sent."""
        return self._id

    @property
    def name(self) -> str | None:
        """None for a handle that was made from an ID."""
        return self._name

    @property
    def workflow_id(self) -> str:
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run that accepted the update; None: the current one is asked."""
        return self._workflow_run_id

    async def result(
        self, *, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> R_co:
        """Wait until the update has completed, and return its answer; without ``rpc_timeout`` as long as it takes.

        Raises ``WorkflowUpdateFailedError``, ``WorkflowUpdateRPCTimeoutOrCancelledError`` and ``RPCError``. It is asked
        for again every 15 s, so it survives whatever happens to orchestrators, and works for closed runs too.
        """
        client = self._client
        if self._known_outcome is None:
            patience = Patience(rpc_timeout)
            with client.connection.clock.awaiting(), patience:
                self._known_outcome = await _completion(
                    client, self._workflow_id, self._workflow_run_id, self._id, patience
                )
        outcome = self._known_outcome
        if outcome.failure is not None:
            converter = client.converter_for(self._workflow_id)
            raise WorkflowUpdateFailedError(await converter.decode_failure(outcome.failure))
        value: R_co = await client.value(outcome.result, self._result_type, self._workflow_id)
        return value


class Patience:
    """What is left of a caller's time. As a context it turns running out of it, and cancellation, into their error."""

    def __init__(self, timeout: timedelta | None) -> None:
        self._asked_seconds = None if timeout is None else timeout.total_seconds()
        self._deadline = None if timeout is None else time.monotonic() + timeout.total_seconds()

    def question(self, workflow_id: str, body: UpdateWorkflow | StartWorkflow | AwaitUpdate) -> Question:
        return Question(workflow_id, body, self.left_seconds(), self._asked_seconds)

    def left_seconds(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            raise WorkflowUpdateRPCTimeoutOrCancelledError from error
        if isinstance(error, RPCError) and error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
            raise WorkflowUpdateRPCTimeoutOrCancelledError from error


def checked_stage(stage: WorkflowUpdateStage) -> WorkflowUpdateStage:
    """Raises ``ValueError`` for what nobody can wait for."""
    if stage not in (WorkflowUpdateStage.ACCEPTED, WorkflowUpdateStage.COMPLETED):
        raise ValueError(f"wait_for_stage is {stage!r}, and must be WorkflowUpdateStage.ACCEPTED or COMPLETED")
    return stage


def new_update_id() -> str:
    return str(uuid.uuid4())


# ---------------------------------------------------------------------------------------------- on the wire


async def send_update(
    client: Client, lane: Lane, workflow_id: str, body: UpdateWorkflow, patience: Patience
) -> UpdateOutcome:
    """Until the update has come as far as is asked for; while the workflow cannot take it in it is sent again."""
    pause = _PAUSE_SECONDS
    while True:
        answer, exchange = await lane.ask_for_two(patience.question(workflow_id, body))
        try:
            if not isinstance(answer, Refused):
                outcome = expect(UpdateOutcome, answer, workflow_id, body)
                return await _as_far_as_asked(client, workflow_id, body, outcome, exchange, patience)
        finally:
            lane.forget(exchange)
        left = patience.left_seconds()
        if answer.code != _CANNOT_NOW or (left is not None and left <= pause):
            raise _refused(answer, workflow_id, body)
        with client.connection.clock.awaiting():
            await asyncio.sleep(pause)
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)


async def send_with_start(
    client: Client,
    lane: Lane,
    workflow_id: str,
    start: StartWorkflow,
    patience: Patience,
    started: Callable[[str], None],
) -> UpdateOutcome:
    """As ``send_update``; ``started`` is called with the run's ID as soon as that is known."""
    update = start.update
    assert update is not None
    answer, exchange = await lane.ask_for_two(patience.question(workflow_id, start))
    try:
        if not isinstance(answer, Accepted):
            outcome = expect(UpdateOutcome, answer, workflow_id, start)
            started(outcome.run_id)
            return await _as_far_as_asked(client, workflow_id, update, outcome, exchange, patience)
    finally:
        lane.forget(exchange)
    # The run is there, and could not take the update in yet: now it is sent by itself.
    started(answer.run_id)
    request = lane.request(client.identity, timeout_seconds=patience.left_seconds())
    body = UpdateWorkflow(
        request, update.update_id, update.name, update.input, update.headers, answer.run_id, update.wait_completed
    )
    return await send_update(client, lane, workflow_id, body, patience)


async def _as_far_as_asked(
    client: Client,
    workflow_id: str,
    body: UpdateWorkflow,
    outcome: UpdateOutcome,
    exchange: Exchange,
    patience: Patience,
) -> UpdateOutcome:
    if outcome.completed or not body.wait_completed:
        return outcome
    completed = await _second_answer(client, exchange, patience)
    if isinstance(completed, UpdateOutcome):
        return completed
    return await _completion(client, workflow_id, outcome.run_id, body.update_id, patience)


async def _second_answer(client: Client, exchange: Exchange, patience: Patience) -> Answer:
    """For so long that somebody had better ask for it."""
    assert exchange.outcome is not None
    longest = client.connection.request_policy.retry_seconds_max
    left = patience.left_seconds()
    timer = exchange.loop.call_later(longest if left is None else min(left, longest), exchange.expire_outcome)
    try:
        with client.connection.clock.awaiting():
            return await exchange.outcome
    finally:
        timer.cancel()


async def _completion(
    client: Client, workflow_id: str, run_id: str | None, update_id: str, patience: Patience
) -> UpdateOutcome:
    lane = await client.connection.lane(client.namespace)
    request_id: str | None = None
    while True:  # with one request ID, or the orchestrator would collect a waiter for each time that it is asked
        request = lane.request(client.identity, request_id=request_id, timeout_seconds=patience.left_seconds())
        body, request_id = AwaitUpdate(request, update_id, run_id), request.id
        question = patience.question(workflow_id, body)
        answer, exchange = await lane.ask_for_two(question)
        try:
            outcome = expect(UpdateOutcome, answer, workflow_id, body)
            if outcome.completed:
                return outcome
            second = await _second_answer(client, exchange, patience)
            if isinstance(second, UpdateOutcome):
                return second
        finally:
            lane.forget(exchange)


def _refused(answer: Refused, workflow_id: str, body: UpdateWorkflow) -> BaseException:
    if answer.code == _CANNOT_NOW:
        return RPCError(answer.message, RPCStatusCode.DEADLINE_EXCEEDED, code=answer.code)
    return refusal(answer, workflow_id, body)
