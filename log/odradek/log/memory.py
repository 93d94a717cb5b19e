"""The log of tests and of single processes: everything in this process's memory, gone with it.

Any number of clients and threads share one log; the semantics are those of the durable ones.
"""

from __future__ import annotations

import logging
import time
import uuid
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Condition, RLock
from typing import Final

from odradek.log.compaction import Entry, Pass, Rules, plan
from odradek.log.errors import AppendFailed, OffsetOutOfRange, RecordTooLarge, TopicCreationRefused, TopicMissing
from odradek.log.groups import Answer, Group
from odradek.log.interface import (
    Appender,
    Committed,
    Log,
    Membership,
    MembershipListener,
    Offsets,
    OnAppended,
    Reader,
    Record,
    Standing,
    TopicInfo,
)
from odradek.schemas.topics import TopicSpec

RECORD_OVERHEAD_BYTES: Final = 100
"""Counted beside key and value, so that what fits here fits a Kafka topic of the same limit."""
COMPACT_EVERY_RECORDS: Final = 50_000
TRIM_EVERY_RECORDS: Final = 1_000

_logger = logging.getLogger(__name__)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Partition:
    begin: int = 0
    end: int = 0
    records: list[Record] = field(default_factory=list)
    passes: list[Pass] = field(default_factory=list)
    has_gaps: bool = False

    def index(self, offset: int) -> int:
        """Where in ``records`` the first one at or above ``offset`` stands."""
        if not self.records:
            return 0
        if not self.has_gaps:
            return max(0, offset - self.records[0].offset)
        return bisect_left(self.records, offset, key=lambda record: record.offset)

    def drop_before(self, offset: int) -> None:
        offset = min(offset, self.end)
        if offset > self.begin:
            del self.records[: self.index(offset)]
            self.begin = offset

    def compact(self, rules: Rules, now_ms: int) -> None:
        entries = (Entry(r.offset, r.time_ms, r.key or b"", r.value is None) for r in self.records)
        result = plan(entries, self.passes, rules, now_ms)
        self.passes = result.passes
        if result.drop:
            drop = set(result.drop)
            self.records = [r for r in self.records if r.offset not in drop]
            self.has_gaps = True


@dataclass(slots=True)
class _Topic:
    spec: TopicSpec
    topic_id: str
    partitions: list[_Partition]

    @property
    def compacts(self) -> bool:
        return self.spec.policy == "compact"


@dataclass(slots=True)
class _Store:
    """What all clients of one memory log share; ``changed`` guards it and wakes the readers."""

    now_ms: Callable[[], int] = _wall_ms
    changed: Condition = field(default_factory=lambda: Condition(RLock()))
    topics: dict[str, _Topic] = field(default_factory=dict)
    groups: dict[tuple[str, str], Group] = field(default_factory=dict)
    members: weakref.WeakValueDictionary[str, MemoryMembership] = field(default_factory=weakref.WeakValueDictionary)
    commits: dict[tuple[str, str], dict[int, Committed]] = field(default_factory=dict)
    readers_waiting: int = 0

    def topic(self, name: str) -> _Topic:
        topic = self.topics.get(name)
        if topic is None:
            raise TopicMissing(name)
        return topic

    def partition(self, name: str, partition: int) -> _Partition:
        topic = self.topic(name)
        if not 0 <= partition < len(topic.partitions):
            raise TopicMissing(name, partition)
        return topic.partitions[partition]


_stores: dict[str, _Store] = {}
_stores_lock = RLock()


def _store(name: str) -> _Store:
    if not name:
        return _Store()
    with _stores_lock:
        return _stores.setdefault(name, _Store())


class MemoryLog(Log):
    """A client of the memory log ``name``; an empty name makes a log of its own.

    ``now_ms`` replaces the clock of the log (append times, retention, compaction, sessions) for all of its clients.
    """

    def __init__(self, name: str = "", now_ms: Callable[[], int] | None = None) -> None:
        self.address = f"memory://{name}"
        self._store = _store(name)
        if now_ms is not None:
            self._store.now_ms = now_ms

    def appender(self) -> MemoryAppender:
        return MemoryAppender(self._store)

    def reader(self) -> MemoryReader:
        return MemoryReader(self._store)

    def membership(
        self, group: str, topic: str, listener: MembershipListener, *, session_timeout_seconds: float = 10
    ) -> MemoryMembership:
        return MemoryMembership(self._store, group, topic, listener, session_timeout_seconds)

    def create_topics(self, specs: Iterable[TopicSpec]) -> None:
        with self._store.changed:
            for spec in specs:
                if spec.partitions < 1:
                    raise TopicCreationRefused(spec.name, f"it cannot have {spec.partitions} partitions")
                if spec.name not in self._store.topics:
                    partitions = [_Partition() for _ in range(spec.partitions)]
                    self._store.topics[spec.name] = _Topic(spec, uuid.uuid4().hex, partitions)

    def set_retention(self, topic: str, retention_ms: int | None) -> None:
        with self._store.changed:
            found = self._store.topic(topic)
            found.spec = replace(found.spec, retention_ms=retention_ms)

    def delete_topics(self, names: Iterable[str]) -> None:
        with self._store.changed:
            for name in names:
                self._store.topics.pop(name, None)
                for key in [key for key in self._store.commits if key[1] == name]:
                    del self._store.commits[key]

    def topic(self, name: str) -> TopicInfo | None:
        with self._store.changed:
            topic = self._store.topics.get(name)
            if topic is None:
                return None
            spec = topic.spec
            return TopicInfo(name, topic.topic_id, spec.partitions, spec.record_bytes_max, spec.settings())

    def topics(self, prefix: str) -> list[str]:
        with self._store.changed:
            return sorted(name for name in self._store.topics if name.startswith(prefix))

    def offsets(self, topic: str, partition: int) -> Offsets:
        with self._store.changed:
            found = self._store.partition(topic, partition)
            return Offsets(found.begin, found.end)

    def leader_epoch(self, topic: str, partition: int) -> int:
        with self._store.changed:
            self._store.partition(topic, partition)
        return 0

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        with self._store.changed:
            if self._store.topic(topic).compacts:
                _logger.warning('topic "%s" is compacted: its records cannot be deleted by offset', topic)
                return
            for partition, offset in before.items():
                self._store.partition(topic, partition).drop_before(offset)

    def standing(self, group: str, topic: str) -> dict[int, Standing]:
        with self._store.changed:
            commits = self._store.commits.get((group, topic), {})
            return {
                number: Standing(partition.begin, partition.end, commits.get(number))
                for number, partition in enumerate(self._store.topic(topic).partitions)
            }

    def compact(self, topic: str) -> None:
        """Do now what compaction does now and then, under the same rules."""
        with self._store.changed:
            found = self._store.topic(topic)
            for partition in found.partitions:
                partition.compact(Rules.of(found.spec.config), self._store.now_ms())

    def close(self) -> None:
        """Nothing to release: the records stay for the other clients, and for whoever opens the name again."""


class MemoryAppender(Appender):
    def __init__(self, store: _Store) -> None:
        self._store = store
        self._due: deque[tuple[OnAppended | None, int | None, Exception | None]] = deque()

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        store = self._store
        with store.changed:
            try:
                found = store.topic(topic)
                target = store.partition(topic, partition)
            except TopicMissing as error:
                self._due.append((on_appended, None, error))
                return
            size = len(key or b"") + len(value or b"") + RECORD_OVERHEAD_BYTES
            if size > found.spec.record_bytes_max:
                raise RecordTooLarge(topic, partition, size, found.spec.record_bytes_max)
            if key is None and found.compacts:
                refusal = AppendFailed(topic, partition, "a record of a compacted topic needs a key")
                self._due.append((on_appended, None, refusal))
                return
            offset = target.end
            target.records.append(Record(topic, partition, offset, store.now_ms(), key, value))
            target.end = offset + 1
            self._due.append((on_appended, offset, None))
            if offset % TRIM_EVERY_RECORDS == TRIM_EVERY_RECORDS - 1:
                _keep_house(found, target, store.now_ms())
            if store.readers_waiting:
                store.changed.notify_all()

    def poll(self, timeout_seconds: float = 0) -> int:
        due = self._due
        count = len(due)
        for _ in range(count):
            on_appended, offset, error = due.popleft()
            if on_appended is not None:
                on_appended(offset, error)
        return count

    @property
    def in_flight(self) -> int:
        return len(self._due)

    def flush(self, timeout_seconds: float) -> int:
        while self._due:
            self.poll()
        return 0

    def discard(self) -> None:
        self._due.clear()

    def close(self, timeout_seconds: float = 5) -> None:
        self.flush(timeout_seconds)


def _keep_house(topic: _Topic, partition: _Partition, now_ms: int) -> None:
    if topic.compacts:
        if partition.end % COMPACT_EVERY_RECORDS == 0:
            partition.compact(Rules.of(topic.spec.config), now_ms)
    elif topic.spec.retention_ms is not None:
        oldest_ms = now_ms - topic.spec.retention_ms
        keep = next((r.offset for r in partition.records if r.time_ms >= oldest_ms), partition.end)
        partition.drop_before(keep)


@dataclass(slots=True)
class _Cursor:
    topic: str
    number: int
    partition: _Partition
    position: int
    paused: bool = False


class MemoryReader(Reader):
    def __init__(self, store: _Store) -> None:
        self._store = store
        self._cursors: dict[tuple[str, int], _Cursor] = {}
        self._woken = False

    def assign(self, topic: str, partition: int, offset: int) -> None:
        with self._store.changed:
            found = self._store.partition(topic, partition)
        self._cursors.pop((topic, partition), None)
        self._cursors[topic, partition] = _Cursor(topic, partition, found, offset)

    def unassign(self, topic: str, partition: int) -> None:
        self._cursors.pop((topic, partition), None)

    def pause(self, topic: str, partition: int) -> None:
        self._cursors[topic, partition].paused = True

    def resume(self, topic: str, partition: int) -> None:
        self._cursors[topic, partition].paused = False

    def poll(self, timeout_seconds: float, records_max: int = 1000) -> list[Record]:
        store = self._store
        with store.changed:
            records = self._take(records_max)
            if records or timeout_seconds <= 0:
                return records
            deadline = time.monotonic() + timeout_seconds
            store.readers_waiting += 1
            try:
                while not records and not self._woken:
                    remaining = deadline - time.monotonic()
                    if remaining <= 0 or not store.changed.wait(remaining):
                        break
                    records = self._take(records_max)
            finally:
                store.readers_waiting -= 1
                self._woken = False
            return records or self._take(records_max)

    def wake(self) -> None:
        with self._store.changed:
            self._woken = True
            self._store.changed.notify_all()

    def position(self, topic: str, partition: int) -> int:
        return self._cursors[topic, partition].position

    def close(self) -> None:
        self._cursors.clear()

    def _take(self, records_max: int) -> list[Record]:
        taken: list[Record] = []
        for cursor in list(self._cursors.values()):
            if cursor.paused:
                continue
            partition = cursor.partition
            if not partition.begin <= cursor.position <= partition.end:
                if taken:
                    break
                del self._cursors[cursor.topic, cursor.number]
                raise OffsetOutOfRange(cursor.topic, cursor.number, cursor.position, partition.begin, partition.end)
            if cursor.position == partition.end:
                continue
            start = partition.index(cursor.position)
            batch = partition.records[start : start + records_max - len(taken)]
            taken += batch
            at_end = start + len(batch) == len(partition.records)
            cursor.position = partition.end if at_end else batch[-1].offset + 1
            if len(taken) >= records_max:
                # Whoever was served last waits longest, so that a busy partition does not starve the others.
                self._cursors[cursor.topic, cursor.number] = self._cursors.pop((cursor.topic, cursor.number))
                break
        return taken


class MemoryMembership(Membership):
    def __init__(
        self, store: _Store, group: str, topic: str, listener: MembershipListener, session_timeout_seconds: float
    ) -> None:
        self._store = store
        self._key = (group, topic)
        self._listener = listener
        self._session_ms = int(session_timeout_seconds * 1000)
        self._held: frozenset[int] = frozenset()
        self._version = -1
        self._silent = False
        self._closed = False
        self._answered = False
        self._name = ""
        with store.changed:
            count = len(store.topic(topic).partitions)
            self._group = store.groups.setdefault(self._key, Group(count))
            self._group.resize(count)
            self._join()

    def poll(self) -> None:
        with self._store.changed:
            if self._closed or self._silent:
                return
            self._keep_alive()
            if self._version == self._group.version:
                return
            self._version = self._group.version
            answer = self._group.heartbeat(self._name, self._store.now_ms())
        self._follow(answer)

    @property
    def partitions(self) -> frozenset[int]:
        return self._held

    def commit(self, positions: Mapping[int, Committed]) -> None:
        with self._store.changed:
            for partition, position in positions.items():
                if self._group.holds(self._name, partition):
                    self._store.commits.setdefault(self._key, {})[partition] = position
                else:
                    _logger.warning("commit of partition %d of %s dropped: not a holder", partition, self._key)

    def flush_commits(self, timeout_seconds: float) -> None:
        """Commits are taken at once."""

    def committed(self, partitions: Iterable[int], timeout_seconds: float = 10) -> dict[int, Committed]:
        with self._store.changed:
            commits = self._store.commits.get(self._key, {})
            return {p: commits[p] for p in partitions if p in commits}

    def close(self) -> None:
        if self._closed:
            return
        held, self._held = self._held, frozenset()
        if held:
            self._listener.revoked(sorted(held))
        with self._store.changed:
            self._closed = True
            self._group.leave(self._name)

    def fall_silent(self, silent: bool = True) -> None:
        """For tests: behave like a process that is stopped; ``fall_silent(False)`` wakes it up."""
        with self._store.changed:
            self._keep_alive()
            self._silent = silent

    def _join(self) -> None:
        self._name = uuid.uuid4().hex
        self._store.members[self._name] = self
        self._group.join(self._name, self._session_ms, self._store.now_ms())

    def _keep_alive(self) -> None:
        # Kafka's clients send heartbeats in the background, so a member lives as long as its process; here, its object.
        now_ms = self._store.now_ms()
        for name, member in self._group.members.items():
            client = self._store.members.get(name)
            if client is not None and not client._silent:
                member.seen_ms = now_ms
        self._group.expire(now_ms)

    def _follow(self, answer: Answer) -> None:
        if not answer.known:
            lost, self._held = self._held, frozenset()
            with self._store.changed:
                self._join()
            if lost:
                self._listener.lost(sorted(lost))
            return
        added = answer.held - self._held
        if added or not self._answered:
            self._answered = True
            self._held |= added
            self._listener.assigned(sorted(added))
        if answer.to_release:
            self._listener.revoked(sorted(answer.to_release))
            self._held -= answer.to_release
            with self._store.changed:
                self._group.release(self._name, answer.to_release, self._store.now_ms())
