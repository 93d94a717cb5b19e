"""How many attempts may begin per second, on this worker and on all workers of a queue together.

Each start has its moment, one after the other at even distances; a short burst catches up with what a timer was late
for. Without Redis a queue's limit is divided by partitions: each worker may start its share of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from odradek.workers.shared import SharedState


BURST_SECONDS: Final = 0.05
"""How far behind its moments a start may be and still not push back the following ones."""
ASK_SECONDS: Final = 0.02
"""Between two questions to Redis for moments."""
IDLE_SECONDS: Final = 1.0


class Limit(Protocol):
    """Says when the next attempt may begin. Belongs to the event loop, but for ``share``."""

    share: float
    """Of the queue's partitions, those that this worker has."""

    def wait_seconds(self, now: float, wanted: int) -> float:
        """Until the next start may be, of ``wanted`` ones that wait; 0: now."""

    def start(self, now: float) -> None: ...


class Pace:
    """A limit that this worker keeps by itself."""

    def __init__(self, per_second: float, *, divided: bool = False) -> None:
        if not per_second > 0:
            raise ValueError(f"a rate of {per_second:g} activities per second is none: it must be more than 0")
        self.per_second = per_second
        self.share = 1.0
        self._divided = divided
        self._next = 0.0

    def wait_seconds(self, now: float, wanted: int) -> float:
        if self._divided and not self.share:
            return IDLE_SECONDS
        return max(0.0, self._next - now)

    def start(self, now: float) -> None:
        rate = self.per_second * (self.share if self._divided else 1)
        self._next = max(self._next, now - BURST_SECONDS) + 1 / rate


class Halted:
    """Nothing begins: an operator has paused the queue."""

    share = 1.0

    def wait_seconds(self, now: float, wanted: int) -> float:
        return IDLE_SECONDS  # it is over when the limits are set anew

    def start(self, now: float) -> None:
        raise AssertionError("an attempt begins in a paused queue")


class SharedPace:
    """A limit that all workers of a queue keep together, by moments that Redis gives out; without it each its share."""

    def __init__(self, per_second: float, queue: str, shared: SharedState, on_granted: Callable[[], None]) -> None:
        self._alone = Pace(per_second, divided=True)
        self._queue, self._shared, self._on_granted = queue, shared, on_granted
        self._granted = 0
        self._expires = 0.0
        self._asking: asyncio.Task[None] | None = None

    @property
    def share(self) -> float:
        return self._alone.share

    @share.setter
    def share(self, share: float) -> None:
        self._alone.share = share

    def wait_seconds(self, now: float, wanted: int) -> float:
        if not self._shared.is_up:
            return self._alone.wait_seconds(now, wanted)
        if self._granted and now < self._expires:
            return 0.0
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask(wanted))
        return IDLE_SECONDS  # or as soon as there is an answer

    def start(self, now: float) -> None:
        self._alone.start(now)
        if self._granted:
            self._granted -= 1

    async def _ask(self, wanted: int) -> None:
        try:
            while True:
                granted = await asyncio.to_thread(
                    self._shared.moments, self._queue, self._alone.per_second, wanted, BURST_SECONDS
                )
                if granted is None or granted:
                    break
                await asyncio.sleep(max(ASK_SECONDS, 1 / self._alone.per_second / 4))
            if granted:
                self._granted = granted
                # What is not used at once goes: it was meant for now.
                self._expires = time.monotonic() + 1.0
        finally:
            self._asking = None
        self._on_granted()
