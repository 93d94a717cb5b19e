"""The innermost interceptor: turns the inputs into requests, and the answers into values and exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from odradek.client import activities, activity_requests
from odradek.client.activity_description import (
    ActivityExecutionCount,
    ActivityExecutionDescription,
    ActivityExecutionOptions,
)
from odradek.client.activity_handle import ActivityHandle
from odradek.client.connection import Lane, Question
from odradek.client.description import WorkflowExecution, WorkflowExecutionCount, WorkflowExecutionDescription
from odradek.client.errors import WorkflowQueryFailedError
from odradek.client.exchange import Answer, Appended, Exchange
from odradek.client.filter import Filter
from odradek.client.handle import WorkflowHandle
from odradek.client.history import read_archive
from odradek.client.interceptor import (
    CancelActivityInput,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    ControlActivityInput,
    CountActivitiesInput,
    CountWorkflowsInput,
    DescribeActivityInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    ListActivitiesInput,
    ListWorkflowsInput,
    OutboundInterceptor,
    PauseActivityInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateActivityInput,
    TerminateWorkflowInput,
    UnpauseActivityInput,
    UpdateActivityOptionsInput,
    UpdateWithStartUpdateWorkflowInput,
)
from odradek.client.iterators import (
    ActivityExecutionAsyncIterator,
    WorkflowExecutionAsyncIterator,
    WorkflowHistoryEventAsyncIterator,
)
from odradek.client.listing import Run, count_runs, read_runs, understood
from odradek.client.refusals import expect, payload_too_large
from odradek.client.status import WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.client.update import Patience, WorkflowUpdateHandle, new_update_id, send_update, send_with_start
from odradek.common import (
    PinnedVersioningOverride,
    QueryRejectCondition,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.common.cron import CronSchedule
from odradek.common.identifiers import checked_id
from odradek.converter import DataConverter, encode_search_attributes
from odradek.schemas.records import (
    Accepted,
    CancelWorkflow,
    DescribeWorkflow,
    Description,
    Event,
    FetchHistory,
    HistoryPage,
    Payload,
    QueryAnswer,
    QueryWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UpdateOutcome,
    UpdateWorkflow,
)
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client

T = TypeVar("T")
_MILLISECOND: Final = timedelta(milliseconds=1)
FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 2.0
"""Between two looks for new events."""


class WireOutbound(OutboundInterceptor):
    """Has no ``next``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    # -------------------------------------------------------------------------------------------------- requests

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        lane = await self._lane()
        if not self._client.connection.is_served:
            input = replace(input, wait=False, wait_result=False)
        timeout = self._timeout(lane, input.rpc_timeout)
        body = await self._start_body(lane, input, timeout)
        question = Question(checked_id(input.id), body, timeout)
        exchange: Exchange | None = None
        if input.wait_result:
            answer, exchange = await lane.ask_for_two(question)
        else:
            answer = await lane.ask(question)
        run_id = None if isinstance(answer, Appended) else _expected(Accepted, answer, question).run_id
        return WorkflowHandle(
            self._client,
            input.id,
            result_run_id=run_id,
            first_execution_run_id=run_id,
            result_type=input.ret_type,
            outcome=exchange,
        )

    async def _start_body(self, lane: Lane, input: StartWorkflowInput, timeout: float) -> StartWorkflow:
        lane.check_queue(input.task_queue)
        if input.cron_schedule:
            CronSchedule.parse(input.cron_schedule)
        attributes, override = input.search_attributes, input.versioning_override
        return StartWorkflow(
            lane.request(self._client.identity, wait=input.wait, request_id=input.request_id, timeout_seconds=timeout),
            input.workflow,
            input.task_queue,
            await self._arguments(lane, input.id, input.args, "an argument of the start"),
            dict(input.headers),
            _ms("execution_timeout", input.execution_timeout),
            _ms("run_timeout", input.run_timeout),
            _ms("task_timeout", input.task_timeout),
            None if input.retry_policy is None else input.retry_policy.to_record(),
            *_policies(input),
            await self._memo(lane, input.id, input.memo) if input.memo else {},
            encode_search_attributes(attributes) if attributes else {},
            _ms("start_delay", input.start_delay),
            input.wait_result,
            input.static_summary or "",
            input.static_details or "",
            input.cron_schedule,
            await self._start_signal(lane, input),
            priority=input.priority.to_record() if input.priority else None,
            version=override.version.build_id if isinstance(override, PinnedVersioningOverride) else "",
        )

    async def _start_signal(self, lane: Lane, input: StartWorkflowInput) -> SignalWorkflow | None:
        if input.start_signal is None:
            return None
        what = f'an argument of signal "{input.start_signal}"'
        arguments = await self._arguments(lane, input.id, input.start_signal_args, what)
        return SignalWorkflow(input.start_signal, arguments, dict(input.headers))

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        lane = await self._lane()
        timeout = self._timeout(lane, input.rpc_timeout)
        arguments = await self._arguments(lane, input.id, input.args, f'an argument of signal "{input.signal}"')
        request = self._request(lane, input.wait, timeout)
        body = SignalWorkflow(input.signal, arguments, dict(input.headers), input.run_id, request)
        await self._change(lane, Question(checked_id(input.id), body, timeout))

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        lane = await self._lane()
        timeout = self._timeout(lane, input.rpc_timeout)
        body = QueryWorkflow(
            lane.request(self._client.identity, timeout_seconds=timeout),
            input.query,
            await self._arguments(lane, input.id, input.args, f'an argument of query "{input.query}"'),
            dict(input.headers),
            input.run_id,
            input.reject_condition or QueryRejectCondition.NONE,
            input.consistent,
        )
        question = Question(checked_id(input.id), body, timeout)
        answer = _expected(QueryAnswer, await lane.ask(question), question)
        if answer.failure is not None:
            cause = await self._client.converter_for(input.id).decode_failure(answer.failure)
            raise WorkflowQueryFailedError(getattr(cause, "message", str(cause))) from cause
        return await self._client.value(answer.result, input.ret_type, input.id)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        lane = await self._lane()
        patience = Patience(input.rpc_timeout)
        request = lane.request(self._client.identity, timeout_seconds=patience.left_seconds())
        body = await self._update_body(lane, input, request, input.id)
        body = replace(body, run_id=input.run_id)
        with patience:
            outcome = await send_update(self._client, lane, checked_id(input.id), body, patience)
        return self._update_handle(input, input.id, body, outcome)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        try:
            lane = await self._lane()
            patience = Patience(update.rpc_timeout or start.rpc_timeout)
            starting = await self._start_body(lane, start, self._timeout(lane, start.rpc_timeout))
            body = await self._update_body(lane, update, starting.request, start.id)
            starting = replace(starting, update=body)
            with patience:
                outcome = await send_with_start(
                    self._client, lane, checked_id(start.id), starting, patience, input._on_start
                )
        except BaseException as error:
            input._on_start_error(error)
            raise
        return self._update_handle(update, start.id, body, outcome)

    async def _update_body(
        self,
        lane: Lane,
        input: StartWorkflowUpdateInput | UpdateWithStartUpdateWorkflowInput,
        request: Request,
        workflow_id: str,
    ) -> UpdateWorkflow:
        return UpdateWorkflow(
            request,
            input.update_id or new_update_id(),
            input.update,
            await self._arguments(lane, workflow_id, input.args, f'an argument of update "{input.update}"'),
            dict(input.headers),
            wait_completed=input.wait_for_stage is WorkflowUpdateStage.COMPLETED,
        )

    def _update_handle(
        self,
        input: StartWorkflowUpdateInput | UpdateWithStartUpdateWorkflowInput,
        workflow_id: str,
        body: UpdateWorkflow,
        outcome: UpdateOutcome,
    ) -> WorkflowUpdateHandle[Any]:
        return WorkflowUpdateHandle(
            self._client,
            body.update_id,
            workflow_id,
            name=input.update,
            workflow_run_id=outcome.run_id,
            result_type=input.ret_type,
            known_outcome=outcome if outcome.completed else None,
        )

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        lane = await self._lane()
        timeout = self._timeout(lane, input.rpc_timeout)
        request = self._request(lane, input.wait, timeout)
        body = CancelWorkflow(input.reason, input.run_id, request)
        await self._change(lane, Question(checked_id(input.id), body, timeout))

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        lane = await self._lane()
        timeout = self._timeout(lane, input.rpc_timeout)
        details = await self._arguments(lane, input.id, input.args, "a detail of the termination")
        request = self._request(lane, input.wait, timeout)
        body = TerminateWorkflow(request, input.reason or "", details, input.run_id)
        await self._change(lane, Question(checked_id(input.id), body, timeout))

    def _request(self, lane: Lane, wait: bool, timeout: float) -> Request:
        wait = wait and self._client.connection.is_served
        return lane.request(self._client.identity, wait=wait, timeout_seconds=timeout)

    async def _change(self, lane: Lane, question: Question) -> None:
        answer = await lane.ask(question)
        if not isinstance(answer, Appended):
            _expected(Accepted, answer, question)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        description, client = await self.description(input), self._client
        return await WorkflowExecutionDescription.of(
            description, input.id, client.namespace, client.converter_for(input.id)
        )

    async def description(self, input: DescribeWorkflowInput) -> Description:
        lane = await self._lane()
        timeout = self._timeout(lane, input.rpc_timeout)
        body = DescribeWorkflow(lane.request(self._client.identity, timeout_seconds=timeout), input.run_id)
        question = Question(checked_id(input.id), body, timeout)
        return _expected(Description, await lane.ask(question), question)

    # ---------------------------------------------------------------------------------------------------- activities

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        converter = activities.converter_of(self._client, input)
        details = await converter.encode(input.details)
        await activities.report(self._client, input.id_or_token, "heartbeat", input.rpc_timeout, details=details)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        converter = activities.converter_of(self._client, input)
        result = (await converter.encode([input.result]))[0]
        await activities.report(self._client, input.id_or_token, "completed", input.rpc_timeout, result=result)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        converter = activities.converter_of(self._client, input)
        failure = await converter.encode_failure(input.error)
        details = await converter.encode(input.last_heartbeat_details) if input.last_heartbeat_details else ()
        await activities.report(
            self._client, input.id_or_token, "failed", input.rpc_timeout, failure=failure, details=details
        )

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        converter = activities.converter_of(self._client, input)
        details = await converter.encode(input.details)
        await activities.report(self._client, input.id_or_token, "cancelled", input.rpc_timeout, details=details)

    async def control_activity(self, input: ControlActivityInput) -> None:
        await activities.control(self._client, input)

    # -------------------------------------------------------------------------------------------- standalone activities

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        return await activity_requests.start(self, self._client, input)

    async def describe_activity(self, input: DescribeActivityInput) -> ActivityExecutionDescription:
        return await activity_requests.describe(self, self._client, input)

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        await activity_requests.cancel(self, input)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        await activity_requests.terminate(self, input)

    async def pause_activity(self, input: PauseActivityInput) -> None:
        await activity_requests.pause(self._client, input)

    async def unpause_activity(self, input: UnpauseActivityInput) -> None:
        await activity_requests.unpause(self._client, input)

    async def update_activity_options(self, input: UpdateActivityOptionsInput) -> ActivityExecutionOptions:
        return await activity_requests.update_options(self, self._client, input)

    def list_activities(self, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
        return activity_requests.listed(self, self._client, input)

    async def count_activities(self, input: CountActivitiesInput) -> ActivityExecutionCount:
        return await activity_requests.count(self, input)

    # --------------------------------------------------------------------------------------- histories and listings

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        return WorkflowHistoryEventAsyncIterator(lambda iterator: self._events(input, iterator))

    async def _events(
        self, input: FetchWorkflowHistoryEventsInput, iterator: WorkflowHistoryEventAsyncIterator
    ) -> AsyncIterator[Event]:
        """What is asked for. Waiting asks again, more and more rarely, until the run is closed."""
        lane = await self._lane()
        run_id, seen, last, pause = input.run_id, 0, None, FIRST_PAUSE_SECONDS
        every = input.event_filter_type is not WorkflowHistoryEventFilterType.CLOSE_EVENT
        while True:
            page = await self._page(lane, input, run_id, seen)
            iterator.run_id = run_id = page.run_id
            events: Sequence[Event] = page.events
            if page.archive:
                events = (await asyncio.to_thread(read_archive, lane.namespace, input.id, page.archive))[seen:]
            for event in events:
                last = event
                if every:
                    yield event
            if page.archive or (page.next_event is None and not input.wait_new_event):
                break
            if page.next_event is None:
                pause = FIRST_PAUSE_SECONDS if events else min(2 * pause, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause)
            seen += len(events)
        if last is not None and not every:
            yield last

    async def _page(
        self, lane: Lane, input: FetchWorkflowHistoryEventsInput, run_id: str | None, first_event: int
    ) -> HistoryPage:
        timeout = self._timeout(lane, input.rpc_timeout)
        body = FetchHistory(lane.request(self._client.identity, timeout_seconds=timeout), run_id, first_event)
        question = Question(checked_id(input.id), body, timeout)
        return _expected(HistoryPage, await lane.ask(question), question)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        wanted = understood(input.query)
        if wanted.group_by:
            raise RPCError("ODR-133: GROUP BY is for count_workflows, not for listings", RPCStatusCode.INVALID_ARGUMENT)

        async def executions() -> AsyncIterator[WorkflowExecution]:
            lane = await self._lane()
            client = self._client
            runs = await self._runs(lane, wanted, input.rpc_timeout)
            for run in runs[: input.limit]:
                converter = client.converter_for(run.record.workflow_id)
                yield WorkflowExecution.of_visibility(run.record, client.namespace, converter)

        return WorkflowExecutionAsyncIterator(self._client, executions())

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        wanted = understood(input.query)
        lane = await self._lane()
        return count_runs(await self._runs(lane, wanted, input.rpc_timeout), wanted.group_by)

    async def _runs(
        self, lane: Lane, wanted: Filter, rpc_timeout: timedelta | None, *, activities: bool = False
    ) -> list[Run]:
        timeout = None if rpc_timeout is None else rpc_timeout.total_seconds()
        try:
            reading = asyncio.to_thread(read_runs, lane.namespace, wanted, activities=activities)
            return await asyncio.wait_for(reading, timeout)
        except TimeoutError as error:
            raise RPCError(
                f"ODR-136: reading {lane.namespace.topics.visibility} took longer than {timeout:g} s. Allow more time: "
                f"a client reads the whole topic for each listing.",
                RPCStatusCode.DEADLINE_EXCEEDED,
            ) from error

    # --------------------------------------------------------------------------------------------------- payloads

    async def _arguments(
        self, lane: Lane, workflow_id: str, args: Sequence[Any], what: str, converter: DataConverter | None = None
    ) -> Sequence[Payload]:
        if not args:
            return ()
        converter = converter or self._client.converter_for(workflow_id)
        payloads = converter.payload_converter.to_payloads(args)
        if converter.outer is not None:
            payloads = await converter.encode_payloads(payloads)
        for payload in payloads:
            _check_size(lane, workflow_id, payload, what)
        return payloads

    async def _memo(self, lane: Lane, workflow_id: str, memo: Mapping[str, Any]) -> dict[str, Payload]:
        payloads = await self._client.converter_for(workflow_id).encode_map(memo)
        for name, payload in payloads.items():
            _check_size(lane, workflow_id, payload, f'memo value "{name}"')
        return payloads

    async def _lane(self) -> Lane:
        connection, namespace = self._client.connection, self._client.namespace
        return connection.opened(namespace) or await connection.lane(namespace)

    def _timeout(self, lane: Lane, rpc_timeout: timedelta | None) -> float:
        return lane.policy.rpc_timeout_seconds if rpc_timeout is None else rpc_timeout.total_seconds()


def _expected(expected: type[T], answer: Answer, question: Question) -> T:
    return expect(expected, answer, question.workflow_id, question.body)


def _check_size(lane: Lane, workflow_id: str, payload: Payload, what: str) -> None:
    size = len(payload.data)
    if payload.metadata:
        size += sum(len(name) + len(value) for name, value in payload.metadata.items())
    if size > lane.policy.payload_bytes_max:
        raise payload_too_large(workflow_id, what, size, lane.policy.payload_bytes_max)


def _policies(input: StartWorkflowInput) -> tuple[str, str]:
    if input.id_reuse_policy is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        return WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDConflictPolicy.TERMINATE_EXISTING
    return input.id_reuse_policy, input.id_conflict_policy


def _ms(name: str, time: timedelta | None) -> int | None:
    if time is None:
        return None
    if time < timedelta():
        raise ValueError(f"{name} is {time}, and must not be negative")
    return time // _MILLISECOND
