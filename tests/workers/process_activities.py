"""Activities that run in other processes, which import this module."""

from __future__ import annotations

import os
import time

from odradek import activity
from odradek.exceptions import ApplicationError


class Unpicklable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


@activity.defn
def where(number: int) -> tuple[int, int]:
    return os.getpid(), number


@activity.defn
def facts() -> list[object]:
    info = activity.info()
    return [info.activity_type, info.attempt, list(info.heartbeat_details), activity.in_activity()]


@activity.defn
def beat_and_fail() -> str:
    if activity.info().heartbeat_details:
        return f"from {activity.info().heartbeat_details[0]}"
    for page in range(5):
        activity.heartbeat(page)
    raise ApplicationError("half-way", {"page": 4}, type="Half")


@activity.defn
def fail_badly() -> None:
    raise Unpicklable("this", "that")


@activity.defn
def until_told() -> str:
    activity.heartbeat("here")
    activity.wait_for_cancelled_sync(timeout=20)
    return f"cancelled: {activity.is_cancelled()}, {activity.cancellation_details() is not None}"


@activity.defn
def until_shutdown() -> str:
    activity.heartbeat("here")
    activity.wait_for_worker_shutdown_sync(timeout=20)
    return f"shutdown: {activity.is_worker_shutdown()}"


@activity.defn
def forever() -> None:
    activity.heartbeat("here")
    time.sleep(5)


@activity.defn
def die() -> None:
    os._exit(7)
