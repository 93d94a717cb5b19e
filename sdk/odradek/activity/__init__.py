"""Activities: ordinary functions that do the outside work of workflows, run at least once, retried by their policy.

What stands here can be called from inside an activity (``defn`` excepted), in coroutines and threads alike.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, NoReturn

from odradek.activity._context import (
    ActivityCancellationDetails,
    CompleteAsyncError,
    Info,
    _context,
    _current,
)
from odradek.activity._definition import ActivityDefaults, InvalidActivity, defn
from odradek.activity._definition import _Definition as _Definition
from odradek.activity._logger import LoggerAdapter, logger
from odradek.common import MetricMeter
from odradek.converter import PayloadConverter

__all__ = [
    "ActivityCancellationDetails",
    "ActivityDefaults",
    "CompleteAsyncError",
    "Info",
    "InvalidActivity",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]


def in_activity() -> bool:
    """Whether the code that asks runs as an activity. All else here raises ``RuntimeError`` when it does not."""
    return _current.get(None) is not None


def info() -> Info:
    """The facts of the attempt that runs."""
    return _context().info


def heartbeat(*details: Any) -> None:
    """Say that the attempt is alive, and how far it is; cheap, since most are not sent (see ``heartbeat_timeout``).

    The next attempt finds the last ``details`` that were sent in ``info().heartbeat_details``; those before a failure
    are always sent.
    """
    _context().heartbeat(*details)


def is_cancelled() -> bool:
    """Whether this attempt should stop."""
    return _context().cancelled.is_set()


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why this attempt should stop; None while it should not."""
    return _context().cancellation_details


async def wait_for_cancelled() -> None:
    """Wait until this attempt should stop; in practice ``asyncio.CancelledError`` comes first in a coroutine."""
    await _context().cancelled.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Wait in a thread until this attempt should stop, ``timeout`` (seconds) at most; ``is_cancelled`` says which."""
    _context().cancelled.wait_sync(_seconds(timeout))


def is_worker_shutdown() -> bool:
    """Whether the worker is about to stop: attempts still running after its grace period are cancelled."""
    return _context().worker_shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Wait until the worker begins to stop."""
    await _context().worker_shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Wait in a thread until the worker begins to stop, ``timeout`` (seconds) at most."""
    _context().worker_shutdown.wait_sync(_seconds(timeout))


def raise_complete_async() -> NoReturn:
    """End this function, and leave the activity open: somebody else will complete it, from any process.

    They do so by ``info().task_token``, or by workflow and activity ID: see ``Client.get_async_activity_handle``. The
    time limits go on, and no loss of this worker ends the attempt.
    """
    _context()
    raise CompleteAsyncError


def shield_thread_cancel_exception() -> AbstractContextManager[None]:
    """While this is open, no cancellation is raised in this thread; one that came meanwhile is raised at its end."""
    return _context().shield_thread_cancel_exception()


def payload_converter() -> PayloadConverter:
    """The worker's converter between values and payloads."""
    return _context().payload_converter


def metric_meter() -> MetricMeter:
    """Makes counters, histograms and gauges for Prometheus, labelled with namespace, task queue and activity type."""
    return _context().metric_meter


def client() -> Any:
    """The client of this worker, to start or signal workflows with.

    Raises ``RuntimeError`` when the worker was made without one.
    """
    found = _context().client
    if found is None:
        raise RuntimeError("ODR-127: this worker was made without a client: give it one to use activity.client()")
    return found


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
