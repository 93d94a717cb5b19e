"""What can go wrong in a worker. The first group fails activities, so it travels as ``ApplicationError``.

ApplicationError
├── type "ActivityTypeUnknown"  ODR-120  this queue's worker has no such activity (retryable: a deploy mends it)
├── type "WorkerShutdown"       ODR-121  the worker stopped before the activity ended (retryable)
├── type "ActivityCancelled"    ODR-122  cancelled, and nobody had asked for it (retryable)
├── type "ActivityStopped"      ODR-119  an operator paused or reset it (retryable)
└── type "PayloadTooLarge"      ODR-105  the result does not fit (not retryable)
WorkerError
└── DuplicateActivity           ODR-123  two activities of one name
"""

from __future__ import annotations

from collections.abc import Iterable

from odradek.exceptions import ApplicationError, OdradekError


def type_unknown(activity_type: str, task_queue: str, hosted: Iterable[str]) -> ApplicationError:
    names = ", ".join(sorted(hosted)) or "none"
    return ApplicationError(
        f"ODR-120: Activity function {activity_type} is not registered on this worker, available activities: {names}. "
        f'Register it on the workers of task queue "{task_queue}", correct the name, or send it to the queue whose '
        f"workers have it.",
        type="ActivityTypeUnknown",
    )


def shut_down(activity_type: str) -> ApplicationError:
    return ApplicationError(
        f'ODR-121: the worker was shut down while activity "{activity_type}" ran, and its grace period was over. '
        f"It is tried again as its retry policy says; a longer graceful_shutdown_timeout lets it end.",
        type="WorkerShutdown",
    )


def stopped_by_operator(activity_type: str, wish: str) -> ApplicationError:
    return ApplicationError(
        f'ODR-119: activity "{activity_type}" was {wish} by an operator while it ran, and ended. It goes on with its '
        f"next attempt when that may begin.",
        type="ActivityStopped",
    )


def cancelled_itself(activity_type: str) -> ApplicationError:
    return ApplicationError(
        f'ODR-122: activity "{activity_type}" ended as cancelled, and nobody had asked for that. '
        f"Catch the cancellation of what it awaits, or raise another error.",
        type="ActivityCancelled",
    )


def too_large(what: str, size_bytes: int, limit_bytes: int) -> ApplicationError:
    return ApplicationError(
        f"ODR-105: {what} has {size_bytes:,} bytes, and the limit is {limit_bytes:,}. "
        f"Store the data elsewhere and return where it is.",
        type="PayloadTooLarge",
        non_retryable=True,
    )


class WorkerError(OdradekError):
    """A worker cannot be made, or cannot go on."""


class DuplicateActivity(WorkerError, ValueError):
    """Two activities of one worker have the same name."""

    code = "ODR-123"

    def __init__(self, name: str | None) -> None:
        what = "dynamic activity" if name is None else f'activity named "{name}"'
        super().__init__(f"{self.code}: more than one {what} was given to this worker: give each a name of its own")
        self.name = name
