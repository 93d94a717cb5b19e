"""The activity worker: puts its threads and the event loop's part together, and takes them down in order."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from heapq import nsmallest
from types import TracebackType
from typing import Any, Final, Self

from odradek.activity import _Definition
from odradek.activity.interceptors import Interceptor
from odradek.common.build import build_version, note_role
from odradek.converter import DataConverter
from odradek.log.clock import WALL, Clock
from odradek.log.namespace import Namespace, ensure_queue
from odradek.schemas.records import HeldAttempt, QueueControl, WorkerLease
from odradek.workers.attempts import Attempt, Running, StopReason
from odradek.workers.context import Surroundings
from odradek.workers.errors import DuplicateActivity
from odradek.workers.execution import Activities, Execution
from odradek.workers.fetcher import Fetcher
from odradek.workers.homes import Home, Homes
from odradek.workers.intake import Intake
from odradek.workers.metrics import COLLECTOR
from odradek.workers.outcomes import Outcomes
from odradek.workers.outgoing import Settled
from odradek.workers.pace import Halted, Limit, Pace, SharedPace
from odradek.workers.processes import Processes, SharedStateManager
from odradek.workers.sender import Sender
from odradek.workers.settings import WorkerSettings
from odradek.workers.shared import SharedState

_logger = logging.getLogger(__name__)

CONCURRENT_DEFAULT = 100
LONGEST_SHOWN: Final = 5
"""Running attempts that a lease names."""
TYPES_SHOWN: Final = 30
"""Likewise, activity types: leases are written often."""


class ActivityWorker:
    """Runs the activities of one task queue until it is shut down: ``async with`` it, or await ``run()``.

    ``async def`` activities run on this event loop, ``def`` ones in ``activity_executor`` (by default threads, as many
    as ``max_concurrent_activities``), which may be a ``ProcessPoolExecutor``: what is shared with its processes goes
    through ``shared_state_manager``, by default one of its own. ``max_concurrent_activities`` is 100 by default, or
    what the executor can run where there is nothing else to run; ``max_concurrent_per_fairness_key`` of them may have
    the same key. ``max_activities_per_second`` is for this worker,
    ``max_task_queue_activities_per_second`` for all workers of the queue together (each must be told the same).

    Once ``shutdown()`` was called, attempts may go on for ``graceful_shutdown_timeout``; then they are cancelled, and
    answered as failures that can be retried. ``client`` is what ``activity.client()`` returns. A worker that fails
    inside of ``async with`` cancels what stands there. Raises ``DuplicateActivity``, ``TypeError`` for a function that
    was not decorated, and ``ValueError`` for a limit that lets nothing through.
    """

    def __init__(
        self,
        namespace: Namespace,
        task_queue: str,
        activities: Sequence[Callable[..., Any]],
        *,
        data_converter: DataConverter = DataConverter.default,
        activity_executor: Executor | None = None,
        max_concurrent_activities: int | None = None,
        max_concurrent_per_fairness_key: int | None = None,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        shared_state_manager: SharedStateManager | None = None,
        graceful_shutdown_timeout: timedelta = timedelta(),
        identity: str | None = None,
        client: Any = None,
        interceptors: Sequence[Interceptor] = (),
        settings: WorkerSettings | None = None,
        clock: Clock = WALL,
    ) -> None:
        if max_concurrent_activities is not None and max_concurrent_activities < 1:
            raise ValueError(f"max_concurrent_activities is {max_concurrent_activities}, and must be 1 or more")
        self.task_queue = task_queue
        self.identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        self.worker_id = uuid.uuid4().hex
        """Of this incarnation; what the records call ``worker``."""
        self._namespace = namespace
        self._activities = _by_name(activities)
        self._converter = data_converter
        names = self._activities.names
        more = len(names) - TYPES_SHOWN
        self._type_names = [*names[:TYPES_SHOWN], *([f"… {more} more"] if more > 0 else [])]
        self._given_executor = activity_executor
        self._own_executor: ThreadPoolExecutor | None = None
        if max_concurrent_per_fairness_key is not None and max_concurrent_per_fairness_key < 1:
            raise ValueError(
                f"max_concurrent_per_fairness_key is {max_concurrent_per_fairness_key}, and must be 1 or more"
            )
        self._per_key_max = max_concurrent_per_fairness_key
        self._own_pace = None if max_activities_per_second is None else Pace(max_activities_per_second)
        self._queue_rate = max_task_queue_activities_per_second
        if self._queue_rate is not None:
            Pace(self._queue_rate)  # says what is wrong with it
        self._shared_state = shared_state_manager
        if isinstance(activity_executor, ProcessPoolExecutor) or shared_state_manager is not None:
            _check_picklable(self._activities)
        self._concurrent_max = max_concurrent_activities or _fitting(activity_executor, self._activities)
        self._grace_seconds = graceful_shutdown_timeout.total_seconds()
        self._client = client
        self._interceptors = tuple(interceptors)
        self._settings = settings or WorkerSettings()
        self._clock = clock
        self._running = Running()
        self._started_ms = 0
        self._parts: _Parts | None = None
        self._began = False
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._inside: asyncio.Task[Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether ``run()`` has begun and not ended."""
        return self._began and not self._ended.is_set()

    @property
    def is_ready(self) -> bool:
        """Whether the queue is being served: ``run()`` has set everything up, and has not been asked to stop."""
        return self._ready.is_set() and not self._stop.is_set()

    async def run(self) -> None:
        """Serve the queue until ``shutdown()``. Raises what made going on impossible. Cancelling it shuts down, too."""
        if self._began:
            raise RuntimeError("a worker runs once: make a new one")
        self._began = True
        try:
            self._parts = await self._start()
            self._ready.set()
            try:
                await self._stop.wait()
            finally:
                await self._take_down(self._parts)
        finally:
            if self._own_executor is not None:
                self._own_executor.shutdown(wait=False, cancel_futures=True)
            self._ended.set()
        if self._failure is not None:
            raise self._failure

    async def shutdown(self) -> None:
        """Stop in order; returns when ``run()`` is over."""
        self._stop.set()
        if self._began:
            await self._ended.wait()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait((self._task, ready), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        self._inside = asyncio.current_task()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside = None
        await self.shutdown()
        if self._task is not None:
            await asyncio.wait((self._task,))
            if error is None or (self._failure is not None and isinstance(error, asyncio.CancelledError)):
                self._task.result()

    # --------------------------------------------------------------------------------------------------- the parts

    async def _start(self) -> _Parts:
        queue = await asyncio.to_thread(ensure_queue, self._namespace, self.task_queue)
        self._started_ms = self._clock.now_ms()
        note_role("worker")
        parts = _Parts(self, queue.topic_id)
        parts.sender.start()
        parts.fetcher.start()
        _logger.info(
            'worker %s serves task queue "%s"',
            self.worker_id,
            self.task_queue,
            extra={"task_queue": self.task_queue, "worker": self.worker_id, "identity": self.identity},
        )
        return parts

    async def _take_down(self, parts: _Parts) -> None:
        parts.fetcher.stop_fetching()
        parts.execution.stop_starting()
        parts.around.worker_shutdown.set()
        if not await parts.execution.wait_idle(self._grace_seconds):
            parts.execution.stop_all(StopReason.SHUTDOWN)
            if not await parts.execution.wait_idle(self._settings.cancel_grace_seconds):
                _logger.warning("%d attempts did not end when they were cancelled, and are left", len(self._running))
        while parts.around.background:
            await asyncio.wait(list(parts.around.background))
        parts.fetcher.finish()
        await asyncio.to_thread(parts.fetcher.join)
        parts.sender.finish()
        await asyncio.to_thread(parts.sender.join)
        await asyncio.to_thread(parts.processes.close)
        if parts.shared is not None:
            parts.shared.close()

    def _executor(self) -> Executor:
        if self._given_executor is not None:
            return self._given_executor
        if self._own_executor is None:
            self._own_executor = ThreadPoolExecutor(self._concurrent_max, "odradek-activity")
        return self._own_executor

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stop.set()
        if self._inside is not None:
            self._inside.cancel()

    def _lease(self, home: Home, ended: bool) -> WorkerLease:
        own = home.namespace is self._namespace
        name = home.namespace.topics.namespace
        running = self._running.snapshot()
        shown = running if own else [attempt for attempt in running if attempt.task.namespace == name]
        return WorkerLease(
            self.worker_id,
            self.identity,
            self.task_queue,
            home.reply_partition,
            ended,
            "" if own else self._namespace.topics.namespace,
            self._started_ms,
            build_version(),
            len(running),
            self._concurrent_max,
            self._type_names,
            [_held(attempt) for attempt in nsmallest(LONGEST_SHOWN, shown, key=lambda attempt: attempt.started_at)],
        )


class _Parts:
    """What exists while a worker runs."""

    def __init__(self, worker: ActivityWorker, topic_id: str) -> None:
        loop = asyncio.get_running_loop()
        settings, running, worker_id = worker._settings, worker._running, worker.worker_id
        namespace, converter = worker._namespace, worker._converter
        settled: deque[Settled] = deque()
        stats = COLLECTOR.queue(namespace.topics.namespace, worker.task_queue)
        homes = Homes(namespace, worker_id)
        outcomes = Outcomes(worker_id, converter, settings.payload_bytes_max)
        self.sender = Sender(
            homes,
            worker_id,
            worker._lease,
            settings,
            running,
            settled,
            stats,
            outcomes.instead_of_large,
            worker._clock.now_ms,
            topic=namespace.topics.tasks(worker.task_queue),
        )
        self.around = Surroundings(
            worker_id, converter, settings, self.sender, worker._client, loop, now_ms=worker._clock.now_ms
        )
        self.processes = Processes(self.around, worker._shared_state)
        self.execution = Execution(
            worker._activities,
            self.around,
            running,
            outcomes,
            stats,
            settled,
            concurrent_max=worker._concurrent_max,
            per_key_max=worker._per_key_max,
            executor=worker._executor,
            processes=self.processes,
            interceptors=worker._interceptors,
        )
        self.shared = None
        if settings.redis:
            self.shared = SharedState(
                settings.redis,
                namespace.topics.namespace,
                topic_id=topic_id,
                finished_seconds=settings.finished_seconds,
            )
        self._worker = worker
        self._share = 1.0
        self.execution.limits = self._limits(worker._queue_rate)
        intake = Intake(
            namespace.codec,
            stats,
            self.sender.submit,
            repeats_remembered=settings.repeats_remembered,
            record_bytes_max=namespace.record_bytes_max,
        )
        self.fetcher = Fetcher(
            homes,
            worker.task_queue,
            worker_id,
            settings,
            self.execution,
            loop,
            self.sender,
            intake,
            settled,
            stats,
            running.close,
            prefetch_count_max=settings.prefetch_count_max or 10 * worker._concurrent_max,
            shared=self.shared,
            on_share=self._on_share,
            on_control=self._on_control,
        )
        self._connect(worker, loop)

    def _limits(self, queue_rate: float | None) -> list[Limit]:
        worker = self._worker
        limits: list[Limit] = [] if worker._own_pace is None else [worker._own_pace]
        if queue_rate is not None and self.shared is not None:
            limits.append(SharedPace(queue_rate, worker.task_queue, self.shared, self.execution.go_on))
        elif queue_rate is not None:
            limits.append(Pace(queue_rate, divided=True))
        return limits

    def _on_control(self, control: QueueControl) -> None:
        """Event loop: an operator has said something of the queue."""
        if control.paused_ms is not None:
            self.execution.limits = [Halted()]
            return
        operators = control.tasks_per_second
        self.execution.limits = self._limits(self._worker._queue_rate if operators is None else operators)
        self._on_share(self._share)  # once they are in place, so that no change of it is missed
        self.execution.go_on()

    def _on_share(self, share: float) -> None:
        """Fetcher: a float is written at once."""
        self._share = share
        for limit in self.execution.limits:
            limit.share = share

    def _connect(self, worker: ActivityWorker, loop: asyncio.AbstractEventLoop) -> None:
        def on_failed(error: BaseException) -> None:
            loop.call_soon_threadsafe(worker._fail, error)

        def on_overdue(attempt: Attempt, reason: StopReason) -> None:
            loop.call_soon_threadsafe(self.execution.stop, attempt, reason)

        self.execution.on_broken = worker._fail
        self.sender.on_failed = self.fetcher.on_failed = on_failed
        self.sender.on_overdue = on_overdue


def _held(attempt: Attempt) -> HeldAttempt:
    task = attempt.task
    return HeldAttempt(
        task.workflow_id, task.activity_id, task.activity_type, task.attempt, attempt.started_ms, task.namespace
    )


def _check_picklable(activities: Activities) -> None:
    """Raises ``TypeError`` for one that cannot reach another process."""
    for activity in activities.all():
        if not activity.is_async:
            try:
                pickle.dumps(activity.fn)
            except Exception as error:
                raise TypeError(
                    f'ODR-128: activity "{activity.name}" cannot run in another process, since it cannot be pickled '
                    f"({error}): make it a function of a module, or use threads"
                ) from error


def _fitting(executor: Executor | None, activities: Activities) -> int:
    """How many may run at a time where nobody says: waiting in an executor would count as running."""
    workers = getattr(executor, "_max_workers", None)
    if not isinstance(workers, int) or any(activity.is_async for activity in activities.all()):
        return CONCURRENT_DEFAULT
    return min(workers, CONCURRENT_DEFAULT)


def _by_name(activities: Sequence[Callable[..., Any]]) -> Activities:
    by_name: dict[str, _Definition] = {}
    dynamic: _Definition | None = None
    for function in activities:
        definition = _Definition.of_implementation(function)
        if definition.name is None:
            if dynamic is not None:
                raise DuplicateActivity(None)
            dynamic = definition
        elif definition.name in by_name:
            raise DuplicateActivity(definition.name)
        else:
            by_name[definition.name] = definition
    return Activities(by_name, dynamic)
