"""Which offsets of one partition are finished, when they finish in any order; and that as text beside a group's commit.

Pure. The text only ever saves work: what does not fit, or cannot be read, is run again.
"""

from __future__ import annotations

import base64
import binascii
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

METADATA_CHARS_MAX: Final = 4096
"""What a broker takes by default (``offset.metadata.max.bytes``)."""
_VERSION: Final = "1"
_CLEAN: Final = "c"
_UNCLEAN: Final = "-"


class Run(NamedTuple):
    """Offsets ``first`` up to ``end``, exclusive."""

    first: int
    end: int


class Progress(NamedTuple):
    """A committed position as it is meant. ``clean``: the holder gave the partition up in order, nothing of it runs."""

    offset: int
    finished: tuple[Run, ...] = ()
    clean: bool = False


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


def encode_metadata(progress: Progress, chars_max: int = METADATA_CHARS_MAX) -> str:
    """Version, flag, then the lengths of open and finished stretches in turn, from ``progress.offset`` on."""
    data = bytearray()
    at = progress.offset
    room = (chars_max - 2) // 4 * 3
    for first, end in progress.finished:
        piece = _varint(first - at) + _varint(end - first)
        if len(data) + len(piece) > room:
            break
        data += piece
        at = end
    return _VERSION + (_CLEAN if progress.clean else _UNCLEAN) + base64.b64encode(data).decode()


def decode_metadata(offset: int, metadata: str) -> Progress:
    """The reverse. Text of an unknown form means: nothing above ``offset`` is known to be finished."""
    if metadata[:1] != _VERSION or metadata[1:2] not in (_CLEAN, _UNCLEAN):
        return Progress(offset)
    try:
        lengths = list(_varints(base64.b64decode(metadata[2:], validate=True)))
    except (binascii.Error, ValueError):
        return Progress(offset)
    runs: list[Run] = []
    at = offset
    for unfinished, finished in zip(lengths[::2], lengths[1::2], strict=False):
        first = at + unfinished
        at = first + finished
        runs.append(Run(first, at))
    return Progress(offset, tuple(runs), metadata[1] == _CLEAN)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
    if shift:
        raise ValueError("the last number is cut off")
