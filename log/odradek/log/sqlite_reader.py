"""Reading from the embedded log: a reader looks where a bell rang, and everywhere now and then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from odradek.log.errors import OffsetOutOfRange
from odradek.log.interface import Reader, Record
from odradek.log.sqlite_storage import OFFSET_BITS, OFFSET_MASK, Storage
from odradek.log.wakeup import Bell, bells_folder

LOOK_AGAIN_SECONDS: Final = 0.5
"""How late a record can be when its ring was lost."""
POLL_BYTES_MAX: Final = 16 * 1024 * 1024

_ROWS: Final = "SELECT id, time_ms, key, value FROM records WHERE id >= ? AND id <= ? ORDER BY id LIMIT ?"


@dataclass(slots=True)
class _Cursor:
    topic: str
    number: int
    partition_id: int
    position: int
    paused: bool = False


class SqliteReader(Reader):
    def __init__(self, path: Path, before_waiting: Callable[[], None]) -> None:
        self._storage = Storage(path)
        self._before_waiting = before_waiting
        self._bell = Bell(bells_folder(path), "reader")
        self._cursors: dict[tuple[str, int], _Cursor] = {}
        self._by_id: dict[int, _Cursor] = {}
        self._to_look: dict[int, None] = {}
        self._looked_at = 0.0
        self._woken = False
        self._version = -1

    def assign(self, topic: str, partition: int, offset: int) -> None:
        self.unassign(topic, partition)
        found = self._storage.partition(topic, partition)
        cursor = _Cursor(topic, partition, found.id, offset)
        self._cursors[topic, partition] = cursor
        self._by_id[found.id] = cursor
        self._to_look[found.id] = None

    def unassign(self, topic: str, partition: int) -> None:
        cursor = self._cursors.pop((topic, partition), None)
        if cursor is not None:
            del self._by_id[cursor.partition_id]
            self._to_look.pop(cursor.partition_id, None)

    def pause(self, topic: str, partition: int) -> None:
        self._cursors[topic, partition].paused = True

    def resume(self, topic: str, partition: int) -> None:
        cursor = self._cursors[topic, partition]
        cursor.paused = False
        self._to_look[cursor.partition_id] = None

    def poll(self, timeout_seconds: float, records_max: int = 1000) -> list[Record]:
        self._listen(0)
        records = self._take(records_max) if self._to_look else []
        if records or timeout_seconds <= 0:
            return records
        deadline = monotonic() + timeout_seconds
        self._before_waiting()
        while not records and not self._woken:
            remaining = deadline - monotonic()
            if remaining <= 0:
                break
            self._listen(min(remaining, LOOK_AGAIN_SECONDS))
            if self._to_look:
                records = self._take(records_max)
        self._woken = False
        return records

    def wake(self) -> None:
        self._woken = True
        self._bell.ring()

    def position(self, topic: str, partition: int) -> int:
        return self._cursors[topic, partition].position

    def close(self) -> None:
        self._cursors.clear()
        self._by_id.clear()
        self._bell.close()
        self._storage.close()

    def _listen(self, timeout_seconds: float) -> None:
        rung = self._bell.wait(timeout_seconds)
        if rung is None:
            self._to_look.update(dict.fromkeys(self._by_id))
        else:
            for number in rung:
                if number in self._by_id:
                    self._to_look[number] = None
        now = monotonic()
        if now - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = now
            version = self._storage.data_version()
            if version != self._version:
                self._version = version
                self._to_look.update(dict.fromkeys(self._by_id))

    def _take(self, records_max: int) -> list[Record]:
        records: list[Record] = []
        execute = self._storage.connection.execute
        # One transaction: offsets and records are of the same moment.
        execute("BEGIN")
        try:
            bytes_left = POLL_BYTES_MAX
            for partition_id in list(self._to_look):
                cursor = self._by_id[partition_id]
                if cursor.paused:
                    del self._to_look[partition_id]
                    continue
                offsets = self._storage.offsets(partition_id)
                if offsets is not None and not offsets.begin <= cursor.position <= offsets.end:
                    if not records:
                        self.unassign(cursor.topic, cursor.number)
                        raise OffsetOutOfRange(cursor.topic, cursor.number, cursor.position, *offsets)
                    break
                bytes_left, finished = self._read(cursor, records, records_max - len(records), bytes_left)
                # What has not been read to its end goes to the back of the line.
                del self._to_look[partition_id]
                if not finished:
                    self._to_look[partition_id] = None
                    break
                if offsets is not None:
                    cursor.position = offsets.end
        finally:
            execute("COMMIT")
        return records

    def _read(self, cursor: _Cursor, records: list[Record], rows_max: int, bytes_left: int) -> tuple[int, bool]:
        start = (cursor.partition_id << OFFSET_BITS) + cursor.position
        stop = (cursor.partition_id << OFFSET_BITS) + OFFSET_MASK
        topic, number, new = cursor.topic, cursor.number, tuple.__new__
        before = len(records)
        for identity, time_ms, key, value in self._storage.connection.execute(_ROWS, (start, stop, rows_max)):
            records.append(new(Record, (topic, number, identity & OFFSET_MASK, time_ms, key, value)))
            if value is not None:
                bytes_left -= len(value)
                if bytes_left <= 0:
                    break
        taken = len(records) - before
        if taken:
            cursor.position = records[-1].offset + 1
        return bytes_left, taken < rows_max and bytes_left > 0
