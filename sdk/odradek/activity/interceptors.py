"""Interceptors of activities: classes around each attempt, and around what it asks of its context."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from odradek.activity._context import Info
from odradek.schemas.records import Payload

if TYPE_CHECKING:
    from odradek.workflow.interceptors import WorkflowInboundInterceptor, WorkflowInterceptorClassInput


class InterceptedContext(Protocol):
    """What an attempt tells of itself when it is asked past all interceptors."""

    outbound: ActivityOutboundInterceptor | None

    def own_info(self) -> Info: ...

    def own_heartbeat(self, *details: Any) -> None: ...


@dataclass
class ExecuteActivityInput:
    """What is called, and with what. ``executor`` is None for ``async def``."""

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    headers: Mapping[str, Payload]


class ActivityOutboundInterceptor:
    """Around what an activity asks of its context. Subclass it and override what matters."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        self.next = next

    def info(self) -> Info:
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        self.next.heartbeat(*details)


class ActivityInboundInterceptor:
    """Around one attempt. Subclass it and override what matters."""

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Called first; hand on a wrapped ``outbound`` to intercept what the activity asks."""
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self.next.execute_activity(input)


class Interceptor:
    """Given to a worker: makes the interceptors of each attempt, and of each run. Of several the first is outermost.

    One that is a ``client.Interceptor`` too and was given to the client serves its workers without being given again.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Around one attempt of an activity, local ones and steps included (but for inline steps)."""
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Made for each run and again for each replay, so it must be deterministic; None: runs are let be."""
        return None


class _InnermostInbound(ActivityInboundInterceptor):
    def __init__(self, call: Callable[[ExecuteActivityInput], Awaitable[Any]], context: InterceptedContext) -> None:
        self._call, self._context = call, context

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._context.outbound = outbound

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self._call(input)


class _InnermostOutbound(ActivityOutboundInterceptor):
    def __init__(self, context: InterceptedContext) -> None:
        self._context = context

    def info(self) -> Info:
        return self._context.own_info()

    def heartbeat(self, *details: Any) -> None:
        self._context.own_heartbeat(*details)


def chain(
    interceptors: Sequence[Interceptor],
    call: Callable[[ExecuteActivityInput], Awaitable[Any]],
    context: InterceptedContext,
) -> ActivityInboundInterceptor:
    """The first interceptor is the outermost."""
    inbound: ActivityInboundInterceptor = _InnermostInbound(call, context)
    for interceptor in reversed(interceptors):
        inbound = interceptor.intercept_activity(inbound)
    inbound.init(_InnermostOutbound(context))
    return inbound
