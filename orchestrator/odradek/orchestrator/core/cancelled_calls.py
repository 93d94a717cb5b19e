"""What the code hears when a call that it waits for is cancelled: an activity, a local one, a step."""

from __future__ import annotations

import asyncio

from odradek.exceptions import ActivityError, CancelledError, RetryState


class RunCancellation(str):
    """The message of a cancellation that the run was asked for: asyncio carries it from task to task."""

    __slots__ = ()


def as_the_code_hears_it(cancelled: asyncio.CancelledError, name: str, id: str, is_handle: bool) -> BaseException:
    """``ActivityError`` from a ``CancelledError`` where the run or the call's handle was cancelled.

    A construct of asyncio that cancels what it waits for (``timeout``, ``TaskGroup``, ``wait_for``) knows its own
    cancellation by ``asyncio.CancelledError``, so it stays one there.
    """
    if not is_handle and not (cancelled.args and isinstance(cancelled.args[0], RunCancellation)):
        return cancelled
    error = ActivityError(
        "Activity cancelled", activity_type=name, activity_id=id, retry_state=RetryState.CANCEL_REQUESTED
    )
    error.__cause__ = CancelledError("Cancelled")
    return error
