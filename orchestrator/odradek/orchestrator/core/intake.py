"""What of the inbox has been read and is not decided yet, and whose turn it is."""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush


class Holds:
    """On inbox records that wait: for their turn, behind a barrier, or for a note. x stays below the first of them.

    ``bytes``: what they take in memory.
    """

    def __init__(self) -> None:
        self._offsets: list[tuple[int, int]] = []
        self._open: dict[int, int] = {}
        self._number = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, offset: int, held_bytes: int) -> int:
        """A hold on this offset, for ``release``."""
        self._number += 1
        heappush(self._offsets, (offset, self._number))
        self._open[self._number] = held_bytes
        self.bytes += held_bytes
        return self._number

    def release(self, hold: int) -> None:
        self.bytes -= self._open.pop(hold)

    def first(self) -> int | None:
        """The lowest offset that is held."""
        while self._offsets and self._offsets[0][1] not in self._open:
            heappop(self._offsets)
        return self._offsets[0][0] if self._offsets else None


class Intake:
    def __init__(self) -> None:
        self.holds = Holds()
        self.backlog: dict[str, None] = {}
        """Workflows whose inputs wait for nothing but their turn; the next one first."""
        self.taken: Counter[str] = Counter()
        """How many inputs of a workflow have been taken in since the last flush; and of all together:"""
        self.total = 0

    def count(self, workflow_id: str) -> None:
        self.taken[workflow_id] += 1
        self.total += 1

    def flushed(self) -> None:
        """Everybody may have another turn."""
        self.taken.clear()
        self.total = 0
