"""One partition that this process serves or takes over: from claim through restore and catching up to live service."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from odradek.log import Appender, Committed, Reader, Record
from odradek.log.controls import Controls
from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import InboxItem, ShardConfig
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.core.writer import Entry
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.rocks import RocksStore, StoreIdentity, discard_if_unfit, open_store, stamp
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.steps import StepRunner
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord

_log = logging.getLogger("odradek.orchestrator.partition")


class Phase(Enum):
    CLAIMING = auto()
    RESTORING = auto()
    CATCHING_UP = auto()
    LIVE = auto()
    VOID = auto()
    """The claim is over: another owner, or trouble."""


class Surroundings(Protocol):
    """What a partition shares with the others of its process."""

    namespace: Namespace
    settings: OrchestratorSettings
    reader: Reader
    history: Appender
    outputs: Outputs
    clock_ms: Callable[[], int]
    steps: StepRunner
    controls: Controls
    acked: dict[int, OwnedPartition]
    """Partitions with acknowledgements that they have not settled yet."""

    def shard_config(self, partition: int) -> ShardConfig: ...

    def commit(self, partition: int, position: Committed) -> None: ...

    def worker_partition(self, worker: str) -> int | None: ...

    def unserved_ms(self, queue: str) -> int | None: ...

    def read_archive(self, owned: OwnedPartition, effect: fx.ReadArchive) -> None: ...

    def history_failed(self, error: Exception) -> None: ...

    def partition_failed(self, owned: OwnedPartition, error: Exception) -> None: ...

    def note_readiness(self) -> None: ...


class OwnedPartition:
    """A claim on one partition and what it has come to."""

    def __init__(self, around: Surroundings, partition: int) -> None:
        self.around = around
        self.partition = partition
        self.phase = Phase.CLAIMING
        self.void_reason = ""
        self.shard: Shard | None = None
        self.store: Store | None = None
        self._topics = around.namespace.topics
        self._token = f"{around.settings.session_timeout_seconds:g}-{uuid.uuid4().hex}"
        self._claim = -1
        self._inbox_end = 0
        self._gap: list[Record] | None = None
        self._gap_bounds = (0, 0)
        self._began_ms = around.clock_ms()
        self._checkpointed: tuple[int, int] = (-1, -1)
        self._y_noted = -1
        self._outputs_noted = False
        """The last checkpoint says that everything before it has been emitted."""
        self._checkpoint_due_ms = 0
        self._flush_due_ms = 0
        self._done_x = -1
        self._reflects_ms = self._began_ms
        """The store has missed nothing that was in the log then: an owner that sleeps must not call it younger."""
        self._reported_loss = 0
        claim = r.HistoryRecord(0, -1, -1, -1, r.Claim(self._token, self._began_ms))
        metrics.CLAIMS.labels(self._topics.namespace).inc()
        around.history.append(
            self._topics.history,
            partition,
            keys.claim(self._token),
            around.namespace.codec.encode(claim),
            self._claimed,
        )

    # ------------------------------------------------------------------------------------------ taking over

    def _claimed(self, offset: int | None, error: Exception | None) -> None:
        if self.phase is not Phase.CLAIMING:
            return
        if offset is None or error is not None:
            self.around.history_failed(error or RuntimeError("the claim's offset is unknown"))
            return
        try:
            self._begin_restore(offset)
        except Exception as failure:
            self.around.partition_failed(self, failure)

    def _begin_restore(self, offset: int) -> None:
        around, log = self.around, self.around.namespace.log
        self._claim = offset
        config = around.shard_config(self.partition)
        self.store = open_store(around.settings.store, self.partition)
        discard_if_unfit(
            self.store, self._identity(around.clock_ms()), offset + 1, int(around.settings.store_age_seconds_max * 1000)
        )
        self.shard = Shard(config, self.store)
        self.shard.worker_partition = around.worker_partition
        self.shard.unserved_ms = around.unserved_ms
        self.shard.paused_types, self.shard.paused_queues = around.controls.types, around.controls.queues
        begin = log.offsets(self._topics.history, self.partition).begin
        self.phase = Phase.RESTORING
        around.reader.assign(self._topics.history, self.partition, max(begin, self.shard.restore_from))
        _log.info(
            "partition %d: claimed at offset %d, restoring from %d", self.partition, offset, self.shard.restore_from
        )

    def _identity(self, time_ms: int) -> StoreIdentity:
        log, history = self.around.namespace.log, self._topics.history
        info = log.topic(history)
        epoch = log.leader_epoch(history, self.partition)
        return StoreIdentity(info.topic_id if info else "", epoch, time_ms)

    def take_history(self, records: Sequence[Record]) -> None:
        """Records of this partition's history: for the restore, or of a gap."""
        if self._gap is not None:
            self._take_gap(records)
        elif self.phase is Phase.RESTORING and self.shard is not None:
            for record in records:
                if record.offset > self._claim:
                    break
                self.shard.restore(record.offset, record.key or b"", record.value)
                if record.offset == self._claim:
                    self._restored()
                    break

    def _restored(self) -> None:
        assert self.shard is not None
        around, log = self.around, self.around.namespace.log
        around.reader.unassign(self._topics.history, self.partition)
        if around.clock_ms() - self._began_ms > around.settings.takeover_seconds_max * 1000:
            self.end("the takeover took so long that compaction may have overtaken it")
            return
        self.shard.begin(self._claim, around.clock_ms())
        begin, self._inbox_end = log.offsets(self._topics.inbox, self.partition)
        if self.shard.x0 >= 0 and begin > self.shard.x0 + 1:
            self.end(
                f"ODR-076: inbox partition {self.partition} begins at offset {begin}, and records from "
                f"{self.shard.x0 + 1} on have not been taken in: its retention is shorter than the outage was. Records "
                "are lost; raise retention.ms"
            )
            return
        self.phase = Phase.CATCHING_UP
        around.reader.assign(self._topics.inbox, self.partition, max(begin, self.shard.x0 + 1))
        self._caught_up()
        self.drain()

    def _caught_up(self) -> None:
        if self.phase is not Phase.CATCHING_UP or self.shard is None:
            return
        if self.around.reader.position(self._topics.inbox, self.partition) >= self._inbox_end:
            self.phase = Phase.LIVE
            now = self.around.clock_ms()
            self.shard.go_live(now)
            self.around.outputs.announce(self.partition)
            metrics.RESTORE_SECONDS.labels(self._topics.namespace).observe((now - self._began_ms) / 1000)
            self.around.note_readiness()
            _log.info("partition %d: live after %.3f s", self.partition, (now - self._began_ms) / 1000)

    # ------------------------------------------------------------------------------------------ service

    def take_inbox(self, records: Sequence[Record]) -> None:
        if self.shard is None or self.phase not in (Phase.CATCHING_UP, Phase.LIVE):
            return
        codec = self.around.namespace.codec
        items: list[InboxItem | tuple[int, fx.DeadLetter]] = []
        for record in records:
            try:
                if not record.key or not record.value or b"\0" in record.key:
                    raise UnreadableRecord("InboxRecord", "it has no workflow ID as its key, or no value")
                body = codec.decode(r.InboxRecord, record.value)
                items.append(InboxItem(record.offset, record.time_ms, record.key.decode(), body))
            except (UnreadableRecord, UnicodeDecodeError) as error:
                items.append((record.offset, fx.DeadLetter(record=_dead(record, "ODR-002", str(error)))))
        metrics.INBOX_RECORDS.labels(self._topics.namespace).inc(len(records))
        self.shard.take(items, self.around.clock_ms())
        self._caught_up()

    @property
    def payload_bytes_max(self) -> int:
        return self.shard.config.payload_bytes_max if self.shard is not None else 0

    def take_steps(self, ended: Sequence[tuple[fx.RunStep, r.StepEnded]]) -> None:
        if self.shard is not None and self.phase in (Phase.CATCHING_UP, Phase.LIVE):
            self.shard.steps_ended(ended, self.around.clock_ms())

    def tick(self, now_ms: int) -> None:
        shard = self.shard
        if shard is None or self.phase is not Phase.LIVE:
            return
        if shard.next_tick_ms() <= now_ms:
            shard.tick(now_ms)
        if now_ms >= self._checkpoint_due_ms:
            self._checkpoint_due_ms = now_ms + int(self.around.settings.checkpoint_seconds * 1000)
            self.checkpoint(now_ms)

    def checkpoint(self, now_ms: int) -> None:
        """Write the watermarks down if they have moved, and bring the store up."""
        shard = self.shard
        assert shard is not None
        self._report_losses(shard)
        state = (shard.writer.last, shard.writer.x)
        if state == self._checkpointed and (self._outputs_noted or shard.writer.y == self._y_noted):
            return
        self._y_noted = shard.writer.y
        shard.checkpoint(now_ms, self._on_checkpoint)
        if self.store is not None and now_ms >= self._flush_due_ms:
            self._flush_due_ms = now_ms + int(self.around.settings.store_flush_seconds * 1000)
            self._stamp()

    def _on_checkpoint(self, offset: int) -> None:
        if self.shard is not None:
            self._checkpointed = (offset, self.shard.writer.x)
            self._outputs_noted = self._y_noted >= offset - 1

    def _stamp(self) -> None:
        if isinstance(self.store, RocksStore):
            stamp(self.store, self._identity(self._reflects_ms))
            self.store.flush()

    def flush(self) -> None:
        """After a batch of acknowledgements."""
        if self.shard is not None and self.phase in (Phase.CATCHING_UP, Phase.LIVE):
            self.shard.flush()

    def drain(self) -> None:
        """Send what the shard wants sent, and carry out its effects."""
        shard = self.shard
        if shard is None or not shard.owns:
            return
        writer = shard.writer
        while (writer.to_send or writer.outbox) and self.phase is not Phase.VOID:
            entries, writer.to_send = writer.to_send, []
            for entry in entries:
                self._send(entry)
            effects, writer.outbox = writer.outbox, []
            for effect in effects:
                self._carry_out(effect)

    def _send(self, entry: Entry) -> None:
        shard, sent_ms = self.shard, self.around.clock_ms()
        assert shard is not None

        def appended(offset: int | None, error: Exception | None) -> None:
            if self.shard is not shard:
                return
            if offset is None or error is not None:
                self.around.history_failed(error or RuntimeError("the offset of an append is unknown"))
                return
            self.around.acked[self.partition] = self
            try:
                shard.acked(entry, offset)
                if shard.writer.last == offset:
                    self._reflects_ms = sent_ms
            except Exception as failure:
                self.around.partition_failed(self, failure)

        self.around.history.append(self._topics.history, self.partition, entry.key, entry.value, appended)

    def _carry_out(self, effect: fx.Effect) -> None:
        shard = self.shard
        assert shard is not None
        match effect:
            case fx.Fenced(reason=reason):
                self.end(reason)
            case fx.ReadGap(first=first, end=end):
                self._gap, self._gap_bounds = [], (first, end)
                self.around.reader.assign(self._topics.history, self.partition, first)
            case fx.RunStep():
                self.around.steps.run(self, effect)
            case fx.CancelStep(step=step):
                self.around.steps.cancel(step)
            case fx.ReadArchive():
                self.around.read_archive(self, effect)
            case fx.InboxDone(x=x):
                self._done_x = x
                self.around.commit(self.partition, Committed(x + 1, ""))
            case _:
                self.around.outputs.carry_out(effect, shard.writer, self.partition)

    def _take_gap(self, records: Sequence[Record]) -> None:
        assert self._gap is not None
        assert self.shard is not None
        first, end = self._gap_bounds
        self._gap += [record for record in records if first <= record.offset < end]
        if self.around.reader.position(self._topics.history, self.partition) < end:
            return
        gap, self._gap = self._gap, None
        self.around.reader.unassign(self._topics.history, self.partition)
        found = [(record.offset, record.key or b"", keys.claim_of(record.key or b"")) for record in gap]
        self.shard.writer.gap_read(found)
        self.shard.flush()
        self.drain()

    def _report_losses(self, shard: Shard) -> None:
        for lost in shard.lost_records[self._reported_loss :]:
            record = Record(
                self._topics.history, self.partition, lost.offset, self.around.clock_ms(), lost.key, lost.value
            )
            self.around.outputs.carry_out(
                fx.DeadLetter(record=_dead(record, "ODR-002", lost.reason)), shard.writer, self.partition
            )
        self._reported_loss = len(shard.lost_records)

    # ------------------------------------------------------------------------------------------ the end

    @property
    def done_x(self) -> int:
        """The inbox may be deleted up to here."""
        return self._done_x

    @property
    def settled(self) -> bool:
        """Nothing of this partition is on its way."""
        return self.shard is None or not self.shard.owns or not self.shard.writer.in_flight

    def end(self, reason: str) -> None:
        """Stop serving at once; nothing is emitted any more."""
        if self.phase is Phase.VOID:
            return
        _log.warning("partition %d: the claim at offset %d is over: %s", self.partition, self._claim, reason)
        metrics.FENCED.labels(self._topics.namespace).inc()
        self.void_reason = reason
        self.close()

    def close(self) -> None:
        """Release memory and the store."""
        if self.phase is Phase.VOID:
            return
        self.phase = Phase.VOID
        self.around.reader.unassign(self._topics.history, self.partition)
        self.around.reader.unassign(self._topics.inbox, self.partition)
        if self.shard is not None:
            if self.shard.owns:
                self.shard.writer.fence(self.void_reason or "released")
            for live in self.shard.stepping.values():
                for step in live.steps.values():
                    self.around.steps.cancel(step, dropped=True)
            for live in list(self.shard.instances.values()):
                self.shard.drop_instance(live)
            self.shard.closed_runs.clear()
            if self.shard.careful is not None:
                self.shard.careful.close()
        if self.store is not None:
            if isinstance(self.store, RocksStore) and self.shard is not None and self.shard.owns:
                stamp(self.store, self._identity_or_old())
            self.store.close()
            self.store = None
        self.shard = None

    def _identity_or_old(self) -> StoreIdentity:
        try:
            return self._identity(self._reflects_ms)
        except Exception:
            _log.debug("the store is closed without a stamp", exc_info=True)
            return StoreIdentity("", 0, 0)


def _dead(record: Record, code: str, reason: str) -> r.DeadLetterRecord:
    return r.DeadLetterRecord(
        code, reason, record.topic, record.partition, record.offset, record.time_ms, record.key, record.value
    )
