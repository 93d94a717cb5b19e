"""Interceptors: what stands between a client's methods and the wire, and the inputs that pass through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from odradek.client.status import WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.common import (
    Payload,
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

if TYPE_CHECKING:
    from odradek.client.activities import AsyncActivityIDReference
    from odradek.client.description import WorkflowExecutionCount, WorkflowExecutionDescription
    from odradek.client.handle import WorkflowHandle
    from odradek.client.iterators import WorkflowExecutionAsyncIterator, WorkflowHistoryEventAsyncIterator
    from odradek.client.update import WorkflowUpdateHandle
    from odradek.converter import DataConverter
    from odradek.schemas.records import ControlActivity


@dataclass(slots=True, kw_only=True)
class StartWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.start_workflow`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED
    retry_policy: RetryPolicy | None = None
    memo: Mapping[str, Any] | None = None
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None
    static_summary: str | None = None
    static_details: str | None = None
    start_delay: timedelta | None = None
    cron_schedule: str = ""
    start_signal: str | None = None
    start_signal_args: Sequence[Any] = ()
    priority: Priority | None = None
    versioning_override: VersioningOverride | None = None
    headers: Mapping[str, Payload] = field(default_factory=dict)
    ret_type: Any = None
    rpc_timeout: timedelta | None = None
    rpc_metadata: Mapping[str, str] = field(default_factory=dict)
    request_eager_start: bool = False
    request_id: str | None = None
    wait: bool = True
    wait_result: bool = False
    """The result is asked for in the same request."""


@dataclass(slots=True, kw_only=True)
class SignalWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.signal_workflow`."""

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload] = field(default_factory=dict)
    rpc_timeout: timedelta | None = None
    wait: bool = True


@dataclass(slots=True, kw_only=True)
class QueryWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.query_workflow`."""

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None = None
    headers: Mapping[str, Payload] = field(default_factory=dict)
    ret_type: Any = None
    rpc_timeout: timedelta | None = None
    consistent: bool = False


@dataclass(slots=True, kw_only=True)
class StartWorkflowUpdateInput:
    """Input for :py:meth:`OutboundInterceptor.start_workflow_update`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None = None
    update_id: str | None = None
    """None: random."""
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload] = field(default_factory=dict)
    ret_type: Any = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class UpdateWithStartUpdateWorkflowInput:
    """The update of a :py:class:`StartWorkflowUpdateWithStartInput`."""

    update_id: str | None = None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload] = field(default_factory=dict)
    ret_type: Any = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class UpdateWithStartStartWorkflowInput(StartWorkflowInput):
    """The start of a :py:class:`StartWorkflowUpdateWithStartInput`."""


@dataclass(slots=True, kw_only=True)
class StartWorkflowUpdateWithStartInput:
    """Input for :py:meth:`OutboundInterceptor.start_update_with_start_workflow`."""

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    _on_start: Callable[[str], None]
    """Called with the run ID once the workflow is known to run."""
    _on_start_error: Callable[[BaseException], None]


@dataclass(slots=True, kw_only=True)
class CancelWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.cancel_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None = None
    reason: str = ""
    rpc_timeout: timedelta | None = None
    wait: bool = True


@dataclass(slots=True, kw_only=True)
class TerminateWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.terminate_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None = None
    args: Sequence[Any] = ()
    reason: str | None = None
    rpc_timeout: timedelta | None = None
    wait: bool = True


@dataclass(slots=True, kw_only=True)
class DescribeWorkflowInput:
    """Input for :py:meth:`OutboundInterceptor.describe_workflow`."""

    id: str
    run_id: str | None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class FetchWorkflowHistoryEventsInput:
    """Input for :py:meth:`OutboundInterceptor.fetch_workflow_history_events`."""

    id: str
    run_id: str | None
    wait_new_event: bool = False
    event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class ListWorkflowsInput:
    """Input for :py:meth:`OutboundInterceptor.list_workflows`."""

    query: str | None = None
    limit: int | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class CountWorkflowsInput:
    """Input for :py:meth:`OutboundInterceptor.count_workflows`."""

    query: str | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class HeartbeatAsyncActivityInput:
    """Input for :py:meth:`OutboundInterceptor.heartbeat_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_timeout: timedelta | None = None
    data_converter_override: DataConverter | None = None


@dataclass(slots=True, kw_only=True)
class CompleteAsyncActivityInput:
    """Input for :py:meth:`OutboundInterceptor.complete_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    result: Any
    rpc_timeout: timedelta | None = None
    data_converter_override: DataConverter | None = None


@dataclass(slots=True, kw_only=True)
class FailAsyncActivityInput:
    """Input for :py:meth:`OutboundInterceptor.fail_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any] = ()
    rpc_timeout: timedelta | None = None
    data_converter_override: DataConverter | None = None


@dataclass(slots=True, kw_only=True)
class ReportCancellationAsyncActivityInput:
    """Input for :py:meth:`OutboundInterceptor.report_cancellation_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_timeout: timedelta | None = None
    data_converter_override: DataConverter | None = None


@dataclass(slots=True, kw_only=True)
class ControlActivityInput:
    """Input for :py:meth:`OutboundInterceptor.control_activity`: an operator's wish about open activities of a run."""

    id: str
    control: ControlActivity
    rpc_timeout: timedelta | None = None


class Interceptor:
    """Given to a client; of several the first one is outermost."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """What the client calls in place of ``next``; unless overridden that is ``next`` itself."""
        return next


class OutboundInterceptor:
    """Every call passes through here; a subclass overrides what it cares about and calls ``super()`` to go on."""

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """For ``Client.start_workflow`` and ``Client.execute_workflow``."""
        return await self.next.start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        return await self.next.signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        return await self.next.query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        """For ``WorkflowHandle.start_update`` and ``execute_update``."""
        return await self.next.start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """For ``Client.start_update_with_start_workflow`` and ``execute_update_with_start_workflow``."""
        return await self.next.start_update_with_start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        return await self.next.cancel_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        return await self.next.terminate_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        return await self.next.describe_workflow(input)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """For ``WorkflowHandle.fetch_history`` and ``fetch_history_events``."""
        return self.next.fetch_workflow_history_events(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        return await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        return await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        return await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(self, input: ReportCancellationAsyncActivityInput) -> None:
        return await self.next.report_cancellation_async_activity(input)

    async def control_activity(self, input: ControlActivityInput) -> None:
        """For ``WorkflowHandle.pause_activities``, ``unpause_activities``, ``reset_activities`` and so on."""
        return await self.next.control_activity(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        return await self.next.count_workflows(input)
