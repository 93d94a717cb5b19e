"""Reads a namespace that nobody serves: as it stands, all of it at one moment. Writes nothing.

Without owners nothing is taken in and nothing is emitted, so whatever has been decided stands in the histories, and
what has not stands in the inbox.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from odradek.log import Reader, Record
from odradek.log.controls import is_control
from odradek.log.namespace import Namespace, read_facts, read_to_end
from odradek.orchestrator.core import keys
from odradek.orchestrator.transfer.entries import Entry, Header
from odradek.orchestrator.transfer.errors import NamespaceServed
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import SCHEMA_VERSION, Beacon, WorkersRecord

WATCH_SECONDS: Final = 5.0
"""An orchestrator says every two seconds that it lives."""
_POLL_SECONDS: Final = 1.0
_RECORDS: Final = 5_000


class Cut:
    """A ``Source``: what stands in the topics. Raises ``NamespaceServed``, at its end too: somebody may have begun."""

    def __init__(self, namespace: Namespace, *, watch_seconds: float = WATCH_SECONDS) -> None:
        self._namespace = namespace
        self._watch_seconds = watch_seconds
        self.progress: Callable[[int], None] = lambda more: None
        """Told how many more offsets have been read."""
        log, topics = namespace.log, namespace.topics
        facts = read_facts(log, topics)
        self.header = Header(
            topics.namespace,
            namespace.partitions,
            facts.feature_level if facts else SCHEMA_VERSION,
            {
                name.removeprefix(topics.tasks_prefix): _partitions(namespace, name)
                for name in log.topics(topics.tasks_prefix)
            },
            int(time.time() * 1000),
            _retention_ms(namespace),
        )

    @property
    def size(self) -> int:
        """About how many offsets there are to read."""
        log, topics = self._namespace.log, self._namespace.topics
        counted = (topics.archive, *(topics.history, topics.visibility) * 2)
        ranges = [log.offsets(topic, number) for topic in counted for number in range(self._namespace.partitions)]
        return sum(end - begin for begin, end in ranges)

    def entries(self) -> Iterator[Entry]:
        self._nobody_serves()
        topics, before = self._namespace.topics, self._history_ends()
        partitions = range(self._namespace.partitions)
        for partition in partitions:
            yield from self._all("archive", topics.archive, partition)
        for record in read_to_end(self._namespace.log, topics.workers, 0):
            if is_control(record.key or b""):
                yield _entry("control", record)
        if self._namespace.log.topic(topics.keys) is not None:
            yield from self._last_of_each("key", topics.keys, 0)
        for partition in partitions:
            yield from self._partition(partition)
        if self._history_ends() != before:
            raise NamespaceServed(topics.namespace, "its histories have grown meanwhile")

    def _partition(self, partition: int) -> Iterator[Entry]:
        log, topics, x = self._namespace.log, self._namespace.topics, -1
        inbox = log.offsets(topics.inbox, partition)
        for entry in self._last_of_each("history", topics.history, partition):
            x = max(x, self._taken_in(entry, inbox.end))
            yield entry
        yield from self._all("inbox", topics.inbox, partition, x + 1)
        yield from self._last_of_each("visibility", topics.visibility, partition)
        yield Entry("end", partition, -1, 0, None, None)

    def _last_of_each(self, part: str, topic: str, partition: int) -> Iterator[Entry]:
        """What compaction is going to leave: what was erased, or said anew, is not carried on."""
        last: dict[bytes | None, int] = {}
        for entry in self._all(part, topic, partition):
            if entry.value is None:
                last.pop(entry.key, None)
            else:
                last[entry.key] = entry.offset
        yield from (entry for entry in self._all(part, topic, partition) if last.get(entry.key) == entry.offset)

    def _taken_in(self, entry: Entry, inbox_end: int) -> int:
        if entry.value is not None:
            with suppress(UnreadableRecord):
                claim, _, x, _ = self._namespace.codec.watermarks(entry.value)
                if keys.claim_of(entry.key or b"") == claim and x < inbox_end:
                    return x
        return -1

    def _all(self, part: str, topic: str, partition: int, first: int = 0) -> Iterator[Entry]:
        begin, end = self._namespace.log.offsets(topic, partition)
        reader = self._namespace.log.reader()
        try:
            reader.assign(topic, partition, max(begin, first))
            yield from (
                _entry(part, record) for record in self._up_to(reader, topic, partition, max(begin, first), end)
            )
        finally:
            reader.close()

    def _up_to(self, reader: Reader, topic: str, partition: int, at: int, end: int) -> Iterator[Record]:
        while at < end:
            yield from (record for record in reader.poll(_POLL_SECONDS, _RECORDS) if record.offset < end)
            now = min(reader.position(topic, partition), end)
            self.progress(now - at)
            at = now

    # ------------------------------------------------------------------------------------------ does it stand still

    def _history_ends(self) -> list[int]:
        log, topics = self._namespace.log, self._namespace.topics
        return [log.offsets(topics.history, partition).end for partition in range(self._namespace.partitions)]

    def _nobody_serves(self) -> None:
        """No orchestrator gives a sign of life for a while; no clock is asked, so none can be wrong."""
        log, topics = self._namespace.log, self._namespace.topics
        end = log.offsets(topics.workers, 0).end
        time.sleep(self._watch_seconds)
        seen = [record for record in read_to_end(log, topics.workers, 0) if record.offset >= end and record.value]
        for record in seen:
            with suppress(UnreadableRecord):
                body = self._namespace.codec.decode(WorkersRecord, record.value or b"").body
                if isinstance(body, Beacon):
                    raise NamespaceServed(topics.namespace, f"orchestrator {body.orchestrator}")


def _entry(part: str, record: Record) -> Entry:
    return Entry(part, record.partition, record.offset, record.time_ms, record.key, record.value)


def _partitions(namespace: Namespace, topic: str) -> int:
    info = namespace.log.topic(topic)
    return info.partitions if info else namespace.partitions


def _retention_ms(namespace: Namespace) -> dict[str, int]:
    log, topics = namespace.log, namespace.topics
    found = {}
    for name in (topics.archive, topics.replies, topics.dead_letter, *log.topics(topics.tasks_prefix)):
        info = log.topic(name)
        if info is not None and "retention.ms" in info.config:
            found[name.removeprefix(f"{topics.namespace}.")] = int(info.config["retention.ms"])
    return found
