"""An asyncio event loop whose only clock is the run's history: ready callbacks run in order, timers become commands."""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, Protocol, TypeVar

from odradek.orchestrator.core.refused import ENSURE_FUTURE, INSTEAD, refuse_all_tasks, refuse_unordered, refused
from odradek.workflow.tasks import OrderedFuture, OrderedTask

T = TypeVar("T")


class TimerHost(Protocol):
    """Who turns the loop's timers into durable ones."""

    time_ms: int

    def timer_started(self, handle: DurableTimer) -> None: ...

    def timer_cancelled(self, handle: DurableTimer) -> None: ...

    def callback_failed(self, error: BaseException) -> None: ...


class DurableTimer(asyncio.TimerHandle):
    """A timer of the loop; ``seq`` is its number in the run."""

    __slots__ = ("due_ms", "seq", "summary")
    seq: int
    due_ms: int
    summary: str


class Suspended(BaseException):
    """Raised into code that goes on although its run has left this process."""


class LoopTask(OrderedTask[T]):
    """A task of a workflow."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        loop = super().get_loop()
        if events._get_running_loop() is loop:
            refuse_all_tasks(sys._getframe(1))
        return loop


class CallTask(LoopTask[T]):
    """The handle of a call that has been made: one that is cancelled before it ran must give the call up, too."""

    def __init__(
        self, coro: Coroutine[Any, Any, T], loop: DeterministicLoop, name: str, give_up: Callable[[], None]
    ) -> None:
        super().__init__(coro, loop, name)
        self._give_up = give_up

    def cancel(self, msg: Any = None) -> bool:
        coroutine = self.get_coro()
        if inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            self._give_up()
        return super().cancel(msg)


class DeterministicLoop(asyncio.AbstractEventLoop):
    """Runs one workflow. ``odradek_runtime`` is how the workflow API finds its run.

    ``salt`` differs from run to run and is the same in every replay of one: the hashes of its tasks begin there.
    """

    def __init__(self, runtime: Any, salt: int = 0) -> None:
        self.odradek_runtime = runtime
        self._ready: deque[asyncio.Handle] = deque()
        self._host: TimerHost = runtime
        self.tasks: list[OrderedTask[Any]] = []
        self._tasks_limit = 16
        self._made = 0
        self._salt = salt
        self.closed = False

    def run_ready(self) -> None:
        """Run callbacks until none is ready."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            ready = self._ready
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            events._set_running_loop(before)

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = DurableTimer(when, callback, args, self, context)
        timer.due_ms = int(when * 1000 + 0.999)  # rounded up: never early
        timer.summary = ""
        self._host.timer_started(timer)
        return timer

    def fire(self, timer: DurableTimer) -> None:
        if not timer.cancelled():
            self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, DurableTimer)
        self._host.timer_cancelled(handle)

    def time(self) -> float:
        return self._host.time_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        return OrderedFuture(self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        if self.closed:
            coro.close()
            raise Suspended
        caller = sys._getframe(1)
        if caller.f_code is ENSURE_FUTURE:
            refuse_unordered(caller)
        return self.keep(LoopTask(coro, self, None if name is None else str(name), context))

    def next_number(self) -> tuple[int, int]:
        self._made += 1
        return self._made, self._salt + self._made

    def keep(self, task: OrderedTask[T]) -> OrderedTask[T]:
        """Remember a task of this loop until it is done, so that ``close`` can end it."""
        if len(self.tasks) >= self._tasks_limit:
            self.tasks = [task for task in self.tasks if not task.done()]
            self._tasks_limit = max(16, 2 * len(self.tasks))
        self.tasks.append(task)
        return task

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        # Not of a task that failed and that nobody awaits: the collector finds it, at a time that no replay repeats.
        if error is not None and "handle" in context and not self.closed:
            self._host.callback_failed(error)

    def get_exception_handler(self) -> None:
        return None

    def close(self) -> None:
        """Drop what still waits: coroutines are closed so that nothing of them runs later."""
        self.closed = True
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            pending = [task for task in self.tasks if not task.done()]
            for task in pending:
                _close(task)
            for task in pending:
                _forget(task._fut_waiter)  # type: ignore[attr-defined]
                _forget(task)
        finally:
            self._ready.clear()
            self.tasks.clear()
            events._set_running_loop(before)

    def leave(self) -> None:
        """Let go of the run, once closed: futures that wait for one another may hold the loop for long."""
        self.odradek_runtime = self._host = None  # type: ignore[assignment]


CLOSES_MAX = 100
_UNDYING: list[Any] = []
"""Coroutines that no closing ends."""


def _close(task: OrderedTask[Any]) -> None:
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine = task.get_coro()
    if coroutine is None:
        return
    for _ in range(CLOSES_MAX):
        try:
            # Not close(), which leaves what awaits in its cleanup to the collector; and where it ran, so that the
            # cleanup can reset its context variables.
            task._context.run(coroutine.throw, Suspended())
        except BaseException:  # cleanup code of a run that goes on elsewhere has no say here, and no way to stop us
            return
    # Left to the collector, what remains of it would run in the middle of another workflow, and act in its name.
    _UNDYING.append(coroutine)


def _forget(future: asyncio.Future[Any] | None) -> None:
    """Let go of who waits for it: they hold each other, and the collector comes rarely."""
    if future is not None and not future.done():
        # Not the task's own, which would have a say in it. Its callbacks are cleared with what is ready.
        asyncio.Future.cancel(future)


for _name in INSTEAD:
    setattr(DeterministicLoop, _name, refused(_name))
