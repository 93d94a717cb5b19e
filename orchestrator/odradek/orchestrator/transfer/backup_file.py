"""A namespace in a file: an Avro container with one entry a record, which any Avro tool can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import fastavro

from odradek.orchestrator.transfer.entries import Entry, Header, Source
from odradek.orchestrator.transfer.errors import BackupUnreadable

FORMAT: Final = 1
_HEADER: Final = "odradek.backup"
_PARTS: Final = ("archive", "control", "key", "history", "inbox", "visibility", "end")
_SCHEMA: Final = {
    "type": "record",
    "name": "BackupEntry",
    "namespace": "odradek",
    "fields": [
        {"name": "part", "type": "string"},
        {"name": "partition", "type": "int"},
        {"name": "offset", "type": "long"},
        {"name": "time_ms", "type": "long"},
        {"name": "key", "type": ["null", "bytes"]},
        {"name": "value", "type": ["null", "bytes"]},
    ],
}


def write_backup(path: Path, source: Source) -> int:
    """Write it all beside ``path``, then put it there; returns how many entries there are."""
    header = json.dumps({"format": FORMAT, **asdict(source.header)})
    unfinished = path.with_name(path.name + ".part")
    count = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal count
        for entry in source.entries():
            count += 1
            yield entry._asdict()

    try:
        unfinished.touch(mode=0o600)  # it holds what the topics hold
        with unfinished.open("wb") as out:
            fastavro.writer(out, _SCHEMA, counted(), codec="deflate", metadata={_HEADER: header})
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


class BackupFile:
    """A ``Source``. Raises ``BackupUnreadable``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                facts = json.loads(fastavro.reader(file).metadata[_HEADER])
                if facts.pop("format") != FORMAT:
                    raise ValueError("it was written in another format")
                self.header = Header(**facts)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise self._unreadable(error) from error

    def entries(self) -> Iterator[Entry]:
        """Raises ``BackupUnreadable``, too, where the file breaks off."""
        ends = 0
        try:
            with self._path.open("rb") as file:
                for fields in fastavro.reader(file):
                    entry = Entry(**fields)  # type: ignore[arg-type]  # the schema says so
                    if entry.part not in _PARTS:
                        raise ValueError(f'it has a part "{entry.part}"')
                    ends += entry.part == "end"
                    yield entry
        except (OSError, ValueError, KeyError, TypeError, EOFError, IndexError) as error:
            raise self._unreadable(error) from error
        if ends != self.header.partitions:
            raise BackupUnreadable(
                str(self._path), f"it breaks off after {ends} of {self.header.partitions} partitions"
            )

    def _unreadable(self, error: Exception) -> BackupUnreadable:
        return BackupUnreadable(str(self._path), f"{type(error).__name__}: {error}")
