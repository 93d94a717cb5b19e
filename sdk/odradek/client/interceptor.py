"""Interceptors: what stands between a client's methods and the wire, and the inputs that pass through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from odradek.client.status import WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
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
    from odradek.client.activity_description import (
        ActivityExecutionCount,
        ActivityExecutionDescription,
        ActivityExecutionOptions,
    )
    from odradek.client.activity_handle import ActivityHandle, ActivityOptionsUpdate
    from odradek.client.description import WorkflowExecutionCount, WorkflowExecutionDescription
    from odradek.client.handle import WorkflowHandle
    from odradek.client.iterators import (
        ActivityExecutionAsyncIterator,
        WorkflowExecutionAsyncIterator,
        WorkflowHistoryEventAsyncIterator,
    )
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


@dataclass(slots=True, kw_only=True)
class StartActivityInput:
    """Input for :py:meth:`OutboundInterceptor.start_activity`."""

    activity_type: str
    args: Sequence[Any]
    id: str
    task_queue: str
    result_type: Any = None
    schedule_to_close_timeout: timedelta | None = None
    start_to_close_timeout: timedelta | None = None
    schedule_to_start_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    id_reuse_policy: ActivityIDReusePolicy = ActivityIDReusePolicy.ALLOW_DUPLICATE
    id_conflict_policy: ActivityIDConflictPolicy = ActivityIDConflictPolicy.FAIL
    retry_policy: RetryPolicy | None = None
    priority: Priority = Priority.default
    search_attributes: TypedSearchAttributes | None = None
    summary: str | None = None
    start_delay: timedelta | None = None
    ordering_key: str | None = None
    headers: Mapping[str, Payload] = field(default_factory=dict)
    rpc_metadata: Mapping[str, str] = field(default_factory=dict)
    rpc_timeout: timedelta | None = None
    request_id: str | None = None
    wait_result: bool = False
    """The result is asked for in the same request."""


@dataclass(slots=True, kw_only=True)
class DescribeActivityInput:
    """Input for :py:meth:`OutboundInterceptor.describe_activity`."""

    activity_id: str
    activity_run_id: str | None
    include_input: bool = False
    include_outcome: bool = False
    include_heartbeat_details: bool = False
    include_last_failure: bool = False
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class CancelActivityInput:
    """Input for :py:meth:`OutboundInterceptor.cancel_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class TerminateActivityInput:
    """Input for :py:meth:`OutboundInterceptor.terminate_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class PauseActivityInput:
    """Input for :py:meth:`OutboundInterceptor.pause_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class UnpauseActivityInput:
    """Input for :py:meth:`OutboundInterceptor.unpause_activity`."""

    activity_id: str
    activity_run_id: str | None
    reason: str | None = None
    jitter: timedelta | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class UpdateActivityOptionsInput:
    """Input for :py:meth:`OutboundInterceptor.update_activity_options`."""

    activity_id: str
    activity_run_id: str | None
    updates: Sequence[ActivityOptionsUpdate[Any]]
    restore_original: bool = False
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class ListActivitiesInput:
    """Input for :py:meth:`OutboundInterceptor.list_activities`."""

    query: str | None = None
    limit: int | None = None
    rpc_timeout: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class CountActivitiesInput:
    """Input for :py:meth:`OutboundInterceptor.count_activities`."""

    query: str | None = None
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

    async def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """For ``Client.start_activity``, ``execute_activity``, and those for classes and methods."""
        return await self.next.start_activity(input)

    async def describe_activity(self, input: DescribeActivityInput) -> ActivityExecutionDescription:
        return await self.next.describe_activity(input)

    async def cancel_activity(self, input: CancelActivityInput) -> None:
        return await self.next.cancel_activity(input)

    async def terminate_activity(self, input: TerminateActivityInput) -> None:
        return await self.next.terminate_activity(input)

    async def pause_activity(self, input: PauseActivityInput) -> None:
        return await self.next.pause_activity(input)

    async def unpause_activity(self, input: UnpauseActivityInput) -> None:
        return await self.next.unpause_activity(input)

    async def update_activity_options(self, input: UpdateActivityOptionsInput) -> ActivityExecutionOptions:
        """For ``ActivityHandle.update_options`` and ``restore_original_options``."""
        return await self.next.update_activity_options(input)

    def list_activities(self, input: ListActivitiesInput) -> ActivityExecutionAsyncIterator:
        return self.next.list_activities(input)

    async def count_activities(self, input: CountActivitiesInput) -> ActivityExecutionCount:
        return await self.next.count_activities(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        return await self.next.count_workflows(input)
