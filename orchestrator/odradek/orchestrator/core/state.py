"""What a shard holds in memory, and its local store: workflows, records that the store lacks, and what is due.

A workflow that is not in memory has no record that the store lacks. A due time that is far away stands in the store
only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappush
from typing import NamedTuple

from odradek.common import MetricMeter
from odradek.converter import FailureConverter, PayloadConverter
from odradek.orchestrator.core import keys, workflow
from odradek.orchestrator.core.careful import Careful, Turns
from odradek.orchestrator.core.closed_runs import ClosedRuns
from odradek.orchestrator.core.effects import Effect
from odradek.orchestrator.core.intake import Intake
from odradek.orchestrator.core.run import DISPATCH_EXPIRY_MS, Activity
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.core.workflow import Found, LiveRun, Workflow
from odradek.orchestrator.core.writer import Entry, HistoryWriter
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.limits import NUMBER_MAX
from odradek.workflow.definition import Definition

HORIZON_MS = 60_000
"""Due times further away than this are kept in the store only."""
WAITING_BYTES = 512
"""An inbox record that waits, without its value."""


@dataclass(slots=True)
class Room:
    """How much a shard may hold in memory; its host changes it as partitions come and go."""

    workflows: int = 50_000
    instances: int = 20_000
    """Of them, those with running code."""


@dataclass(frozen=True, slots=True)
class ShardConfig:
    """Limits and surroundings of a shard; the same for all partitions of a process."""

    namespace: str
    topic_id: str
    partition: int
    codec: Codec
    converter: PayloadConverter
    failures: FailureConverter
    definition: Callable[[str, str, str | None], Definition | None]
    """(task queue, workflow type, version or None for the newest) → the code, if this process has it."""
    hosted: Callable[[], Sequence[str]]
    record_bytes_max: int
    """More events than fit are spread over several records; an event that does not fit by itself has one of its own."""
    payload_bytes_max: int = 2 * 1024 * 1024
    """The arguments of one call, or one result."""
    event_bytes_max: int = 4 * 1024 * 1024 - 64 * 1024
    """All payloads of one event: it goes into one record, however large that is."""
    chunk_bytes: int = 2048
    inputs_per_turn: int = 100
    """Inputs of one workflow that are taken in before others have their turn."""
    inputs_per_flush: int = 500
    """Of inputs that waited: how many are taken in, for all workflows together, before new ones are read."""
    summary_retention_ms: int = 7 * 24 * 3_600_000
    room: Room = field(default_factory=Room)
    history_page_bytes: int = 512 * 1024
    workers_lost_max: int = 5
    """An activity that so many workers were lost with, one after the other, is not tried again; 0: always."""
    history_events_max: int = 100_000
    """A run that grows beyond this, or beyond the next, is terminated; continue-as-new is suggested far earlier."""
    history_bytes_max: int = 100 * 1024 * 1024
    history_events_warned: int = 10_000
    parked_runs_fail_waits: bool = False
    """Who waits for the result of a run that is parked gets the error, instead of waiting for better code."""
    replays_each_activation: bool = False
    """After each activation the run is replayed from its start, and parked if that says something else."""
    crashes_max: int = 0
    """A workflow whose code took its process down so often is parked; 0: none is."""
    retries_suspects: bool = False
    """They are run again, as if nothing was known of them."""
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Workflows over which this partition has failed, with the error: their runs are taken as damaged."""
    survived: set[int] = field(default_factory=set)
    """Claims of this very process, which has not died of them."""
    turns: Turns = field(default_factory=Turns)
    versions: Callable[[str, str], Sequence[str]] = lambda task_queue, workflow_type: ()
    """(task queue, workflow type) → the versions that this process has."""
    meter: MetricMeter = MetricMeter.noop
    """What workflow code counts with."""


class InboxItem(NamedTuple):
    """An inbox record with its place; it is decoded when its turn comes."""

    offset: int
    time_ms: int
    workflow_id: str
    record: r.InboxRecord | bytes

    @property
    def held_bytes(self) -> int:
        """What it takes while it waits."""
        return WAITING_BYTES + (len(self.record) if isinstance(self.record, bytes) else 0)


class LostRecord(NamedTuple):
    """A history record that could not be read."""

    workflow_id: str
    offset: int
    key: bytes
    value: bytes
    reason: str


def due_key(due_ms: int, workflow_id: bytes = b"") -> bytes:
    """Of the store: in the order of time."""
    return b"t" + due_ms.to_bytes(8, "big") + workflow_id


class ShardState(ABC):
    """The state that the layers of a shard share."""

    writer: HistoryWriter
    taken: int = -1
    inbox_end: int = 1 << 62
    """At the claim: no record of before can speak of more. The host says."""
    due_heap_tidy = 1000
    """With more entries than this the heap of due times is rid of those that do not count any more."""
    at: tuple[str, int] | None = None
    """The workflow that is being worked on, and the inbox record (-1: none), for whoever asks what went wrong."""

    def __init__(self, config: ShardConfig, store: Store) -> None:
        self.config = config
        self.store = store
        self.now_ms = self.inbox_ms = self.due_seen_ms = 0
        """Our clock; when the newest inbox record that has been taken in was appended; how far the due heap reaches."""
        self.workflows: OrderedDict[str, Workflow] = OrderedDict()
        self.instances: OrderedDict[int, LiveRun] = OrderedDict()
        """Runs whose code is in memory, the longest unused first. By ``id``: forged starts can share a run ID."""
        self.dirty: dict[bytes, bytes | None] = {}
        self.touched: dict[int, LiveRun] = {}
        """By ``id``: runs for which this batch has something to write."""
        self.behind: list[Effect] = []
        """What leaves behind that: answers to what this batch has found decided, perhaps by itself."""
        self.in_parts = 0
        """How many transitions are being written in parts, the last of which is not on its way yet."""
        self.waiters: dict[str, dict[str, r.Request]] = {}
        """Who waits for the result of a run or of an update, by run (and update) and request."""
        self.careful: Careful | None = None
        """While it is noted which code is about to run."""
        self.suspended: dict[str, int] = {}
        """Workflows whose code is not run for a while, since processes died over it; and since when."""
        self.closed_runs = ClosedRuns()
        self.parked: dict[str, LiveRun] = {}
        self.holders: dict[str, set[tuple[str, int]]] = {}
        """worker → activities (workflow, number) that it holds"""
        self.due_heap: list[tuple[int, str]] = []
        self.due_changed: set[str] = set()
        self.stepping: dict[str, LiveRun] = {}
        """Runs with steps that the host runs."""
        self.owns = False
        """A writer exists: the claim has been made and everything before it restored."""
        self.to_load: Iterator[tuple[str, list[tuple[bytes, bytes]]]] | None = None
        """During a takeover: workflows that were restored from the log and that it has not looked at yet."""
        self.later: list[Callable[[], None]] = []
        """What must happen after the commands of the step that is being made."""
        self.worker_partition: Callable[[str], int | None] = lambda worker: None
        """Where a worker reads notices; the host says."""
        self.unserved_ms: Callable[[str], int | None] = lambda queue: None
        """For how long no worker has served a task queue; the host says."""
        self.dispatch_expiry_ms: Callable[[str], int] = lambda queue: DISPATCH_EXPIRY_MS
        """After how long a task of a queue that nobody has begun is issued again; the host says."""
        self.paused_types: Mapping[str, r.TypeControl] = {}
        self.paused_queues: Mapping[str, r.QueueControl] = {}
        """What operators have said, by name; the host keeps both up to date. Not every queue here is paused."""
        self.intake = Intake()
        self.lost_records: list[LostRecord] = []
        self.transitions = self.replays = self.replayed_events = 0
        self.counts: dict[tuple[str, str], int] = {}
        """Metrics by (what, workflow type), for the host to collect."""
        self.durations: list[tuple[str, str, float]] = []
        self.position, self.v0, self.x0, self.y0 = self._numbers()

    def _numbers(self) -> tuple[int, int, int, int]:
        meta = self.store.get(b"m")
        position, v, x, y = (int(number) for number in meta.split()) if meta else (-1, -1, -1, -1)
        return position, v, x, y

    def leave_behind(self, effect: Effect) -> None:
        """Let an effect leave behind all appends that are in flight, and those of what this batch has decided.

        About a run whose transition is being written in parts nobody has to be told anything: its inputs wait.
        """
        if self.touched:
            self.behind.append(effect)
        else:
            self.writer.after_in_flight([effect])

    @abstractmethod
    def bury(self, wf: Workflow, run_id: str, inbox_offset: int) -> None: ...

    @abstractmethod
    def summarise(self, live: LiveRun) -> r.Summary: ...

    @abstractmethod
    def flush(self) -> None: ...

    @abstractmethod
    def drop_instance(self, live: LiveRun) -> None: ...

    def add_waiter(self, awaited: str, request: r.Request) -> None:
        """``awaited``: a run ID, or ``updates.waiting_for`` of an update."""
        self.waiters.setdefault(awaited, {})[request.id] = request

    def count(self, what: str, workflow_type: str) -> None:
        self.counts[what, workflow_type] = self.counts.get((what, workflow_type), 0) + 1

    def hold_x(self, offset: int, held_bytes: int = 0) -> int:
        """Keep x below an inbox offset that is not decided yet, until ``release_x`` of what this returns."""
        return self.intake.holds.add(offset, held_bytes)

    def release_x(self, hold: int) -> None:
        self.intake.holds.release(hold)

    def decided_x(self) -> int:
        """The inbox is decided up to here: what waits behind a barrier is not."""
        undecided = self.intake.holds.first()
        # After a takeover a run may be further than what has been read again: its hold must not raise x.
        return self.taken if undecided is None else min(undecided - 1, self.taken)

    def workflow(self, workflow_id: str) -> Workflow:
        """The workflow in memory, else from the store; an unknown one is empty."""
        found = self.workflows.get(workflow_id)
        if found is not None:
            self.workflows.move_to_end(workflow_id)
            return found
        wf = self._load(workflow_id)
        self.workflows[workflow_id] = wf
        for run_id, leftovers in wf.leftovers.items():
            if run_id in wf.closed and leftovers and self.owns:
                self.bury(wf, run_id, wf.closed[run_id].inbox_offset)
        for run_id, live in wf.ending.items():
            wf.closed[run_id] = self.summarise(live)
        self._index_activities(wf)
        self.reschedule(wf)
        return wf

    def _load(self, workflow_id: str) -> Workflow:
        found: list[Found] = []
        damaged: dict[str, str] = {}
        for key, value in self.image(workflow_id):
            parsed = keys.parse(key)
            offset = int.from_bytes(value[:8], "big")
            try:
                record = self.config.codec.decode(r.HistoryRecord, value[8:])
            except UnreadableRecord as error:
                lost = LostRecord(workflow_id, offset, key, value[8:], str(error))
                if lost not in self.lost_records:
                    self.lost_records.append(lost)
                if parsed is not None and parsed.kind != "x":
                    damaged[parsed.run_id] = f"{error} (offset {offset} of history partition {self.config.partition})"
                continue
            if parsed is not None:
                found.append((parsed, key, offset, record))
        if workflow_id in self.config.set_aside:
            why = f"ODR-167: the partition has failed over it: {self.config.set_aside[workflow_id]}"
            damaged = {item[0].run_id: why for item in found if item[0].run_id} | damaged
        wf = self._resolve(workflow_id, found, damaged)
        if wf.suspects:
            wf.suspects = {claim: n for claim, n in wf.suspects.items() if claim not in self.config.survived}
        return wf

    def _resolve(self, workflow_id: str, found: list[Found], damaged: dict[str, str]) -> Workflow:
        """What its records say; runs whose records can be read one by one and make no sense together are damaged."""
        try:
            return self._resolve_or_raise(workflow_id, found, damaged)
        except Exception as error:  # whatever contradictions lead it into
            reason = f"its records contradict one another ({type(error).__name__}: {error})"
        by_run: dict[str, list[Found]] = {}
        for item in found:
            by_run.setdefault(item[0].run_id, []).append(item)
        bad = {run_id for run_id, items in by_run.items() if not self._makes_sense(workflow_id, items)} or {*by_run}
        for run_id in bad:
            self.lost_records += [
                LostRecord(workflow_id, item[2], item[1], self.raw(item[1]) or b"", reason) for item in by_run[run_id]
            ]
        damaged = {run_id: reason for run_id in bad if run_id} | damaged
        rest = [item for run_id, items in by_run.items() if run_id not in bad for item in items]
        if self._makes_sense(workflow_id, rest):
            return self._resolve_or_raise(workflow_id, rest, damaged)
        return Workflow(workflow_id, damaged={run_id: reason for run_id in by_run if run_id} | damaged)

    def _makes_sense(self, workflow_id: str, found: list[Found]) -> bool:
        try:
            self._resolve_or_raise(workflow_id, found, {})
        except Exception:
            return False
        return True

    def _resolve_or_raise(self, workflow_id: str, found: list[Found], damaged: dict[str, str]) -> Workflow:
        wf = workflow.resolve(workflow_id, found, self.config.codec.encode_events, damaged)
        run = None if wf.live is None else wf.live.run
        if run is not None and run.inbox_offset > max(self.taken + 1, self.inbox_end):
            raise ValueError(f"it has taken in inbox offset {run.inbox_offset}, which does not exist")
        if run is not None and max(run.n, run.time_ms) > NUMBER_MAX:
            raise ValueError(f"its transition {run.n} at {run.time_ms} ms leaves no room for another")
        return wf

    def image(self, workflow_id: str) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values (offset before the record) of one workflow, as the store has them."""
        prefix = b"h" + keys.prefix(workflow_id)
        for key, value in self.store.scan(prefix, prefix[:-1] + b"\1"):
            yield key[1:], value

    def raw(self, key: bytes) -> bytes | None:
        """The acknowledged record under a history key, without its offset."""
        found = self.dirty[b"h" + key] if b"h" + key in self.dirty else self.store.get(b"h" + key)
        return None if found is None else found[8:]

    def clear_suspicion(self, wf: Workflow) -> list[Entry]:
        """Its code has come back, or is never run again."""
        self.suspended.pop(wf.id, None)
        claims, wf.suspects = wf.suspects, {}
        return [self.writer.append(keys.suspect(wf.id, claim), None) for claim in sorted(claims)]

    def put(self, key: bytes, value: bytes | None, offset: int) -> None:
        self.dirty[b"h" + key] = None if value is None else offset.to_bytes(8, "big") + value

    def checked(self, entry: Entry) -> None:
        key = entry.key
        if key[0]:
            self.put(key, entry.value, entry.offset)
        elif entry.value is None:
            self.dirty[b"c" + key] = None

    def flush_store(self) -> None:
        """Bring the store up to the acknowledged prefix, due times included.

        Until all that was restored is loaded, the store must not claim to reflect it: it lacks due times.
        """
        changes = self.dirty
        self.dirty = {}
        if self.owns:
            self.due_changed.update(live.run.workflow_id for live in self.stepping.values())
            for workflow_id in self.due_changed:
                if workflow_id in self.workflows:
                    self._store_due(self.workflows[workflow_id], changes)
            self.due_changed.clear()
            if self.to_load is None:
                self.position, self.x0 = self.writer.last, self.writer.x
                self.v0, self.y0 = self.writer.v, self.writer.y
                changes[b"m"] = f"{self.position} {self.v0} {self.x0} {self.y0}".encode()
        self.store.write(changes)

    def _store_due(self, wf: Workflow, changes: dict[bytes, bytes | None]) -> None:
        live = wf.live
        due = 0 if live is not None and (live.steps or live.steps_lost) else wf.next_due()
        if due == wf.stored_due:
            return
        name = wf.id.encode()
        if wf.stored_due is not None:
            changes[due_key(wf.stored_due, name)] = None
        if due is not None:
            changes[due_key(due, name)] = b""
        wf.stored_due = due

    def due_from_store(self) -> None:
        """Bring the near due times of workflows that are not in memory into the heap, each of them once."""
        seen_ms, self.due_seen_ms = self.due_seen_ms, self.now_ms + HORIZON_MS
        self._forget_waiters()
        for workflow_id in list(self.due_changed):  # the store does not know of these yet
            if workflow_id in self.workflows:
                self.reschedule(self.workflows[workflow_id])
        for key, _ in list(self.store.scan(due_key(seen_ms), due_key(self.due_seen_ms))):
            due_ms, workflow_id = int.from_bytes(key[1:9], "big"), key[9:].decode()
            if workflow_id in self.workflows:
                self.reschedule(self.workflows[workflow_id])
            else:
                heappush(self.due_heap, (due_ms, workflow_id))

    def _forget_waiters(self) -> None:
        """Whoever still waits asks again before its request expires."""
        for run_id, waiting in list(self.waiters.items()):
            alive = {key: request for key, request in waiting.items() if request.expires_ms > self.now_ms}
            if alive:
                self.waiters[run_id] = alive
            else:
                del self.waiters[run_id]

    def reschedule(self, wf: Workflow) -> None:
        """Make sure that the heap knows when this workflow is due next."""
        due = wf.next_due()
        if due != wf.stored_due:
            self.due_changed.add(wf.id)
        if due is None or due > max(self.due_seen_ms, self.now_ms + HORIZON_MS):
            return
        if wf.heaped is None or due < wf.heaped:
            wf.heaped = due
            heappush(self.due_heap, (due, wf.id))
        if len(self.due_heap) > self.due_heap_tidy:
            self.due_heap = [entry for entry in self.due_heap if self._still_due(entry)]
            heapify(self.due_heap)
            self.due_heap_tidy = 1000 + 2 * len(self.due_heap)

    def _still_due(self, entry: tuple[int, str]) -> bool:
        wf = self.workflows.get(entry[1])
        return wf is None or wf.heaped == entry[0]

    def evict_workflows(self) -> None:
        self.flush_store()
        surplus = len(self.workflows) - self.config.room.workflows
        for workflow_id, wf in list(self.workflows.items()):
            if surplus <= 0:
                return
            live = wf.live
            if (live is not None and live.busy) or wf.waiting or wf.leftovers or wf.ending:
                continue
            if live is not None and live.instance is not None:
                self.drop_instance(live)
            del self.workflows[workflow_id]  # its entry stays in the heap and loads it again
            surplus -= 1

    def note_expiry(self, live: LiveRun, activity: Activity) -> None:
        """When this task is issued again depends on its queue, which no record says."""
        expiry_ms = self.dispatch_expiry_ms(activity.options.task_queue)
        if expiry_ms != activity.dispatch_expiry_ms:
            activity.dispatch_expiry_ms = expiry_ms
            live.push_activity(activity)

    def _index_activities(self, wf: Workflow) -> None:
        if wf.live is not None:
            for activity in wf.live.run.activities.values():
                self.note_expiry(wf.live, activity)
                for holder in activity.progress.holders:
                    self.holders.setdefault(holder.worker, set()).add((wf.id, activity.scheduled.seq))
