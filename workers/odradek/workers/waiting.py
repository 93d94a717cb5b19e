"""Which of the attempts that wait in this worker begins next: the most urgent, and of these each key in its turn.

The worker sees as far into a partition as it has read ahead. What stands behind that waits for what stands before it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Final

from odradek.workers.attempts import Attempt

DEFAULT_PRIORITY: Final = 3
NO_KEY: Final = ""


class _Tenant:
    """The attempts of one fairness key at one priority."""

    __slots__ = ("attempts", "due", "key", "waits")

    def __init__(self, key: str) -> None:
        self.key = key
        self.attempts: deque[Attempt] = deque()
        self.due = 0.0
        """In turns of a key of weight 1: when its next attempt may begin."""
        self.waits = False
        """It stands in its level's heap."""


class _Level:
    """One priority: its tenants take turns, in proportion to their weights."""

    def __init__(self) -> None:
        self.tenants: dict[str, _Tenant] = {}
        self._heap: list[tuple[float, int, _Tenant]] = []
        self._numbers = count()
        self._now = 0.0

    def add(self, attempt: Attempt, key: str) -> None:
        tenant = self.tenants.get(key)
        if tenant is None:
            tenant = self.tenants[key] = _Tenant(key)
        tenant.attempts.append(attempt)
        self.enter(tenant)

    def enter(self, tenant: _Tenant) -> None:
        if not tenant.waits and tenant.attempts:
            tenant.due = max(tenant.due, self._now)  # who was away has saved nothing up
            tenant.waits = True
            heapq.heappush(self._heap, (tenant.due, next(self._numbers), tenant))

    def pop(self, may_begin: Callable[[str], bool]) -> Attempt | None:
        while self._heap:
            due, _, tenant = heapq.heappop(self._heap)
            tenant.waits = False
            if not tenant.attempts:
                self.tenants.pop(tenant.key, None)
            elif may_begin(tenant.key):  # the others come back when one of theirs has ended
                attempt = tenant.attempts.popleft()
                self._now = due
                tenant.due = due + 1 / _weight(attempt)
                if tenant.attempts:
                    self.enter(tenant)
                else:
                    del self.tenants[tenant.key]
                return attempt
        return None


class Waiting:
    """Belongs to the event loop. Costs a deque's price while nobody names priorities or keys."""

    def __init__(self, per_key_max: int | None = None) -> None:
        self._plain: deque[Attempt] = deque()
        self._levels: dict[int, _Level] = {}
        self._count = 0
        self._per_key_max = per_key_max
        self._running: dict[str, int] = {}
        self.is_mixed = False
        """Somebody has named a priority or a key: it is worth looking further ahead."""

    def __len__(self) -> int:
        return len(self._plain) + self._count

    def __iter__(self) -> Iterator[Attempt]:
        yield from self._plain
        for level in self._levels.values():
            for tenant in level.tenants.values():
                yield from tenant.attempts

    def extend(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            if attempt.task.priority is None and not self._levels:
                self._plain.append(attempt)
            else:
                self._add(attempt)

    def pop(self) -> Attempt | None:
        """The next one; None when there is none, or all that wait are of keys that have enough under way."""
        if self._plain:
            return self._plain.popleft()
        for priority in sorted(self._levels):
            attempt = self._levels[priority].pop(self._may_begin)
            if attempt is not None:
                self._count -= 1
                key = _key(attempt)
                if key != NO_KEY and self._per_key_max is not None:
                    self._running[key] = self._running.get(key, 0) + 1
                return attempt
        return None

    def ended(self, attempt: Attempt) -> None:
        """One that was popped is over: its key may begin another."""
        if self._per_key_max is None or (key := _key(attempt)) == NO_KEY:
            return
        left = self._running.pop(key, 1) - 1
        if left > 0:
            self._running[key] = left
        for level in self._levels.values():
            if key in level.tenants:
                level.enter(level.tenants[key])

    def remove(self, attempt: Attempt) -> bool:
        for attempts in (self._plain, *(t.attempts for level in self._levels.values() for t in level.tenants.values())):
            if attempt in attempts:
                attempts.remove(attempt)
                self._count -= attempts is not self._plain
                return True
        return False

    def take_out(self, goes: Callable[[Attempt], bool]) -> list[Attempt]:
        """Remove and return those that go."""
        going = [attempt for attempt in self if goes(attempt)]
        if going:
            staying = [attempt for attempt in self if not goes(attempt)]
            self._plain.clear()
            self._levels.clear()
            self._count = 0
            self.extend(staying)
        return going

    def _add(self, attempt: Attempt) -> None:
        self.is_mixed = True
        plain, self._plain = self._plain, deque()
        for one in (*plain, attempt):
            named = one.task.priority
            priority = (named.key if named else 0) or DEFAULT_PRIORITY
            level = self._levels.get(priority)
            if level is None:
                level = self._levels[priority] = _Level()
            level.add(one, _key(one))
            self._count += 1

    def _may_begin(self, key: str) -> bool:
        most = self._per_key_max
        return most is None or key == NO_KEY or self._running.get(key, 0) < most


def _key(attempt: Attempt) -> str:
    priority = attempt.task.priority
    return priority.fairness_key if priority is not None else NO_KEY


def _weight(attempt: Attempt) -> float:
    priority = attempt.task.priority
    return (priority.fairness_weight if priority is not None else 0) or 1.0
