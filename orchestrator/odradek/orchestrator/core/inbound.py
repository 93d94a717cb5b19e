"""What reaches a run's code through its interceptors: the innermost one calls the code itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from odradek.workflow.interceptors import (
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    InnermostOutbound,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

if TYPE_CHECKING:
    from odradek.orchestrator.core.instance import WorkflowInstance


class InnermostInbound(WorkflowInboundInterceptor):
    """Calls what the handlers' names stand for when they are called: an interceptor may name another."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._instance.outbound = outbound

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        return await input.run_fn(self._instance.instance, *input.args)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        await _value(self._handler("signal", input.signal), input.args)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        return await _value(self._handler("query", input.query), input.args)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        self._instance.handlers.validator(input.update)(*input.args)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        return await _value(self._handler("update", input.update), input.args)

    def _handler(self, kind: Any, name: str) -> Callable[..., Any]:
        handlers = self._instance.handlers
        found = handlers.get(kind, name) or handlers.get(kind, None)
        if found is None:
            raise LookupError(f'an interceptor named {kind} "{name}", which this workflow has not')
        return found


def intercepted(instance: WorkflowInstance, classes: Sequence[type]) -> WorkflowInboundInterceptor:
    """The outermost interceptor of a run; the first class is the outermost. Raises what their code raises."""
    inbound: WorkflowInboundInterceptor = InnermostInbound(instance)
    for cls in reversed(classes):
        inbound = cls(inbound)
    inbound.init(InnermostOutbound(instance))
    return inbound


async def _value(function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    value = function(*arguments)
    return await value if inspect.isawaitable(value) else value
