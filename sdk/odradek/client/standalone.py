"""The part of the client that starts activities without a workflow, and makes handles to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload

from odradek.activity import ActivityDefaults
from odradek.activity._definition import DEFINITION
from odradek.client.activity_description import ActivityExecutionCount
from odradek.client.activity_handle import ActivityHandle
from odradek.client.definitions import activity_of
from odradek.client.handle import UNSET, arguments
from odradek.client.interceptor import (
    CountActivitiesInput,
    ListActivitiesInput,
    OutboundInterceptor,
    StartActivityInput,
)
from odradek.client.iterators import ActivityExecutionAsyncIterator
from odradek.client.options import StartActivityOptions
from odradek.common.standalone import workflow_id_of

if TYPE_CHECKING:
    from odradek.client.client import Client
    from odradek.client.connection import Connection

R = TypeVar("R")


class StandaloneActivities(ABC):
    """Of ``Client``."""

    _outbound: OutboundInterceptor
    _connection: Connection

    @property
    @abstractmethod
    def activity_defaults(self) -> ActivityDefaults | None: ...

    @overload
    async def start_activity(
        self,
        activity: Callable[..., Awaitable[R]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self,
        activity: Callable[..., R],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self, activity: str, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[StartActivityOptions]
    ) -> ActivityHandle[Any]: ...
    async def start_activity(
        self,
        activity: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> ActivityHandle[Any]:
        """Start an activity without a workflow: done when its start is durable.

        ``activity`` is a function, method or callable class with ``@activity.defn``, or the name of its type. It is
        tried until it succeeds, its retry policy gives up, or a time limit ends it. One of
        ``start_to_close_timeout`` (of each attempt) and ``schedule_to_close_timeout`` (of all) must be given. Raises
        ``ActivityAlreadyStartedError``, ``ValueError`` and ``RPCError``.
        """
        return await self._start(activity, arguments(arg, args), options, wait_result=False)

    @overload
    async def execute_activity(
        self,
        activity: Callable[..., Awaitable[R]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> R: ...
    @overload
    async def execute_activity(
        self,
        activity: Callable[..., R],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> R: ...
    @overload
    async def execute_activity(
        self, activity: str, arg: Any = UNSET, *, args: Sequence[Any] = (), **options: Unpack[StartActivityOptions]
    ) -> Any: ...
    async def execute_activity(
        self,
        activity: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> Any:
        """Start an activity and wait for its result, in one request. Raises what a start and ``result`` raise."""
        with self._connection.clock.awaiting():
            handle = await self._start(activity, arguments(arg, args), options, wait_result=True)
            return await handle.result()

    async def start_activity_class(
        self,
        activity: type[Callable[..., Any]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> ActivityHandle[Any]:
        """As ``start_activity``, of a class whose instances are called."""
        return await self._start(activity, arguments(arg, args), options, wait_result=False)

    async def execute_activity_class(
        self,
        activity: type[Callable[..., Any]],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> Any:
        """As ``execute_activity``, of a class whose instances are called."""
        return await self.execute_activity(cast("Callable[..., Any]", activity), arg, args=args, **options)

    async def start_activity_method(
        self,
        activity: Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> ActivityHandle[Any]:
        """As ``start_activity``, of a method named by its class: no instance is needed to start it."""
        return await self._start(activity, arguments(arg, args), options, wait_result=False)

    async def execute_activity_method(
        self,
        activity: Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        **options: Unpack[StartActivityOptions],
    ) -> Any:
        """As ``execute_activity``, of a method named by its class."""
        return await self.execute_activity(activity, arg, args=args, **options)

    async def _start(
        self,
        activity: str | Callable[..., Any],
        args: Sequence[Any],
        options: StartActivityOptions,
        *,
        wait_result: bool,
    ) -> ActivityHandle[Any]:
        name, known_type = activity_of(activity)
        own = getattr(activity, DEFINITION, None)
        defaults = {**(self.activity_defaults or {}), **((own.defaults if own else None) or {})}
        options = cast("StartActivityOptions", {**defaults, **options})
        options["result_type"] = options.get("result_type") or known_type
        return await self._outbound.start_activity(
            StartActivityInput(activity_type=name, args=args, wait_result=wait_result, **options)
        )

    def get_activity_handle(
        self, activity_id: str, *, run_id: str | None = None, result_type: Any = None
    ) -> ActivityHandle[Any]:
        """A handle to an activity that was started elsewhere, by a client. Asks nobody: it may not exist."""
        workflow_id_of(activity_id)
        return ActivityHandle(cast("Client", self), activity_id, run_id=run_id, result_type=result_type)

    def list_activities(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_timeout: timedelta | None = None,
    ) -> ActivityExecutionAsyncIterator:
        """The activities without a workflow that ``query`` lets through, the newest start first by default.

        Fields are ActivityType, ActivityId, RunId, ExecutionStatus, StartTime, CloseTime, TaskQueue and every search
        attribute; the rest is as for ``list_workflows``.
        """
        input = ListActivitiesInput(query=query, limit=limit, rpc_timeout=rpc_timeout)
        return self._outbound.list_activities(input)

    async def count_activities(
        self, query: str | None = None, *, rpc_timeout: timedelta | None = None
    ) -> ActivityExecutionCount:
        """How many activities ``query`` lets through; it may end in GROUP BY. See ``list_activities``."""
        return await self._outbound.count_activities(CountActivitiesInput(query=query, rpc_timeout=rpc_timeout))
