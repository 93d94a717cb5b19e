"""Carries a shard's outputs to the other topics."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple
from zlib import crc32

from odradek.log import Appender, AppendFailed, LogError, RecordTooLarge, TopicInfo, TopicMissing
from odradek.log.namespace import Namespace, ensure_queue
from odradek.orchestrator import metrics
from odradek.orchestrator.abroad import Abroad, Waiting
from odradek.orchestrator.blocked import BlockedTasks, Owner
from odradek.orchestrator.core import children
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.run import DISPATCH_EXPIRY_MS
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.schemas import records as r
from odradek.schemas.dead_letters import KEY_BYTES_KEPT
from odradek.schemas.topics import Topics, is_abroad

_log = logging.getLogger("odradek.orchestrator.outputs")

HOLD_SECONDS: Final = 2.0
"""How long an output may wait for a newer one that takes its place: short runs are shown and answered once."""


EXPIRY_HOURS_WARNED: Final = 12.0
"""Of tasks that are dropped and issued again so soon, people are told: a backlog of that age is never worked off."""
LOOK_AGAIN_SECONDS: Final = 30.0
"""After the topic of a queue was not there."""


class _Queue(NamedTuple):
    partitions: int
    expiry_ms: int


class _Held(NamedTuple):
    until: float
    effect: fx.Output
    writer: HistoryWriter
    home: int


class Outputs:
    """One appender for everything that is not history. ``on_failure`` is called when it can no longer be trusted.

    ``owners``, by partition, are told of tasks that must not wait here, since too many wait for their topics.
    """

    def __init__(
        self,
        namespace: Namespace,
        on_failure: Callable[[Exception], None],
        owners: Mapping[int, Owner],
    ) -> None:
        self._namespace = namespace
        self._topics: Topics = namespace.topics
        self._on_failure = on_failure
        self._queues: dict[str, _Queue] = {}
        self._unknown_queues: dict[str, float] = {}
        self._blocked = BlockedTasks(namespace.topics.namespace, owners)
        self._held: dict[str, _Held] = {}
        """Outputs that may wait, by what they are about, the oldest first."""
        self._abroad = Abroad(namespace, self._deliver, self._refuse)
        self.appender: Appender = namespace.log.appender()
        self.bytes_in_flight = 0
        self.refusals: Counter[str] = Counter()
        """Of requests, by code, since they were last collected."""

    @property
    def idle(self) -> bool:
        """Nothing is on its way, and nothing waits for a topic."""
        return not self.appender.in_flight and not self._blocked

    @property
    def blocked_count(self) -> int:
        """Outputs that no topic takes at the moment."""
        return len(self._blocked) + len(self._abroad)

    def discard(self) -> None:
        """After trouble: forget what is on its way; owners emit again what matters."""
        self.appender.discard()
        self._blocked.clear()
        self._held.clear()
        self._abroad.clear()
        self.appender = self._namespace.log.appender()
        self.bytes_in_flight = 0

    def carry_out(self, effect: fx.Output, writer: HistoryWriter, home: int) -> None:
        """Send one output of partition ``home``, at once or a little later; its token is released when it is out."""
        about = effect.about
        if about is not None:
            older = self._held.pop(about, None)
            if older is not None and older.effect.token is not None and not older.writer.fenced:
                older.writer.emitted(older.effect.token)
            if effect.may_wait:
                self._held[about] = _Held(time.monotonic() + HOLD_SECONDS, effect, writer, home)
                return
        self._send(effect, writer, home)

    def send_held(self, now: float = float("inf")) -> None:
        """Send what has been held until ``now`` (monotonic seconds; everything by default), and to other namespaces."""
        self._abroad.turn()
        while self._held:
            about, held = next(iter(self._held.items()))
            if held.until > now:
                return
            del self._held[about]
            if not held.writer.fenced:
                self._send(held.effect, held.writer, held.home)

    def _send(self, effect: fx.Output, writer: HistoryWriter, home: int) -> None:
        codec = self._namespace.codec
        match effect:
            case fx.SendTask(task=task):
                assert task is not None
                self._send_task(effect, task, writer, home)
            case fx.Reply(partition=partition, recipient=recipient, request_id=request_id, body=body):
                if isinstance(body, r.Refused):
                    self.refusals[body.code] += 1
                self._append_reply(partition, recipient, r.ReplyRecord(recipient, request_id, body))
            case fx.SendMessage(namespace=namespace):
                message = Waiting(effect, writer, home)
                if namespace and namespace != self._topics.namespace:
                    self._abroad.send(message)
                else:
                    self._deliver(message, self._namespace)
            case fx.Show(record=shown):
                assert shown is not None
                key = f"{shown.run_id}\0{shown.claim}".encode()
                self._append(effect, writer, self._topics.visibility, home, key, codec.encode(shown))
            case fx.Archive(record=archived, blocks=blocks):
                assert archived is not None
                value = codec.encode_with_events(archived, blocks)
                self._append(effect, writer, self._topics.archive, home, archived.workflow_id.encode(), value)
            case fx.DeadLetter(record=dead):
                assert dead is not None
                metrics.DEAD_LETTERS.labels(self._topics.namespace, dead.topic).inc()
                _log.error(
                    "%s (%s, partition %d, offset %d)",
                    dead.reason,
                    dead.topic,
                    dead.partition,
                    dead.offset,
                )
                letter_key = dead.key if len(dead.key or b"") <= KEY_BYTES_KEPT else None
                self._append(effect, writer, self._topics.dead_letter, 0, letter_key, codec.encode(dead))
            case _:
                raise AssertionError(effect)

    def retry_blocked(self) -> None:
        """Try again what waits for a topic that could not be made."""
        for blocked in self._blocked.take():
            self._send(blocked.effect, blocked.writer, blocked.home)

    def announce(self, partition: int) -> None:
        """Tell all clients that this partition has a new owner: who waits for a result there asks again at once."""
        value = self._namespace.codec.encode(r.ReplyRecord(r.EVERYBODY, "", r.PartitionTaken(partition)))
        for reply_partition in range(self._namespace.reply_partitions):
            self.append(self._topics.replies, reply_partition, r.EVERYBODY.encode(), value)

    def append(self, topic: str, partition: int, key: bytes, value: bytes | None) -> None:
        """Append something that nobody waits for."""
        self.appender.append(topic, partition, key, value)

    def _send_task(self, effect: fx.SendTask, task: r.TaskRecord, writer: HistoryWriter, home: int) -> None:
        queue = task.task_queue
        if queue in self._blocked:
            self._blocked.hold(queue, effect, writer, home)
            return
        known = self._queues.get(queue)
        if known is None:
            try:
                known = self._note_queue(queue, ensure_queue(self._namespace, queue))
            except (LogError, ValueError) as error:
                if is_abroad(queue) and isinstance(error, (TopicMissing, ValueError)):
                    reason = (
                        f'ODR-129: activity "{task.activity_type}" is for task queue "{queue}", and that namespace '
                        f"does not exist on this log ({error}): correct its name, or have it made"
                    )
                    self._refuse_task(effect, task, writer, reason)
                else:
                    self._hold_task(effect, writer, home, queue, error)
                return
        key = f"{task.run_id}:{task.seq}".encode()
        value = self._namespace.codec.encode(task)
        elsewhere = partial(self._hold_task, effect, writer, home, queue) if is_abroad(queue) else None
        topic = self._topics.tasks(queue)
        try:
            self._append_or_raise(effect, writer, topic, crc32(key) % known.partitions, key, value, elsewhere)
        except RecordTooLarge as error:
            reason = f'ODR-105: activity "{task.activity_type}" cannot be sent to its queue: {error}'
            self._refuse_task(effect, task, writer, reason)

    def _hold_task(self, effect: fx.SendTask, writer: HistoryWriter, home: int, queue: str, error: Exception) -> None:
        """Its topic takes it later, perhaps; nothing else waits with it."""
        self._queues.pop(queue, None)
        self._blocked.block(queue, error)
        self._blocked.hold(queue, effect, writer, home)

    def _refuse_task(self, effect: fx.SendTask, task: r.TaskRecord, writer: HistoryWriter, reason: str) -> None:
        """No worker can ever get it: the activity fails, as a message to a namespace that does not exist does."""
        failure = r.Failure(r.FailureKind.APPLICATION, reason, reason[:7], non_retryable=True)
        now_ms = int(time.time() * 1000)
        result = r.ActivityResult(task.run_id, task.seq, task.attempt, "", now_ms, None, failure)
        value = self._namespace.codec.encode(r.InboxRecord(now_ms, result))
        self._append(effect, writer, self._topics.inbox, task.inbox_partition, task.workflow_id.encode(), value)

    def dispatch_expiry_ms(self, queue: str) -> int:
        """After how long a task that nobody has begun is issued again: half of the time for which its topic keeps it.

        Asks the log when a queue is first heard of.
        """
        known = self._queues.get(queue)
        if known is None and time.monotonic() >= self._unknown_queues.get(queue, 0.0):
            known = self._look_at(queue)
            if known is None:
                self._unknown_queues[queue] = time.monotonic() + LOOK_AGAIN_SECONDS
        return DISPATCH_EXPIRY_MS if known is None else known.expiry_ms

    def look_at_queues(self) -> None:
        """See whether their retention has changed. May be called from another thread."""
        for queue in list(self._queues):
            self._look_at(queue)

    def _look_at(self, queue: str) -> _Queue | None:
        try:
            info = self._namespace.log.topic(self._topics.tasks(queue))
        except (LogError, ValueError):
            return None
        return None if info is None else self._note_queue(queue, info)

    def _note_queue(self, queue: str, info: TopicInfo) -> _Queue:
        kept_ms = int(info.config.get("retention.ms", -1))
        before = self._queues.get(queue)
        now = self._queues[queue] = _Queue(info.partitions, kept_ms // 2 if kept_ms > 0 else DISPATCH_EXPIRY_MS)
        if now != before and now.expiry_ms <= EXPIRY_HOURS_WARNED * 3_600_000:
            _log.warning(
                "ODR-147: topic %s keeps tasks for %.1f h: one that no worker has begun within half of that is issued "
                "again, behind the others. Set its retention.ms to more than twice the longest backlog",
                info.name, now.expiry_ms / 1_800_000,
            )  # fmt: skip
        return now

    def _deliver(self, message: Waiting, to: Namespace) -> None:
        """Append a message to the inbox of its workflow, in whichever namespace that is."""
        effect, writer, _ = message
        partition, key = to.partition(effect.workflow_id), effect.workflow_id.encode()
        value = to.codec.encode(effect.record)
        abroad = effect.namespace not in ("", self._topics.namespace)
        elsewhere = partial(self._abroad.failed, message) if abroad else None
        try:
            self._append_or_raise(effect, writer, to.topics.inbox, partition, key, value, elsewhere)
        except RecordTooLarge as error:
            self._refuse(message, f"ODR-105: the message is too large for its receiver: {error}")

    def _refuse(self, message: Waiting, reason: str) -> None:
        """A message cannot be delivered: tell its sender; a result shrinks to a failure; an answer is dropped."""
        effect, writer, home = message
        assert effect.record is not None
        body, sent_ms = effect.record.body, effect.record.sent_ms
        refusal = r.Refused(reason[:7], reason)
        origin = getattr(body, "origin", None)
        if origin is not None and origin.number < children.PARENT_CLOSED:
            answer = children.answer(sent_ms, origin, refusal)
            answer.token = effect.token
            self._deliver(Waiting(answer, writer, home), self._namespace)
        elif isinstance(body, r.ChildResult) and body.result is not None and refusal.code == "ODR-105":
            failure = r.Failure(r.FailureKind.APPLICATION, reason, "PayloadTooLarge", non_retryable=True)
            body = dataclasses.replace(body, status=r.RunStatus.FAILED, result=None, failure=failure)
            effect.record = r.InboxRecord(sent_ms, body)
            self._send(effect, writer, home)
        else:
            _log.error('%s; nobody can be told, and workflow "%s" may wait for it', reason, effect.workflow_id)
            if effect.token is not None:
                writer.emitted(effect.token)

    def _append_reply(self, partition: int, recipient: str, reply: r.ReplyRecord) -> None:
        if not 0 <= partition < self._namespace.reply_partitions:
            _log.error("an answer to %r is dropped: there is no partition %d of replies", recipient[:80], partition)
            return
        encode, topic, key = self._namespace.codec.encode, self._topics.replies, recipient.encode()
        try:
            self._append_untracked(topic, partition, key, encode(reply))
        except RecordTooLarge as error:
            _log.error("an answer is too large to be sent: %s", error)
            refused = r.Refused("ODR-105", f"ODR-105: the answer is too large to be sent: {error}")
            self._append_untracked(topic, partition, key, encode(r.ReplyRecord(recipient, reply.request_id, refused)))

    def _append_untracked(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        size = len(value)

        def appended(offset: int | None, error: Exception | None) -> None:
            self.bytes_in_flight -= size

        self.appender.append(topic, partition, key, value, appended)
        self.bytes_in_flight += size

    def _append(
        self,
        effect: fx.Output,
        writer: HistoryWriter,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        elsewhere: Callable[[AppendFailed], None] | None = None,
    ) -> None:
        try:
            self._append_or_raise(effect, writer, topic, partition, key, value, elsewhere)
        except RecordTooLarge as error:
            _log.error("ODR-105: an output cannot be sent, and is dropped: %s", error)
            if effect.token is not None:
                writer.emitted(effect.token)

    def _append_or_raise(
        self,
        effect: fx.Output,
        writer: HistoryWriter,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes,
        elsewhere: Callable[[AppendFailed], None] | None = None,
    ) -> None:
        """``elsewhere``: told when a topic of another namespace refuses it, and our own appends can be trusted yet."""
        token, size = effect.token, len(value)

        def appended(offset: int | None, error: Exception | None) -> None:
            self.bytes_in_flight -= size
            if writer.fenced:
                return
            if offset is None or error is not None:
                self._append_failed(topic, error, elsewhere)
                return
            if isinstance(effect, (fx.Archive, fx.DeadLetter)) and effect.on_stored is not None:
                effect.on_stored(partition, offset)
            if token is not None:
                writer.emitted(token)

        self.appender.append(topic, partition, key, value, appended)
        self.bytes_in_flight += size

    def _append_failed(
        self, topic: str, error: Exception | None, elsewhere: Callable[[AppendFailed], None] | None
    ) -> None:
        if elsewhere is not None and isinstance(error, AppendFailed) and not error.fatal:
            elsewhere(error)
            return
        unknown = f"ODR-075: nobody knows where a record of {topic} stands: all partitions are claimed again"
        self._on_failure(error or LogError(unknown))
