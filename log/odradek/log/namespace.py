"""A namespace on a log: its topics as they exist, what it was made with, and the codec that writes its records."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from odradek.log.access import check_access
from odradek.log.errors import LogError, LogUnavailable, TopicMissing
from odradek.log.interface import Log, Record, TopicInfo
from odradek.log.partitioning import partition_of
from odradek.schemas.access import Role
from odradek.schemas.codec import Codec
from odradek.schemas.errors import NewerSchema, UnreadableRecord
from odradek.schemas.records import SCHEMA_VERSION, NamespaceFacts, WorkersRecord
from odradek.schemas.topics import Topics, is_abroad

FACTS_KEY = b"\0namespace"
EMBEDDED_PARTITIONS = 8
LEVEL_AGE_SECONDS: Final = 0.2
"""Less than a process needs that starts to write at a level which has just been raised."""
APPEND_SECONDS: Final = 30.0
IN_FLIGHT_MAX: Final = 10_000
SCHEMA_REGISTRY_VARIABLE: Final = "ODRADEK_SCHEMA_REGISTRY"


class WrongPartitionCount(LogError):
    """The inbox has another number of partitions than the namespace was made with.

    Every workflow would be looked for elsewhere.
    """

    def __init__(self, topic: str, partitions: int, expected: int) -> None:
        super().__init__(
            f'ODR-030: topic "{topic}" has {partitions} partitions and the namespace was made with {expected}: '
            "a partition count is fixed for a namespace; make a new namespace and move to it",
            topic,
            partitions,
            expected,
        )
        self.topic, self.partitions, self.expected = topic, partitions, expected


class NamespaceStandsBy(LogError):
    """It is a copy that has not been promoted: its original may still be at work."""

    code = "ODR-245"

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f'{self.code}: namespace "{namespace}" was restored or copied and stands by: nobody serves it before '
            f'"odradek --namespace {namespace} namespace promote". Make sure first that nobody serves the one that it '
            "was made from: what both serve happens twice",
            namespace,
        )
        self.namespace = namespace


@dataclass(frozen=True, slots=True)
class Namespace:
    """An opened namespace; cheap, shareable between threads."""

    log: Log
    topics: Topics
    partitions: int
    reply_partitions: int
    record_bytes_max: int
    codec: Codec
    schema_registry: str | None = None
    """The URL that it was opened with; None: records carry no prefix."""
    stands_by: bool = False
    """It must not be served."""

    def partition(self, workflow_id: str) -> int:
        return self.partition_of(workflow_id.encode())

    def partition_of(self, key: bytes) -> int:
        """Of a record of the inbox with this key."""
        return partition_of(key, self.partitions)


def is_embedded(log: Log) -> bool:
    return not log.address.startswith("kafka://")


def create_namespace(
    log: Log,
    name: str,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    queues: tuple[str, ...] = (),
    schema_registry: str | None = None,
) -> None:
    """Make what is missing of the namespace's topics and of the named task queues; note its partition count.

    ``schema_registry`` as for ``open_namespace``.
    """
    topics = Topics(name)
    existing = log.topic(topics.inbox)
    count = existing.partitions if existing else partitions or (EMBEDDED_PARTITIONS if is_embedded(log) else 32)
    specs = topics.specs(count, replication=replication)
    specs += [topics.tasks_spec(queue, count, replication=replication) for queue in queues]
    log.create_topics(specs)
    note_facts(log, topics, count, schema_registry)


def open_namespace(
    log: Log, name: str, *, schema_registry: str | None = None, role: Role | None = None, queues: Iterable[str] = ()
) -> Namespace:
    """The namespace as it exists; an embedded one that was never made is made here.

    ``role``: whose rights are looked at first, those of a worker for these ``queues``.

    ``schema_registry`` is the URL of a Schema Registry, whose prefix then stands before every record that is written;
    None: the environment variable ODRADEK_SCHEMA_REGISTRY, else no registry; "": none. Raises ``TopicMissing``,
    ``WrongPartitionCount``, ``AccessDenied``, and ``SchemaError`` for a namespace or a registry that cannot be used.
    """
    topics = Topics(name)
    if role is not None:
        check_access(log, role, topics, queues)
    inbox, replies = log.topic(topics.inbox), log.topic(topics.replies)
    if (inbox is None or replies is None) and is_embedded(log):
        create_namespace(log, name, schema_registry=schema_registry)
        inbox, replies = log.topic(topics.inbox), log.topic(topics.replies)
    if inbox is None:
        raise TopicMissing(topics.inbox)
    if replies is None:
        raise TopicMissing(topics.replies)
    facts = read_facts(log, topics) or NamespaceFacts(inbox.partitions, SCHEMA_VERSION)
    if facts.partitions != inbox.partitions:
        raise WrongPartitionCount(topics.inbox, inbox.partitions, facts.partitions)
    level = min(facts.feature_level, SCHEMA_VERSION)
    url = _registry_url(schema_registry)
    return Namespace(
        log,
        topics,
        inbox.partitions,
        replies.partitions,
        min(inbox.record_bytes_max, replies.record_bytes_max),
        Codec(level, _registry_ids(url, level), _Level(log, topics)),
        url,
        facts.stands_by,
    )


def ensure_queue(namespace: Namespace, queue: str) -> TopicInfo:
    """A task queue's topic, which is made if it does not exist yet.

    Raises ``TopicMissing`` for the inbox of another namespace that the queue is of, when there is no such namespace.
    """
    name = namespace.topics.tasks(queue)
    info = namespace.log.topic(name)
    if info is None:
        partitions = namespace.partitions
        if is_abroad(queue):
            inbox = Topics(namespace.topics.place(queue)[0]).inbox
            there = namespace.log.topic(inbox)
            if there is None:
                raise TopicMissing(inbox)
            partitions = there.partitions
        namespace.log.create_topics([namespace.topics.tasks_spec(queue, partitions)])
        info = namespace.log.topic(name)
    if info is None:
        raise TopicMissing(name)
    return info


def _registry_url(given: str | None) -> str | None:
    return (os.environ.get(SCHEMA_REGISTRY_VARIABLE) if given is None else given) or None


def _registry_ids(url: str | None, level: int) -> Mapping[type, int]:
    if url is None:
        return {}
    from odradek.schemas.registry import registry_ids

    return registry_ids(url, level)


def note_facts(log: Log, topics: Topics, partitions: int, schema_registry: str | None = None) -> None:
    """Write down what the namespace was made with, unless somebody has. Raises ``LogUnavailable``."""
    if read_facts(log, topics) is None:
        write_facts(log, topics, NamespaceFacts(partitions, SCHEMA_VERSION), schema_registry)


def write_facts(log: Log, topics: Topics, facts: NamespaceFacts, schema_registry: str | None = None) -> None:
    """Write the namespace's facts down, at the feature level that they name. Raises ``LogUnavailable``."""
    ids = _registry_ids(_registry_url(schema_registry), facts.feature_level)
    value = Codec(facts.feature_level, ids).encode(WorkersRecord(facts))
    append_all(log, topics.workers, 0, {FACTS_KEY: value})


def append_all(log: Log, topic: str, partition: int, records: Mapping[bytes, bytes | None]) -> None:
    """Append these, and wait until all of them are durable. Raises ``LogUnavailable``."""
    failures: list[Exception | None] = []
    appender = log.appender()
    try:
        for key, value in records.items():
            appender.append(topic, partition, key, value, lambda _, error: failures.append(error))
            if appender.in_flight > IN_FLIGHT_MAX:
                appender.flush(APPEND_SECONDS)
    finally:
        appender.close(timeout_seconds=APPEND_SECONDS)
    if failures != [None] * len(records):
        reason = next((error for error in failures if error), None) or f"no answer within {APPEND_SECONDS:g} s"
        raise LogUnavailable(log.address, f"what was appended to {topic} may not stand there: {reason}")


def change_facts(log: Log, topics: Topics, schema_registry: str | None = None, **changes: Any) -> NamespaceFacts:
    """Write them down anew with these changes. Raises ``TopicMissing`` for a namespace that does not exist."""
    inbox = log.topic(topics.inbox)
    if inbox is None:
        raise TopicMissing(topics.inbox)
    before = read_facts(log, topics) or NamespaceFacts(inbox.partitions, SCHEMA_VERSION)
    facts = dataclasses.replace(before, **changes)
    write_facts(log, topics, facts, schema_registry)
    return facts


def read_facts(log: Log, topics: Topics) -> NamespaceFacts | None:
    """What the namespace was made with, and its feature level; None when nobody wrote it down."""
    found = None
    if log.topic(topics.workers) is None:
        return None
    for record in read_to_end(log, topics.workers, 0):
        if record.key == FACTS_KEY and record.value:
            try:
                body = Codec().decode(WorkersRecord, record.value).body
            except UnreadableRecord:
                continue
            found = body if isinstance(body, NamespaceFacts) else found
    return found


class _Level:
    """The feature level as it is now: read when somebody asks, at most a few times a second."""

    def __init__(self, log: Log, topics: Topics) -> None:
        self._log, self._topics = log, topics
        self._level: int | None = None
        self._read_at = float("-inf")

    def __call__(self) -> int | None:
        if time.monotonic() - self._read_at >= LEVEL_AGE_SECONDS:
            self._level = self._read()
            self._read_at = time.monotonic()
        return self._level

    def _read(self) -> int | None:
        try:
            facts = read_facts(self._log, self._topics)
        except NewerSchema as error:
            return error.version
        except LogError:
            return None
        return facts.feature_level if facts else None


def read_to_end(log: Log, topic: str, partition: int) -> list[Record]:
    """Every record that the partition holds now."""
    return list(each_to_end(log, topic, partition))


def each_to_end(log: Log, topic: str, partition: int, first: int = 0) -> Iterator[Record]:
    """Every record that the partition holds now, from this offset on, as it is read."""
    begin, end = log.offsets(topic, partition)
    reader = log.reader()
    try:
        reader.assign(topic, partition, max(begin, first))
        while reader.position(topic, partition) < end:
            yield from (record for record in reader.poll(1.0) if record.offset < end)
    finally:
        reader.close()
