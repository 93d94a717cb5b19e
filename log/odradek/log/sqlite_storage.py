"""The tables of the embedded log and the lock of its writers. A commit is on disk (fsync) when it returns.

A record's id is its partition's number and its offset in one integer, so a partition is one range of the table.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from odradek.log.errors import LogUnavailable, TopicMissing
from odradek.log.interface import Offsets
from odradek.schemas.topics import TopicSpec

OFFSET_BITS: Final = 40
OFFSET_MASK: Final = (1 << OFFSET_BITS) - 1
FORMAT: Final = 1
BUSY_SECONDS_MAX: Final = 30
CHECKPOINT_PAGES: Final = 20_000
"""A writer stops for a checkpoint only at this size; the writing thread makes them long before, beside the writers."""
LOCK_STEP_SECONDS: Final = 0.00005

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS topics (
    name TEXT PRIMARY KEY, topic_id TEXT NOT NULL, partitions INTEGER NOT NULL, policy TEXT NOT NULL,
    retention_ms INTEGER, record_bytes_max INTEGER NOT NULL, config TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS partitions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, number INTEGER NOT NULL,
    first INTEGER NOT NULL DEFAULT 0, end_floor INTEGER NOT NULL DEFAULT 0,
    passes TEXT NOT NULL DEFAULT '[]', kept INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, number)
);
CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, key BLOB, value BLOB);
CREATE TABLE IF NOT EXISTS groups (
    name TEXT NOT NULL, topic TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (name, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits (
    name TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, position INTEGER NOT NULL,
    metadata TEXT NOT NULL, PRIMARY KEY (name, topic, partition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trash (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS chores (name TEXT PRIMARY KEY, due_ms INTEGER NOT NULL) WITHOUT ROWID;
"""


class TopicRow(NamedTuple):
    name: str
    topic_id: str
    partitions: int
    policy: str
    retention_ms: int | None
    record_bytes_max: int
    config: dict[str, str]

    def settings(self) -> dict[str, str]:
        """All of them, under their Kafka names."""
        policy: Any = self.policy
        limits = (self.name, self.partitions, policy, self.retention_ms)
        return TopicSpec(*limits, record_bytes_max=self.record_bytes_max, config=self.config).settings()


class PartitionRow(NamedTuple):
    """A partition as stored; ``end_floor`` matters only when its last records have been dropped."""

    id: int
    number: int
    begin: int
    end_floor: int


def _topic_row(row: tuple[Any, ...]) -> TopicRow:
    *plain, config = row
    return TopicRow._make([*plain, json.loads(config)])


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Storage:
    """One connection to the file, and its own handle on the writers' lock. Belongs to one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            self._set_up()
        except (OSError, sqlite3.Error) as error:
            raise LogUnavailable(f"sqlite:///{path}", str(error)) from error

    def close(self) -> None:
        self.connection.close()
        os.close(self._lock)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Be the one writer. SQLite's own waiting sleeps in steps of milliseconds; this lock hands over at once."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield self.connection
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def try_lock(self, seconds: float) -> bool:
        """Become the one writer if that takes no longer than this; then ``unlock`` must follow."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(LOCK_STEP_SECONDS)
            else:
                return True

    def unlock(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_UN)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self.writing() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def topic(self, name: str) -> TopicRow | None:
        row = self.connection.execute("SELECT * FROM topics WHERE name = ?", (name,)).fetchone()
        return None if row is None else _topic_row(row)

    def topics(self) -> list[TopicRow]:
        rows = self.connection.execute("SELECT * FROM topics ORDER BY name").fetchall()
        return [_topic_row(row) for row in rows]

    def add_topic(self, spec: TopicSpec) -> None:
        """Within a transaction."""
        config = json.dumps(dict(spec.config))
        limits = (spec.policy, spec.retention_ms, spec.record_bytes_max, config)
        row = (spec.name, uuid.uuid4().hex, spec.partitions, *limits)
        self.connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        numbers = [(spec.name, number) for number in range(spec.partitions)]
        self.connection.executemany("INSERT INTO partitions (topic, number) VALUES (?, ?)", numbers)

    def partitions(self, topic: str) -> list[PartitionRow]:
        query = "SELECT id, number, first, end_floor FROM partitions WHERE topic = ? ORDER BY number"
        return [PartitionRow(*row) for row in self.connection.execute(query, (topic,))]

    def partition(self, topic: str, number: int) -> PartitionRow:
        query = "SELECT id, number, first, end_floor FROM partitions WHERE topic = ? AND number = ?"
        row = self.connection.execute(query, (topic, number)).fetchone()
        if row is None:
            raise TopicMissing(topic, number)
        return PartitionRow(*row)

    def offsets(self, partition_id: int) -> Offsets | None:
        """Begin and end, None when the partition is gone."""
        row = self.connection.execute(
            "SELECT first, end_floor, (SELECT max(id) FROM records WHERE id BETWEEN ?1 << 40 AND (?1 << 40) + ?2) "
            "FROM partitions WHERE id = ?1",
            (partition_id, OFFSET_MASK),
        ).fetchone()
        if row is None:
            return None
        begin, end_floor, last = row
        return Offsets(begin, max(begin, end_floor, 0 if last is None else (last & OFFSET_MASK) + 1))

    def committed(self, group: str, topic: str) -> Mapping[int, tuple[int, str]]:
        query = "SELECT partition, position, metadata FROM commits WHERE name = ? AND topic = ?"
        return {row[0]: (row[1], row[2]) for row in self.connection.execute(query, (group, topic))}

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def _set_up(self) -> None:
        connection = self.connection
        if self._format() != FORMAT:
            with self.writing():
                connection.execute("PRAGMA journal_mode = WAL")
                version = self._format()
                if version not in (0, FORMAT):
                    raise sqlite3.DatabaseError(f"its format is {version}, this version reads {FORMAT}")
                if version == 0:
                    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        connection.execute("PRAGMA synchronous = FULL")
        # Without this, macOS calls a write durable when the drive has it in its cache.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA cache_size = -16000")

    def _format(self) -> int:
        return int(self.connection.execute("PRAGMA user_version").fetchone()[0])
