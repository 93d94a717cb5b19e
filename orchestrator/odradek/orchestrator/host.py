"""One orchestrator process.

A thread that reads inboxes, drives the shards of the partitions it owns, and appends what they say.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from odradek.activity.interceptors import Interceptor
from odradek.common.prometheus import PrometheusMeter
from odradek.converter import DataConverter
from odradek.log import Appender, Committed, Log, LogError, LogUnavailable, OffsetOutOfRange, Record
from odradek.log.clock import WALL, Clock
from odradek.log.controls import Controls
from odradek.log.namespace import Namespace, NamespaceStandsBy, read_to_end
from odradek.orchestrator import metrics
from odradek.orchestrator.admission import Culprits
from odradek.orchestrator.archives import ArchiveReads
from odradek.orchestrator.copies import Copies
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.careful import Turns
from odradek.orchestrator.core.effects import RunStep
from odradek.orchestrator.core.instance import PAYLOAD_BYTES_MAX, Deadlocked
from odradek.orchestrator.core.rest import Rest, at_rest
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import Room, ShardConfig
from odradek.orchestrator.deadlocks import DeadlockDetector
from odradek.orchestrator.gauges import Gauges
from odradek.orchestrator.leases import Leases
from odradek.orchestrator.outputs import Outputs
from odradek.orchestrator.owned import OwnedPartition, Phase
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.rocks import StoreFailed
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.steps import StepRunner
from odradek.orchestrator.unserved import UnservedQueues
from odradek.orchestrator.watch import Watch
from odradek.schemas import records as r
from odradek.schemas.errors import NewerSchema, UnreadableRecord

_log = logging.getLogger("odradek.orchestrator")

MEMBERSHIP_SECONDS: Final = 0.05
READ_AGAIN_SECONDS: Final = 1.0
DUE_PER_TURN_MIN: Final = 4
"""Of one partition."""
RECORD_MARGIN_BYTES: Final = 64 * 1024
EVENT_RECORD_BYTES: Final = 1024 * 1024 - RECORD_MARGIN_BYTES
"""Events that need more are spread over several records: larger ones are refused, or read slowly, where a copy of the
topic, or a consumer, has Kafka's default limit of 1 MiB. Only an event that is larger by itself makes a larger record.
"""


class Orchestrator:
    """Serves the partitions of a namespace that its group gives it.

    ``run`` serves until ``stop`` is called from another thread, then hands over in order. Raises ``NamespaceStandsBy``,
    and ``NewerSchema`` when a record was written by a newer build than this: newer processes take its partitions.
    """

    def __init__(
        self,
        namespace: Namespace,
        registry: Registry,
        *,
        data_converter: DataConverter = DataConverter.default,
        identity: str | None = None,
        settings: OrchestratorSettings | None = None,
        clock: Clock = WALL,
        interceptors: Sequence[Interceptor] = (),
        steps_loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``interceptors`` are for steps and local activities; those of workflows come with the registry.

        ``steps_loop``: where ``async`` steps and local activities run; by default on a loop of their own.
        """
        self.namespace = namespace
        self.registry = registry
        self.settings = settings or OrchestratorSettings()
        self.clock_ms = clock.now_ms
        self._clock = clock
        self.identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        self.id = uuid.uuid4().hex
        self.owned: dict[int, OwnedPartition] = {}
        self.acked: dict[int, OwnedPartition] = {}
        self._ticked_ms = 0
        self._heard_of_group = float("inf")
        """From then on no partition of ours means that the group has none for us."""
        self.ready = threading.Event()
        """Set once the group has given this process its partitions and all of them are live."""
        self.turned_at = time.monotonic()
        """When the loop last turned, by the monotonic clock: what a liveness probe wants to know."""
        self._converter = data_converter
        self._topics = namespace.topics
        self.steps = StepRunner(
            namespace.topics.namespace,
            data_converter,
            registry.activity,
            clock_ms=clock.now_ms,
            identity=self.identity,
            concurrent_max=self.settings.steps_concurrent_max,
            threads_max=self.settings.step_threads_max,
            known=registry.activity_names,
            interceptors=interceptors,
            loop=steps_loop,
        )
        self.copies: Copies[OwnedPartition] | None = None
        self._deadlocks = DeadlockDetector(self.settings.deadlock_timeout_seconds)
        self._turns = Turns()
        self._room = Room()
        self._survived: dict[int, set[int]] = {}
        self._culprits: dict[int, Culprits] = {}
        self._stop = threading.Event()
        self._wake_reader: Callable[[], None] = lambda: None
        self._claim_again: dict[int, float] = {}
        self._topic_id = ""
        self._leases = Leases(
            self.id, int(self.settings.beacon_seconds * 1000), int(self.settings.worker_lost_seconds * 1000)
        )
        self._gauges = Gauges(namespace.topics, namespace.partitions, registry.hosted())
        self.controls = Controls(namespace.codec)
        self._paused_types: dict[str, r.TypeControl] = {}
        self._next_beacon = self._next_membership = self._next_delete = self._next_gauges = 0.0
        self._deleted: dict[int, int] = {}
        self._trouble: Exception | None = None
        self._newer: NewerSchema | None = None

    # ------------------------------------------------------------------------------------------ life

    def stop(self) -> None:
        """Ask ``run`` to hand over and return."""
        self._stop.set()
        self._wake()

    def _wake(self) -> None:
        self._wake_reader()

    def run(self) -> None:
        """Serve until stopped. Blocks; call it in a thread of its own, or as a process's main loop."""
        self._open()
        try:
            self._clock.attend(self._wake)
            self._deadlocks.start()
            while not self._stop.is_set():
                try:
                    self._turn()
                except Deadlocked:  # it came too late for the code that it was meant for
                    self.history_failed(RuntimeError("the orchestrator itself was interrupted"))
        finally:
            self._deadlocks.stop()
            self._clock.leave(self._wake)
            self._close()
        if self._newer is not None:
            raise self._newer

    def _open(self) -> None:
        if self.namespace.stands_by:
            raise NamespaceStandsBy(self._topics.namespace)
        log = self.namespace.log
        info = log.topic(self._topics.inbox)
        self._topic_id = info.topic_id if info else ""
        with ExitStack() as closing:
            self._begin(log, closing)
            self._closing = closing.pop_all()
        _log.info("orchestrator %s serves namespace %s (%s)", self.id, self._topics.namespace, log.address)

    def _begin(self, log: Log, closing: ExitStack) -> None:
        """Whatever fails here, what was opened before it is closed; in the end all of it is, the last one first."""
        self.reader = log.reader()
        closing.callback(self.reader.close)
        self._wake_reader = self.reader.wake
        self.history: Appender = log.appender()
        closing.callback(self.history.close)
        self.outputs = Outputs(self.namespace, self._outputs_failed, self.owned)
        closing.callback(self.outputs.appender.close)
        if self.settings.redis:
            self.copies = Copies(self.settings.redis, self._topics.namespace, self._wake)
            closing.callback(self.copies.close)
        self._archives = ArchiveReads(self.namespace, self._wake)
        closing.callback(self._archives.close)
        closing.callback(self.steps.close)
        end = log.offsets(self._topics.workers, 0).end
        # Nothing may run before it is known what is paused.
        self._take_leases(read_to_end(log, self._topics.workers, 0))
        self.reader.assign(self._topics.workers, 0, end)
        closing.callback(self._retire)
        unserved = UnservedQueues(
            self._topics.namespace, self.unserved_ms, self.clock_ms, self.settings.unserved_warn_seconds
        )
        self._watch = Watch(
            self.namespace, self._serving, self.settings, unserved, self.outputs.look_at_queues, self.clock_ms
        )
        self._watch.start()
        closing.callback(self._watch.stop)
        self._membership = log.membership(
            self._topics.orchestrators,
            self._topics.inbox,
            self,
            session_timeout_seconds=self.settings.session_timeout_seconds,
        )
        closing.callback(self._membership.close)
        self._heard_of_group = time.monotonic() + 2 * self.settings.session_timeout_seconds

    def _close(self) -> None:
        try:
            self._closing.close()
        finally:
            self.ready.clear()

    def _retire(self) -> None:
        for partition in list(self.owned):
            self._drop(partition)
        self._gauges.clear()
        self.outputs.append(self._topics.workers, 0, self._beacon_key, None)

    # ------------------------------------------------------------------------------------------ one turn of the loop

    def _turn(self) -> None:
        """Acknowledgements first, since effects wait for them; then new records; then time."""
        monotonic = self.turned_at = time.monotonic()
        if monotonic >= self._next_membership:
            self._next_membership = monotonic + MEMBERSHIP_SECONDS
            self._membership.poll()
            self._chores(monotonic)
        acked = self.history.poll(0)
        self.outputs.send_held(monotonic)
        self.outputs.appender.poll(0)
        if acked:
            self._after_acks()
        if self.steps.has_news:
            self._take_steps()
        self._read(acked)
        if self._archives.done:
            self._take_archives()
        if self.copies is not None:
            self._take_opened(self.copies)
        for owned in self._loading:
            self._guarded(owned, owned.load)
        now_ms = self.clock_ms()
        congested = self._is_congested
        self._take_turns(now_ms, congested)
        if now_ms != self._ticked_ms and not congested:
            self._ticked_ms = now_ms
            due_max = max(DUE_PER_TURN_MIN, self.settings.due_per_turn // max(1, len(self.owned)))
            for owned in list(self.owned.values()):
                self._guarded(owned, owned.tick, now_ms, due_max)
        if self._deadlocks.found:
            self._report_deadlocks()
        self._settle_trouble()

    def _report_deadlocks(self) -> None:
        asyncio._set_running_loop(None)  # the code may have been interrupted where its loop is put back
        while self._deadlocks.found:
            workflow_type, message = self._deadlocks.found.popleft()
            metrics.DEADLOCKS.labels(self._topics.namespace, workflow_type).inc()
            _log.error("%s", message)

    def _read(self, acked: int) -> None:
        """Wait in the place where something can happen.

        For acknowledgements while appends are in flight, else for records.
        """
        if self._is_congested:
            if self.history.poll(0.005):
                self._after_acks()
            return
        waiting = self.history.in_flight
        idle = not (waiting or acked or self.steps.has_news or self._loading or self._has_backlog)
        if idle and self._clock.is_wanted_to_skip and self._skip_time():
            return
        records = self._poll(self._idle_seconds() if idle else 0)
        if records:
            self._take(records)
        elif waiting and not acked and self.history.poll(0.001):
            self._after_acks()

    @property
    def _loading(self) -> list[OwnedPartition]:
        return [owned for owned in self.owned.values() if owned.phase is Phase.LOADING]

    @property
    def _is_congested(self) -> bool:
        """More is on its way to the log than may be: nothing that makes more is done."""
        settings = self.settings
        if self.history.in_flight + self.outputs.appender.in_flight > settings.in_flight_max:
            return True
        in_flight_bytes = sum(owned.bytes_in_flight for owned in self.owned.values())
        return in_flight_bytes + self.outputs.bytes_in_flight > settings.in_flight_bytes_max

    @property
    def _has_backlog(self) -> bool:
        return any(owned.has_backlog for owned in self.owned.values())

    def _take_turns(self, now_ms: int, congested: bool) -> None:
        """What has been read and waits, and how far the inboxes may be read ahead of it."""
        records = held_bytes = 0
        for owned in list(self.owned.values()):
            if owned.has_backlog and not congested:
                self._guarded(owned, owned.go_on, now_ms)
            ahead = owned.ahead
            records += ahead[0]
            held_bytes += ahead[1]
        free_records = self.settings.inbox_ahead_records_max - records
        free_bytes = self.settings.inbox_ahead_bytes_max - held_bytes
        for owned in self.owned.values():
            owned.pace(free_records, free_bytes)

    def _skip_time(self) -> bool:
        """Let the clock move to where time brings something about, if nothing else can; whether it did."""
        live = [o for o in self.owned.values() if o.phase is Phase.LIVE and o.shard is not None]
        if len(live) < self.namespace.partitions or not self.outputs.idle:
            return False
        inbox, log = self._topics.inbox, self.namespace.log
        rests: list[Rest] = []
        for owned in live:
            if self.reader.position(inbox, owned.partition) < log.offsets(inbox, owned.partition).end:
                return False
            assert owned.shard is not None
            rest = at_rest(owned.shard)
            if rest is None:
                return False
            rests.append(rest)
        moved = self._clock.skip_to(min((rest.due_ms for rest in rests if rest.due_ms is not None), default=None))
        if moved:
            self.steps.time_moved()
        return moved

    def _idle_seconds(self) -> float:
        """How long nothing needs to be done: until the next timer, at most the polling interval."""
        now_ms = self.clock_ms()
        due = min(
            (o.shard.next_tick_ms() for o in self.owned.values() if o.shard is not None and o.phase is Phase.LIVE),
            default=now_ms + 1000,
        )
        if self.outputs.appender.in_flight:
            return min(max(due - now_ms, 0) / 1000, 0.005)
        idle = min(max(due - now_ms, 0) / 1000, self.settings.poll_seconds)
        return self._patience(idle) if self.steps.open and idle else idle

    def _patience(self, idle: float) -> float:
        """While steps run: how long to look elsewhere; a step that has just begun may end at once."""
        patience = self.steps.patience_seconds()
        if patience <= 0.001:
            return 0.0 if self.steps.listen(min(idle, 0.001)) else 0.001
        return min(idle, patience)

    def _take_steps(self) -> None:
        ended: dict[OwnedPartition, list[tuple[RunStep, r.StepEnded]]] = {}
        for taker, step, event in self.steps.take():
            ended.setdefault(taker, []).append((step, event))  # type: ignore[arg-type]
        for owned, batch in ended.items():
            self._guarded(owned, owned.take_steps, batch)

    def _poll(self, seconds: float) -> list[Record]:
        try:
            return self.reader.poll(seconds, self.settings.records_per_poll)
        except OffsetOutOfRange as error:
            self._out_of_range(error)
        except LogUnavailable as error:
            _log.error("records cannot be read at the moment: %s", error)
            self._stop.wait(READ_AGAIN_SECONDS)
        return []

    def _out_of_range(self, error: OffsetOutOfRange) -> None:
        """Leases are read on from where they begin now; a partition ends, and its next claim says what is missing."""
        _log.error("%s", error)
        if error.topic == self._topics.workers:
            self.reader.assign(error.topic, error.partition, error.begin)
        elif error.partition in self.owned:
            self.owned[error.partition].end(f"ODR-076: {error}")
            self._claim_later(error.partition)

    def _take(self, records: Sequence[Record]) -> None:
        grouped: dict[tuple[str, int], list[Record]] = {}
        for record in records:
            grouped.setdefault((record.topic, record.partition), []).append(record)
        for (topic, partition), batch in grouped.items():
            if topic == self._topics.workers:
                self._take_leases(batch)
                continue
            owned = self.owned.get(partition)
            if owned is None:
                continue
            take = owned.take_inbox if topic == self._topics.inbox else owned.take_history
            self._guarded(owned, take, batch)

    def read_archive(self, owned: OwnedPartition, effect: fx.ReadArchive) -> None:
        """Read the events of a closed run in another thread; its partition goes on meanwhile."""
        self._archives.ask(owned, effect)

    def _take_archives(self) -> None:
        while self._archives.done:
            owned, effect, events = self._archives.done.popleft()
            if owned.phase is not Phase.VOID:
                self._guarded(owned, effect.on_read, events)

    def _take_opened(self, copies: Copies[OwnedPartition]) -> None:
        while copies.done:
            owned, store = copies.done.popleft()
            if not isinstance(store, Exception):
                self._guarded(owned, owned.restore, store)
            elif owned.phase is not Phase.VOID:
                self.partition_failed(owned, store)

    def _after_acks(self) -> None:
        acked, self.acked = self.acked, {}
        for owned in acked.values():
            self._guarded(owned, owned.flush)

    def _guarded(self, owned: OwnedPartition, action: Callable[..., None], *arguments: object) -> None:
        try:
            action(*arguments)
            owned.drain()
        except Exception as error:
            self.partition_failed(owned, error)

    def partition_failed(self, owned: OwnedPartition, error: Exception) -> None:
        """A defect of ours in one partition must not take the others down.

        Claim it anew, which rebuilds it from the log.
        """
        match error:
            case NewerSchema():
                self._newer = error
                self._stop.set()
                return
            case LogUnavailable() | StoreFailed():
                owned.end(str(error))
            case _:
                at = owned.shard.at if owned.shard is not None else None
                where = f' at workflow "{at[0]}"' if at is not None else ""
                _log.error("partition %d failed%s and is claimed again", owned.partition, where, exc_info=error)
                self.culprits(owned.partition).failed(at, error)
                owned.end("an internal error")
        self._claim_later(owned.partition)

    # ------------------------------------------------------------------------------------------ the group's listener

    def assigned(self, partitions: Sequence[int]) -> None:
        self._heard_of_group = 0.0
        for partition in partitions:
            self._claim(partition)

    def revoked(self, partitions: Sequence[int]) -> None:
        """Hand over: settle what is in flight, write a checkpoint, and let go."""
        leaving = [self.owned[partition] for partition in partitions if partition in self.owned]
        for owned in leaving:
            self.reader.unassign(self._topics.inbox, owned.partition)
        deadline = time.monotonic() + self.settings.hand_over_timeout_seconds
        self._settle(leaving, deadline)
        self.outputs.send_held()
        for owned in leaving:
            if owned.phase is Phase.LIVE:
                self._guarded(owned, partial(owned.checkpoint, last=True), self.clock_ms())
        self._settle(leaving, deadline)
        for owned in leaving:
            if owned.phase is Phase.LIVE and owned.settled and owned.shard is not None:
                self._guarded(owned, owned.shard.end)
        self._settle(leaving, deadline)
        self._membership.flush_commits(max(0.0, deadline - time.monotonic()))
        self._collect()  # what they have counted goes with them
        for owned in leaving:
            self._drop(owned.partition)

    def lost(self, partitions: Sequence[int]) -> None:
        _log.warning("partitions %s went to others while this process was silent", list(partitions))
        for partition in partitions:
            self._drop(partition)

    def _settle(self, leaving: Sequence[OwnedPartition], deadline: float) -> None:
        while time.monotonic() < deadline and self._trouble is None:
            if all(owned.settled for owned in leaving) and not self.outputs.appender.in_flight:
                return
            self.history.poll(0.005)
            self.outputs.appender.poll(0.001)
            self._after_acks()
            for owned in leaving:  # an output that is out may have been what a run's end waited for
                self._guarded(owned, owned.flush)

    def _claim(self, partition: int) -> None:
        self._claim_again.pop(partition, None)
        if partition in self.owned:
            self._drop(partition)
        self.owned[partition] = OwnedPartition(self, partition)
        self._share_room()

    def _share_room(self) -> None:
        parts = max(1, len(self.owned))
        self._room.workflows = -(-self.settings.workflows_in_memory_max // parts)
        self._room.instances = -(-self.settings.instances_in_memory_max // parts)

    def _claim_later(self, partition: int) -> None:
        self.owned.pop(partition, None)
        self._claim_again[partition] = time.monotonic() + self.settings.claim_again_seconds

    def _drop(self, partition: int) -> None:
        self._claim_again.pop(partition, None)
        owned = self.owned.pop(partition, None)
        if owned is not None:
            owned.close()
            self._share_room()

    # ------------------------------------------------------------------------------------------ trouble

    def history_failed(self, error: Exception) -> None:
        """A failed append or an unknown offset: nothing of this producer can be trusted any more."""
        self._trouble = self._trouble or error

    def _outputs_failed(self, error: Exception) -> None:
        self._trouble = self._trouble or error

    def _settle_trouble(self) -> None:
        if self._trouble is not None:
            error, self._trouble = self._trouble, None
            _log.error("appends can no longer be trusted, all partitions are claimed again: %s", error)
            self.history.discard()
            self.history = self.namespace.log.appender()
            self.outputs.discard()
            for owned in list(self.owned.values()):
                owned.end("appends failed")
        for partition, owned in list(self.owned.items()):
            if owned.phase is Phase.VOID:
                self._claim_later(partition)

    # ------------------------------------------------------------------------------------------ chores

    def _chores(self, monotonic: float) -> None:
        for partition, when in list(self._claim_again.items()):
            if monotonic >= when:
                if partition in self._membership.partitions:
                    self._claim(partition)
                else:
                    del self._claim_again[partition]
        if monotonic >= self._next_beacon:
            self._next_beacon = monotonic + self.settings.beacon_seconds
            value = self.namespace.codec.encode(r.WorkersRecord(r.Beacon(self.id)))
            self.outputs.append(self._topics.workers, 0, self._beacon_key, value)
            self.outputs.retry_blocked()
        if monotonic >= self._next_delete:
            self._next_delete = monotonic + self.settings.delete_records_seconds
            self._delete_records()
        self.note_readiness()
        if monotonic >= self._next_gauges:
            self._next_gauges = monotonic + 1.0
            self._collect()

    @property
    def _beacon_key(self) -> bytes:
        return b"o\0" + self.id.encode()

    def _take_leases(self, records: Sequence[Record]) -> None:
        if self.controls.fold(records):
            self._follow_controls()
        for record in records:
            if record.value is None:
                continue
            try:
                body = self.namespace.codec.decode(r.WorkersRecord, record.value).body
            except (UnreadableRecord, NewerSchema):
                continue
            if self._leases.fold(record.time_ms, body):
                self._sweep_lost_workers()

    def _follow_controls(self) -> None:
        """What operators have said is in force as soon as it is known; here what waits for it is told."""
        before, self._paused_types = self._paused_types, dict(self.controls.types)
        for name, control in self._paused_types.items():
            if name not in before:
                _log.warning('workflow type "%s" is paused by %s: %s', name, control.identity, control.reason)
        lifted = before.keys() - self._paused_types.keys()
        for name in lifted:
            _log.info('workflow type "%s" goes on', name)
        for owned in list(self.owned.values()) if lifted else ():
            if owned.shard is not None and owned.phase in (Phase.CATCHING_UP, Phase.LIVE):
                self._guarded(owned, owned.shard.types_resumed, self.clock_ms())

    def _sweep_lost_workers(self) -> None:
        for owned in list(self.owned.values()):
            shard = owned.shard
            if owned.phase is Phase.LIVE and shard is not None:
                for worker in [w for w in shard.holders if self._leases.is_lost(w)]:
                    reason = f"no sign of life for {self.settings.worker_lost_seconds:g} s"
                    self._guarded(owned, shard.worker_lost, worker, reason)

    def _delete_records(self) -> None:
        done = {p: o.done_x + 1 for p, o in self.owned.items() if o.done_x + 1 > self._deleted.get(p, 0)}
        if done:
            try:
                self.namespace.log.delete_records(self._topics.inbox, done)
                self._deleted |= done
            except LogError as error:
                _log.warning("old inbox records could not be deleted: %s", error)

    def _serving(self) -> list[tuple[int, Shard]]:
        """For the watch, in its thread."""
        live = [(o.partition, o.shard) for o in list(self.owned.values()) if o.phase is Phase.LIVE]
        return [(partition, shard) for partition, shard in live if shard is not None]

    def _collect(self) -> None:
        self._gauges.collect(self.owned.values(), self.history.in_flight, self.outputs, self.clock_ms())

    def note_readiness(self) -> None:
        """Set or clear ``ready``."""
        if (
            time.monotonic() >= self._heard_of_group
            and self.owned.keys() >= self._membership.partitions
            and all(o.phase is Phase.LIVE for o in self.owned.values())
        ):
            self.ready.set()
        else:
            self.ready.clear()

    # ------------------------------------------------------------------------------------------ what partitions need

    def shard_config(self, partition: int) -> ShardConfig:
        record_bytes = self.namespace.record_bytes_max
        record_bytes -= min(RECORD_MARGIN_BYTES, record_bytes // 8)
        return ShardConfig(
            self._topics.namespace,
            self._topic_id,
            partition,
            self.namespace.codec,
            self._converter.in_workflows,
            self._converter.failure_converter,
            self.registry.find,
            self.registry.hosted,
            min(record_bytes, EVENT_RECORD_BYTES),
            min(PAYLOAD_BYTES_MAX, record_bytes - RECORD_MARGIN_BYTES // 8),
            event_bytes_max=record_bytes - RECORD_MARGIN_BYTES // 8,
            summary_retention_ms=int(self.settings.summary_retention_seconds * 1000),
            room=self._room,
            workers_lost_max=self.settings.workers_lost_max,
            history_events_max=self.settings.history_events_max,
            history_bytes_max=self.settings.history_bytes_max,
            history_events_warned=self.settings.history_events_warned,
            parked_runs_fail_waits=self.settings.parked_runs_fail_waits,
            replays_each_activation=self.settings.replays_each_activation,
            crashes_max=self.settings.crashes_max,
            retries_suspects=self.settings.retries_suspects,
            set_aside=self.culprits(partition).workflows,
            inputs_per_turn=self.settings.inputs_per_turn,
            survived=self._survived.setdefault(partition, set()),
            turns=self._turns,
            versions=self.registry.versions,
            meter=PrometheusMeter(),
        )

    def culprits(self, partition: int) -> Culprits:
        """Over what the partition has failed, through all claims of this process."""
        return self._culprits.setdefault(partition, Culprits())

    def commit(self, partition: int, position: Committed) -> None:
        self._membership.commit({partition: position})

    def worker_partition(self, worker: str) -> int | None:
        return self._leases.reply_partition(worker)

    def unserved_ms(self, queue: str) -> int | None:
        return self._leases.unserved_ms(queue)

    def dispatch_expiry_ms(self, queue: str) -> int:
        return self.outputs.dispatch_expiry_ms(queue)
