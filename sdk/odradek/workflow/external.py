"""Other workflows, seen from inside a workflow: signals and cancel requests to them, in this namespace or another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from odradek.workflow.definition import Handler
from odradek.workflow.interceptors import SignalExternalWorkflowInput
from odradek.workflow.runtime import current

S = TypeVar("S")
P = ParamSpec("P")

NOT_GIVEN: Any = object()


def signal_name(signal: str | Callable[..., Any]) -> str:
    """Raises ``ValueError`` for what is no signal."""
    handler = getattr(signal, "__odradek_signal_definition__", None)
    name = signal if isinstance(signal, str) else handler.name if isinstance(handler, Handler) else None
    if name is None:
        raise ValueError(
            f"ODR-065: {signal!r} is neither a signal's name nor a @workflow.signal method: give one of them"
        )
    return name


def arguments(called: str, arg: Any, args: Sequence[Any]) -> tuple[Any, ...]:
    """One argument, or several. Raises ``ValueError`` when both were given."""
    if arg is not NOT_GIVEN and args:
        raise ValueError(f"ODR-063: {called}: give one argument as arg, or several as args=[…], not both")
    return tuple(args) if arg is NOT_GIVEN else (arg,)


class ExternalWorkflowHandle(Generic[S]):
    """Another workflow; ``namespace`` empty: of this namespace."""

    def __init__(self, workflow_id: str, run_id: str | None, namespace: str = "") -> None:
        self.id = workflow_id
        self.run_id = run_id
        self.namespace = namespace

    async def signal(self, signal: str | Callable[..., Any], arg: Any = NOT_GIVEN, *, args: Sequence[Any] = ()) -> None:
        """Signal it, exactly once; returns when it has been taken in. Raises ``ApplicationError`` if it is refused."""
        name = signal_name(signal)
        values = arguments(f'signal "{name}"', arg, args)
        runtime = current()
        call = SignalExternalWorkflowInput(name, values, self.namespace, self.id, self.run_id)
        if runtime.outbound is None:
            await runtime.signal_external(call)
        else:
            await runtime.outbound.signal_external_workflow(call)

    async def cancel(self, reason: str = "") -> None:
        """Request its cancellation, exactly once. Raises ``ApplicationError`` if that is refused."""
        await current().cancel_external(self.id, self.run_id, reason, self.namespace)


def get_external_workflow_handle(
    workflow_id: str, *, run_id: str | None = None, namespace: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """A handle to another workflow; it need not exist until it is used.

    ``run_id``: a run, or the first of its chain (default: whichever is open). ``namespace``: another one on the same
    log (default: this one).
    """
    return ExternalWorkflowHandle(workflow_id, run_id, namespace or "")


def get_external_workflow_handle_for(
    workflow: Callable[Concatenate[S, P], Awaitable[Any]],
    workflow_id: str,
    *,
    run_id: str | None = None,
    namespace: str | None = None,
) -> ExternalWorkflowHandle[S]:
    """As ``get_external_workflow_handle``; ``workflow`` says what it is."""
    return get_external_workflow_handle(workflow_id, run_id=run_id, namespace=namespace)
