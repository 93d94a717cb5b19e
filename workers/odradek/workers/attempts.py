"""One attempt of an activity in this process, and the partition that it came from. Fields only; each names its thread.

Three threads share these: the event loop (runs code), the fetcher (reads, commits), the sender (appends).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from odradek.schemas.records import TaskRecord
from odradek.workers.tracker import OffsetTracker

if TYPE_CHECKING:
    import asyncio

    from odradek.workers.context import AttemptContext

AttemptKey = tuple[str, str, int, int]
"""Namespace (a copy of it has the same runs), run ID, number of the activity in the run, attempt."""


class StopReason(StrEnum):
    """Why a running attempt should stop; the first six come from the orchestrator."""

    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    TIMED_OUT = "timed-out"
    CLOSED = "closed"
    PAUSED = "paused"
    RESET = "reset"
    START_TO_CLOSE = "start-to-close"
    SHUTDOWN = "shutdown"


UNHEARD: Final = frozenset({StopReason.SUPERSEDED, StopReason.TIMED_OUT, StopReason.CLOSED})
"""Nobody waits for the answer of an attempt that was stopped for one of these."""


class Assignment:
    """A partition from its assignment until it goes. Belongs to the fetcher, but for ``is_open``: see ``Running``."""

    __slots__ = ("careful_below", "committed", "is_open", "is_stopped", "partition", "tracker")

    def __init__(self, partition: int, tracker: OffsetTracker, careful_below: int) -> None:
        self.partition = partition
        self.tracker = tracker
        self.careful_below = careful_below
        """Below this offset somebody may have died of a task: attempts are announced before they run."""
        self.is_open = True
        self.is_stopped = False
        """A record of a newer schema stands at ``tracker.position``."""
        self.committed: tuple[int, str] | None = None


class Place(NamedTuple):
    """Where a task stands in its queue."""

    assignment: Assignment
    offset: int


class Attempt:
    """One delivered task, from its arrival until its answer is acknowledged."""

    __slots__ = (
        "announced",
        "asyncio_task",
        "began",
        "careful",
        "closed",
        "context",
        "deadline",
        "durable",
        "ended",
        "gate",
        "payload_bytes",
        "places",
        "refused",
        "started_at",
        "started_ms",
        "stop_reason",
        "task",
    )

    def __init__(self, task: TaskRecord, place: Place, payload_bytes: int) -> None:
        self.task = task
        self.payload_bytes = payload_bytes
        self.places = [place]
        """Fetcher: the offsets that are finished with this attempt; several after a repeated delivery."""
        self.careful = place.offset < place.assignment.careful_below
        # Set by the event loop:
        self.began = False
        self.ended = False
        self.refused = False
        """Will come again, or runs elsewhere: not to be remembered as done."""
        self.started_ms = 0
        self.started_at = 0.0
        self.deadline: float | None = None
        self.stop_reason: StopReason | None = None
        self.asyncio_task: asyncio.Task[Any] | None = None
        self.context: AttemptContext | None = None
        self.gate: asyncio.Future[None] | None = None
        """Opened once the announcement of a careful attempt is acknowledged and its offset committed."""
        # Set by whoever is first:
        self.announced = False
        """``ActivityStarted`` is on its way, or was sent."""
        self.durable = False
        """Its start or its end stands in the inbox, so its offsets are finished."""
        self.closed = False
        """Nothing more will be heard of it."""

    @property
    def key(self) -> AttemptKey:
        return self.task.namespace, self.task.run_id, self.task.seq, self.task.attempt


class Running:
    """The attempts whose code runs. Under the lock, none can begin while its partition is being given up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[int, Attempt] = {}

    def begin(self, attempt: Attempt, now_ms: int, now: float) -> bool:
        """Event loop. False: its partition has gone, so it must not run here."""
        with self._lock:
            if not attempt.places[0].assignment.is_open:
                return False
            attempt.started_ms, attempt.started_at = now_ms, now
            attempt.began = True
            self._attempts[id(attempt)] = attempt
            return True

    def end(self, attempt: Attempt) -> None:
        """Event loop."""
        with self._lock:
            attempt.ended = True
            self._attempts.pop(id(attempt), None)

    def close(self, assignments: Iterable[Assignment]) -> None:
        """Fetcher: nothing of these begins any more."""
        with self._lock:
            for assignment in assignments:
                assignment.is_open = False

    def snapshot(self) -> list[Attempt]:
        with self._lock:
            return list(self._attempts.values())

    def __len__(self) -> int:
        return len(self._attempts)
