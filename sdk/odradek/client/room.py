"""How much a connection may have under way: requests that have been sent, may still be taken in, and have no answer.

A caller that gives up keeps its place until the answer comes or the request expires, so what a client can pile up in an
inbox is bounded, however often its callers try again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque


class Room:
    """Places for so many requests and bytes; for any number of event loops and threads. First come, first served."""

    def __init__(self, count_max: int, bytes_max: int, waiting_max: int) -> None:
        self._count_max, self._bytes_max, self._waiting_max = count_max, bytes_max, waiting_max
        self.count = self.bytes = 0
        self._waiting: OrderedDict[asyncio.Future[None], tuple[asyncio.AbstractEventLoop, int]] = OrderedDict()
        self._given_up: dict[str, int] = {}
        self._expiring: deque[tuple[float, str]] = deque()
        self._lock = threading.Lock()

    @property
    def is_crowded(self) -> bool:
        """So many wait already that nobody else should."""
        return len(self._waiting) >= self._waiting_max

    def enter(self, size: int) -> bool:
        """Take a place at once, if there is one; one request fits always, however large it is."""
        with self._lock:
            if self._waiting or not self._fits(size):
                return False
            self._take(size)
            return True

    async def wait(self, size: int, timeout_seconds: float | None) -> None:
        """Take a place when it is one's turn. Raises ``TimeoutError``."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiting[turn] = loop, size
        self._admit()
        try:
            async with asyncio.timeout(timeout_seconds):
                await turn
        except BaseException:
            with self._lock:
                self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled():
                self.leave(size)
            else:
                self._admit()  # those behind it may be smaller
            raise

    def leave(self, size: int) -> None:
        with self._lock:
            self.count -= 1
            self.bytes -= size
        self._admit()

    # ------------------------------------------------------------------------- requests whose callers have given up

    def give_up(self, request_id: str, size: int, seconds: float) -> None:
        """Keep the place until ``answered``, at the longest for this long."""
        if request_id in self._given_up:  # the same request, sent anew: one place is enough
            self.leave(size)
            return
        self._given_up[request_id] = size
        self._expiring.append((time.monotonic() + seconds, request_id))

    def answered(self, request_id: str) -> None:
        """Its place is free, if its caller has given up before."""
        size = self._given_up.pop(request_id, None) if self._given_up else None
        if size is not None:
            self.leave(size)

    def expire(self, now: float) -> None:
        while self._expiring and (self._expiring[0][0] <= now or self._expiring[0][1] not in self._given_up):
            self.answered(self._expiring.popleft()[1])

    # ----------------------------------------------------------------------------------------------------- turns

    def _fits(self, size: int) -> bool:
        return not self.count or (self.count < self._count_max and self.bytes + size <= self._bytes_max)

    def _take(self, size: int) -> None:
        self.count += 1
        self.bytes += size

    def _admit(self) -> None:
        """Give what is free to those who wait."""
        admitted = []
        with self._lock:
            while self._waiting:
                turn, (loop, size) = next(iter(self._waiting.items()))
                if not self._fits(size):
                    break
                del self._waiting[turn]
                self._take(size)
                admitted.append((loop, turn, size))
        for loop, turn, size in admitted:
            try:
                loop.call_soon_threadsafe(self._tell, turn, size)
            except RuntimeError:  # that loop is closed: nobody waits there
                self.leave(size)

    def _tell(self, turn: asyncio.Future[None], size: int) -> None:
        if turn.done():  # the caller has given up meanwhile
            self.leave(size)
        else:
            turn.set_result(None)
