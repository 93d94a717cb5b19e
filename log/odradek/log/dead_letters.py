"""Dead letters read, and sent again to where they came from. What was sent again is noted beside the letters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from odradek.log.errors import AppendQueueFull, LogError
from odradek.log.interface import Appender, Reader, Record
from odradek.log.namespace import Namespace
from odradek.schemas import records as r
from odradek.schemas.errors import SchemaError

RENEWED_MS: Final = 10 * 60 * 1000
"""The lifetime of a request that is renewed: that of a client's own by default."""
_BATCH: Final = 200
_APPEND_SECONDS: Final = 60.0
_READ_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 1.0

Source = tuple[str, int, int]
"""Topic, partition and offset where a record stood."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter without the bytes of its record; repeated copies of one are one."""

    partition: int
    offset: int
    time_ms: int
    """When it was put there."""
    record: r.DeadLetterRecord
    value_bytes: int | None
    """Of the record that it is a copy of; None: it had no value."""
    record_type: str
    """What that record is, or the message in it; empty for what cannot be read."""
    workflow_id: str
    redriven_ms: int | None = None
    redriven_by: str = ""

    @property
    def id(self) -> str:
        """Its place among the dead letters."""
        return f"{self.partition}-{self.offset}"

    @property
    def source(self) -> Source:
        return self.record.topic, self.record.partition, self.record.offset


def read_letters(namespace: Namespace) -> list[Letter]:
    """All that the topic holds, the oldest first, in little memory. Blocks; raises ``LogError``."""
    letters: dict[Source, Letter] = {}
    redriven: dict[Source, tuple[int, str]] = {}
    for record in _records(namespace):
        letter = _letter(namespace, record)
        if letter is None:
            continue
        source, said = letter.source, letter.record
        if said.redriven_ms is not None:
            redriven[source] = said.redriven_ms, said.identity
        else:
            letters.setdefault(source, letter)
    found = [
        dataclasses.replace(letter, redriven_ms=redriven[source][0], redriven_by=redriven[source][1])
        if source in redriven
        else letter
        for source, letter in letters.items()
    ]
    return sorted(found, key=lambda letter: (letter.time_ms, letter.partition, letter.offset))


def read_whole(namespace: Namespace, letter: Letter, reader: Reader | None = None) -> r.DeadLetterRecord:
    """The letter with the bytes that it holds. Raises ``LogError``. ``reader``: one of the caller's, for many."""
    own = namespace.log.reader() if reader is None else reader
    try:
        own.assign(namespace.topics.dead_letter, letter.partition, letter.offset)
        deadline = time.monotonic() + _READ_SECONDS
        while time.monotonic() < deadline:
            for record in own.poll(_POLL_SECONDS, records_max=1):
                if (record.partition, record.offset) == (letter.partition, letter.offset) and record.value is not None:
                    return namespace.codec.decode(r.DeadLetterRecord, record.value)
        raise LogError(f"ODR-168: dead letter {letter.id} could not be read within {_READ_SECONDS:g} s: try again")
    finally:
        own.unassign(namespace.topics.dead_letter, letter.partition)
        if reader is None:
            own.close()


def decoded(namespace: Namespace, letter: r.DeadLetterRecord) -> Any | None:
    """The record that the letter holds, if it can be read."""
    kind = _kind(namespace, letter.topic)
    if kind is None or not letter.value or letter.value_bytes is not None:
        return None
    try:
        return namespace.codec.decode(kind, letter.value)
    except SchemaError:
        return None


# ------------------------------------------------------------------------------------------------------ sending again


class Outcome(StrEnum):
    SENT = "sent"
    ALREADY = "already-sent"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one letter; ``reason`` says why it was not sent."""

    letter: Letter
    outcome: Outcome
    reason: str = ""


def redrive(
    namespace: Namespace,
    letters: Sequence[Letter],
    identity: str,
    *,
    now_ms: int,
    force: bool = False,
    renew: bool = False,
    on_done: Callable[[Redriven], None] = lambda done: None,
) -> list[Redriven]:
    """Send records again to where they came from, each as it was, and note that; one that was sent is left out.

    ``force`` sends what was sent before, too: its receiver knows it by its identity, as long as that is remembered.
    ``renew`` gives requests a new lifetime. Blocks; ``on_done`` is told of each.
    """
    results: list[Redriven] = []
    appender, reader = namespace.log.appender(), namespace.log.reader()
    try:
        for first in range(0, len(letters), _BATCH):
            batch = letters[first : first + _BATCH]
            done = _Batch(namespace, appender, reader, identity, now_ms, force=force, renew=renew).send(batch)
            for one in done:
                on_done(one)
            results += done
    finally:
        reader.close()
        appender.close()
    return results


class _Batch:
    def __init__(
        self,
        namespace: Namespace,
        appender: Appender,
        reader: Reader,
        identity: str,
        now_ms: int,
        *,
        force: bool,
        renew: bool,
    ) -> None:
        self._namespace, self._appender, self._reader = namespace, appender, reader
        self._identity, self._now_ms = identity, now_ms
        self._force, self._renew = force, renew
        self._errors: dict[Source, Exception | None] = {}

    def send(self, letters: Sequence[Letter]) -> list[Redriven]:
        refused: dict[Source, Redriven] = {}
        for letter in letters:
            if letter.redriven_ms is not None and not self._force:
                refused[letter.source] = Redriven(letter, Outcome.ALREADY, _already(letter))
                continue
            try:
                self._send(letter)
            except (Refused, LogError, SchemaError) as error:
                outcome = Outcome.REFUSED if isinstance(error, Refused) else Outcome.FAILED
                refused[letter.source] = Redriven(letter, outcome, str(error))
        self._appender.flush(_APPEND_SECONDS)
        sent = {source for source, error in self._errors.items() if error is None}
        failed = {source: error for source, error in self._errors.items() if error is not None}
        for letter in letters:
            if letter.source in sent:
                self._note(letter)
        self._appender.flush(_APPEND_SECONDS)
        return [refused.get(letter.source) or self._result(letter, sent, failed) for letter in letters]

    @staticmethod
    def _result(letter: Letter, sent: set[Source], failed: dict[Source, Exception]) -> Redriven:
        if letter.source in sent:
            return Redriven(letter, Outcome.SENT)
        error = failed.get(letter.source)
        return Redriven(letter, Outcome.FAILED, str(error or f"no acknowledgement within {_APPEND_SECONDS:g} s"))

    def _send(self, letter: Letter) -> None:
        whole = read_whole(self._namespace, letter, self._reader)
        partition = _target(self._namespace, letter, whole)
        value = self._value(letter, whole)

        def appended(offset: int | None, error: Exception | None) -> None:
            self._errors[letter.source] = error

        _append(self._appender, whole.topic, partition, whole.key, value, appended)

    def _value(self, letter: Letter, whole: r.DeadLetterRecord) -> bytes:
        """As it was, unless a request in it is to get a new lifetime. Raises ``Refused`` for what has expired."""
        assert whole.value is not None
        record = decoded(self._namespace, whole)
        if isinstance(record, r.TaskRecord) and record.expires_ms < self._now_ms:
            raise Refused(letter, "the task has expired, and whoever waits for it has it sent anew")
        request = getattr(record.body, "request", None) if isinstance(record, r.InboxRecord) else None
        if request is None:
            return whole.value
        if self._renew:
            assert isinstance(record, r.InboxRecord)
            renewed = dataclasses.replace(request, expires_ms=self._now_ms + RENEWED_MS)
            body = dataclasses.replace(record.body, request=renewed)
            return self._namespace.codec.encode(dataclasses.replace(record, body=body))
        if request.expires_ms < self._now_ms:
            raise Refused(letter, "its request has expired, and would be turned away: --renew gives it a new lifetime")
        return whole.value

    def _note(self, letter: Letter) -> None:
        known = letter.record
        note = r.DeadLetterRecord(
            known.code, "sent again", known.topic, known.partition, known.offset, known.time_ms, None, None,
            redriven_ms=self._now_ms, identity=self._identity,
        )  # fmt: skip
        topic = self._namespace.topics.dead_letter
        _append(self._appender, topic, letter.partition, None, self._namespace.codec.encode(note), None)


class Refused(Exception):
    """This letter cannot be sent again."""

    def __init__(self, letter: Letter, why: str) -> None:
        super().__init__(f"ODR-208: dead letter {letter.id} cannot be sent again: {why}")


def _target(namespace: Namespace, letter: Letter, whole: r.DeadLetterRecord) -> int:
    """The partition of its topic that it belongs into."""
    topics = namespace.topics
    if whole.value_bytes is not None:
        raise Refused(letter, f"of its {whole.value_bytes} bytes only the beginning was kept")
    if not whole.value:
        raise Refused(letter, "it has no value")
    if whole.topic == topics.inbox:
        if not whole.key or b"\0" in whole.key:
            raise Refused(letter, "it has no workflow ID as its key")
        return namespace.partition_of(whole.key)
    if whole.topic.startswith(topics.tasks_prefix):
        info = namespace.log.topic(whole.topic)
        if info is None or whole.partition >= info.partitions:
            raise Refused(letter, f"{whole.topic} has no partition {whole.partition} any more")
        return whole.partition
    raise Refused(letter, f"only records of {topics.inbox} and of task queues can be, and it comes from {whole.topic}")


def _already(letter: Letter) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((letter.redriven_ms or 0) / 1000))
    by = f" by {letter.redriven_by}" if letter.redriven_by else ""
    return f"ODR-169: dead letter {letter.id} was sent again at {moment}{by} already: --force sends it once more"


def _append(appender: Appender, topic: str, partition: int, key: bytes | None, value: bytes, on_appended: Any) -> None:
    while True:
        try:
            appender.append(topic, partition, key, value, on_appended)
        except AppendQueueFull:
            appender.poll(_POLL_SECONDS)
        else:
            return


# ------------------------------------------------------------------------------------------------------------ reading


def _records(namespace: Namespace) -> Iterator[Record]:
    topic, log = namespace.topics.dead_letter, namespace.log
    info = log.topic(topic)
    for partition in range(info.partitions if info else 0):
        begin, end = log.offsets(topic, partition)
        reader = log.reader()
        try:
            reader.assign(topic, partition, begin)
            while reader.position(topic, partition) < end:
                yield from (record for record in reader.poll(_POLL_SECONDS, _BATCH) if record.offset < end)
        finally:
            reader.close()


def _letter(namespace: Namespace, record: Record) -> Letter | None:
    """None for what is no letter: this topic, too, can be written to by anybody."""
    try:
        said = namespace.codec.decode(r.DeadLetterRecord, record.value or b"")
    except SchemaError:
        return None
    value_bytes = said.value_bytes
    if value_bytes is None and said.value is not None:
        value_bytes = len(said.value)
    inner = decoded(namespace, said)
    body = getattr(inner, "body", inner)
    record_type = "" if body is None else type(body).__name__
    workflow_id = _workflow_id(namespace, said, inner)
    bare = dataclasses.replace(said, value=None)
    return Letter(record.partition, record.offset, record.time_ms, bare, value_bytes, record_type, workflow_id)


def _workflow_id(namespace: Namespace, letter: r.DeadLetterRecord, inner: Any) -> str:
    if isinstance(inner, r.TaskRecord):
        return inner.workflow_id
    if letter.topic not in (namespace.topics.inbox, namespace.topics.history):
        return ""
    return (letter.key or b"").partition(b"\0")[0].decode(errors="replace")


def _kind(namespace: Namespace, topic: str) -> type | None:
    topics = namespace.topics
    if topic.startswith(topics.tasks_prefix):
        return r.TaskRecord
    return {topics.inbox: r.InboxRecord, topics.history: r.HistoryRecord}.get(topic)
