"""Counts that survive a SIGKILL of whoever counts: two numbers in a mapped file. Standard library only."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path

STEPS, WAITING = 0, 1
"""Step functions that ran; sleepers that have come to their wait."""
VARIABLE = "ODRADEK_BENCH_COUNTER"
"""Names the file in the environment of every process of a contestant."""
_SLOTS = 2


class Counter:
    """One process adds to a slot; others may read it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(8 * _SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8 * _SLOTS)
        self._lock = threading.Lock()

    def add(self, slot: int) -> None:
        with self._lock:
            struct.pack_into("<q", self._map, 8 * slot, self.read(slot) + 1)

    def read(self, slot: int) -> int:
        number: int = struct.unpack_from("<q", self._map, 8 * slot)[0]
        return number

    def zero(self) -> None:
        self._map[:] = bytes(8 * _SLOTS)


def of_environment() -> Counter:
    return Counter(Path(os.environ[VARIABLE]))
