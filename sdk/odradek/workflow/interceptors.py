"""Interceptors of workflows: what stands between a run's code and its engine, both ways, and what passes there.

They are part of the workflow's code: they run in its event loop and again in every replay, so they must be
deterministic. Inputs may be changed on the way; ``headers`` go along to the other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from odradek.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
)
from odradek.schemas.records import Payload

if TYPE_CHECKING:
    from odradek.workflow.children import ChildWorkflowHandle
    from odradek.workflow.runtime import Info, Runtime
    from odradek.workflow.versioning import ContinueAsNewVersioningBehavior

Headers = Mapping[str, Payload]

# ------------------------------------------------------------------------------------------------------------ inwards


@dataclass(slots=True)
class ExecuteWorkflowInput:
    """Input for :py:meth:`WorkflowInboundInterceptor.execute_workflow`."""

    type: type
    run_fn: Callable[..., Awaitable[Any]]
    """Takes the workflow object first."""
    args: Sequence[Any]
    headers: Headers


@dataclass(slots=True)
class HandleSignalInput:
    """Input for :py:meth:`WorkflowInboundInterceptor.handle_signal`."""

    signal: str
    args: Sequence[Any]
    headers: Headers


@dataclass(slots=True)
class HandleQueryInput:
    """Input for :py:meth:`WorkflowInboundInterceptor.handle_query`."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Headers


@dataclass(slots=True)
class HandleUpdateInput:
    """Input for an update's validator, and for its handler."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Headers


class WorkflowInboundInterceptor:
    """Around what reaches a run's code. Subclass it and override what matters; one is made for each run."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Called first; hand on a wrapped ``outbound`` to intercept what the code asks for."""
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        return await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """May read, as the query itself, and cannot wait."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """May read, and raise to reject the update."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        return await self.next.handle_update_handler(input)


# ----------------------------------------------------------------------------------------------------------- outwards


@dataclass(slots=True)
class StartActivityInput:
    """A call of an activity: :py:meth:`WorkflowOutboundInterceptor.start_activity`."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: str
    summary: str | None
    priority: Priority | None
    ret_type: Any
    headers: Headers = field(default_factory=dict)
    versioning_intent: object = None
    disable_eager_execution: bool = False
    arg_types: Sequence[Any] | None = None


@dataclass(slots=True)
class StartLocalActivityInput:
    """A call of a local activity or of a step: :py:meth:`WorkflowOutboundInterceptor.start_local_activity`."""

    activity: str
    function: Callable[..., Any] | None
    """None: an activity that the process knows by its name."""
    args: Sequence[Any]
    ret_type: Any
    start_to_close_timeout: timedelta | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: str
    is_async: bool = False
    inline: bool = False
    is_activity: bool = False
    """What is registered under this name in the process goes before ``function``."""
    activity_id: str | None = None
    summary: str = ""
    headers: Headers = field(default_factory=dict)
    local_retry_threshold: timedelta | None = None
    arg_types: Sequence[Any] | None = None


@dataclass(slots=True)
class StartChildWorkflowInput:
    """A call of a child workflow: :py:meth:`WorkflowOutboundInterceptor.start_child_workflow`."""

    workflow: str
    args: Sequence[Any]
    id: str
    ret_type: Any
    task_queue: str | None
    cancellation_type: str
    parent_close_policy: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: str
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    static_summary: str | None
    static_details: str | None
    priority: Priority
    namespace: str
    """Empty: this one."""
    headers: Headers = field(default_factory=dict)
    versioning_intent: object = None
    versioning_override: VersioningOverride | None = None
    arg_types: Sequence[Any] | None = None


@dataclass(slots=True)
class ContinueAsNewInput:
    """Input for :py:meth:`WorkflowOutboundInterceptor.continue_as_new`; None means: as before."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    backoff_start_interval: timedelta | None
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None
    headers: Headers = field(default_factory=dict)
    """Added to those of this run."""
    versioning_intent: object = None
    arg_types: Sequence[Any] | None = None


@dataclass(slots=True)
class SignalExternalWorkflowInput:
    """Input for :py:meth:`WorkflowOutboundInterceptor.signal_external_workflow`."""

    signal: str
    args: Sequence[Any]
    namespace: str
    """Empty: this one."""
    workflow_id: str
    workflow_run_id: str | None
    headers: Headers = field(default_factory=dict)


@dataclass(slots=True)
class SignalChildWorkflowInput:
    """Input for :py:meth:`WorkflowOutboundInterceptor.signal_child_workflow`."""

    signal: str
    args: Sequence[Any]
    child_workflow_id: str
    child_run_id: str
    namespace: str
    """Empty: this one."""
    headers: Headers = field(default_factory=dict)


class WorkflowOutboundInterceptor:
    """Around what a run's code asks for. Subclass it and override what matters."""

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        self.next.continue_as_new(input)

    def info(self) -> Info:
        return self.next.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        return await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        return await self.next.signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> asyncio.Task[Any]:
        return self.next.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> asyncio.Task[Any]:
        """Steps too."""
        return self.next.start_local_activity(input)


class InnermostOutbound(WorkflowOutboundInterceptor):
    """Hands everything to the run's engine."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        self._runtime.continue_as_new(input)

    def info(self) -> Info:
        return self._runtime.info

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        signal = SignalExternalWorkflowInput(
            input.signal, input.args, input.namespace, input.child_workflow_id, input.child_run_id, input.headers
        )
        await self._runtime.signal_external(signal)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        await self._runtime.signal_external(input)

    def start_activity(self, input: StartActivityInput) -> asyncio.Task[Any]:
        return self._runtime.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        return await self._runtime.start_child(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> asyncio.Task[Any]:
        return self._runtime.start_step(input)


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """Input for ``Interceptor.workflow_interceptor_class``."""

    unsafe_extern_functions: MutableMapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Without meaning here: interceptors may call what they like, as long as it is deterministic."""
