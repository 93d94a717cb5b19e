"""Waking readers in other processes of one host: each bell is a datagram socket in a folder beside the database.

A ring may be lost (a full queue, a stopped process), so whoever waits must look for itself now and then, too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import math
import os
import select
import socket
import struct
import tempfile
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

RING_NUMBERS_MAX: Final = 100
PATH_BYTES_MAX: Final = 100
"""The least that systems allow for the path of a socket, with a margin."""
DRAINED_TRUSTED_MAX: Final = 7
"""When this many rings were waiting, the queue (ten, by Linux's default) may have been full and more been lost."""
_FRESH_SECONDS: Final = 0.1

_counter = itertools.count()


def bells_folder(database: Path) -> Path:
    """Where the bells of this database hang: beside it, or in the temporary folder when that path is too long."""
    beside = database.with_name(database.name + "-bells")
    if len(os.fsencode(beside)) + 40 > PATH_BYTES_MAX:
        digest = hashlib.sha256(os.fsencode(database)).hexdigest()[:24]
        beside = Path(tempfile.gettempdir()) / f"odradek-{os.getuid()}-{digest}"
    beside.mkdir(mode=0o700, exist_ok=True)
    return beside


class Bell:
    """Wakes its one owner. ``kind`` says which rings it hears. One that its owner leaves behind is taken down, too."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._path = str(folder / f"{kind}-{os.getpid()}-{next(_counter)}-{os.urandom(3).hex()}")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self._path)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.close = weakref.finalize(self, _take_down, self._socket, self._path)
        self.close.atexit = False  # a forked process must not take down what is its parent's

    def wait(self, timeout_seconds: float) -> set[int] | None:
        """The numbers rung since the last call, after waiting for the first; None: look everywhere, rings may be lost.

        Empty when the time is up.
        """
        if timeout_seconds > 0:
            self._poll.poll(math.ceil(timeout_seconds * 1000))
        numbers: set[int] = set()
        drained = 0
        everywhere = False
        while True:
            try:
                ring = self._socket.recv(8 * RING_NUMBERS_MAX)
            except BlockingIOError:
                break
            drained += 1
            everywhere |= not ring
            numbers.update(struct.unpack(f"={len(ring) // 8}q", ring))
        return None if everywhere or drained > DRAINED_TRUSTED_MAX else numbers

    def ring(self) -> None:
        """Wake the owner from another thread of this process."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"", socket.MSG_DONTWAIT, self._path)


def _take_down(bell: socket.socket, path: str) -> None:
    bell.close()
    with contextlib.suppress(OSError):
        Path(path).unlink()


class Ringer:
    """Rings all bells of a kind. One per thread."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder
        self._prefix = f"{kind}-"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._paths: list[str] = []
        self._seen_ns = -1

    def ring(self, numbers: Iterable[int] = ()) -> None:
        chosen = list(numbers)
        message = b"" if len(chosen) > RING_NUMBERS_MAX else struct.pack(f"={len(chosen)}q", *chosen)
        for path in self._bells():
            try:
                self._socket.sendto(message, socket.MSG_DONTWAIT, path)
            except OSError as error:
                if error.errno in (errno.ECONNREFUSED, errno.ENOENT):
                    self._forget(path)

    def close(self) -> None:
        self._socket.close()

    def _bells(self) -> list[str]:
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return []
        if changed_ns != self._seen_ns:
            names = (path.name for path in self._folder.iterdir())
            self._paths = [f"{self._folder}/{name}" for name in names if name.startswith(self._prefix)]
            # The time stamp is coarse: a bell hung within the same tick would never be noticed.
            fresh = time.time() - changed_ns / 1e9 < _FRESH_SECONDS
            self._seen_ns = -1 if fresh else changed_ns
        return self._paths

    def _forget(self, path: str) -> None:
        # Its owner died without taking it down.
        with contextlib.suppress(OSError):
            Path(path).unlink()
        self._seen_ns = -1
