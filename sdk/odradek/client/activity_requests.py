"""Standalone activities on the wire: requests about the runs that they are, and the answers as callers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from odradek.client.activity_description import (
    ActivityExecution,
    ActivityExecutionCount,
    ActivityExecutionCountAggregationGroup,
    ActivityExecutionDescription,
    ActivityExecutionOptions,
)
from odradek.client.activity_handle import ActivityHandle
from odradek.client.connection import Lane, Question
from odradek.client.errors import ActivityFailureError, WorkflowFailureError
from odradek.client.exchange import Exchange
from odradek.client.handle import UNSET, WorkflowHandle
from odradek.client.interceptor import (
    CancelActivityInput,
    CancelWorkflowInput,
    CountActivitiesInput,
    DescribeActivityInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    ListActivitiesInput,
    PauseActivityInput,
    StartActivityInput,
    TerminateActivityInput,
    TerminateWorkflowInput,
    UnpauseActivityInput,
    UpdateActivityOptionsInput,
)
from odradek.client.iterators import ActivityExecutionAsyncIterator
from odradek.client.listing import count_runs, understood
from odradek.client.refusals import expect
from odradek.client.update import Patience, new_update_id, send_with_start
from odradek.common import Priority, RetryPolicy
from odradek.common.standalone import ACTIVITY, StandaloneOptions, lane_of, workflow_id_of, workflow_type_of
from odradek.converter import encode_search_attributes
from odradek.exceptions import (
    ActivityAlreadyStartedError,
    ActivityError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from odradek.schemas.records import Accepted, ActivityTimeouts, StartWorkflow, UpdateWorkflow
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client
    from odradek.client.outbound import WireOutbound

_RETRY_DEFAULT: Final = RetryPolicy().to_record()
_MILLISECOND: Final = timedelta(milliseconds=1)


@contextmanager
def _of_activities() -> Iterator[None]:
    """Errors about the run that an activity is become errors about the activity."""
    try:
        yield
    except RPCError as error:
        raise _of_activity(error) from error.__cause__


def _of_activity(error: RPCError) -> RPCError:
    message = error.message.replace(f'workflow "{ACTIVITY}:', 'activity "').replace(f'"{ACTIVITY}:', '"')
    return RPCError(message, error.status, code=error.code)


# ------------------------------------------------------------------------------------------------------------ starts


async def start(wire: WireOutbound, client: Client, input: StartActivityInput) -> ActivityHandle[Any]:
    workflow_id = workflow_id_of(input.id)
    if input.schedule_to_close_timeout is None and input.start_to_close_timeout is None:
        raise ValueError(
            f'ODR-062: activity "{input.activity_type}" has no limit, and a lost one would be waited for for ever: '
            "give start_to_close_timeout or schedule_to_close_timeout"
        )
    if input.ordering_key:
        lane_of(input.ordering_key)
    if input.ordering_key and input.start_delay:
        raise ValueError(
            f'ODR-201: activity "{input.id}" has an ordering_key and a start_delay, and its place among those of the '
            "key would be that of its start: give one of both"
        )
    lane = await wire._lane()
    timeout = wire._timeout(lane, input.rpc_timeout)
    try:
        body = await _start_body(wire, client, lane, input, timeout)
        if input.ordering_key:
            run_id, exchange = await _start_in_order(client, lane, workflow_id, body, timeout), None
        else:
            run_id, exchange = await _start_at_once(lane, Question(workflow_id, body, timeout))
    except WorkflowAlreadyStartedError as error:
        raise ActivityAlreadyStartedError(input.id, input.activity_type, run_id=error.run_id) from None
    except RPCError as error:
        raise _of_activity(error) from error.__cause__
    return ActivityHandle(client, input.id, run_id=run_id, result_type=input.result_type, outcome=exchange)


async def _start_at_once(lane: Lane, question: Question) -> tuple[str, Exchange | None]:
    assert isinstance(question.body, StartWorkflow)
    exchange: Exchange | None = None
    if question.body.wait_result:
        answer, exchange = await lane.ask_for_two(question)
    else:
        answer = await lane.ask(question)
    return expect(Accepted, answer, question.workflow_id, question.body).run_id, exchange


async def _start_in_order(client: Client, lane: Lane, workflow_id: str, body: StartWorkflow, timeout: float) -> str:
    """Returns when the activity has its place among those of its key."""
    known: list[str] = []
    admitted = UpdateWorkflow(body.request, new_update_id(), "admitted", wait_completed=True)
    body = replace(body, update=admitted, wait_result=False)
    patience = Patience(timedelta(seconds=timeout))
    await send_with_start(client, lane, workflow_id, body, patience, known.append)
    return known[0]


async def _start_body(
    wire: WireOutbound, client: Client, lane: Lane, input: StartActivityInput, timeout: float
) -> StartWorkflow:
    lane.check_queue(input.task_queue)
    limits = ActivityTimeouts(
        _ms("schedule_to_close_timeout", input.schedule_to_close_timeout),
        _ms("schedule_to_start_timeout", input.schedule_to_start_timeout),
        _ms("start_to_close_timeout", input.start_to_close_timeout),
        _ms("heartbeat_timeout", input.heartbeat_timeout),
    )
    policy = input.retry_policy.to_record() if input.retry_policy else _RETRY_DEFAULT
    options = StandaloneOptions(limits, policy, input.ordering_key or "")
    what = f'an argument of activity "{input.activity_type}"'
    converter = client.converter_for(workflow_id_of(input.id))
    return StartWorkflow(
        lane.request(client.identity, request_id=input.request_id, timeout_seconds=timeout),
        workflow_type_of(input.activity_type),
        input.task_queue,
        (options.to_payload(), *await wire._arguments(lane, input.id, input.args, what, converter)),
        dict(input.headers),
        id_reuse_policy=input.id_reuse_policy,
        id_conflict_policy=input.id_conflict_policy,
        search_attributes=encode_search_attributes(input.search_attributes) if input.search_attributes else {},
        start_delay_ms=_ms("start_delay", input.start_delay),
        wait_result=input.wait_result,
        static_summary=input.summary or "",
        priority=input.priority.to_record(),
    )


def _ms(name: str, time: timedelta | None) -> int | None:
    if time is None:
        return None
    if time < timedelta():
        raise ValueError(f"{name} is {time}, and must not be negative")
    return time // _MILLISECOND


# --------------------------------------------------------------------------------------------------- of one activity


async def result_of(
    client: Client,
    id: str,
    run_id: str | None,
    result_type: Any,
    exchange: Exchange | None,
    rpc_timeout: timedelta | None,
) -> Any:
    """Raises ``ActivityFailureError`` and ``RPCError``."""
    run: WorkflowHandle[Any, Any] = WorkflowHandle(
        client, workflow_id_of(id), result_run_id=run_id, result_type=result_type, outcome=exchange
    )
    try:
        return await run.result(rpc_timeout=rpc_timeout)
    except RPCError as error:
        raise _of_activity(error) from error.__cause__
    except WorkflowFailureError as error:
        cause = _cause(error.cause)
        raise ActivityFailureError(cause=cause) from cause


def _cause(cause: BaseException) -> BaseException:
    if isinstance(cause, ActivityError) and cause.cause is not None:
        return cause.cause
    if isinstance(cause, CancelledError):
        return CancelledError("Activity cancelled")
    if isinstance(cause, TerminatedError) and cause.message == "Workflow terminated":
        return TerminatedError("Activity terminated")
    return cause


async def describe(wire: WireOutbound, client: Client, input: DescribeActivityInput) -> ActivityExecutionDescription:
    workflow_id, timeout = workflow_id_of(input.activity_id), input.rpc_timeout
    with _of_activities():
        state = await wire.description(
            DescribeWorkflowInput(id=workflow_id, run_id=input.activity_run_id, rpc_timeout=timeout)
        )
        asked = FetchWorkflowHistoryEventsInput(id=workflow_id, run_id=state.run_id, rpc_timeout=timeout)
        events = [event async for event in wire.fetch_workflow_history_events(asked)]
    found = ActivityExecutionDescription.of(
        state, events, workflow_id, client.namespace, client.converter_for(workflow_id)
    )
    return replace(
        found,
        input_payloads=found.input_payloads if input.include_input else (),
        heartbeat_payloads=found.heartbeat_payloads if input.include_heartbeat_details else (),
        result_payload=found.result_payload if input.include_outcome else None,
        outcome=found.outcome if input.include_outcome else None,
        last=found.last if input.include_last_failure else None,
    )


async def cancel(wire: WireOutbound, input: CancelActivityInput) -> None:
    with _of_activities():
        await wire.cancel_workflow(
            CancelWorkflowInput(
                id=workflow_id_of(input.activity_id),
                run_id=input.activity_run_id,
                reason=input.reason or "",
                rpc_timeout=input.rpc_timeout,
            )
        )


async def terminate(wire: WireOutbound, input: TerminateActivityInput) -> None:
    with _of_activities():
        await wire.terminate_workflow(
            TerminateWorkflowInput(
                id=workflow_id_of(input.activity_id),
                run_id=input.activity_run_id,
                reason=input.reason,
                rpc_timeout=input.rpc_timeout,
            )
        )


def _run(client: Client, activity_id: str, run_id: str | None) -> WorkflowHandle[Any, Any]:
    return WorkflowHandle(client, workflow_id_of(activity_id), run_id=run_id)


async def pause(client: Client, input: PauseActivityInput) -> None:
    with _of_activities():
        run = _run(client, input.activity_id, input.activity_run_id)
        await run.pause_activities(reason=input.reason or "", rpc_timeout=input.rpc_timeout)


async def unpause(client: Client, input: UnpauseActivityInput) -> None:
    with _of_activities():
        run = _run(client, input.activity_id, input.activity_run_id)
        await run.unpause_activities(jitter=input.jitter or timedelta(), rpc_timeout=input.rpc_timeout)


async def update_options(
    wire: WireOutbound, client: Client, input: UpdateActivityOptionsInput
) -> ActivityExecutionOptions:
    asked = DescribeActivityInput(
        activity_id=input.activity_id, activity_run_id=input.activity_run_id, rpc_timeout=input.rpc_timeout
    )
    if input.restore_original:
        original = (await describe(wire, client, asked)).original_options
        changes = {name: getattr(original, name) for name in original.__dataclass_fields__}
    else:
        changes = {update.key.name: update.value for update in input.updates}
    if changes.get("task_queue", UNSET) is None:
        raise ValueError("an activity needs a task queue: set another one, it cannot be taken away")
    for name, default in (("retry_policy", RetryPolicy()), ("priority", Priority.default)):
        if name in changes and changes[name] is None:
            changes[name] = default
    with _of_activities():
        run = _run(client, input.activity_id, input.activity_run_id)
        await run.update_activity_options(**changes, rpc_timeout=input.rpc_timeout)
    return (await describe(wire, client, asked)).options


# ---------------------------------------------------------------------------------------------------------- listings


def listed(wire: WireOutbound, client: Client, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
    wanted = understood(input.query)
    if wanted.group_by:
        raise RPCError("ODR-133: GROUP BY is for count_activities, not for listings", RPCStatusCode.INVALID_ARGUMENT)

    async def executions() -> AsyncIterator[ActivityExecution]:
        lane = await wire._lane()
        runs = await wire._runs(lane, wanted, input.rpc_timeout, activities=True)
        for run in runs[: input.limit]:
            yield ActivityExecution.of_visibility(run.record, client.namespace)

    return ActivityExecutionAsyncIterator(executions())


async def count(wire: WireOutbound, input: CountActivitiesInput) -> ActivityExecutionCount:
    wanted = understood(input.query)
    lane = await wire._lane()
    counted = count_runs(await wire._runs(lane, wanted, input.rpc_timeout, activities=True), wanted.group_by)
    groups = [ActivityExecutionCountAggregationGroup(group.count, group.group_values) for group in counted.groups]
    return ActivityExecutionCount(counted.count, groups)
