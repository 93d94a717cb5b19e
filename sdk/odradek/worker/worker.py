"""Hosts workflows and activities side by side in one process.

An orchestrator in a thread, an activity worker on the event loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypedDict

from odradek.activity import ActivityDefaults
from odradek.activity import _Definition as ActivityDefinition
from odradek.activity.interceptors import Interceptor
from odradek.client import Client
from odradek.common.accepted import accept
from odradek.log.access import check_access
from odradek.log.clock import Clock
from odradek.log.namespace import Namespace
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.access import Role
from odradek.worker.interceptor import interceptor_classes
from odradek.worker.plugin import Plugin
from odradek.worker.runners import WorkflowRunner, is_sandboxed
from odradek.worker.tuning import WorkerTuner
from odradek.workers import ActivityWorker, SharedStateManager, WorkerSettings
from odradek.workflow import Definition as WorkflowDefinition

_WITHOUT_MEANING = frozenset(
    {
        "activity_task_poller_behavior",
        "build_id",
        "default_heartbeat_throttle_interval",
        "deployment_config",
        "disable_eager_activity_execution",
        "disable_payload_error_limit",
        "disable_safe_workflow_eviction",
        "max_concurrent_activity_task_polls",
        "max_concurrent_workflow_task_polls",
        "max_concurrent_workflow_tasks",
        "max_eager_activity_reservations_per_workflow_task",
        "nonsticky_to_sticky_poll_ratio",
        "patch_activation_callback",
        "plugin_shutdown_timeout",
        "sticky_queue_schedule_to_start_timeout",
        "unsandboxed_workflow_runner",
        "use_worker_versioning",
        "workflow_task_executor",
        "workflow_task_poller_behavior",
    }
)


class WorkerConfig(TypedDict, total=False):
    """What a worker is made of; plugins may change it before it is."""

    client: Client
    task_queue: str
    workflows: Sequence[type]
    activities: Sequence[Callable[..., Any]]
    activity_executor: Executor | None
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    activity_defaults: ActivityDefaults | None
    identity: str | None
    max_cached_workflows: int | None
    max_concurrent_activities: int | None
    max_concurrent_local_activities: int | None
    max_heartbeat_throttle_interval: timedelta | None
    max_concurrent_per_fairness_key: int | None
    max_activities_per_second: float | None
    max_task_queue_activities_per_second: float | None
    shared_state_manager: SharedStateManager | None
    tuner: WorkerTuner | None
    no_remote_activities: bool
    orchestrator: bool
    debug_mode: bool
    graceful_shutdown_timeout: timedelta
    workflow_failure_exception_types: Sequence[type[BaseException]]
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None
    workflow_runner: WorkflowRunner | None
    orchestrator_settings: OrchestratorSettings | None
    worker_settings: WorkerSettings | None
    clock: Clock | None


class Worker:
    """Runs workflows and activities of a task queue until it is shut down: ``async with`` it, or await ``run()``.

    Workflow code is hosted for the whole namespace: every orchestrator of a namespace must host all of its workflow
    types. Activities without workflows make a plain activity worker, and the other way round; with
    ``no_remote_activities`` they serve as local ones only. ``orchestrator=True`` serves partitions without workflows,
    too: for activities that clients start, where no other process of the namespace does. Plugins of the client, and
    those of its interceptors that are both kinds, come before ``plugins`` and ``interceptors``. Exceptions of
    ``workflow_failure_exception_types`` fail the workflows hosted here; others, but for ``FailureError``, park them.
    Workflows are checked for what no replay can repeat, and guarded while they run, unless ``workflow_runner`` is an
    ``UnsandboxedWorkflowRunner`` or ``debug_mode`` is set; with ``debug_mode``, code is not interrupted for not coming
    back, either. Options that people know from elsewhere and that have no meaning here are accepted with one warning.
    Raises ``ValueError`` when there is nothing to run.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        workflows: Sequence[type] = (),
        activities: Sequence[Callable[..., Any]] = (),
        activity_executor: Executor | None = None,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[Interceptor] = (),
        activity_defaults: ActivityDefaults | None = None,
        identity: str | None = None,
        max_cached_workflows: int | None = None,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
        max_heartbeat_throttle_interval: timedelta | None = None,
        max_concurrent_per_fairness_key: int | None = None,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        shared_state_manager: SharedStateManager | None = None,
        tuner: WorkerTuner | None = None,
        no_remote_activities: bool = False,
        orchestrator: bool = False,
        debug_mode: bool = False,
        graceful_shutdown_timeout: timedelta = timedelta(),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        workflow_runner: WorkflowRunner | None = None,
        orchestrator_settings: OrchestratorSettings | None = None,
        worker_settings: WorkerSettings | None = None,
        clock: Clock | None = None,
        **without_meaning: Any,
    ) -> None:
        accept("Worker", without_meaning, _WITHOUT_MEANING)
        config = WorkerConfig(
            client=client,
            task_queue=task_queue,
            workflows=workflows,
            activities=activities,
            activity_executor=activity_executor,
            plugins=plugins,
            interceptors=interceptors,
            activity_defaults=activity_defaults,
            identity=identity,
            max_cached_workflows=max_cached_workflows,
            max_concurrent_activities=max_concurrent_activities,
            max_concurrent_local_activities=max_concurrent_local_activities,
            max_heartbeat_throttle_interval=max_heartbeat_throttle_interval,
            max_concurrent_per_fairness_key=max_concurrent_per_fairness_key,
            max_activities_per_second=max_activities_per_second,
            max_task_queue_activities_per_second=max_task_queue_activities_per_second,
            shared_state_manager=shared_state_manager,
            tuner=tuner,
            no_remote_activities=no_remote_activities,
            orchestrator=orchestrator,
            debug_mode=debug_mode,
            graceful_shutdown_timeout=graceful_shutdown_timeout,
            workflow_failure_exception_types=workflow_failure_exception_types,
            on_fatal_error=on_fatal_error,
            workflow_runner=workflow_runner,
            orchestrator_settings=orchestrator_settings,
            worker_settings=worker_settings,
            clock=clock,
        )
        self._given = config.copy()
        self._plugins = [*(one for one in client.config()["plugins"] if isinstance(one, Plugin)), *plugins]
        for plugin in self._plugins:
            config = plugin.configure_worker(config)
        if not config["workflows"] and not config["activities"]:
            raise ValueError("ODR-077: a worker needs workflows or activities to run")
        for workflow in config["workflows"]:
            WorkflowDefinition.of(workflow)
        for activity in config["activities"]:
            ActivityDefinition.of_implementation(activity)
        self._config = config
        self._workflows, self._activities = config["workflows"], config["activities"]
        of_client = client.config(active_config=True)["interceptors"]
        self._interceptors = (*(one for one in of_client if isinstance(one, Interceptor)), *config["interceptors"])
        self._clock = config["clock"] or client.connection.clock
        defaults = client.connection.worker_defaults
        self._settings = config["orchestrator_settings"] or defaults.get("orchestrator_settings")
        self._worker_settings = config["worker_settings"] or defaults.get("worker_settings")
        self._orchestrates = bool(config["workflows"] or config["orchestrator"] or defaults.get("orchestrator"))
        self._registry: Registry = defaults.get("registry") or Registry()
        self._stop = asyncio.Event()
        self._ready = asyncio.Event()
        self._running = False
        self._task: asyncio.Task[None] | None = None

    def config(self, *, active_config: bool = False) -> WorkerConfig:
        """The arguments that it was made with; ``active_config``: with what plugins made of them."""
        return (self._config if active_config else self._given).copy()

    @property
    def client(self) -> Client:
        return self._config["client"]

    @property
    def task_queue(self) -> str:
        return self._config["task_queue"]

    @property
    def is_running(self) -> bool:
        return self._running

    @property
    def is_shutdown(self) -> bool:
        """Whether ``shutdown`` has been asked for, and is done."""
        return self._stop.is_set() and not self._running

    async def run(self) -> None:
        """Serve until ``shutdown()``. Raises what made going on impossible, once ``on_fatal_error`` was told of it."""
        run = Worker._run
        for plugin in reversed(self._plugins):
            run = partial(plugin.run_worker, next=run)
        await run(self)

    async def _run(self) -> None:
        self._running = True
        try:
            lane = await self.client.connection.lane(self.client.namespace)
            remote = self._activities and not self._config["no_remote_activities"]
            await asyncio.to_thread(self._check_access, lane.namespace, remote)
            orchestrator = self._orchestrator(lane.namespace) if self._orchestrates else None
            activities = self._activity_worker(lane.namespace) if remote else None
            await self._serve(orchestrator, activities)
        except Exception as error:
            if (tell := self._config["on_fatal_error"]) is not None:
                await tell(error)
            raise
        finally:
            self._running = False

    def _check_access(self, namespace: Namespace, remote: object) -> None:
        """Raises ``AccessDenied``."""
        if self._orchestrates:
            check_access(namespace.log, Role.ORCHESTRATOR, namespace.topics)
        if remote:
            check_access(namespace.log, Role.WORKER, namespace.topics, [self.task_queue])

    async def _serve(self, orchestrator: Orchestrator | None, activities: ActivityWorker | None) -> None:
        parts: list[asyncio.Task[None]] = []
        if orchestrator is not None:
            parts.append(asyncio.create_task(self._orchestrate(orchestrator)))
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

    async def _orchestrate(self, orchestrator: Orchestrator) -> None:
        connection = self.client.connection
        connection.orchestrators += 1
        try:
            await _in_thread(orchestrator)
        finally:
            connection.orchestrators -= 1

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
        config, client = self._config, self.client
        sandboxed = is_sandboxed(config["workflow_runner"], debug_mode=config["debug_mode"])
        failing = config["workflow_failure_exception_types"]
        around = interceptor_classes(self._interceptors)
        self._registry.add(
            self._workflows,
            self.task_queue,
            failing,
            sandboxed=sandboxed,
            interceptors=around,
            activity_defaults={**(client.activity_defaults or {}), **(config["activity_defaults"] or {})},
        )
        self._registry.add_activities(self._activities)
        settings = self._settings or OrchestratorSettings()
        if (cached := config["max_cached_workflows"]) is not None:
            settings = replace(settings, instances_in_memory_max=cached)
        tuned = config["tuner"].local_activities if config["tuner"] else None
        if (steps := tuned or config["max_concurrent_local_activities"]) is not None:
            settings = replace(settings, steps_concurrent_max=steps)
        if config["debug_mode"]:
            settings = replace(settings, deadlock_timeout_seconds=0)
        return Orchestrator(
            namespace,
            self._registry,
            data_converter=client.data_converter,
            identity=config["identity"],
            settings=settings,
            clock=self._clock,
            interceptors=self._interceptors,
            steps_loop=asyncio.get_running_loop(),
        )

    def _activity_worker(self, namespace: Any) -> ActivityWorker:
        config, client = self._config, self.client
        settings = self._worker_settings or WorkerSettings()
        if (longest := config["max_heartbeat_throttle_interval"]) is not None:
            settings = replace(settings, heartbeat_seconds_max=longest.total_seconds())
        tuned = config["tuner"].activities if config["tuner"] else None
        return ActivityWorker(
            namespace,
            self.task_queue,
            self._activities,
            data_converter=client.data_converter,
            activity_executor=config["activity_executor"],
            max_concurrent_activities=tuned or config["max_concurrent_activities"],
            max_concurrent_per_fairness_key=config["max_concurrent_per_fairness_key"],
            max_activities_per_second=config["max_activities_per_second"],
            max_task_queue_activities_per_second=config["max_task_queue_activities_per_second"],
            shared_state_manager=config["shared_state_manager"],
            graceful_shutdown_timeout=config["graceful_shutdown_timeout"],
            identity=config["identity"],
            client=client,
            interceptors=self._interceptors,
            settings=settings,
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
