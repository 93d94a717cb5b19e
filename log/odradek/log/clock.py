"""The time that decides: when timers fire, when requests expire. A log's own append times are another matter.

A ``VirtualClock`` can be ahead of its host, so that a test of two weeks takes milliseconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext


class Clock:
    """The host's time. One that never skips: the other methods do nothing."""

    is_wanted_to_skip = False
    """Somebody waits for time to pass, at any speed."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def awaiting(self) -> AbstractContextManager[None]:
        """While this is open somebody waits for a result, and a clock that can skip may."""
        return nullcontext()

    def attend(self, wake: Callable[[], None]) -> None:
        """Somebody acts on this clock from now on: ``wake`` is called, from any thread, when time may be skipped."""

    def leave(self, wake: Callable[[], None]) -> None:
        """The end of ``attend``."""

    def skip_to(self, due_ms: int | None) -> bool:
        """Nothing can happen before ``due_ms`` (None: at all, by itself); whether the clock has moved."""
        return False


WALL = Clock()


class VirtualClock(Clock):
    """The host's time plus what has been skipped. For one environment; usable from any thread.

    Time moves with the host's, and is skipped only while somebody waits for that (``awaiting`` while ``skips`` is set,
    or a ``Sleep``) and whoever acts on this clock says that nothing can happen before a certain time.
    """

    def __init__(self) -> None:
        self.skips = True
        """Whether time is skipped while somebody awaits a result."""
        self._ahead_ms = 0
        self._lock = threading.RLock()
        self._awaiting = 0
        self._sleeping: list[Sleep] = []
        self._attending: list[Callable[[], None]] = []

    def now_ms(self) -> int:
        return super().now_ms() + self._ahead_ms

    @property
    def is_wanted_to_skip(self) -> bool:  # type: ignore[override]
        return bool(self._sleeping) or (self._awaiting > 0 and self.skips)

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        with self._lock:
            self._awaiting += 1
        self.wake()
        try:
            yield
        finally:
            with self._lock:
                self._awaiting -= 1

    @contextmanager
    def without_skipping(self) -> Iterator[None]:
        before, self.skips = self.skips, False
        try:
            yield
        finally:
            self.skips = before
            self.wake()

    @contextmanager
    def sleep(self, milliseconds: int, on_over: Callable[[], None]) -> Iterator[None]:
        """Let time pass, at any speed; ``on_over`` is called once, from any thread, when it has."""
        sleep = Sleep(self.now_ms() + milliseconds, on_over)
        with self._lock:
            self._sleeping.append(sleep)
        self.wake()
        try:
            yield
        finally:
            with self._lock:
                if sleep in self._sleeping:
                    self._sleeping.remove(sleep)

    def wake(self) -> None:
        """Something has changed: whoever acts on this clock looks again; with nobody there, sleepers' time passes."""
        with self._lock:
            attending = list(self._attending)
            if not attending and self._sleeping:
                self.skip_to(None)
        for wake in attending:
            wake()

    def attend(self, wake: Callable[[], None]) -> None:
        with self._lock:
            self._attending.append(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        with self._lock:
            if wake in self._attending:
                self._attending.remove(wake)
        self.wake()

    def skip_to(self, due_ms: int | None) -> bool:
        with self._lock:
            targets = [sleep.until_ms for sleep in self._sleeping]
            if due_ms is not None and (targets or (self._awaiting and self.skips)):
                targets.append(due_ms)
            if not targets:
                return False
            ahead_ms = min(targets) - self.now_ms()
            self._ahead_ms += max(0, ahead_ms)
            self._end_sleeps()
            return ahead_ms >= 0

    def _end_sleeps(self) -> None:
        now_ms = self.now_ms()
        over = [sleep for sleep in self._sleeping if sleep.until_ms <= now_ms]
        self._sleeping = [sleep for sleep in self._sleeping if sleep.until_ms > now_ms]
        for sleep in over:
            sleep.on_over()


class Sleep:
    """Somebody who waits for a time to come."""

    def __init__(self, until_ms: int, on_over: Callable[[], None]) -> None:
        self.until_ms = until_ms
        self.on_over = on_over
