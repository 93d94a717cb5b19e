"""Runs single activities without a worker, and shows them what a worker would."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from odradek.activity import ActivityCancellationDetails, Info, _Definition
from odradek.activity._context import _current, _PlainContext
from odradek.activity._flag import Flag
from odradek.client import Client
from odradek.common import MetricMeter, Priority
from odradek.converter import DataConverter
from odradek.workers.threads import ThreadCancellation

P = ParamSpec("P")
T = TypeVar("T")

_EPOCH = datetime.fromtimestamp(0, UTC)
_REQUESTED = ActivityCancellationDetails(cancel_requested=True)


class ActivityEnvironment:
    """Change its fields before ``run``: what activities find in ``info()``, and where their heartbeats go.

    ``client`` is what ``activity.client()`` gives. Activities of one environment are cancelled together.
    """

    def __init__(self, client: Client | None = None) -> None:
        self.info = self.default_info()
        """Of every activity that is run; ``dataclasses.replace`` makes another."""
        self.on_heartbeat: Callable[..., None] = lambda *details: None
        """Called for each heartbeat, none left out, in the activity's own thread."""
        self.payload_converter = DataConverter.default.payload_converter
        self.metric_meter = MetricMeter.noop
        self._client = client
        self._cancelled = Flag()
        self._details: ActivityCancellationDetails | None = None
        self._worker_shutdown = Flag()
        self._running: set[Callable[[], None]] = set()

    @staticmethod
    def default_info() -> Info:
        """The facts of a first attempt."""
        return Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            current_attempt_scheduled_time=_EPOCH,
            heartbeat_details=[],
            heartbeat_timeout=None,
            is_local=False,
            namespace="default",
            priority=Priority.default,
            retry_policy=None,
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=_EPOCH,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=_EPOCH,
            task_queue="test",
            task_token=b"test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
            idempotency_key="test-run:1",
        )

    def cancel(self, cancellation_details: ActivityCancellationDetails = _REQUESTED) -> None:
        """Cancel what runs, as a worker does: coroutines by their task, threads by an exception. From any thread."""
        if self._cancelled.is_set():
            return
        self._details = cancellation_details
        self._cancelled.set()
        for cancel in list(self._running):
            cancel()

    def worker_shutdown(self) -> None:
        """Tell the activities that their worker is about to stop."""
        self._worker_shutdown.set()

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the activity, decorated or not, and return what it returns: a coroutine, to be awaited, if it is async.

        A ``def`` runs in the thread that calls this.
        """
        definition = _Definition.from_callable(fn)
        if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(type(fn).__call__):
            return self._awaited(fn(*args, **kwargs))  # type: ignore[arg-type, return-value]
        thread = ThreadCancellation(raises=definition is None or not definition.no_thread_cancel_exception)
        context = contextvars.copy_context()
        context.run(_current.set, self._context(thread))
        self._running.add(thread.cancel)
        try:
            return context.run(thread.run, lambda _: fn(*args, **kwargs), (None,))
        finally:
            self._running.discard(thread.cancel)

    async def _awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        context = contextvars.copy_context()
        context.run(_current.set, self._context(None))
        loop = asyncio.get_running_loop()
        task = loop.create_task(coroutine, context=context)

        def cancel() -> None:
            loop.call_soon_threadsafe(task.cancel)

        self._running.add(cancel)
        try:
            return await task
        finally:
            self._running.discard(cancel)

    def heard(self, *details: Any) -> None:
        """A heartbeat, for whoever listens now."""
        self.on_heartbeat(*details)

    def _context(self, thread: ThreadCancellation | None) -> _TestContext:
        return _TestContext(self, thread)


class _TestContext(_PlainContext):
    """Shares its flags with the other activities of its environment."""

    def __init__(self, environment: ActivityEnvironment, thread: ThreadCancellation | None) -> None:
        super().__init__(
            environment.info,
            payload_converter=environment.payload_converter,
            on_heartbeat=environment.heard,
            client=environment._client,
            metric_meter=environment.metric_meter,
        )
        if thread is not None:
            self.shield_thread_cancel_exception = thread.shielded
        self.cancelled = environment._cancelled
        self.worker_shutdown = environment._worker_shutdown
        self._environment = environment

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        return self._environment._details

    @cancellation_details.setter
    def cancellation_details(self, details: ActivityCancellationDetails | None) -> None:
        """Those of the environment count."""
