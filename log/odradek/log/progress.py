"""What stands beside a group's commit: the offsets above it that are finished, too, since tasks end in any order.

Pure. The text only ever saves work: what does not fit, or cannot be read, is run again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
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

    def done(self, begin: int = 0) -> int:
        """How many offsets are finished, all below ``begin`` included."""
        return max(self.offset, begin) + sum(end - max(first, begin) for first, end in self.finished if end > begin)


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
