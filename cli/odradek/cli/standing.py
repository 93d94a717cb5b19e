"""Where a run stands, in one sentence. Pure: the time is given."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odradek.client import ParkedInfo, PendingWait, WorkflowExecution, WorkflowExecutionDescription


def standing(description: WorkflowExecutionDescription, now: datetime) -> str:
    """As in ``Running, waits for: timer "cool-off", fires 10:23:13; activity "ship", attempt 3, next in 3.8 s``.

    ``now`` has a time zone; moments are shown in it. A parked run says why, since when, and when it is tried next.
    """
    if description.close_time is not None:
        took = description.close_time - description.start_time
        ended = clock(description.close_time, now)
        return f"{status_word(description)} {ended}, after {duration(took.total_seconds())}"
    waits = "; ".join(wait_words(wait, now) for wait in description.waits)
    if description.parked is not None:
        return parked_words(description.parked, now) + (f". It waits for: {waits}" if waits else "")
    waiting = f"waits for: {waits}" if waits else "waits for a signal or a condition of its code"
    return f"{status_word(description)}, {waiting}"


def status_word(run: WorkflowExecution) -> str:
    """``Running``, ``Timed out``, …; what only a newer build knows is ``Unknown``."""
    return run.status.name.replace("_", " ").capitalize() if run.status is not None else "Unknown"


def parked_words(parked: ParkedInfo, now: datetime) -> str:
    why = parked.message if parked.message.startswith("ODR-") else f"{parked.code}: {parked.message}"
    if not parked.failures:  # nothing has failed: an operator wants it so
        return f"Running, but parked since {clock(parked.since, now)}: {why.rstrip('.')}"
    times = f"{parked.failures} time" + ("s" if parked.failures != 1 else "")
    since, next_try = clock(parked.since, now), _in(parked.next_try, now)
    return f"Running, but parked since {since} ({times}, next try {next_try}): {why.rstrip('.')}"


def wait_words(wait: PendingWait, now: datetime) -> str:
    """One thing that a run waits for."""
    named = f'{wait.kind} "{wait.name}"' if wait.name else wait.kind
    match wait.kind:
        case "timer":
            return f"{named}, fires {clock(wait.due_time, now)}" if wait.due_time else named
        case "activity":
            return f"{named}, attempt {wait.attempt}, {_activity_state(wait, now)}"
        case "child":
            return f"child {wait.name}" + (", which is being started" if wait.state == "starting" else "")
        case "condition":
            return f"condition {wait.name}"
        case "message":
            return f"the answer to message {wait.name}"
        case _:
            return named


def _activity_state(wait: PendingWait, now: datetime) -> str:
    match wait.state:
        case "backing-off":
            return f"next {_in(wait.due_time, now)}" + _failure(wait)
        case "started":
            return f"running on {wait.worker}" if wait.worker else "to be completed from outside"
        case "dispatched":
            since = f" for {duration((now - wait.scheduled_time).total_seconds())}" if wait.scheduled_time else ""
            sent = f"sent to its queue{since}" if wait.attempt <= 1 else "sent to its queue again"
            if wait.unserved is not None:
                sent += f'; no worker has served "{wait.task_queue}" for {duration(wait.unserved.total_seconds())}'
            return sent + (_failure(wait) if wait.attempt > 1 else "")
        case "queue-paused":
            why = f": {shorten(wait.pause_reason, 100)}" if wait.pause_reason else ""
            return f'waits in queue "{wait.task_queue}", which is paused{why}'
        case "cancel-requested":
            return "asked to cancel"
        case "paused":
            return "paused" + (f": {shorten(wait.pause_reason, 100)}" if wait.pause_reason else "")
        case state:
            return state or "scheduled"


def _failure(wait: PendingWait) -> str:
    return f" after {shorten(error_words(wait.last_failure), 100)}" if wait.last_failure is not None else ""


def error_words(error: BaseException) -> str:
    """``CardDeclined: no funds``, by the type that an application error names, else by its class."""
    kind, text = getattr(error, "type", None), " ".join(str(error).split())
    named = kind if type(kind) is str and kind else type(error).__name__
    if not text:
        return named
    return text if text.startswith(f"{named}: ") else f"{named}: {text}"


def _in(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "soon"
    seconds = (moment - now).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else "now"


def clock(moment: datetime, now: datetime) -> str:
    """The time of day in the zone of ``now``, with its date unless that is today."""
    local = moment.astimezone(now.tzinfo)
    return f"{local:%H:%M:%S}" if local.date() == now.date() else f"{local:%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """``120 ms``, ``3.8 s``, ``12 min``, ``5 h 3 min``, ``14 days``."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 120:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{hours // 24} days"


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
