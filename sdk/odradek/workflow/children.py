"""Child workflows: workflows that a workflow starts, waits for, and takes with it when it ends, if they shall."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from odradek.common import Priority, RetryPolicy, SearchAttributes, TypedSearchAttributes, WorkflowIDReusePolicy
from odradek.common.identifiers import checked_id
from odradek.workflow.definition import DEFINITION, Definition
from odradek.workflow.external import NOT_GIVEN, arguments, get_external_workflow_handle, signal_name
from odradek.workflow.facts import uuid4
from odradek.workflow.interceptors import SignalChildWorkflowInput, StartChildWorkflowInput
from odradek.workflow.runtime import current
from odradek.workflow.tasks import OrderedTask

S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")

Workflow = Callable[..., Awaitable[Any]] | str


class ChildWorkflowCancellationType(StrEnum):
    """What the child hears, and when the parent goes on, if the call is cancelled.

    Whichever it is, the call then raises ``ChildWorkflowError`` from a ``CancelledError``, unless the child ended
    otherwise meanwhile.
    """

    ABANDON = "abandon"
    """The child hears nothing; at once."""
    TRY_CANCEL = "try-cancel"
    """The child is asked to cancel; at once."""
    WAIT_CANCELLATION_COMPLETED = "wait-cancellation-completed"
    """The child is asked to cancel; when it has closed."""
    WAIT_CANCELLATION_REQUESTED = "wait-cancellation-requested"
    """The child is asked to cancel; when it has taken that in."""


class ParentClosePolicy(StrEnum):
    """What a child that is still open hears when its parent closes in whatever way, continue-as-new included."""

    UNSPECIFIED = "terminate"
    TERMINATE = "terminate"
    ABANDON = "abandon"
    REQUEST_CANCEL = "request-cancel"


class ChildWorkflowConfig(TypedDict, total=False):
    """Options of a child workflow, to be given as ``**config``."""

    id: str | None
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    versioning_intent: object
    static_summary: str | None
    static_details: str | None
    priority: Priority
    namespace: str | None


class ChildWorkflowHandle(OrderedTask[R], Generic[S, R]):
    """A child that has started: await it for its result; cancelling it does what its cancellation type says.

    The result's errors are those of ``execute_child_workflow``.
    """

    def __init__(
        self,
        result: Coroutine[Any, Any, R],
        loop: asyncio.AbstractEventLoop,
        id: str,
        run_id: str,
        namespace: str,
        cancel: Callable[[str | None], None],
    ) -> None:
        super().__init__(result, loop, f"child-{id}")
        self._id = id
        self._run_id = run_id
        self._namespace = namespace
        self._cancel_child = cancel

    @property
    def id(self) -> str:
        """The child's workflow ID."""
        return self._id

    @property
    def first_execution_run_id(self) -> str:
        """The first run of the child; after continue-as-new or a retry others follow."""
        return self._run_id

    async def signal(self, signal: str | Callable[..., Any], arg: Any = NOT_GIVEN, *, args: Sequence[Any] = ()) -> None:
        """Signal it, exactly once; returns when it has been taken in. Raises ``ApplicationError`` if it is refused."""
        runtime = current()
        if runtime.outbound is None:
            handle = get_external_workflow_handle(self._id, run_id=self._run_id, namespace=self._namespace)
            await handle.signal(signal, arg, args=args)
            return
        name = signal_name(signal)
        values = arguments(f'signal "{name}"', arg, args)
        call = SignalChildWorkflowInput(name, values, self._id, self._run_id, self._namespace)
        await runtime.outbound.signal_child_workflow(call)

    def cancel(self, msg: Any = None) -> bool:
        """Cancel the call; ``msg`` reaches the child as its cancellation's reason."""
        if self.done():
            return False
        self._cancel_child(None if msg is None else str(msg))
        return True


def _call(
    workflow: Workflow,
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    id: str | None = None,
    task_queue: str | None = None,
    result_type: type | None = None,
    cancellation_type: ChildWorkflowCancellationType = ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE,
    execution_timeout: timedelta | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: object = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    priority: Priority = Priority.default,
    namespace: str | None = None,
) -> StartChildWorkflowInput:
    name, declared = _resolved(workflow)
    return StartChildWorkflowInput(
        name,
        arguments(f'child workflow "{name}"', arg, args),
        checked_id(id or str(uuid4())),
        result_type or declared,
        task_queue,
        cancellation_type,
        parent_close_policy,
        execution_timeout,
        run_timeout,
        task_timeout,
        id_reuse_policy,
        retry_policy,
        cron_schedule,
        memo,
        search_attributes,
        static_summary,
        static_details,
        priority,
        namespace or "",
    )


def _resolved(workflow: Workflow) -> tuple[str, type | None]:
    """The type's name, and the type of its result where it says one."""
    if isinstance(workflow, str):
        return workflow, None
    definition = getattr(workflow, DEFINITION, None)
    shown = getattr(workflow, "__qualname__", repr(workflow))
    if not isinstance(definition, Definition):
        raise TypeError(f"{shown} is no workflow: give a type's name, or the run method of a class with @workflow.defn")
    if definition.name is None:
        raise ValueError(f'ODR-064: workflow "{shown}" is dynamic: start it by the name that it shall run under')
    return definition.name, definition.run_return_type


@overload
async def start_child_workflow(
    workflow: Callable[[S], Awaitable[R]], *, result_type: type | None = None, **options: Unpack[ChildWorkflowConfig]
) -> ChildWorkflowHandle[S, R]: ...
@overload
async def start_child_workflow(
    workflow: Callable[[S, A], Awaitable[R]],
    arg: A,
    *,
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[S, R]: ...
@overload
async def start_child_workflow(
    workflow: Callable[Concatenate[S, P], Awaitable[R]],
    *,
    args: Sequence[Any],
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[S, R]: ...
@overload
async def start_child_workflow(
    workflow: str,
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> ChildWorkflowHandle[Any, Any]: ...
async def start_child_workflow(
    workflow: Workflow, arg: Any = NOT_GIVEN, *, args: Sequence[Any] = (), **options: Any
) -> ChildWorkflowHandle[Any, Any]:
    """Start a child workflow and return its handle once it has started.

    ``workflow``: the run method of a class with ``@workflow.defn``, or a type's name. Arguments: ``arg`` or
    ``args=[…]``. Options: those of ``ChildWorkflowConfig``, and ``result_type``. ``id`` defaults to a UUID,
    ``task_queue`` to the parent's, ``namespace`` to the parent's. Raises ``WorkflowAlreadyStartedError`` if the ID is
    in use or may not be used again, and ``ChildWorkflowError`` if it cannot be started, or the call is cancelled first.
    """
    return await _start(_call(workflow, arg, args=args, **options))


@overload
async def execute_child_workflow(
    workflow: Callable[[S], Awaitable[R]], *, result_type: type | None = None, **options: Unpack[ChildWorkflowConfig]
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: Callable[[S, A], Awaitable[R]],
    arg: A,
    *,
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: Callable[Concatenate[S, P], Awaitable[R]],
    *,
    args: Sequence[Any],
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> R: ...
@overload
async def execute_child_workflow(
    workflow: str,
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    result_type: type | None = None,
    **options: Unpack[ChildWorkflowConfig],
) -> Any: ...
async def execute_child_workflow(
    workflow: Workflow, arg: Any = NOT_GIVEN, *, args: Sequence[Any] = (), **options: Any
) -> Any:
    """Run a child workflow and return its result; options and errors as for ``start_child_workflow``.

    Raises ``ChildWorkflowError`` whose cause says why: ``ApplicationError``, ``TimeoutError``, ``CancelledError`` or
    ``TerminatedError``.
    """
    return await (await _start(_call(workflow, arg, args=args, **options)))


async def _start(call: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
    runtime = current()
    if runtime.outbound is None:
        return await runtime.start_child(call)
    return await runtime.outbound.start_child_workflow(call)
