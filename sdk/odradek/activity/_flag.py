"""A flag that threads and coroutines can wait for. Costs nothing until somebody waits: there is one per attempt."""

from __future__ import annotations

import asyncio
import threading

_guard = threading.Lock()


class Flag:
    __slots__ = ("_event", "_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._event: threading.Event | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """From any thread."""
        with _guard:
            self._is_set = True
            waiters, self._waiters = self._waiters, None
            if self._event:
                self._event.set()
        for waiter in waiters or ():
            waiter.get_loop().call_soon_threadsafe(_release, waiter)

    async def wait(self) -> None:
        with _guard:
            if self._is_set:
                return
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
        await waiter

    def wait_sync(self, timeout_seconds: float | None = None) -> bool:
        with _guard:
            if self._is_set:
                return True
            if self._event is None:
                self._event = threading.Event()
            event = self._event
        return event.wait(timeout_seconds)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
