"""Appending to the embedded log: what all appenders of a process have queued is written in one transaction.

Whoever polls writes, since handing over to another thread costs milliseconds while the interpreter is busy. A thread of
its own writes for those who do not poll, and takes over where the disk is so slow that polling would stand still.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep
from typing import Final, NamedTuple

from odradek.log.errors import AppendFailed, AppendQueueFull, LogError, RecordTooLarge, TopicMissing
from odradek.log.interface import Appender, OnAppended
from odradek.log.sqlite_storage import OFFSET_BITS, Storage, wall_ms
from odradek.log.wakeup import Ringer, bells_folder

RECORD_OVERHEAD_BYTES: Final = 100
QUEUE_RECORDS_MAX: Final = 200_000
BATCH_RECORDS_MAX: Final = 2_000
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
TRIM_RECORDS: Final = 2_000
STATEMENT_ROWS_MAX: Final = 256
GRACE_SECONDS: Final = 0.002
"""How long the writing thread leaves a record to those who poll."""
CHECKPOINT_BYTES: Final = 16 * 1024 * 1024
PAGE_BYTES: Final = 4096
HELP_LOCK_SECONDS: Final = 0.002
HELP_SECONDS_CHEAP: Final = 0.003
HELP_PAUSE_FACTOR: Final = 10
"""After a slow write a poll does not write for so many times as long: polls lose a tenth of their time at most."""

_logger = logging.getLogger("odradek.log.sqlite")

# Many rows per statement: the interpreter's lock is given up and won back once per statement, not once per row, and a
# busy main thread makes each of those wait for milliseconds.
_INSERTS: Final = {
    rows: "INSERT INTO records VALUES " + ", ".join(["(?, ?, ?, ?)"] * rows)  # noqa: S608  # constants
    for rows in (1 << power for power in range(STATEMENT_ROWS_MAX.bit_length()))
}


class Target(NamedTuple):
    """A partition that can be appended to."""

    id: int
    record_bytes_max: int
    needs_key: bool


class Queued(NamedTuple):
    target: Target
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    on_appended: OnAppended | None
    appender: SqliteAppender


class Writer:
    """The process's writing thread. Started with the first appender, ended by ``close``."""

    def __init__(self, path: Path, after_commit: Callable[[], None]) -> None:
        self._storage = Storage(path)
        self._ringer = Ringer(bells_folder(path), "reader")
        self._after_commit = after_commit
        self._queue: deque[Queued] = deque()
        self._trims: dict[int, int] = {}
        self._work = Event()
        self._idle = True
        self._closing = False
        # Whose turn it is to write: guards the storage, the ringer, and the two below.
        self._turn = Lock()
        self._ends: dict[int, int] = {}
        self._version = -1
        self._no_help_before = 0.0
        self._was_slow = False
        self._helped = 0
        self._unchecked_bytes = 0
        self._targets: dict[tuple[str, int], Target] = {}
        self._targets_lock = Lock()
        self._lookup = Storage(path)
        self._thread = Thread(target=self._run, name="odradek-log-writer", daemon=True)
        self._thread.start()

    def target(self, topic: str, partition: int) -> Target:
        """Where an append goes; raises ``TopicMissing``."""
        found = self._targets.get((topic, partition))
        if found is None:
            with self._targets_lock:
                row = self._lookup.topic(topic)
                if row is None:
                    raise TopicMissing(topic)
                number = self._lookup.partition(topic, partition).id
            found = Target(number, row.record_bytes_max, row.policy == "compact")
            self._targets[topic, partition] = found
        return found

    def queue(self, record: Queued) -> None:
        self._queue.append(record)
        if self._idle:
            self._work.set()

    @property
    def queued(self) -> int:
        return len(self._queue)

    def trim(self, partition_id: int, before: int) -> None:
        """Drop a partition's records below ``before``, in the background."""
        self._trims[partition_id] = max(before, self._trims.get(partition_id, 0))
        self._work.set()

    def close(self) -> None:
        self._closing = True
        self._work.set()
        self._thread.join()
        self._storage.close()
        self._lookup.close()
        self._ringer.close()

    def help(self) -> None:
        """Write what is queued, in the caller's thread, unless that would take long."""
        if not self._queue or monotonic() < self._no_help_before or not self._turn.acquire(blocking=False):
            return
        begun = monotonic()
        try:
            if self._storage.try_lock(HELP_LOCK_SECONDS):
                try:
                    self._append(self._next_batch())
                    self._helped += 1
                finally:
                    self._storage.unlock()
        finally:
            self._turn.release()
        if self._unchecked_bytes >= CHECKPOINT_BYTES:
            self._work.set()
        spent = monotonic() - begun
        was_slow, self._was_slow = self._was_slow, spent > HELP_SECONDS_CHEAP
        if was_slow and self._was_slow:
            self._no_help_before = begun + spent * HELP_PAUSE_FACTOR

    def _run(self) -> None:
        while True:
            self._idle = True
            if not self._queue and not self._trims and self._unchecked_bytes < CHECKPOINT_BYTES:
                if self._closing:
                    return
                self._work.wait()
            self._idle = False
            self._work.clear()
            if self._queue and not self._is_helped():
                with self._turn, self._storage.writing():
                    self._append(self._next_batch())
            if self._trims:
                with self._turn:
                    self._trim_some()
            if self._unchecked_bytes >= CHECKPOINT_BYTES:
                self._checkpoint()
            self._after_commit()

    def _is_helped(self) -> bool:
        """Whether somebody who polls takes care of the queue."""
        if self._closing or monotonic() < self._no_help_before:
            return False
        helped = self._helped
        sleep(GRACE_SECONDS)
        return self._helped != helped

    def _checkpoint(self) -> None:
        # Beside the writers, who do not wait for it.
        self._unchecked_bytes = 0
        with self._targets_lock:
            self._lookup.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _next_batch(self) -> list[Queued]:
        batch: list[Queued] = []
        size = 0
        queue = self._queue
        while queue and len(batch) < BATCH_RECORDS_MAX and size < BATCH_BYTES_MAX:
            record = queue.popleft()
            if record.appender.discarded:
                continue
            batch.append(record)
            size += len(record.value or b"")
        self._unchecked_bytes += size + (len({record.target.id for record in batch}) + 1) * PAGE_BYTES
        return batch

    def _append(self, batch: list[Queued]) -> None:
        if not batch:
            return
        answers: list[tuple[Queued, int | None, LogError | None]] = []
        try:
            self._insert(self._place(batch, answers))
        except sqlite3.Error as error:
            self._ends.clear()
            answers = [(r, None, AppendFailed(r.topic, r.partition, str(error))) for r in batch]
        touched = {record.target.id for record, offset, _ in answers if offset is not None}
        if touched:
            self._ringer.ring(touched)
        for appender in {record.appender for record in batch}:
            appender.answer([(r.on_appended, offset, error) for r, offset, error in answers if r.appender is appender])

    def _place(
        self, batch: list[Queued], answers: list[tuple[Queued, int | None, LogError | None]]
    ) -> list[int | bytes | None]:
        version = self._storage.data_version()
        if version != self._version:
            self._version = version
            self._ends.clear()
        ends = self._ends
        now_ms = wall_ms()
        rows: list[int | bytes | None] = []
        for record in batch:
            number = record.target.id
            end = ends.get(number)
            if end is None:
                offsets = self._storage.offsets(number)
                if offsets is None:
                    self._targets.pop((record.topic, record.partition), None)
                    answers.append((record, None, TopicMissing(record.topic, record.partition)))
                    continue
                end = offsets.end
            rows += ((number << OFFSET_BITS) | end, now_ms, record.key, record.value)
            ends[number] = end + 1
            answers.append((record, end, None))
        return rows

    def _insert(self, rows: list[int | bytes | None]) -> None:
        execute = self._storage.connection.execute
        count = len(rows) // 4
        single = count in _INSERTS
        if not single:
            execute("BEGIN IMMEDIATE")
        try:
            start = 0
            while start < count:
                size = min(STATEMENT_ROWS_MAX, 1 << ((count - start).bit_length() - 1))
                execute(_INSERTS[size], rows[start * 4 : (start + size) * 4])
                start += size
            if not single:
                execute("COMMIT")
        except sqlite3.Error:
            if self._storage.connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _trim_some(self) -> None:
        partition_id, before = next(iter(self._trims.items()))
        try:
            finished = trim(self._storage, partition_id, before)
        except sqlite3.Error as error:
            _logger.warning("records below offset %d could not be deleted: %s", before, error)
            finished = True
        if finished and self._trims.get(partition_id) == before:
            del self._trims[partition_id]
        self._ends.pop(partition_id, None)


def trim(storage: Storage, partition_id: int, before: int) -> bool:
    """Move the beginning of a partition, and drop some of what lies below; true when nothing is left there."""
    with storage.transaction() as connection:
        offsets = storage.offsets(partition_id)
        if offsets is None:
            return True
        before = min(before, offsets.end)
        connection.execute(
            "UPDATE partitions SET first = max(first, ?), end_floor = max(end_floor, ?) WHERE id = ?",
            (before, offsets.end, partition_id),
        )
        start = partition_id << OFFSET_BITS
        return drop_range(connection, start, start + before)


def drop_range(connection: sqlite3.Connection, start: int, stop: int) -> bool:
    """Drop some records with ids from ``start`` to ``stop``; true when none is left."""
    some = "SELECT id FROM records WHERE id >= ? AND id < ? LIMIT ?"
    dropped = connection.execute(f"DELETE FROM records WHERE id IN ({some})", (start, stop, TRIM_RECORDS)).rowcount  # noqa: S608  # constants
    return dropped < TRIM_RECORDS


class SqliteAppender(Appender):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._due: deque[tuple[OnAppended | None, int | None, Exception | None]] = deque()
        self._arrived = Event()
        self._appended = 0
        self._answered = 0
        self.discarded = False

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        writer = self._writer
        try:
            target = writer.target(topic, partition)
        except TopicMissing as error:
            self._refuse(on_appended, error)
            return
        size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
        if size > target.record_bytes_max:
            raise RecordTooLarge(topic, partition, size, target.record_bytes_max)
        if key is None and target.needs_key:
            refusal = AppendFailed(topic, partition, "a record of a compacted topic needs a key")
            self._refuse(on_appended, refusal)
            return
        if writer.queued >= QUEUE_RECORDS_MAX:
            raise AppendQueueFull(topic, self.in_flight)
        self._appended += 1
        writer.queue(Queued(target, topic, partition, key, value, on_appended, self))

    def poll(self, timeout_seconds: float = 0) -> int:
        due = self._due
        self._writer.help()
        if not due:
            if timeout_seconds <= 0:
                return 0
            self._arrived.clear()
            if not due:
                self._arrived.wait(timeout_seconds)
        count = len(due)
        for _ in range(count):
            on_appended, offset, error = due.popleft()
            self._answered += 1
            if on_appended is not None:
                on_appended(offset, error)
        return count

    @property
    def in_flight(self) -> int:
        return self._appended - self._answered

    def flush(self, timeout_seconds: float) -> int:
        deadline = monotonic() + timeout_seconds
        while self.in_flight:
            self.poll(max(0.0, deadline - monotonic()))
            if monotonic() >= deadline:
                break
        return self.in_flight

    def discard(self) -> None:
        self.discarded = True
        self._due.clear()
        self._answered = self._appended

    def close(self, timeout_seconds: float = 5) -> None:
        self.flush(timeout_seconds)
        self.discard()

    def answer(self, answers: list[tuple[OnAppended | None, int | None, LogError | None]]) -> None:
        """Called by the writing thread."""
        if not self.discarded:
            self._due.extend(answers)
            self._arrived.set()

    def _refuse(self, on_appended: OnAppended | None, error: LogError) -> None:
        self._appended += 1
        self._due.append((on_appended, None, error))
