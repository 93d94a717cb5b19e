"""Disks that are small enough to be filled: each in a mount namespace of its own, for which nobody has to be root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final, Self

_MOUNT: Final = 'mount -t tmpfs -o "size=$1" nemesis "$2" && echo mounted && exec cat'
BALLAST: Final = "ballast"
BLOCK_BYTES: Final = 4096


class NoSmallDisk(Exception):
    """This system lets nobody mount a file system of his own; the message says what it answered."""


class SmallDisk:
    """A file system of ``size_mb`` in memory, at ``path`` for all processes of this user; a context manager."""

    def __init__(self, mount_point: Path, size_mb: int) -> None:
        self._mount_point = mount_point
        self._size_mb = size_mb
        self._holder: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{self._mount_point}")

    def fill(self) -> None:
        """Not a block is left."""
        with (self.path / BALLAST).open("ab", buffering=0) as file:
            for block in (b"\0" * 256 * BLOCK_BYTES, b"\0" * BLOCK_BYTES):
                try:
                    while file.write(block) == len(block):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.path / BALLAST).unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        return os.statvfs(self.path).f_bavail == 0

    def __enter__(self) -> Self:
        """Raises ``NoSmallDisk``."""
        self._mount_point.mkdir(parents=True, exist_ok=True)
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh"]
        arguments = [f"{self._size_mb}m", str(self._mount_point)]
        try:
            self._holder = subprocess.Popen(
                [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise NoSmallDisk(str(error)) from error
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().decode().strip()
        if said != "mounted" or not self.path.is_dir():
            self.__exit__()
            raise NoSmallDisk(said or "unshare says nothing")
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever still uses it keeps it."""
        if self._holder is not None:
            for stream in (self._holder.stdin, self._holder.stdout):
                assert stream is not None
                stream.close()
            self._holder.wait()
            self._holder = None
