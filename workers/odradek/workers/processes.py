"""Activities in other processes: what such a process needs of its worker, and what the worker hears of it.

A cancellation is a flag there, nothing is raised; heartbeats come back through a manager's queue.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import queue
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.managers import SyncManager
from typing import Any, Final

from odradek.activity._context import ActivityCancellationDetails, Info, _current
from odradek.activity._flag import Flag
from odradek.common import MetricMeter
from odradek.converter import PayloadConverter
from odradek.exceptions import ApplicationError
from odradek.workers.context import AttemptContext, Surroundings

_OVER: Final = "odradek: the activity is over"
_FLUSH_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.2


class SharedHeartbeatSender(ABC):
    """Sends heartbeats from another process; can be pickled."""

    @abstractmethod
    def send_heartbeat(self, task_token: bytes, *details: Any) -> None: ...


class SharedStateManager(ABC):
    """What a worker shares with the processes of its executor. One may serve several workers."""

    @staticmethod
    def create_from_multiprocessing(
        mgr: SyncManager, queue_poller_executor: Executor | None = None
    ) -> SharedStateManager:
        """By a manager of ``multiprocessing``; heartbeats are read in ``queue_poller_executor``, else in a thread."""
        return _ByMultiprocessing(mgr, queue_poller_executor)

    @abstractmethod
    def new_event(self) -> threading.Event:
        """An event that can be pickled into another process."""

    @abstractmethod
    async def register_heartbeater(self, task_token: bytes, heartbeat: Callable[..., None]) -> SharedHeartbeatSender:
        """Call ``heartbeat`` with the details of each heartbeat that comes with this token."""

    @abstractmethod
    async def unregister_heartbeater(self, task_token: bytes) -> None:
        """Once all heartbeats that were sent have been heard."""


@dataclass(frozen=True)
class _QueueSender(SharedHeartbeatSender):
    heartbeats: queue.Queue[Any]

    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        self.heartbeats.put((task_token, details))


class _ByMultiprocessing(SharedStateManager):
    def __init__(self, manager: SyncManager, executor: Executor | None) -> None:
        self._manager, self._executor = manager, executor
        self._queue: queue.Queue[Any] = manager.Queue(10_000)
        self._heard: dict[bytes, tuple[Callable[..., None], asyncio.AbstractEventLoop, asyncio.Event]] = {}
        self._lock = threading.Lock()
        self._polls = False

    def new_event(self) -> threading.Event:
        return self._manager.Event()

    async def register_heartbeater(self, task_token: bytes, heartbeat: Callable[..., None]) -> SharedHeartbeatSender:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._heard[task_token] = heartbeat, loop, asyncio.Event()
            if not self._polls:
                self._polls = True
                if self._executor is None:
                    threading.Thread(target=self._poll, name="odradek-process-heartbeats", daemon=True).start()
                else:
                    self._executor.submit(self._poll)
        return _QueueSender(self._queue)

    async def unregister_heartbeater(self, task_token: bytes) -> None:
        over = self._heard[task_token][2]
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await over.wait()
        except TimeoutError:
            pass  # its process has died and said nothing any more
        finally:
            with self._lock:
                del self._heard[task_token]

    def _poll(self) -> None:
        """Until nobody listens any more."""
        while True:
            try:
                token, details = self._queue.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                with self._lock:
                    if not self._heard:
                        self._polls = False
                        return
                continue
            except (EOFError, OSError):  # the manager has gone
                return
            heard = self._heard.get(token)
            if heard is None:
                continue
            heartbeat, loop, over = heard
            if details == (_OVER,):
                loop.call_soon_threadsafe(over.set)
            else:
                heartbeat(*details)


@dataclass(frozen=True)
class _Call:
    """What goes into the other process."""

    function: Callable[..., Any]
    arguments: Sequence[Any]
    info: Info
    sender: SharedHeartbeatSender
    cancelled: threading.Event
    worker_shutdown: threading.Event
    payload_converter: PayloadConverter


class Processes:
    """Calls activities in the processes of an executor. Belongs to the event loop."""

    def __init__(self, around: Surroundings, shared: SharedStateManager | None) -> None:
        self._around = around
        self._shared = shared
        self._manager: SyncManager | None = None
        self._shutdown: threading.Event | None = None
        self._opening = asyncio.Lock()

    def serve(self, executor: Executor) -> bool:
        """Whether this executor runs things in other processes."""
        if isinstance(executor, ProcessPoolExecutor):
            return True
        return self._shared is not None and not isinstance(executor, ThreadPoolExecutor)

    async def call(
        self, executor: Executor, context: AttemptContext, function: Callable[..., Any], arguments: Sequence[Any]
    ) -> Any:
        """The function's value there. Raises what it raises, and ``BrokenExecutor`` when a process dies."""
        shared, shutdown = await self._open()
        cancelled = await asyncio.to_thread(shared.new_event)
        context.process = _Flagging(cancelled)
        if context.cancelled.is_set():
            cancelled.set()
        info = context.info
        sender = await shared.register_heartbeater(info.task_token, context.heartbeat)
        converter = context.payload_converter
        call = _Call(function, arguments, info, sender, cancelled, shutdown, converter)
        try:
            outcome = await self._around.loop.run_in_executor(executor, _run, call)
        finally:
            await asyncio.shield(shared.unregister_heartbeater(info.task_token))
        if isinstance(outcome, _Failed):
            outcome.error.__odradek_stack__ = outcome.stack  # type: ignore[attr-defined]
            raise outcome.error
        return outcome

    async def _open(self) -> tuple[SharedStateManager, threading.Event]:
        async with self._opening:
            if self._shared is None:
                self._manager = await asyncio.to_thread(multiprocessing.get_context("spawn").Manager)
                self._shared = SharedStateManager.create_from_multiprocessing(self._manager)
            if self._shutdown is None:
                self._shutdown = await asyncio.to_thread(self._shared.new_event)
                task = self._around.loop.create_task(self._pass_shutdown_on(self._shutdown))
                self._around.background.add(task)
                task.add_done_callback(self._around.background.discard)
            return self._shared, self._shutdown

    async def _pass_shutdown_on(self, shutdown: threading.Event) -> None:
        await self._around.worker_shutdown.wait()
        await asyncio.to_thread(shutdown.set)

    def close(self) -> None:
        if self._manager is not None:
            self._manager.shutdown()


class _Flagging:
    """Tells an attempt in another process that it is cancelled."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def cancel(self) -> None:
        threading.Thread(target=self._event.set, daemon=True).start()  # it is a call to the manager's process


# ------------------------------------------------------------------------------------------- in the other process


@dataclass(frozen=True)
class _Failed:
    error: Exception
    stack: str


def _run(call: _Call) -> Any:
    token = _current.set(_ProcessContext(call))
    try:
        return call.function(*call.arguments)
    except Exception as error:
        return _Failed(_picklable(error), "".join(traceback.format_tb(error.__traceback__)[1:]))
    finally:
        _current.reset(token)
        call.sender.send_heartbeat(call.info.task_token, _OVER)


def _picklable(error: Exception) -> Exception:
    """The error itself if it survives the way; one that does not would break the whole pool."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
    except Exception:
        return ApplicationError(str(error), type=type(error).__name__)
    return error


class _SharedFlag(Flag):
    """One that another process sets."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__()
        self._shared = event

    def is_set(self) -> bool:
        return self._shared.is_set()

    def set(self) -> None:
        self._shared.set()

    async def wait(self) -> None:
        await asyncio.to_thread(self._shared.wait)

    def wait_sync(self, timeout_seconds: float | None = None) -> bool:
        return self._shared.wait(timeout_seconds)


class _ProcessContext:
    """The ``_Context`` of ``odradek.activity`` in another process than the worker's."""

    client: Any = None
    metric_meter = MetricMeter.noop

    def __init__(self, call: _Call) -> None:
        self.info = call.info
        self.payload_converter = call.payload_converter
        self.cancelled = _SharedFlag(call.cancelled)
        self.worker_shutdown = _SharedFlag(call.worker_shutdown)
        self._sender = call.sender

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        return ActivityCancellationDetails(cancel_requested=True) if self.cancelled.is_set() else None

    def heartbeat(self, *details: Any) -> None:
        self._sender.send_heartbeat(self.info.task_token, *details)

    def shield_thread_cancel_exception(self) -> AbstractContextManager[None]:
        return nullcontext()
