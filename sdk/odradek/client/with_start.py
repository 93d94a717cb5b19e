"""The start of a workflow that an update brings with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from odradek.client.definitions import update_of, workflow_of
from odradek.client.handle import UNSET, WorkflowHandle, arguments
from odradek.client.interceptor import (
    StartWorkflowUpdateWithStartInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)
from odradek.client.options import WorkflowOptions
from odradek.client.status import WorkflowUpdateStage
from odradek.client.update import checked_stage

if TYPE_CHECKING:
    from odradek.client.client import Client

S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class WithStartWorkflowOperation(Generic[S, R]):
    """What to start, for one call of ``Client.execute_update_with_start_workflow`` or ``start_…``.

    Takes what ``Client.start_workflow`` takes, without a start signal; ``id_conflict_policy`` must be said.
    """

    @overload
    def __init__(self, workflow: Callable[[S], Awaitable[R]], **options: Unpack[WorkflowOptions]) -> None: ...
    @overload
    def __init__(
        self, workflow: Callable[[S, A], Awaitable[R]], arg: A, **options: Unpack[WorkflowOptions]
    ) -> None: ...
    @overload
    def __init__(
        self,
        workflow: Callable[Concatenate[S, P], Awaitable[R]],
        *,
        args: Sequence[Any],
        **options: Unpack[WorkflowOptions],
    ) -> None: ...
    @overload
    def __init__(
        self: WithStartWorkflowOperation[Any, Any],
        workflow: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> None: ...
    def __init__(
        self,
        workflow: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> None:
        if "id_conflict_policy" not in options:
            raise TypeError("an update with a start needs id_conflict_policy: say what happens if the workflow runs")
        if options.get("start_signal") is not None:
            raise TypeError("an update with a start cannot bring a start_signal, too")
        name, known_type = workflow_of(workflow)
        self._start = UpdateWithStartStartWorkflowInput(
            workflow=name, args=arguments(arg, args), ret_type=result_type or known_type, **options
        )
        self._used = False
        self._known = asyncio.Event()
        self._handle: WorkflowHandle[S, R] | None = None
        self._error: BaseException | None = None

    async def workflow_handle(self) -> WorkflowHandle[S, R]:
        """The workflow's handle, once it is known to run. Raises what its start raised."""
        await self._known.wait()
        if self._error is not None:
            raise self._error
        assert self._handle is not None
        return self._handle

    def input_with(self, update: UpdateWithStartUpdateWorkflowInput, client: Client) -> Any:
        """The request with this update. Raises ``RuntimeError`` when it is asked for twice."""
        if self._used:
            raise RuntimeError("a WithStartWorkflowOperation is for one call only: make another one")
        self._used = True

        def on_start(run_id: str) -> None:
            self._handle = WorkflowHandle(
                client,
                self._start.id,
                result_run_id=run_id,
                first_execution_run_id=run_id,
                result_type=self._start.ret_type,
            )
            self._known.set()

        def on_start_error(error: BaseException) -> None:
            if self._handle is None:
                self._error = error
                self._known.set()

        return StartWorkflowUpdateWithStartInput(
            start_workflow_input=self._start,
            update_workflow_input=update,
            _on_start=on_start,
            _on_start_error=on_start_error,
        )


def input_of(
    update: str | Callable[..., Any],
    args: Sequence[Any],
    wait_for_stage: WorkflowUpdateStage,
    id: str | None,
    result_type: Any,
    rpc_timeout: timedelta | None,
) -> UpdateWithStartUpdateWorkflowInput:
    name, known_type = update_of(update)
    return UpdateWithStartUpdateWorkflowInput(
        update_id=id,
        update=name,
        args=args,
        wait_for_stage=checked_stage(wait_for_stage),
        ret_type=result_type or known_type,
        rpc_timeout=rpc_timeout,
    )
