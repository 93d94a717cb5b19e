"""Which offsets of one partition are finished, when they finish in any order. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from odradek.log.progress import Progress, Run


class OffsetTracker:
    """The offsets of one partition since it was assigned. ``position`` is the next one that has not been taken."""

    __slots__ = ("_ahead", "_open", "position")

    def __init__(self, position: int, finished: Iterable[Run] = ()) -> None:
        self.position = position
        self._ahead = deque(run for run in finished if run.end > position)
        self._open: dict[int, None] = {}  # in rising order, since offsets are taken in that order

    def take(self, offset: int) -> bool:
        """The record at ``offset`` has been read. False: it was finished before the partition came here."""
        self.position = offset + 1
        ahead = self._ahead
        while ahead and ahead[0].end <= offset:
            ahead.popleft()
        if ahead and ahead[0].first <= offset:
            return False
        self._open[offset] = None
        return True

    def put_back(self, offset: int) -> None:
        """Undo the latest ``take``: the partition stops before this record."""
        self._open.pop(offset, None)
        self.position = offset

    def finish(self, offset: int) -> None:
        self._open.pop(offset, None)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def progress(self, *, clean: bool = False) -> Progress:
        """What may be committed now."""
        runs = list(self._finished())
        lowest = next(iter(self._open), self.position)
        if runs and runs[0].first <= lowest < runs[0].end:
            lowest = runs.pop(0).end
        return Progress(lowest, tuple(runs), clean)

    def _finished(self) -> Iterator[Run]:
        """Finished runs from the lowest open offset on, rising; adjacent ones are joined."""
        current: Run | None = None
        for run in self._pieces():
            if current is not None and run.first <= current.end:
                current = Run(current.first, max(current.end, run.end))
                continue
            if current is not None:
                yield current
            current = run
        if current is not None:
            yield current

    def _pieces(self) -> Iterator[Run]:
        previous: int | None = None
        for offset in self._open:
            if previous is not None and offset > previous + 1:
                yield Run(previous + 1, offset)
            previous = offset
        if previous is not None and self.position > previous + 1:
            yield Run(previous + 1, self.position)
        for first, end in self._ahead:
            if end > self.position:
                yield Run(max(first, self.position), end)
