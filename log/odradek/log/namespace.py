"""A namespace on a log: its topics as they exist, what it was made with, and the codec that writes its records."""

from __future__ import annotations

from dataclasses import dataclass

from odradek.log.errors import LogError, TopicMissing
from odradek.log.interface import Log, Reader, Record
from odradek.log.partitioning import partition_of
from odradek.schemas.codec import Codec
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.records import SCHEMA_VERSION, NamespaceFacts, WorkersRecord
from odradek.schemas.topics import Topics

FACTS_KEY = b"\0namespace"
EMBEDDED_PARTITIONS = 8


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


@dataclass(frozen=True, slots=True)
class Namespace:
    """An opened namespace; cheap, shareable between threads."""

    log: Log
    topics: Topics
    partitions: int
    reply_partitions: int
    record_bytes_max: int
    codec: Codec

    def partition(self, workflow_id: str) -> int:
        return partition_of(workflow_id.encode(), self.partitions)


def is_embedded(log: Log) -> bool:
    return not log.address.startswith("kafka://")


def create_namespace(
    log: Log, name: str, *, partitions: int | None = None, replication: int | None = None, queues: tuple[str, ...] = ()
) -> None:
    """Make what is missing of the namespace's topics and of the named task queues; note its partition count."""
    topics = Topics(name)
    existing = log.topic(topics.inbox)
    count = existing.partitions if existing else partitions or (EMBEDDED_PARTITIONS if is_embedded(log) else 32)
    specs = topics.specs(count, replication=replication)
    specs += [topics.tasks_spec(queue, count, replication=replication) for queue in queues]
    log.create_topics(specs)
    if _facts(log, topics) is None:
        facts = WorkersRecord(NamespaceFacts(count, SCHEMA_VERSION))
        appender = log.appender()
        appender.append(topics.workers, 0, FACTS_KEY, Codec().encode(facts))
        appender.close(timeout_seconds=30)


def open_namespace(log: Log, name: str) -> Namespace:
    """Raises ``TopicMissing`` when the namespace was never made (an embedded one is made here).

    ``WrongPartitionCount``.
    """
    topics = Topics(name)
    inbox, replies = log.topic(topics.inbox), log.topic(topics.replies)
    if (inbox is None or replies is None) and is_embedded(log):
        create_namespace(log, name)
        inbox, replies = log.topic(topics.inbox), log.topic(topics.replies)
    if inbox is None:
        raise TopicMissing(topics.inbox)
    if replies is None:
        raise TopicMissing(topics.replies)
    facts = _facts(log, topics) or NamespaceFacts(inbox.partitions, SCHEMA_VERSION)
    if facts.partitions != inbox.partitions:
        raise WrongPartitionCount(topics.inbox, inbox.partitions, facts.partitions)
    return Namespace(
        log,
        topics,
        inbox.partitions,
        replies.partitions,
        min(inbox.record_bytes_max, replies.record_bytes_max),
        Codec(min(facts.feature_level, SCHEMA_VERSION)),
    )


def ensure_queue(namespace: Namespace, queue: str) -> int:
    """The partition count of a task queue's topic, which is made if it does not exist yet."""
    name = namespace.topics.tasks(queue)
    info = namespace.log.topic(name)
    if info is None:
        namespace.log.create_topics([namespace.topics.tasks_spec(queue, namespace.partitions)])
        info = namespace.log.topic(name)
    if info is None:
        raise TopicMissing(name)
    return info.partitions


def _facts(log: Log, topics: Topics) -> NamespaceFacts | None:
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


def read_to_end(log: Log, topic: str, partition: int) -> list[Record]:
    """Every record that the partition holds now."""
    begin, end = log.offsets(topic, partition)
    reader = log.reader()
    try:
        return _read(reader, topic, partition, begin, end)
    finally:
        reader.close()


def _read(reader: Reader, topic: str, partition: int, begin: int, end: int) -> list[Record]:
    records: list[Record] = []
    reader.assign(topic, partition, begin)
    while reader.position(topic, partition) < end:
        records += [r for r in reader.poll(1.0) if r.offset < end]
    return records
