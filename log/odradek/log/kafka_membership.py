"""Membership of a Kafka consumer group: it shares out partitions and keeps commits, and never fetches a record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from odradek.log.access import denied
from odradek.log.errors import LogError, LogUnavailable
from odradek.log.interface import Committed, Membership, MembershipListener
from odradek.log.kafka_access import DENIED
from odradek.log.kafka_security import principal_of
from odradek.log.kafka_settings import Complaints, client_logger, error_of, membership_settings
from odradek.schemas.access import Right

LEAVE_FLUSH_SECONDS: Final = 5
REPEAT_SECONDS: Final = 0.05
FIRST_SLICE_SECONDS: Final = 1.0

_logger = logging.getLogger("odradek.log.kafka")
_NO_OFFSET: Final = KafkaError._NO_OFFSET
_TEXT_TOO_LONG: Final = KafkaError.OFFSET_METADATA_TOO_LARGE


class KafkaMembership(Membership):
    def __init__(
        self,
        servers: str,
        config: Mapping[str, str],
        group: str,
        topic: str,
        listener: MembershipListener,
        session_timeout_seconds: float,
    ) -> None:
        self._servers = servers
        self._group = group
        self._topic = topic
        self._listener = listener
        self._failed = _failing(servers, config, group, topic)
        self._held: frozenset[int] = frozenset()
        self._commits_in_flight = 0
        self._newest: dict[int, Committed] = {}
        self._to_repeat: set[int] = set()
        self._repeat_at = 0.0
        settings = membership_settings(servers, config, group, int(session_timeout_seconds * 1000))
        self._complaints: Complaints = settings["error_cb"]
        settings["on_commit"] = self._on_commit
        self._consumer = Consumer(settings, logger=client_logger)
        self._closed = False
        self._handing_over = False
        self._joined = False
        self._consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def poll(self) -> None:
        if self._closed:
            return
        self._repeat()
        message = self._consumer.poll(0)
        if self._complaints.is_renewed:
            self._complaints.renew(self._consumer)
        if message is not None:
            error = message.error()
            if error is not None:
                self._complain(error)

    def _repeat(self) -> None:
        if self._to_repeat and time.monotonic() >= self._repeat_at:
            self.commit({p: self._newest[p] for p in self._to_repeat})

    def _complain(self, error: KafkaError) -> None:
        if error.code() in DENIED and not self._joined:
            raise self._failed(error)
        if error.code() in DENIED:
            self._complaints.tell(error.code(), str(self._failed(error)))
        else:
            self._complaints(error)

    @property
    def partitions(self) -> frozenset[int]:
        return self._held

    def commit(self, positions: Mapping[int, Committed]) -> None:
        if not positions:
            return
        self._newest.update(positions)
        self._to_repeat.difference_update(positions)
        offsets = [TopicPartition(self._topic, p, offset, metadata) for p, (offset, metadata) in positions.items()]
        if self._handing_over:  # within the client's own callback it can be answered in no other way
            self._commit_now(offsets)
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as exception:
            self._drop(offsets, error_of(exception))
        else:
            self._commits_in_flight += 1

    def _commit_now(self, offsets: list[TopicPartition]) -> None:
        while True:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
                return
            except KafkaException as exception:
                error = error_of(exception)
                if error.code() != _TEXT_TOO_LONG or not self._leave_longest_out(_numbers(offsets)):
                    self._drop(offsets, error)
                    return
            offsets = [TopicPartition(self._topic, p, *self._newest[p]) for p in _numbers(offsets)]

    def _leave_longest_out(self, partitions: Iterable[int]) -> bool:
        """Without the longest of their texts, since the client does not say which was refused. False: none has any."""
        texts = {p: self._newest[p].metadata for p in partitions}
        longest = max(texts, key=lambda p: len(texts[p]))
        if not texts[longest]:
            return False
        self._newest[longest] = Committed(self._newest[longest].offset, "")
        _logger.warning(
            'the text of %d characters beside the commit of partition %d of group "%s" is above the broker\'s limit '
            "(offset.metadata.max.bytes) and left out: the next holder may run more again than it must",
            len(texts[longest]),
            longest,
            self._group,
        )
        return True

    def flush_commits(self, timeout_seconds: float) -> None:
        if self._handing_over:  # polling within a poll would abort the process
            return
        deadline = time.monotonic() + timeout_seconds
        while (self._commits_in_flight > 0 or self._to_repeat) and time.monotonic() < deadline:
            self._repeat()
            self._consumer.poll(0.01)

    def committed(self, partitions: Iterable[int], timeout_seconds: float = 10) -> dict[int, Committed]:
        return committed_by(self._consumer, self._topic, partitions, timeout_seconds, self._failed)

    def close(self) -> None:
        if self._closed:
            return
        if self._held:
            self._listener.revoked(sorted(self._held))
        self._closed = True
        self.flush_commits(LEAVE_FLUSH_SECONDS)
        self._held = frozenset()
        # Closed while subscribed, the client of a member without partitions leaves without a word, and whoever joins
        # next waits until its session has ended.
        self._consumer.unsubscribe()
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, added: list[TopicPartition]) -> None:
        self._joined = True
        # An explicit offset spares the look-up of the committed one; being paused, it is never fetched from.
        ours = [TopicPartition(tp.topic, tp.partition, 0) for tp in added]
        consumer.incremental_assign(ours)
        consumer.pause(ours)
        if ours and not self._closed:
            numbers = _numbers(added)
            self._held |= frozenset(numbers)
            self._listener.assigned(numbers)

    def _on_revoke(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        numbers = [p for p in _numbers(gone) if p in self._held]
        self._handing_over = True
        try:
            if numbers and not self._closed:
                self._listener.revoked(numbers)
        finally:
            self._handing_over = False
            self._forget(numbers)
            consumer.incremental_unassign(gone)

    def _on_lost(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        numbers = [p for p in _numbers(gone) if p in self._held]
        self._forget(numbers)
        consumer.incremental_unassign(gone)
        if numbers and not self._closed:
            self._listener.lost(numbers)

    def _forget(self, partitions: Iterable[int]) -> None:
        """Another may commit these from now on: what was committed before must not come after it."""
        self._held -= frozenset(partitions)
        self._to_repeat.difference_update(partitions)
        for partition in partitions:
            self._newest.pop(partition, None)

    def _on_commit(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._commits_in_flight -= 1
        if error is not None and error.code() != _NO_OFFSET:
            self._drop(offsets, error)
            return
        for tp in offsets:
            if tp.error is not None:
                self._drop([tp], tp.error)

    def _drop(self, offsets: Sequence[TopicPartition], error: KafkaError) -> None:
        held = [tp.partition for tp in offsets if tp.partition in self._held and tp.partition in self._newest]
        if error.code() == _TEXT_TOO_LONG:
            if not held or self._leave_longest_out(held):
                self._to_repeat.update(held)
                return
        elif _passes(error):
            self._to_repeat.update(held)
            self._repeat_at = time.monotonic() + REPEAT_SECONDS
            return
        numbers = _numbers(offsets)
        _logger.warning('commit of partitions %s of group "%s" dropped: %s', numbers, self._group, error.str())


def committed_of_group(
    servers: str, config: Mapping[str, str], group: str, topic: str, partitions: Iterable[int], timeout_seconds: float
) -> dict[int, Committed]:
    """Without becoming a member. Raises ``LogUnavailable``.

    The admin client would be simpler, but takes the process down when the group's coordinator has just moved
    (librdkafka issue 5040).
    """
    settings = membership_settings(servers, config, group, session_ms=10_000)
    consumer = Consumer(settings, logger=client_logger)
    failed = _failing(servers, config, group, topic)
    deadline = time.monotonic() + timeout_seconds
    slice_seconds = FIRST_SLICE_SECONDS
    try:
        while True:
            try:
                return committed_by(consumer, topic, partitions, slice_seconds, failed)
            except LogUnavailable:
                _raise_if_denied(consumer, failed)
                slice_seconds *= 2
                if time.monotonic() + slice_seconds >= deadline:
                    raise
    finally:
        consumer.close()


def _raise_if_denied(consumer: Consumer, failed: Callable[[KafkaError], LogError]) -> None:
    """The client waits for a coordinator that it may not ask for, and says so nowhere but among the records."""
    message = consumer.poll(0)
    error = message.error() if message is not None else None
    if error is not None and error.code() in DENIED:
        raise failed(error)


def _failing(servers: str, config: Mapping[str, str], group: str, topic: str) -> Callable[[KafkaError], LogError]:
    """What makes an error of ours of one of the client."""
    principal, address = principal_of(config), f"kafka://{servers}"

    def failed(error: KafkaError) -> LogError:
        if error.code() not in DENIED:
            return LogUnavailable(address, error.str())
        of_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
        return denied(
            address, principal, [Right("Read", "group", group) if of_group else Right("Read", "topic", topic)]
        )

    return failed


def committed_by(
    consumer: Consumer,
    topic: str,
    partitions: Iterable[int],
    timeout_seconds: float,
    failed: Callable[[KafkaError], LogError],
) -> dict[int, Committed]:
    """What the consumer's group has committed, of the partitions that it has committed anything of."""
    asked = [TopicPartition(topic, p) for p in partitions]
    deadline = time.monotonic() + timeout_seconds
    while asked:
        try:
            answers = consumer.committed(asked, max(0.1, deadline - time.monotonic()))
        except KafkaException as exception:
            if time.monotonic() >= deadline or not _passes(error_of(exception)):
                raise failed(error_of(exception)) from None
            time.sleep(0.05)
            continue
        return {tp.partition: Committed(tp.offset, tp.metadata or "") for tp in answers if tp.offset >= 0}
    return {}


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(tp.partition for tp in partitions)


def _passes(error: KafkaError) -> bool:
    return error.retriable() or error.code() in _PASSING


_PASSING: Final = frozenset(
    {
        # A commit behind the request to join the group again is for a generation that has ended when it is read.
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError._ALL_BROKERS_DOWN,
    }
)
