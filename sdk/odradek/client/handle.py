"""A workflow as its callers hold it. Knows IDs only: everything else is asked for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar, overload

from odradek.client.definitions import query_of, signal_of, update_of
from odradek.client.errors import WorkflowContinuedAsNewError
from odradek.client.exchange import Exchange
from odradek.client.history import WorkflowHistory
from odradek.client.interceptor import (
    CancelWorkflowInput,
    ControlActivityInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    TerminateWorkflowInput,
)
from odradek.client.results import ask_for_outcome, outcome_of_start, value_of
from odradek.client.status import WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.client.update import WorkflowUpdateHandle, checked_stage
from odradek.common import Priority, QueryRejectCondition, RetryPolicy
from odradek.schemas.records import ActivityOptions, ActivityTimeouts, ControlActivity, Request, RunStatus
from odradek.schemas.records import RetryPolicy as RetryPolicyRecord
from odradek.service import NO_RPC_METADATA, RpcMetadata

if TYPE_CHECKING:
    from odradek.client.client import Client
    from odradek.client.description import WorkflowExecutionDescription
    from odradek.client.iterators import WorkflowHistoryEventAsyncIterator

S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")
UNSET: Final[Any] = object()
_MILLISECOND: Final = timedelta(milliseconds=1)


def arguments(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """One argument or a list of them. Raises ``TypeError`` for both."""
    if arg is UNSET:
        return args
    if args:
        raise TypeError("give either one argument or args=, not both")
    return (arg,)


class UpdateMethod(Protocol[P, R_co]):
    """A method with ``@workflow.update``."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | Awaitable[R_co]: ...

    def validator(self, vfunc: Callable[P, None], /) -> Callable[P, None]: ...


class WorkflowHandle(Generic[S, R_co]):
    """Made by ``Client.start_workflow`` and ``Client.get_workflow_handle``; cheap, and shareable.

    ``run_id`` is what signals, queries, ``describe``, ``cancel`` and ``terminate`` mean; None is the current run, else
    the latest. ``result`` waits for ``result_run_id``. Every call may raise ``RPCError``; ``rpc_timeout`` is 10 s.
    """

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
        outcome: Exchange | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type
        self._outcome = outcome

    def __repr__(self) -> str:
        run = self._run_id or self._result_run_id
        return f"<WorkflowHandle {self._id!r}{f' run {run}' if run else ''}>"

    @property
    def id(self) -> str:
        return self._id

    @property
    def run_id(self) -> str | None:
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """The run that this handle was started with; None for a handle from elsewhere."""
        return self._first_execution_run_id

    async def result(
        self,
        *,
        follow_runs: bool = True,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> R_co:
        """Wait for the run to close, and return what it returned; without ``rpc_timeout`` for as long as it takes.

        ``follow_runs``: where another run goes on (continue-as-new, a retry, a cron schedule) the last one's counts.
        Raises ``WorkflowFailureError``, and with ``follow_runs=False`` ``WorkflowContinuedAsNewError`` for a run that
        continued as new. The result is asked for again every 15 s, so it survives whatever happens to orchestrators.
        """
        timeout_seconds = None if rpc_timeout is None else rpc_timeout.total_seconds()
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        run_id = self._result_run_id
        # Taken by one caller only: a second one awaiting the same future would be cancelled with the first.
        exchange, self._outcome = self._outcome, None
        with self._client.connection.clock.awaiting():
            outcome = None if exchange is None else await outcome_of_start(self._client, exchange, timeout_seconds)
            while True:
                if outcome is None:
                    outcome = await ask_for_outcome(self._client, self._id, run_id, deadline, timeout_seconds)
                following = outcome.next_run_id
                if following is None or not follow_runs:
                    break
                run_id, outcome = following, None
        if outcome.status == RunStatus.CONTINUED_AS_NEW:
            raise WorkflowContinuedAsNewError(following or "")
        value: R_co = await value_of(self._client, self._id, outcome, self._result_type)
        return value

    async def describe(
        self, *, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> WorkflowExecutionDescription:
        """The run's state, what it waits for, and whether it is parked."""
        return await self._client.outbound.describe_workflow(
            DescribeWorkflowInput(id=self._id, run_id=self._run_id, rpc_timeout=rpc_timeout)
        )

    @overload
    async def signal(
        self,
        signal: Callable[[S], Awaitable[None] | None],
        *,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: Callable[[S, A], Awaitable[None] | None],
        arg: A,
        *,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: str | Callable[Concatenate[S, P], Awaitable[None] | None],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None: ...
    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None:
        """Send a signal: done when its reception is durable, with ``wait=False`` when the inbox has it.

        With ``wait=False`` nobody says whether the workflow exists.
        """
        await self._client.outbound.signal_workflow(
            SignalWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                signal=signal_of(signal),
                args=arguments(arg, args),
                rpc_timeout=rpc_timeout,
                wait=wait,
            )
        )

    @overload
    async def query(
        self,
        query: Callable[[S], R],
        *,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        consistent: bool = False,
    ) -> R: ...
    @overload
    async def query(
        self,
        query: Callable[[S, A], R],
        arg: A,
        *,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        consistent: bool = False,
    ) -> R: ...
    @overload
    async def query(
        self,
        query: Callable[Concatenate[S, P], R],
        *,
        args: Sequence[Any],
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        consistent: bool = False,
    ) -> R: ...
    @overload
    async def query(
        self,
        query: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        consistent: bool = False,
    ) -> Any: ...
    async def query(
        self,
        query: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        consistent: bool = False,
    ) -> Any:
        """Ask the workflow's code; works for closed runs too. Writes nothing.

        With ``consistent`` the answer reflects everything accepted before, even while partitions change hands.
        Raises ``WorkflowQueryFailedError`` and ``WorkflowQueryRejectedError``.
        """
        name, known_type = query_of(query)
        default_condition = self._client.default_workflow_query_reject_condition
        return await self._client.outbound.query_workflow(
            QueryWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                query=name,
                args=arguments(arg, args),
                reject_condition=reject_condition or default_condition,
                ret_type=result_type or known_type,
                rpc_timeout=rpc_timeout,
                consistent=consistent,
            )
        )

    @overload
    async def execute_update(
        self,
        update: UpdateMethod[[S], R],
        *,
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> R: ...
    @overload
    async def execute_update(
        self,
        update: UpdateMethod[[S, A], R],
        arg: A,
        *,
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> R: ...
    @overload
    async def execute_update(
        self,
        update: UpdateMethod[Concatenate[S, P], R],
        *,
        args: Sequence[Any],
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> R: ...
    @overload
    async def execute_update(
        self,
        update: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> Any: ...
    async def execute_update(
        self,
        update: str | UpdateMethod[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> Any:
        """Send an update and wait for its answer; errors are those of ``start_update`` and of the handle's ``result``.

        ``id`` (random by default) counts once in a run: sent again, the update is answered again and not done again.
        """
        sent = self._update(update, arguments(arg, args), WorkflowUpdateStage.COMPLETED, id, result_type, rpc_timeout)
        handle = await self._client.outbound.start_workflow_update(sent)
        return await handle.result(rpc_timeout=rpc_timeout)

    @overload
    async def start_update(
        self,
        update: UpdateMethod[[S], R],
        *,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update(
        self,
        update: UpdateMethod[[S, A], R],
        arg: A,
        *,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update(
        self,
        update: UpdateMethod[Concatenate[S, P], R],
        *,
        args: Sequence[Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update(
        self,
        update: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[Any]: ...
    async def start_update(
        self,
        update: str | UpdateMethod[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and return its handle when it is accepted (or rejected), or has completed.

        While the workflow is parked, or its start is delayed, the update is sent again; without ``rpc_timeout`` as long
        as it takes. A rejection is raised by the handle's ``result``. Raises
        ``WorkflowUpdateRPCTimeoutOrCancelledError``, and ``RPCError``: NOT_FOUND for a workflow that is closed.
        """
        sent = self._update(update, arguments(arg, args), wait_for_stage, id, result_type, rpc_timeout)
        return await self._client.outbound.start_workflow_update(sent)

    def _update(
        self,
        update: str | UpdateMethod[..., Any],
        args: Sequence[Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None,
        result_type: Any,
        rpc_timeout: timedelta | None,
    ) -> StartWorkflowUpdateInput:
        name, known_type = update_of(update)
        return StartWorkflowUpdateInput(
            id=self._id,
            run_id=self._run_id,
            first_execution_run_id=self._first_execution_run_id,
            update_id=id,
            update=name,
            args=args,
            wait_for_stage=checked_stage(wait_for_stage),
            ret_type=result_type or known_type,
            rpc_timeout=rpc_timeout,
        )

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: Any = None
    ) -> WorkflowUpdateHandle[Any]:
        """A handle to an update that was sent before. Asks nobody: it may not exist.

        Update IDs count within a run; ``workflow_run_id`` None is this handle's, else the current run.
        """
        return WorkflowUpdateHandle(
            self._client, id, self._id, workflow_run_id=workflow_run_id or self._run_id, result_type=result_type
        )

    def get_update_handle_for(
        self, update: UpdateMethod[..., R], id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[R]:
        """As ``get_update_handle``, typed by the update's method."""
        name, known_type = update_of(update)
        return WorkflowUpdateHandle(
            self._client,
            id,
            self._id,
            name=name,
            workflow_run_id=workflow_run_id or self._run_id,
            result_type=known_type,
        )

    async def cancel(
        self,
        *,
        reason: str = "",
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None:
        """Ask the workflow to end: its code gets a cancellation, and may take its time or decline."""
        await self._client.outbound.cancel_workflow(
            CancelWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                reason=reason,
                rpc_timeout=rpc_timeout,
                wait=wait,
            )
        )

    async def terminate(
        self,
        *args: Any,
        reason: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
        wait: bool = True,
    ) -> None:
        """End the run at once; its code is not asked. ``args`` become the details of the ``TerminatedError``."""
        await self._client.outbound.terminate_workflow(
            TerminateWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                args=args,
                reason=reason,
                rpc_timeout=rpc_timeout,
                wait=wait,
            )
        )

    # ----------------------------------------------------------------------------------------------- open activities

    async def pause_activities(
        self,
        activity_id: str = "",
        *,
        activity_type: str = "",
        reason: str = "",
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Let no further attempt begin, and tell those that run to stop: of one, of a type, or of all open ones.

        Time limits of the activity as a whole go on. Raises ``RPCError`` with NOT_FOUND where there is none.
        """
        await self._control("pause", activity_id, activity_type, rpc_timeout, reason=reason)

    async def unpause_activities(
        self,
        activity_id: str = "",
        *,
        activity_type: str = "",
        reset_attempts: bool = False,
        reset_heartbeat: bool = False,
        jitter: timedelta = timedelta(),
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Go on: an attempt that waits begins at once, or within ``jitter``."""
        await self._control(
            "unpause",
            activity_id,
            activity_type,
            rpc_timeout,
            reset_attempts=reset_attempts,
            reset_heartbeat=reset_heartbeat,
            jitter_ms=jitter // _MILLISECOND,
        )

    async def reset_activities(
        self,
        activity_id: str = "",
        *,
        activity_type: str = "",
        reset_heartbeat: bool = False,
        keep_paused: bool = False,
        jitter: timedelta = timedelta(),
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Let the attempts so far not count: one that runs is told to stop, one that waits begins at once."""
        await self._control(
            "reset",
            activity_id,
            activity_type,
            rpc_timeout,
            reset_heartbeat=reset_heartbeat,
            keep_paused=keep_paused,
            jitter_ms=jitter // _MILLISECOND,
        )

    async def update_activity_options(
        self,
        activity_id: str = "",
        *,
        activity_type: str = "",
        task_queue: str = UNSET,
        schedule_to_close_timeout: timedelta | None = UNSET,
        schedule_to_start_timeout: timedelta | None = UNSET,
        start_to_close_timeout: timedelta | None = UNSET,
        heartbeat_timeout: timedelta | None = UNSET,
        retry_policy: RetryPolicy = UNSET,
        priority: Priority = UNSET,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Change what is given, and leave the rest: time limits at once, the rest from the next attempt on."""
        timeouts = {
            "schedule_to_close_ms": schedule_to_close_timeout,
            "schedule_to_start_ms": schedule_to_start_timeout,
            "start_to_close_ms": start_to_close_timeout,
            "heartbeat_ms": heartbeat_timeout,
        }
        limits = {
            name: None if limit is None else limit // _MILLISECOND
            for name, limit in timeouts.items()
            if limit is not UNSET
        }
        others = {"task_queue": task_queue, "retry_policy": retry_policy, "priority": priority}
        changed = [*(f"timeouts.{name}" for name in limits), *(n for n, value in others.items() if value is not UNSET)]
        options = ActivityOptions(
            "" if task_queue is UNSET else task_queue,
            ActivityTimeouts(**limits),
            RetryPolicyRecord() if retry_policy is UNSET else retry_policy.to_record(),
            None if priority is UNSET else priority.to_record(),
        )
        await self._control("change", activity_id, activity_type, rpc_timeout, options=options, changed=changed)

    async def _control(
        self, action: str, activity_id: str, activity_type: str, rpc_timeout: timedelta | None, **rest: Any
    ) -> None:
        if activity_id and activity_type:
            raise ValueError("give the ID of one activity, or activity_type for all of a type, not both")
        # The wire puts its own request in.
        wish = ControlActivity(Request("", 0, "", -1), self._run_id, action, activity_id, activity_type, **rest)
        await self._client.outbound.control_activity(
            ControlActivityInput(id=self._id, control=wish, rpc_timeout=rpc_timeout)
        )

    # --------------------------------------------------------------------------------------------------- its history

    def fetch_history_events(
        self,
        *,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        skip_archival: bool = False,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowHistoryEventAsyncIterator:
        """The events so far; those of a closed run come from the archive. ``rpc_timeout`` is for each page.

        ``wait_new_event``: and those to come, until the run is closed. The last three arguments but one have no
        meaning here.
        """
        return self._client.outbound.fetch_workflow_history_events(
            FetchWorkflowHistoryEventsInput(
                id=self._id,
                run_id=self._run_id,
                wait_new_event=wait_new_event,
                event_filter_type=event_filter_type,
                rpc_timeout=rpc_timeout,
            )
        )

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowHistory:
        """All events so far; ``skip_archival`` has no meaning here."""
        iterator = self.fetch_history_events(event_filter_type=event_filter_type, rpc_timeout=rpc_timeout)
        events = [event async for event in iterator]
        return WorkflowHistory(self._id, events, run_id=iterator.run_id)
