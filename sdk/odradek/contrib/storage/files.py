"""Payloads as files of a folder that all processes share."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from odradek.contrib.storage.content import ContentDriver


class FileStorageDriver(ContentDriver):
    """Files are written whole, by renaming, and synced. One that is stored again gets a new modification time.

    So what is older than runs and their histories are kept can be deleted by its age.
    """

    def __init__(self, folder: str | os.PathLike[str], *, name: str = "files") -> None:
        super().__init__(name)
        self.folder = Path(folder)

    def place(self, digest: str) -> str:
        return str(self._path(digest))

    def write(self, digest: str, stored: bytes) -> None:
        path = self._path(digest)
        with suppress(FileNotFoundError):
            os.utime(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        file, scratch = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
        try:
            with os.fdopen(file, "wb") as output:
                output.write(stored)
                output.flush()
                os.fsync(output.fileno())
            Path(scratch).replace(path)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def read(self, digest: str) -> bytes | None:
        try:
            return self._path(digest).read_bytes()
        except FileNotFoundError:
            if not self.folder.is_dir():  # not mounted: that is no word on what it holds
                raise
            return None

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / digest


def _sync(folder: Path) -> None:
    """The name of a new file is durable only then."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
