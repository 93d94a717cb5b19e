"""Appending to and reading from Kafka. What runs once per record is kept to the least: it bounds the throughput."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from odradek.log.access import denied
from odradek.log.errors import (
    AccessDenied,
    AppendFailed,
    AppendQueueFull,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    RecordTooLarge,
    TopicMissing,
)
from odradek.log.interface import Appender, OnAppended, Reader, Record
from odradek.log.kafka_access import DENIED
from odradek.log.kafka_security import principal_of
from odradek.log.kafka_settings import Complaints, appender_settings, client_logger, error_of, reader_settings
from odradek.schemas.access import Right

LOCATE_SECONDS_MAX: Final = 2
WATERMARK_SECONDS_MAX: Final = 10
PURGE_SECONDS_MAX: Final = 10
FLUSH_SLICE_SECONDS: Final = 0.1

_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_MISSING: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
_OUT_OF_RANGE: Final = frozenset(
    {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION}
)
_FORBIDDEN: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._FATAL})
_Denied = Callable[[str, str], AccessDenied]
_PARTITION_EOF: Final = KafkaError._PARTITION_EOF


class KafkaAppender(Appender):
    def __init__(self, servers: str, config: Mapping[str, str]) -> None:
        settings = appender_settings(servers, config)
        self._complaints: Complaints = settings["error_cb"]
        self._failures = _Failures(_denials(servers, config))
        self._producer = Producer(settings, logger=client_logger)
        self._produce = self._producer.produce
        self._alive: list[bool] = [True]
        self._refused: deque[tuple[OnAppended | None, Callable[[], LogError]]] = deque()

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        try:
            if on_appended is None:
                self._produce(topic, value, key, partition)
            else:
                self._produce(topic, value, key, partition, _answering(on_appended, self._alive, self._failures))
        except BufferError:
            raise AppendQueueFull(topic, len(self._producer)) from None
        except KafkaException as exception:
            size = len(key or b"") + len(value or b"")
            failure = partial(self._failures.of, topic, partition, error_of(exception), size)
            if error_of(exception).code() in _TOO_LARGE:
                raise failure() from None
            self._refused.append((on_appended, failure))

    def poll(self, timeout_seconds: float = 0) -> int:
        if self._refused:
            return self._serve(0) + self._tell_refused()
        return self._serve(timeout_seconds)

    def _serve(self, timeout_seconds: float) -> int:
        try:
            served = self._producer.poll(timeout_seconds)
        except KafkaException as exception:  # it has ended for good, and throws away what it was given
            self._failures.fatal = error_of(exception)
            return 1
        if self._complaints.is_renewed:
            self._complaints.renew(self._producer)
        return served

    @property
    def in_flight(self) -> int:
        # The client counts its own pending events in, until the next poll; zero is always zero.
        return len(self._producer) + len(self._refused)

    def flush(self, timeout_seconds: float) -> int:
        # Not by the client's own flush: where the client ends in it, it goes on calling back with an error set.
        deadline = time.monotonic() + timeout_seconds
        self.poll()
        while self.in_flight and (left := deadline - time.monotonic()) > 0:
            self.poll(min(left, FLUSH_SLICE_SECONDS))
        return self.in_flight

    def discard(self) -> None:
        self._alive.clear()
        self._refused.clear()
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        Thread(target=_drain, args=(self._producer,), name="odradek-log-discard", daemon=True).start()

    def close(self, timeout_seconds: float = 5) -> None:
        self.flush(timeout_seconds)
        self.discard()

    def _tell_refused(self) -> int:
        count = len(self._refused)
        for _ in range(count):
            on_appended, failure = self._refused.popleft()
            if on_appended is not None:
                on_appended(None, failure())
        return count


def _denials(servers: str, config: Mapping[str, str]) -> _Denied:
    """What says that an operation on a topic is not allowed, and how it would be."""
    principal = principal_of(config)
    return lambda operation, topic: denied(f"kafka://{servers}", principal, [Right(operation, "topic", topic)])


def _answering(
    on_appended: OnAppended, alive: list[bool], failures: _Failures
) -> Callable[[KafkaError | None, Message], None]:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            if alive:
                on_appended(message.offset(), None)
        elif alive:
            on_appended(None, failures.of(message.topic() or "", message.partition() or 0, error, len(message)))

    return delivered


def _drain(producer: Producer) -> None:
    # The callbacks of purged records hold references; serving them (they do nothing any more) lets all of it go.
    deadline = time.monotonic() + PURGE_SECONDS_MAX
    while len(producer) and time.monotonic() < deadline:
        with suppress(KafkaException):
            producer.poll(0.1)


class _Failures:
    """Makes an error of ours of one of the client."""

    def __init__(self, denied: _Denied) -> None:
        self._denied = denied
        self.fatal: KafkaError | None = None
        """What has ended the client, as where it may write nowhere: then all that it says of records is "purged"."""

    def of(self, topic: str, partition: int, error: KafkaError, record_bytes: int) -> LogError:
        if error.code() in _TOO_LARGE:
            return RecordTooLarge(topic, partition, record_bytes, None)
        if error.code() in _MISSING:
            return TopicMissing(topic, partition)
        fatal = self.fatal is not None or error.fatal() or error.code() == KafkaError._FATAL
        cause = self.fatal or error
        reason = str(self._denied("Write", topic)) if cause.code() in DENIED else cause.str()
        return AppendFailed(topic, partition, reason, fatal)


class KafkaReader(Reader):
    def __init__(self, servers: str, config: Mapping[str, str]) -> None:
        self._servers = servers
        settings = reader_settings(servers, config)
        self._complaints: Complaints = settings["error_cb"]
        self._consumer = Consumer(settings, logger=client_logger)
        self._denied = _denials(servers, config)
        self._positions: dict[str, dict[int, int]] = {}
        self._trouble: LogError | None = None
        self._located: set[str] = set()
        self._paused: set[tuple[str, int]] = set()

    def assign(self, topic: str, partition: int, offset: int) -> None:
        self._locate(topic)
        # Taking the partition away first makes the client drop whatever it has fetched ahead.
        self.unassign(topic, partition)
        self._consumer.incremental_assign([TopicPartition(topic, partition, offset)])
        self._positions.setdefault(topic, {})[partition] = offset

    def _locate(self, topic: str) -> None:
        """Without this the client looks for the leaders of a topic that is new to it only once a second."""
        if topic not in self._located:
            self._located.add(topic)
            try:
                self._consumer.list_topics(topic, timeout=LOCATE_SECONDS_MAX)
            except KafkaException as exception:
                self._complaints(error_of(exception))

    def unassign(self, topic: str, partition: int) -> None:
        if self._positions.get(topic, {}).pop(partition, None) is not None:
            if (topic, partition) in self._paused:  # or it would be paused still when it is assigned again
                self.resume(topic, partition)
            self._consumer.incremental_unassign([TopicPartition(topic, partition)])

    def pause(self, topic: str, partition: int) -> None:
        self._paused.add((topic, partition))
        self._consumer.pause([TopicPartition(topic, partition)])

    def resume(self, topic: str, partition: int) -> None:
        self._paused.discard((topic, partition))
        self._consumer.resume([TopicPartition(topic, partition)])

    def poll(self, timeout_seconds: float, records_max: int = 1000) -> list[Record]:
        self._raise_trouble()
        deadline = time.monotonic() + timeout_seconds
        while True:
            first = self._consumer.poll(timeout_seconds)
            if self._complaints.is_renewed:
                self._complaints.renew(self._consumer)
            if first is None:
                return []
            messages = [first]
            if records_max > 1:
                messages += self._consumer.consume(records_max - 1, 0)
            records = self._accept(messages)
            if records:
                return records
            self._raise_trouble()
            timeout_seconds = max(0.0, deadline - time.monotonic())

    def position(self, topic: str, partition: int) -> int:
        return self._positions[topic][partition]

    def close(self) -> None:
        self._positions.clear()
        self._consumer.close()

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    def _accept(self, messages: list[Message]) -> list[Record]:
        records: list[Record] = []
        last_topic: str | None = None
        positions: dict[int, int] = {}
        new = tuple.__new__
        for message in messages:
            topic: Any = message.topic()
            partition: Any = message.partition()
            if topic != last_topic:
                positions = self._positions.get(topic, {})
                last_topic = topic
            if message.error() is not None:
                self._heed(message, positions)
                continue
            if partition not in positions:
                continue
            offset: Any = message.offset()
            records.append(
                new(Record, (last_topic, partition, offset, message.timestamp()[1], message.key(), message.value()))
            )
            positions[partition] = offset + 1
        return records

    def _heed(self, message: Message, positions: dict[int, int]) -> None:
        error: Any = message.error()
        partition: Any = message.partition()
        topic: Any = message.topic()
        code = error.code()
        if code == _PARTITION_EOF:
            end: Any = message.offset()
            if partition in positions and end > positions[partition]:
                positions[partition] = end
        elif code in _OUT_OF_RANGE:
            if partition in positions:
                self._trouble = self._out_of_range(topic, partition, positions[partition])
                self.unassign(topic, partition)
        elif code == KafkaError.GROUP_AUTHORIZATION_FAILED:
            pass  # the client looks for the coordinator of a group that a reader has only in name
        elif code in DENIED:
            self._trouble = self._denied("Read", topic)
        elif code in _FORBIDDEN:
            self._trouble = LogUnavailable(f"kafka://{self._servers}", error.str())
        else:
            self._complaints(error)

    def _out_of_range(self, topic: str, partition: int, offset: int) -> LogError:
        try:
            asked = TopicPartition(topic, partition)
            begin, end = self._consumer.get_watermark_offsets(asked, timeout=WATERMARK_SECONDS_MAX)
        except KafkaException as exception:
            return LogUnavailable(f"kafka://{self._servers}", error_of(exception).str())
        return OffsetOutOfRange(topic, partition, offset, begin, end)
