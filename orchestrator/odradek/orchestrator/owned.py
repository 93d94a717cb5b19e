"""One partition that this process serves or takes over: from claim through restore and catching up to live service."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, Protocol

from odradek.log import Appender, Committed, Reader, Record, RecordTooLarge
from odradek.log.controls import Controls
from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics
from odradek.orchestrator.admission import Admission, Culprits
from odradek.orchestrator.copies import CopiedStore, Copies, ToOpen
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import ShardConfig
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.core.writer import Entry, HistoryWriter
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.rocks import StoreFailed, StoreIdentity, stamp
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.steps import StepRunner
from odradek.schemas import records as r
from odradek.schemas.dead_letters import dead_letter

_log = logging.getLogger("odradek.orchestrator.partition")


LOADED_AT_ONCE: Final = 200
UNSETTLED_MAX: Final = 2000
"""Records of a takeover on their way: their workflows cannot be put aside."""


class Phase(Enum):
    CLAIMING = auto()
    RESTORING = auto()
    LOADING = auto()
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
    copies: Copies[OwnedPartition] | None
    acked: dict[int, OwnedPartition]
    """Partitions with acknowledgements that they have not settled yet."""

    def shard_config(self, partition: int) -> ShardConfig: ...

    def culprits(self, partition: int) -> Culprits: ...

    def commit(self, partition: int, position: Committed) -> None: ...

    def worker_partition(self, worker: str) -> int | None: ...

    def unserved_ms(self, queue: str) -> int | None: ...

    def dispatch_expiry_ms(self, queue: str) -> int: ...

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
        self._admission = Admission(around.namespace, partition, around.culprits(partition))
        self._token = f"{around.settings.session_timeout_seconds:g}-{uuid.uuid4().hex}"
        self._claim = -1
        self._inbox_end = 0
        self._gap: list[Record] | None = None
        self._gap_bounds = (0, 0)
        self.began_ms = self.checkpointed_ms = around.clock_ms()
        """When it was claimed, and when the log last had all that a checkpoint says."""
        self.waits_ms: list[int] = []
        """Of the oldest record of each batch of the inbox, for the metrics to collect."""
        self._checkpointed: tuple[int, int] = (-1, -1)
        self._y_noted = -1
        self._outputs_noted = False
        """The last checkpoint says that everything before it has been emitted."""
        self._checkpoint_due_ms = 0
        self._stamped, self._stamped_ms = -1, 0
        self._done_x = -1
        self._reading_paused = False
        self._reported_loss = 0
        claim = r.HistoryRecord(0, -1, -1, -1, r.Claim(self._token, self.began_ms))
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
        around = self.around
        self._claim = offset
        age_ms_max = int(around.settings.store_age_seconds_max * 1000)
        wanted = ToOpen(around.settings.store, self.partition, offset, self._identity(around.clock_ms()), age_ms_max)
        if around.copies is None:
            self.restore(wanted.store())
        else:
            around.copies.open(self, wanted)

    def restore(self, store: Store) -> None:
        """Read on from where this store is."""
        if self.phase is not Phase.CLAIMING:
            _close(store)
            return
        around, log = self.around, self.around.namespace.log
        self.store = store
        self.shard = Shard(around.shard_config(self.partition), store)
        self.shard.worker_partition = around.worker_partition
        self.shard.unserved_ms = around.unserved_ms
        self.shard.inbox_end = log.offsets(self._topics.inbox, self.partition).end
        self.shard.dispatch_expiry_ms = around.dispatch_expiry_ms
        self.shard.paused_types, self.shard.paused_queues = around.controls.types, around.controls.queues
        begin = log.offsets(self._topics.history, self.partition).begin
        self.phase = Phase.RESTORING
        around.reader.assign(self._topics.history, self.partition, max(begin, self.shard.restore_from))
        _log.info(
            "partition %d: claimed at offset %d, restoring from %d",
            self.partition,
            self._claim,
            self.shard.restore_from,
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
        around = self.around
        around.reader.unassign(self._topics.history, self.partition)
        if around.clock_ms() - self.began_ms > around.settings.takeover_seconds_max * 1000:
            self.end("the takeover took so long that compaction may have overtaken it")
            return
        self.phase = Phase.LOADING
        self.shard.begin(self._claim, around.clock_ms())

    def load(self) -> None:
        """Bring some more of what was restored into memory, while other partitions are served."""
        shard = self.shard
        if self.phase is not Phase.LOADING or shard is None or len(shard.writer.in_flight) > UNSETTLED_MAX:
            return
        if not shard.load(LOADED_AT_ONCE):
            return
        log = self.around.namespace.log
        begin, self._inbox_end = log.offsets(self._topics.inbox, self.partition)
        if shard.x0 >= 0 and begin > shard.x0 + 1:
            self.end(
                f"ODR-076: inbox partition {self.partition} begins at offset {begin}, and records from "
                f"{shard.x0 + 1} on have not been taken in: its retention is shorter than the outage was. Records "
                "are lost; raise retention.ms"
            )
            return
        self.phase = Phase.CATCHING_UP
        self.around.reader.assign(self._topics.inbox, self.partition, max(begin, shard.x0 + 1))
        self._caught_up()

    def _caught_up(self) -> None:
        if self.phase is not Phase.CATCHING_UP or self.shard is None:
            return
        if self.around.reader.position(self._topics.inbox, self.partition) >= self._inbox_end:
            self.phase = Phase.LIVE
            now = self.around.clock_ms()
            self.shard.go_live(now)
            self.around.outputs.announce(self.partition)
            self.checkpointed_ms = now
            metrics.RESTORE_SECONDS.labels(self._topics.namespace).observe((now - self.began_ms) / 1000)
            self.around.note_readiness()
            _log.info("partition %d: live after %.3f s", self.partition, (now - self.began_ms) / 1000)

    # ------------------------------------------------------------------------------------------ service

    def take_inbox(self, records: Sequence[Record]) -> None:
        if self.shard is None or self.phase not in (Phase.CATCHING_UP, Phase.LIVE):
            return
        metrics.INBOX_RECORDS.labels(self._topics.namespace).inc(len(records))
        now_ms = self.around.clock_ms()
        self.waits_ms.append(max(0, now_ms - records[0].time_ms))
        self.shard.take(self._admission.take(records, now_ms), now_ms)
        self._caught_up()

    @property
    def has_backlog(self) -> bool:
        """Inputs wait here for nothing but their turn."""
        return self.shard is not None and bool(self.shard.intake.backlog)

    def go_on(self, now_ms: int) -> None:
        """The next turn of those inputs."""
        if self.shard is not None and self.phase in (Phase.CATCHING_UP, Phase.LIVE):
            self.shard.go_on(now_ms)

    @property
    def ahead(self) -> tuple[int, int]:
        """Inbox records that have been read and are not decided yet, and their bytes."""
        shard = self.shard
        return (shard.ahead, shard.intake.holds.bytes) if shard is not None and shard.owns else (0, 0)

    @property
    def bytes_in_flight(self) -> int:
        """Of appends to this partition's history that are not acknowledged yet."""
        return self.shard.writer.bytes_in_flight if self.shard is not None and self.shard.owns else 0

    def pace(self, free_records: int, free_bytes: int) -> None:
        """Read the inbox no further while more has been read ahead here than is still free for all partitions.

        A little is free for each of them always: what others hold must not stop one that holds hardly anything.
        """
        if self.phase not in (Phase.CATCHING_UP, Phase.LIVE):
            return
        settings, (records, held_bytes) = self.around.settings, self.ahead
        free_records = max(free_records, settings.records_per_poll)
        free_bytes = max(free_bytes, settings.inbox_ahead_bytes_max // 64)
        topic, partition = self._topics.inbox, self.partition
        if self._reading_paused:
            if records <= free_records / 2 and held_bytes <= free_bytes / 2:
                self._reading_paused = False
                self.around.reader.resume(topic, partition)
        elif records > free_records or held_bytes > free_bytes:
            self._reading_paused = True
            self.around.reader.pause(topic, partition)

    @property
    def payload_bytes_max(self) -> int:
        return self.shard.config.payload_bytes_max if self.shard is not None else 0

    def put_off(self, task: r.TaskRecord, writer: HistoryWriter) -> None:
        """A task of this partition cannot be sent now, and must not be kept."""
        if self.shard is not None and self.shard.owns and self.shard.writer is writer:
            self.shard.put_off(task.workflow_id, task.run_id, task.seq, task.attempt)

    def take_steps(self, ended: Sequence[tuple[fx.RunStep, r.StepEnded]]) -> None:
        if self.shard is not None and self.phase in (Phase.CATCHING_UP, Phase.LIVE):
            self.shard.steps_ended(ended, self.around.clock_ms())

    def tick(self, now_ms: int, due_max: int) -> None:
        shard = self.shard
        if shard is None or self.phase is not Phase.LIVE:
            return
        if shard.next_tick_ms() <= now_ms:
            shard.tick(now_ms, due_max)
        if isinstance(self.store, CopiedStore):
            self.store.advance()
        if now_ms >= self._checkpoint_due_ms:
            self._checkpoint_due_ms = now_ms + int(self.around.settings.checkpoint_seconds * 1000)
            self.checkpoint(now_ms)

    def checkpoint(self, now_ms: int, *, last: bool = False) -> None:
        """Write the watermarks down if they have moved, or the store grows too old, and bring the store up."""
        shard = self.shard
        assert shard is not None
        self._report_losses(shard)
        settings, moved = self.around.settings, (shard.writer.last, shard.writer.x) != self._checkpointed
        emitted = not self._outputs_noted and shard.writer.y != self._y_noted
        stamp_age_ms = now_ms - self._stamped_ms
        stamps = last or stamp_age_ms >= settings.store_flush_seconds * 1000
        aged = stamp_age_ms >= settings.store_age_seconds_max * 1000 / 3
        if not (moved or emitted or aged or (stamps and shard.writer.last != self._stamped)):
            self.checkpointed_ms = now_ms
            return
        self._y_noted = shard.writer.y

        def checked(offset: int) -> None:
            self._checkpointed = (offset, shard.writer.x)
            self.checkpointed_ms = now_ms
            self._outputs_noted = self._y_noted >= offset - 1
            if stamps and self.store is not None:
                # Nobody else had written when the checkpoint was sent: later is not known.
                self._stamped, self._stamped_ms = offset, now_ms
                shard.flush_store()
                stamp(self.store, self._identity(now_ms))
                self.store.flush()

        shard.checkpoint(now_ms, checked)

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
        shard = self.shard
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
            except Exception as failure:
                self.around.partition_failed(self, failure)

        try:
            self.around.history.append(self._topics.history, self.partition, entry.key, entry.value, appended)
        except RecordTooLarge:
            shard.at = (entry.key.partition(b"\0")[0].decode(), -1)  # nothing else of this partition is to blame
            raise

    def _carry_out(self, effect: fx.Effect) -> None:
        shard = self.shard
        assert shard is not None
        match effect:
            case fx.Output():
                self.around.outputs.carry_out(effect, shard.writer, self.partition)
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
                self.around.culprits(self.partition).forget_to(x)
                self.around.commit(self.partition, Committed(x + 1, ""))

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
        self.flush()
        self.drain()

    def _report_losses(self, shard: Shard) -> None:
        for lost in shard.lost_records[self._reported_loss :]:
            record = Record(
                self._topics.history, self.partition, lost.offset, self.around.clock_ms(), lost.key, lost.value
            )
            self.around.outputs.carry_out(
                fx.DeadLetter(record=self._dead(record, lost.reason)), shard.writer, self.partition
            )
        self._reported_loss = len(shard.lost_records)

    def _dead(self, record: Record, reason: str) -> r.DeadLetterRecord:
        return dead_letter(
            self.around.namespace.record_bytes_max, "ODR-002", reason, record.topic, record.partition, record.offset,
            record.time_ms, record.key, record.value,
        )  # fmt: skip

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
            _close(self.store)
            self.store = None
        self.shard = None


def _close(store: Store) -> None:
    try:
        store.close()
    except StoreFailed as error:
        _log.warning("%s The next owner reads more of the log", error)
