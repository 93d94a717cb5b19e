"""Hosts workflows and activities side by side in one process.

An orchestrator in a thread, an activity worker on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from odradek.client import Client
from odradek.log.clock import Clock
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.workers import ActivityWorker, WorkerSettings

_log = logging.getLogger("odradek.worker")

_WITHOUT_MEANING = frozenset(
    {
        "workflow_runner",
        "unsandboxed_workflow_runner",
        "workflow_task_executor",
        "max_concurrent_workflow_tasks",
        "max_concurrent_workflow_task_polls",
        "max_concurrent_activity_task_polls",
        "nonsticky_to_sticky_poll_ratio",
        "sticky_queue_schedule_to_start_timeout",
        "disable_eager_activity_execution",
        "debug_mode",
        "tuner",
        "build_id",
        "use_worker_versioning",
        "deployment_config",
        "shared_state_manager",
        "no_remote_activities",
        "workflow_task_poller_behavior",
        "activity_task_poller_behavior",
        "max_heartbeat_throttle_interval",
        "default_heartbeat_throttle_interval",
        "max_activities_per_second",
        "max_task_queue_activities_per_second",
    }
)
_warned: set[str] = set()


class Worker:
    """Runs workflows and activities of a task queue until it is shut down: ``async with`` it, or await ``run()``.

    Workflow code is hosted for the whole namespace: every orchestrator of a namespace must host all of its workflow
    types. Activities without workflows make a plain activity worker, and the other way round. Exceptions of
    ``workflow_failure_exception_types`` fail the workflows hosted here; others, but for ``FailureError``, park them.
    Options that people know from elsewhere and that have no meaning here are accepted with one warning. Raises
    ``ValueError`` when there is nothing to run.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
        activity_executor: Executor | None = None,
        max_concurrent_activities: int | None = None,
        max_cached_workflows: int | None = None,
        graceful_shutdown_timeout: timedelta = timedelta(),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        identity: str | None = None,
        orchestrator_settings: OrchestratorSettings | None = None,
        worker_settings: WorkerSettings | None = None,
        clock: Clock | None = None,
        **other: Any,
    ) -> None:
        if not workflows and not activities:
            raise ValueError("ODR-077: a worker needs workflows or activities to run")
        _warn_of(other)
        self._client = client
        self._clock = clock or client.connection.clock
        self.task_queue = task_queue
        self._workflows = workflows
        self._failure_types = tuple(workflow_failure_exception_types)
        self._activities = activities
        self._executor = activity_executor
        self._concurrent = max_concurrent_activities or 100
        self._cached = max_cached_workflows
        self._grace = graceful_shutdown_timeout
        self._identity = identity
        defaults = client.connection.worker_defaults
        self._settings = orchestrator_settings or defaults.get("orchestrator_settings") or OrchestratorSettings()
        self._worker_settings = worker_settings or defaults.get("worker_settings")
        self._registry: Registry = defaults.get("registry") or Registry()
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._running = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._running

    async def run(self) -> None:
        """Serve until ``shutdown()``. Raises what made going on impossible."""
        self._running = True
        try:
            lane = await self._client.connection.lane(self._client.namespace)
            orchestrator = self._orchestrator(lane.namespace) if self._workflows else None
            activities = self._activity_worker(lane.namespace) if self._activities else None
            await self._serve(orchestrator, activities)
        finally:
            self._running = False

    async def _serve(self, orchestrator: Orchestrator | None, activities: ActivityWorker | None) -> None:
        parts: list[asyncio.Task[None]] = []
        if orchestrator is not None:
            parts.append(asyncio.create_task(_in_thread(orchestrator)))
            await asyncio.to_thread(_await_ready, orchestrator, parts[0])
        if activities is not None:
            await activities.__aenter__()
        self._ready.set()
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([stop, *parts], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            if activities is not None:
                await activities.__aexit__(None, None, None)
            if orchestrator is not None:
                orchestrator.stop()
            for part in parts:
                await part
            if orchestrator is not None:
                self._registry.remove(self._workflows, self.task_queue)

    async def shutdown(self) -> None:
        """Stop in order: activities may go on for ``graceful_shutdown_timeout``, partitions are handed over."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.run())
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait([self._task, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()
        if self._task is not None and error is None:
            self._task.result()

    def _orchestrator(self, namespace: Any) -> Orchestrator:
        self._registry.add(self._workflows, self.task_queue, self._failure_types)
        self._registry.add_activities(self._activities)
        return Orchestrator(
            namespace,
            self._registry,
            data_converter=self._client.data_converter,
            identity=self._identity,
            settings=self._settings,
            clock=self._clock,
        )

    def _activity_worker(self, namespace: Any) -> ActivityWorker:
        return ActivityWorker(
            namespace,
            self.task_queue,
            self._activities,
            data_converter=self._client.data_converter,
            activity_executor=self._executor,
            max_concurrent_activities=self._concurrent,
            graceful_shutdown_timeout=self._grace,
            identity=self._identity,
            client=self._client,
            settings=self._worker_settings,
            clock=self._clock,
        )


def _await_ready(orchestrator: Orchestrator, serving: asyncio.Task[None]) -> None:
    while not serving.done() and not orchestrator.ready.wait(0.1):
        continue


async def _in_thread(orchestrator: Orchestrator) -> None:
    """Run an orchestrator in a thread of its own, and raise here what ended it."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    failure: list[BaseException] = []

    def serve() -> None:
        try:
            orchestrator.run()
        except BaseException as error:
            failure.append(error)
        finally:
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=serve, name="odradek-orchestrator", daemon=True).start()
    await done.wait()
    if failure:
        raise failure[0]


def _warn_of(options: dict[str, Any]) -> None:
    for name in options:
        if name not in _WITHOUT_MEANING:
            raise TypeError(f'Worker has no option "{name}"')
        if name not in _warned:
            _warned.add(name)
            _log.warning('the option "%s" has no meaning here and is ignored', name)
