"""The embedded log: one file, durable, for several processes of one host. Not for network file systems, nor for fork.

A process makes its own connection; the file, its lock and its bells are all that processes share. A process that is
stopped (not killed) in the middle of a write keeps the others from writing until it goes on or dies.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock, Thread
from time import monotonic
from typing import Final

from odradek.log import sqlite_chores
from odradek.log.errors import TopicCreationRefused, TopicMissing
from odradek.log.interface import Committed, Log, MembershipListener, Offsets, Standing, TopicInfo
from odradek.log.sqlite_appender import SqliteAppender, Writer
from odradek.log.sqlite_membership import SqliteMembership
from odradek.log.sqlite_reader import SqliteReader
from odradek.log.sqlite_storage import Storage
from odradek.schemas.topics import TopicSpec

CHORES_SECONDS: Final = 30

_logger = logging.getLogger("odradek.log.sqlite")


class SqliteLog(Log):
    def __init__(self, path: str) -> None:
        self.address = f"sqlite:///{path}"
        self._path = Path(path).absolute()
        self._lock = Lock()
        self._storage_made: Storage | None = None
        self._writer: Writer | None = None
        self._chores_due = monotonic() + CHORES_SECONDS
        self._chores: Thread | None = None

    def appender(self) -> SqliteAppender:
        return SqliteAppender(self._writer_thread())

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path, self._write_queued)

    def membership(
        self, group: str, topic: str, listener: MembershipListener, *, session_timeout_seconds: float = 10
    ) -> SqliteMembership:
        return SqliteMembership(self._path, group, topic, listener, session_timeout_seconds)

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        wanted = list(specs)
        for spec in wanted:
            if spec.partitions < 1:
                raise TopicCreationRefused(spec.name, f"it cannot have {spec.partitions} partitions")
        with self._lock:
            existing = {topic.name for topic in self._storage.topics()}
            if all(spec.name in existing for spec in wanted):
                return
            with self._storage.transaction():
                for spec in wanted:
                    if self._storage.topic(spec.name) is None:
                        self._storage.add_topic(spec)

    def set_retention(self, topic: str, retention_ms: int | None) -> None:
        with self._lock:
            if self._storage.topic(topic) is None:
                raise TopicMissing(topic)
            with self._storage.transaction() as connection:
                connection.execute("UPDATE topics SET retention_ms = ? WHERE name = ?", (retention_ms, topic))

    def delete_topics(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                sqlite_chores.delete_topic(self._storage, name)
            sqlite_chores.empty_trash(self._storage)

    def topic(self, name: str) -> TopicInfo | None:
        with self._lock:
            row = self._storage.topic(name)
        if row is None:
            return None
        return TopicInfo(name, row.topic_id, row.partitions, row.record_bytes_max, row.settings())

    def topics(self, prefix: str) -> list[str]:
        with self._lock:
            return [topic.name for topic in self._storage.topics() if topic.name.startswith(prefix)]

    def offsets(self, topic: str, partition: int) -> Offsets:
        with self._lock:
            found = self._storage.offsets(self._storage.partition(topic, partition).id)
        if found is None:
            raise TopicMissing(topic, partition)
        return found

    def leader_epoch(self, topic: str, partition: int) -> int:
        with self._lock:
            self._storage.partition(topic, partition)
        return 0

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        with self._lock:
            row = self._storage.topic(topic)
            if row is None:
                raise TopicMissing(topic)
            if row.policy == "compact":
                _logger.warning('topic "%s" is compacted: its records cannot be deleted by offset', topic)
                return
            ids = {number: self._storage.partition(topic, number).id for number in before}
        writer = self._writer_thread()
        for number, offset in before.items():
            writer.trim(ids[number], offset)

    def standing(self, group: str, topic: str) -> dict[int, Standing]:
        with self._lock:
            partitions = self._storage.partitions(topic)
            if not partitions:
                raise TopicMissing(topic)
            committed = self._storage.committed(group, topic)
            found = {}
            for partition in partitions:
                begin, end = self._storage.offsets(partition.id) or Offsets(0, 0)
                position = committed.get(partition.number)
                found[partition.number] = Standing(begin, end, Committed(*position) if position else None)
            return found

    def compact(self, topic: str) -> None:
        """Do now what compaction does now and then, under the same rules."""
        with self._lock:
            row = self._storage.topic(topic)
            if row is None:
                raise TopicMissing(topic)
            for partition in self._storage.partitions(topic):
                sqlite_chores.compact(self._storage, row, partition.id)

    def close(self) -> None:
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        if self._chores is not None:
            self._chores.join()
        with self._lock:
            if self._storage_made is not None:
                self._storage_made.close()
                self._storage_made = None

    @property
    def _storage(self) -> Storage:
        if self._storage_made is None:
            self._storage_made = Storage(self._path)
        return self._storage_made

    def _write_queued(self) -> None:
        if self._writer is not None:
            self._writer.help()

    def _writer_thread(self) -> Writer:
        with self._lock:
            if self._writer is None:
                self._writer = Writer(self._path, self._maybe_do_chores)
            return self._writer

    def _maybe_do_chores(self) -> None:
        # Only what writes makes work for retention and compaction, so the writing thread is the clock for them.
        if monotonic() < self._chores_due or (self._chores is not None and self._chores.is_alive()):
            return
        self._chores_due = monotonic() + CHORES_SECONDS
        self._chores = Thread(target=self._do_chores, name="odradek-log-chores", daemon=True)
        self._chores.start()

    def _do_chores(self) -> None:
        storage = Storage(self._path)
        try:
            sqlite_chores.do_all(storage, CHORES_SECONDS)
        except sqlite3.Error as error:
            _logger.warning("retention and compaction of %s failed, to be tried again: %s", self.address, error)
        finally:
            storage.close()
