"""Writes a namespace anew from a source: under one claim for each partition, with nothing taken in and nothing emitted.

It stands by until somebody promotes it. Its first owner emits again what was pending, and takes in what had not been.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from odradek.log import Log, LogUnavailable, Record
from odradek.log.namespace import Namespace, each_to_end, open_namespace, write_facts
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import ENDED
from odradek.orchestrator.core.workflow import Workflow
from odradek.orchestrator.image import PartitionImage, SeenWorkflow, read_partition
from odradek.orchestrator.transfer.entries import Entry, Header, Source
from odradek.orchestrator.transfer.errors import CopyDiffers, CopyUnfinished, NamespaceExists, RunsDamaged
from odradek.orchestrator.transfer.translation import Digest, is_tied, message_of, records_of, renamed
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.topics import Topics, TopicSpec

IN_FLIGHT_MAX: Final = 10_000
IN_FLIGHT_BYTES_MAX: Final = 64 * 1024 * 1024
_WAIT_SECONDS: Final = 60.0


@dataclass
class Copied:
    """What has been written."""

    namespace: str
    partitions: int
    digest: Digest = field(default_factory=Digest)
    inputs: int = 0
    archived: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """Workflow and run IDs of what was left out."""
    tied: list[tuple[str, str]] = field(default_factory=list)
    """Workflow and run IDs of open runs that depend on the old name of their namespace."""


def copy(
    source: Source,
    log: Log,
    name: str,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    schema_registry: str | None = None,
    skip_damaged: bool = False,
) -> Copied:
    """Make ``name`` from the source, and read it again to compare.

    Raises ``NamespaceExists``, ``RunsDamaged``, ``CopyDiffers``, and what the source raises; what it has written then
    cannot be promoted.
    """
    header = source.header
    target = _made(log, name, header, partitions or header.partitions, replication, schema_registry)
    writing = _Copy(target, header, replication, skip_damaged=skip_damaged)
    try:
        for entry in source.entries():
            writing.take(entry)
        writing.settle()
        found = digest_of(target)
        if found != writing.done.digest:
            raise CopyDiffers(name, str(found), str(writing.done.digest))
        writing.seal()
    finally:
        writing.close()
    return writing.done


def digest_of(namespace: Namespace) -> Digest:
    """What stands in a namespace, by the reader's rule."""
    digest = Digest()
    for partition in range(namespace.partitions):
        image = PartitionImage(namespace.codec)
        read_partition(namespace.log, namespace.topics.history, partition, image.take)
        for seen in image.workflows():
            digest.add(seen, namespace.codec, namespace.topics.namespace)
    return digest


def check_sealed(namespace: Namespace) -> None:
    """Raises ``CopyUnfinished`` where the copy broke off, or is not what was read."""
    log, topic = namespace.log, namespace.topics.history
    for partition in range(namespace.partitions):
        last = [record.key for record in each_to_end(log, topic, partition, log.offsets(topic, partition).end - 1)]
        if not (last and (last[-1] or b"").startswith(keys.CHECKPOINT)):
            raise CopyUnfinished(namespace.topics.namespace, partition)


def _made(
    log: Log, name: str, header: Header, partitions: int, replication: int | None, schema_registry: str | None
) -> Namespace:
    topics = Topics(name)
    names = {topics.keys, *(spec.name for spec in topics.specs())}
    ours = [topic for topic in log.topics(f"{name}.") if topic in names or topic.startswith(topics.tasks_prefix)]
    if ours:
        raise NamespaceExists(name, ours)
    specs = topics.specs(partitions, replication=replication)
    specs += [topics.tasks_spec(queue, count, replication=replication) for queue, count in header.queues.items()]
    kept = {f"{name}.{part}": retention_ms for part, retention_ms in header.retention_ms.items()}
    log.create_topics([_keeping(spec, kept.get(spec.name)) for spec in specs])
    facts = r.NamespaceFacts(partitions, header.feature_level, stands_by=True)
    write_facts(log, topics, facts, schema_registry)
    return open_namespace(log, name, schema_registry=schema_registry)


def _keeping(spec: TopicSpec, retention_ms: int | None) -> TopicSpec:
    if retention_ms is None:
        return spec
    return dataclasses.replace(spec, retention_ms=None if retention_ms < 0 else retention_ms)


class _Copy:
    def __init__(self, target: Namespace, header: Header, replication: int | None, *, skip_damaged: bool) -> None:
        self.done = Copied(target.topics.namespace, target.partitions)
        self._target, self._topics = target, target.topics
        self._replication, self._skips_damaged = replication, skip_damaged
        self._has_keys = False
        self._rename = (header.namespace, target.topics.namespace)
        self._now_ms = int(time.time() * 1000)
        self._appender = target.log.appender()
        self._failure: Exception | None = None
        self._bytes_in_flight = 0
        self._image = PartitionImage(target.codec)
        self._inbox: list[Entry] = []
        self._shown: dict[bytes | None, r.VisibilityRecord] = {}
        self._archived: dict[tuple[int, int], tuple[int, int]] = {}
        self._last = [-1] * target.partitions
        self._claims = [self._claim(partition) for partition in range(target.partitions)]

    def take(self, entry: Entry) -> None:
        match entry.part:
            case "history":
                self._image.take(_record(entry))
            case "inbox":
                self._inbox.append(entry)
            case "visibility":
                self._see(entry)
            case "end":
                self._settle()
                self._write_partition()
            case "archive":
                self._write_archive(entry)
            case "control":
                self._append(self._topics.workers, 0, entry.key, self._again(r.WorkersRecord, entry.value))
            case "key":
                self._write_key(entry)
            case other:
                raise AssertionError(other)

    def _write_key(self, entry: Entry) -> None:
        """Deleted ones, too: an earlier record of theirs may have come before."""
        if not self._has_keys:
            self._target.log.create_topics([self._topics.keys_spec(replication=self._replication)])
            self._has_keys = True
        self._append(self._topics.keys, 0, entry.key, self._again(r.DataKeyRecord, entry.value))

    def settle(self) -> None:
        """All of it is durable. Raises ``RunsDamaged``."""
        self._settle()
        if self.done.damaged and not self._skips_damaged:
            raise RunsDamaged(self._rename[0], self.done.damaged)

    def seal(self) -> None:
        """Say in each partition that the claim has ended in order, and how far what it wrote is settled."""
        for partition, claim in enumerate(self._claims):
            v = self._last[partition]
            self._history(partition, keys.mark(claim), r.Mark(ENDED), v=v)
            self._history(partition, keys.checkpoint(claim), r.Checkpoint(self._now_ms), v=v)
        self._settle()

    def close(self) -> None:
        self._appender.close()

    # ------------------------------------------------------------------------------------------ one partition

    def _write_partition(self) -> None:
        """What one partition of the source held, wherever that belongs now."""
        waiting: dict[str, list[Entry]] = {}
        for entry in self._inbox:
            waiting.setdefault((entry.key or b"").decode(errors="replace"), []).append(entry)
        self._inbox = []
        for seen in self._image.workflows():
            self._write_workflow(seen)
            self._write_inputs(seen.workflow, waiting.pop(seen.workflow.id, []))
        for entries in waiting.values():
            self._write_inputs(None, entries)
        self._write_listings()

    def _write_listings(self) -> None:
        newest = {}
        for shown in sorted(self._shown.values(), key=lambda shown: (shown.claim, shown.n)):
            newest[shown.workflow_id, shown.run_id] = shown
        for run in self.done.damaged:
            newest.pop(run, None)
        for (workflow_id, run_id), shown in newest.items():
            home = self._target.partition(workflow_id)
            moved = dataclasses.replace(renamed(shown, *self._rename), claim=self._claims[home])
            key = f"{run_id}\0{self._claims[home]}".encode()
            self._append(self._topics.visibility, home, key, self._target.codec.encode(moved))
        self._shown = {}

    def _write_workflow(self, seen: SeenWorkflow) -> None:
        workflow = seen.workflow
        self.done.damaged += [(workflow.id, run_id) for run_id in workflow.damaged]
        if self._rename[0] != self._rename[1] and workflow.live is not None:
            self.done.tied += [(workflow.id, workflow.live.run.run_id)] * is_tied(workflow.live.run, self._rename[0])
        home = self._target.partition(workflow.id)
        for key, body in records_of(seen, self._claims[home], self._rename, self._place):
            self._history(home, key, body)
        self.done.digest.add(seen, self._target.codec, self._rename[0])

    def _write_inputs(self, workflow: Workflow | None, entries: list[Entry]) -> None:
        for entry in entries:
            home = self._target.partition_of(entry.key or b"")
            try:
                record = self._target.codec.decode(r.InboxRecord, entry.value or b"")
            except UnreadableRecord:
                self._append(self._topics.inbox, home, entry.key, entry.value)  # its owner says what it thinks of it
                continue
            moved = message_of(workflow, entry.offset, entry.time_ms, record, self._now_ms, self._rename)
            if moved is not None:
                self.done.inputs += 1
                self._append(self._topics.inbox, home, entry.key, self._target.codec.encode(moved))

    def _see(self, entry: Entry) -> None:
        if entry.value is None:
            self._shown.pop(entry.key, None)
            return
        with suppress(UnreadableRecord):
            self._shown[entry.key] = self._target.codec.decode(r.VisibilityRecord, entry.value)

    # ------------------------------------------------------------------------------------------ the archive

    def _write_archive(self, entry: Entry) -> None:
        home = self._target.partition_of(entry.key or b"")
        self.done.archived += 1
        before = entry.partition, entry.offset

        def stored(offset: int) -> None:
            self._archived[before] = home, offset

        self._append(self._topics.archive, home, entry.key, self._again(r.ArchiveRecord, entry.value), stored)

    def _place(self, part: r.ArchivePart) -> r.ArchivePart | None:
        found = self._archived.get((part.partition, part.offset))
        return r.ArchivePart(*found) if found else None

    def _again(self, kind: type, value: bytes | None) -> bytes | None:
        """A value that stays as it is, unless a schema registry's prefix would make no sense where it goes."""
        if value is None or (value[0] != 0 and self._target.schema_registry is None):
            return value
        return self._target.codec.encode(self._target.codec.decode(kind, value))

    # ------------------------------------------------------------------------------------------ appends

    def _claim(self, partition: int) -> int:
        claims: list[int] = []
        token = f"transfer-{uuid.uuid4().hex}"
        record = r.HistoryRecord(0, -1, -1, -1, r.Claim(token, self._now_ms))
        self._append(
            self._topics.history, partition, keys.claim(token), self._target.codec.encode(record), claims.append
        )
        self._settle()
        return claims[0]

    def _history(self, partition: int, key: bytes, body: Any, *, v: int = -1) -> None:
        value = self._target.codec.encode_history(self._claims[partition], v, -1, -1, body)

        def stored(offset: int) -> None:
            self._last[partition] = max(self._last[partition], offset)

        self._append(self._topics.history, partition, key, value, stored)

    def _append(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        then: Callable[[int], None] = lambda offset: None,
    ) -> None:
        size = len(key or b"") + len(value or b"")

        def appended(offset: int | None, error: Exception | None) -> None:
            self._bytes_in_flight -= size
            if error is not None or offset is None:
                self._failure = (
                    self._failure or error or LogUnavailable(self._target.log.address, "an offset is unknown")
                )
            else:
                then(offset)

        self._bytes_in_flight += size
        self._appender.append(topic, partition, key, value, appended)
        if self._appender.in_flight > IN_FLIGHT_MAX or self._bytes_in_flight > IN_FLIGHT_BYTES_MAX:
            self._settle()
        self._check()

    def _settle(self) -> None:
        left = self._appender.flush(_WAIT_SECONDS)
        self._check()
        if left:
            raise LogUnavailable(
                self._target.log.address, f"{left} records were not acknowledged in {_WAIT_SECONDS:g} s"
            )

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _record(entry: Entry) -> Record:
    return Record("", entry.partition, entry.offset, entry.time_ms, entry.key, entry.value)
