"""A workflow ID with its runs, as a shard holds it in memory.

The open run with its code, and what is known of closed ones.

``resolve`` makes it from the records that a history holds: the reader's rule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.effects import Effect, RunStep
from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.orchestrator.core.keys import Key
from odradek.orchestrator.core.run import NO_CLAIM, Activity, Ranges, Remembered, Run, fold
from odradek.schemas import records as r
from odradek.schemas.codec import Codec

FOREVER_MS = 1 << 62
MESSAGE_AGAIN_MS = 30_000
"""A message to another workflow that is not answered by then is sent again; its target takes it in once."""


@dataclass(slots=True)
class LiveRun:
    """A run that is open, or closed and not yet archived: its state, its code, and its open chunk."""

    run: Run
    instance: WorkflowInstance | None = None
    chunk: int = 1
    chunk_claim: int = NO_CLAIM
    """The claim under which the open chunk was last written."""
    chunk_key: bytes = b""
    """Of the open chunk, under ``chunk_claim``."""
    previous_claim: int = 0
    first_event: int = 0
    """The place in the run of the open chunk's first event."""
    chunk_events: int = 0
    blocks: bytes = b""
    chain: list[int] = field(default_factory=list)
    """The claims of the sealed chunks, chunk 1 first."""
    pending: list[r.Event] = field(default_factory=list)
    """Events of the transition that is being made."""
    effects: list[Effect] = field(default_factory=list)
    barrier: bool = False
    """The sealed chunk is not acknowledged yet: inputs wait."""
    closes: bool = False
    """Its closing record is not acknowledged yet: what comes for its workflow waits, lest the next run be there first.
    """
    in_flight: int = 0
    stale: list[bytes] = field(default_factory=list)
    """Keys under older claims that a newer record of ours has replaced or will replace."""
    parked: r.Parked | None = None
    refusal: r.Refused | None = None
    """What those who wait for the result of this parked run are told; None: they wait."""
    warned_of: bool = False
    """Its history is long, and that has been said."""
    due: list[tuple[int, str, int]] = field(default_factory=list)
    """A heap of (time, kind, number); an entry counts only while ``next_due`` finds it still true."""
    due_moved: bool = False
    """The first due time has come nearer since the shard was told."""
    archived: list[r.ArchivePart] = field(default_factory=list)
    message_due: dict[int, int] = field(default_factory=dict)
    """When a message that is not answered yet is sent again, by its number."""
    steps: dict[int, RunStep] = field(default_factory=dict)
    """Steps that the host has been asked to run, and has not reported the end of."""
    steps_ended: list[tuple[RunStep, r.StepEnded]] = field(default_factory=list)
    """They wait behind the barrier, as inputs do."""
    steps_lost: bool = False
    """After a restore: the code awaits steps, and its replay will say which."""
    inbox_written: int = -1
    """The inbox offset that the last complete transition's record carries."""

    def is_meant(self, run_id: str | None) -> bool:
        """A run ID names a run, or the chain that began with it; None means whatever is open."""
        if run_id is None or run_id == self.run.run_id:
            return True
        return self.run.started is not None and self.run.started.first_run_id == run_id

    def push_due(self, due_ms: int, kind: str, number: int) -> None:
        if not self.due or due_ms < self.due[0][0]:
            self.due_moved = True
        heappush(self.due, (due_ms, kind, number))
        if len(self.due) > 64 + 4 * (len(self.run.timers) + len(self.run.activities) + len(self.run.messages)):
            self.due = [entry for entry in self.due if self.is_true(entry)]
            heapify(self.due)

    def next_due(self) -> tuple[int, str, int] | None:
        """The next thing that time brings about.

        A timer (t), an activity's deadline (a), a message without an answer (m), a limit (l), the start (s), a retry of
        parked code (p), steps that the owner before was running (x).
        """
        while self.due:
            if self.is_true(self.due[0]):
                return self.due[0]
            heappop(self.due)
        return None

    def quiet_until_ms(self) -> int:
        """Before then a new owner need not look at this run unless an input comes; 0: it has to, at once."""
        run = self.run
        if not run.is_open or run.deferred or run.messages or run.children or self.steps or self.steps_lost:
            return 0
        return self.due[0][0] if self.due else FOREVER_MS

    def is_true(self, entry: tuple[int, str, int]) -> bool:
        due_ms, kind, number = entry
        run = self.run
        if not run.is_open:
            return False
        match kind:
            case "t":
                timer = run.timers.get(number)
                return timer is not None and timer.due_ms == due_ms
            case "a":
                activity = run.activities.get(number)
                deadline = activity.deadline() if activity else None
                return deadline is not None and deadline[0] == due_ms
            case "m":
                return run.awaits_answer(number) and self.message_due.get(number) == due_ms
            case "s":
                return run.starts_at_ms == due_ms
            case "p":
                waits = run.deferred > 0 or self.steps_lost or self.parked is not None
                return waits and (self.parked is None or self.parked.retry_at_ms == due_ms)
            case "x":
                return self.steps_lost and self.parked is None
            case _:
                return True

    def push_all_due(self) -> None:
        """After a restore: everything that the run waits for in time."""
        for timer in self.run.timers.values():
            self.push_due(timer.due_ms, "t", timer.seq)
        for activity in self.run.activities.values():
            self.push_activity(activity)
        for seq in self.run.unanswered():
            self.push_message(seq, self.run.time_ms)
        self.push_limits()
        if self.run.starts_at_ms is not None:
            self.push_due(self.run.starts_at_ms, "s", 0)
        elif self.run.deferred:
            self.push_due(self.run.time_ms, "p", 0)
        if self.steps_lost:
            self.push_due(self.run.time_ms, "x", 0)

    def push_limits(self) -> None:
        for due_ms, _ in self.run.limits():
            self.push_due(due_ms, "l", 0)

    def push_activity(self, activity: Activity) -> None:
        deadline = activity.deadline()
        if deadline is not None:
            self.push_due(deadline[0], "a", activity.scheduled.seq)

    def push_message(self, seq: int, sent_ms: int) -> None:
        """An answer may be lost with the owner of its sender: who waits for it asks again."""
        self.message_due[seq] = sent_ms + MESSAGE_AGAIN_MS
        self.push_due(sent_ms + MESSAGE_AGAIN_MS, "m", seq)

    def take_chunk(self, claim: int) -> None:
        """The open chunk is written under this claim from now on."""
        self.chunk_claim = claim
        self.chunk_key = keys.chunk(self.run.workflow_id, self.run.run_id, self.chunk, claim)

    def begin_next_chunk(self) -> None:
        self.chunk += 1
        self.previous_claim = self.chain[-1]
        self.chunk_claim = NO_CLAIM
        self.first_event += self.chunk_events
        self.chunk_events = 0
        self.blocks = b""

    @property
    def busy(self) -> bool:
        """Something about this run is in memory only."""
        return bool(self.in_flight or self.pending or self.parked or self.steps)


@dataclass(slots=True)
class Workflow:
    """One workflow ID: at most one open run, and summaries of closed ones."""

    id: str
    remembered: Remembered = field(default_factory=Remembered)
    live: LiveRun | None = None
    waiting: deque[tuple[Any, int]] = field(default_factory=deque)
    """Inbox records that wait behind the barrier of the run or for their turn, each with its hold on x."""
    ending: dict[str, LiveRun] = field(default_factory=dict)
    """Runs whose closing record is written and whose summary is not."""
    closed: dict[str, r.Summary] = field(default_factory=dict)
    summary_claims: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    """Runs of which a record cannot be read, with the reason. They are parked: older copies must not pass for them."""
    leftovers: dict[str, list[bytes]] = field(default_factory=dict)
    """Keys of closed runs that a tombstone is due for, by run."""
    heaped: int | None = None
    """The due time that the shard's heap holds for this workflow."""
    stored_due: int | None = None
    forget_again_ms: int = 0
    """A summary whose retention has ended may still be needed: it is looked at again then."""
    offsets: dict[bytes, int] = field(default_factory=dict)
    """Only after a restore: where the records that count stand."""

    suspects: dict[int, int] = field(default_factory=dict)
    """By claim: how often a process has died while its code ran. The highest claim counts."""
    noted: bool = False
    """The log says that its code is being run."""

    def is_held(self) -> bool:
        """Inputs wait: the run is behind a barrier, or its end is not in the log yet."""
        if self.live is not None:
            return self.live.barrier
        return any(live.closes for live in self.ending.values())

    def crashes(self) -> int:
        return self.suspects[max(self.suspects)] if self.suspects else 0

    def latest_closed(self) -> tuple[str, r.Summary] | None:
        """The closed run that began last; refused starts are no runs."""
        runs = [(run_id, s) for run_id, s in self.closed.items() if s.status != r.RunStatus.REFUSED]
        return max(runs, key=_when_closed) if runs else None

    def await_successor(self, closed: Run) -> None:
        """The run that follows begins when the closing record is durable; its inputs wait until then."""
        run_id = successor_id(closed)
        assert run_id is not None
        run = Run(self.id, run_id, self.remembered, inbox_offset=closed.inbox_offset)
        self.live = LiveRun(run, barrier=True, stale=self.leftovers.pop(run_id, []))

    def next_due(self) -> int | None:
        found = self.live.next_due() if self.live else None
        dues = [
            max(s.expires_ms, self.forget_again_ms) for run_id, s in self.closed.items() if run_id not in self.ending
        ]
        if found is not None:
            dues.append(found[0])
        # A time that no record of ours says is brought into what a key of the store can hold.
        return min(max(min(dues), 0), FOREVER_MS) if dues else None


def _when_closed(item: tuple[str, r.Summary]) -> tuple[int, int, bool]:
    summary = item[1]
    return summary.closed_ms, summary.inbox_offset, summary.next_run_id is None


Found = tuple[Key, bytes, int, r.HistoryRecord]
"""A record as history holds it: parsed key, raw key, offset, decoded value."""


def resolve(
    workflow_id: str, found: Iterable[Found], encode_events: Any, damaged: dict[str, str] | None = None
) -> Workflow:
    """The reader's rule: of a run's complete chains of chunks the highest claim wins, within it the highest n."""
    workflow = Workflow(workflow_id)
    by_run: dict[str, list[Found]] = {}
    for item in found:
        if item[0].kind == "x":
            _take_suspicion(workflow, item)
        else:
            by_run.setdefault(item[0].run_id, []).append(item)
    unsummarised: dict[str, LiveRun] = {}
    for run_id, items in by_run.items():
        summaries = [item for item in items if item[0].kind == "s"]
        if summaries:
            _closed_run(workflow, run_id, items, summaries)
        elif damaged is None or run_id not in damaged:
            live = _unsummarised_run(workflow, run_id, items, encode_events)
            if live is not None:
                unsummarised[run_id] = live
    if unsummarised:
        for run_id in _void_runs(workflow, unsummarised):
            del unsummarised[run_id]
            workflow.leftovers[run_id] = [item[1] for item in by_run[run_id]]
        _take_in(workflow, unsummarised)
    if damaged:
        workflow.damaged = {run_id: why for run_id, why in damaged.items() if run_id not in workflow.closed}
    return workflow


def _take_suspicion(workflow: Workflow, item: Found) -> None:
    key, raw, offset, record = item
    assert isinstance(record.body, r.Suspect)
    workflow.suspects[key.claim] = record.body.crashes
    workflow.offsets[raw] = offset


def _closed_run(workflow: Workflow, run_id: str, items: list[Found], summaries: list[Found]) -> None:
    best = max(summaries, key=lambda item: item[0].claim)
    summary = best[3].body
    assert isinstance(summary, r.Summary)
    workflow.closed[run_id] = summary
    workflow.summary_claims[run_id] = best[0].claim
    workflow.offsets[best[1]] = best[2]
    workflow.leftovers[run_id] = [item[1] for item in items if item[1] != best[1]]
    remembered = workflow.remembered
    for seen in summary.requests:
        remembered.request(seen, run_id)
    for refusal in summary.refusals:
        remembered.refusal(refusal, run_id)
    for messages in summary.messages:
        takers = remembered.messages.setdefault(messages.run_id, {})
        takers[run_id] = (Ranges(list(messages.ranges)), messages.expires_ms)


def _void_runs(workflow: Workflow, unsummarised: dict[str, LiveRun]) -> set[str]:
    """Runs that another began whose closing record does not hold: they never existed."""
    void: set[str] = set()
    while True:
        found = {
            run_id
            for run_id, live in unsummarised.items()
            if run_id not in void and _is_void(workflow, live, unsummarised, void)
        }
        if not found:
            return void
        void |= found


def _is_void(workflow: Workflow, live: LiveRun, unsummarised: dict[str, LiveRun], void: set[str]) -> bool:
    lineage = live.run.started.lineage if live.run.started else None
    before = lineage.continued_run_id if lineage else None
    if before is None:
        return False
    if before in workflow.closed:
        return workflow.closed[before].next_run_id != live.run.run_id
    if before in void:
        return True
    predecessor = unsummarised.get(before)
    return predecessor is not None and successor_id(predecessor.run) != live.run.run_id


def _take_in(workflow: Workflow, unsummarised: dict[str, LiveRun]) -> None:
    for run_id, live in unsummarised.items():
        workflow.remembered.merge(live.run.remembered)
        live.run.remembered = workflow.remembered
        if live.run.is_open:
            live.push_all_due()
            workflow.live = live
        else:
            workflow.ending[run_id] = live
    for live in unsummarised.values():
        following = successor_id(live.run)
        if following is not None and following not in unsummarised and following not in workflow.closed:
            workflow.await_successor(live.run)


def successor_id(run: Run) -> str | None:
    """The run that a closed one names as the next of its workflow ID."""
    following = getattr(run.closing, "next", None)
    return None if following is None else following.run_id


def _unsummarised_run(workflow: Workflow, run_id: str, items: list[Found], encode_events: Any) -> LiveRun | None:
    chunks = {(item[0].number, item[0].claim): item for item in items if item[0].kind == "c"}
    chain = _best_chain(chunks)
    kept = {item[1] for item in chain}
    if chain:
        live = _fold_chain(workflow, run_id, chain, encode_events)
        kept |= _fold_progress(live, workflow, items)
        live.stale = [item[1] for item in items if item[1] not in kept]
        return live
    workflow.leftovers[run_id] = [item[1] for item in items]
    return None


def _best_chain(chunks: dict[tuple[int, int], Found]) -> list[Found]:
    """The chunks of the winning history, first to last; empty if there is no complete chain."""
    for number, claim in sorted(chunks, key=lambda at: (at[1], at[0]), reverse=True):
        chain: list[Found] = []
        at = (number, claim)
        while at[0] and at in chunks:
            item = chunks[at]
            body = item[3].body
            assert isinstance(body, r.Chunk)
            chain.append(item)
            at = (at[0] - 1, body.previous_claim)
        if at[0] == 0:
            chain.reverse()
            return _without_half_a_transition(chain)
    return []


def _without_half_a_transition(chain: list[Found]) -> list[Found]:
    """A transition in several chunks counts when its last is there: drop chunks that only begin one."""
    while chain:
        body = chain[-1][3].body
        assert isinstance(body, r.Chunk)
        if not body.continues:
            return chain
        if body.events and body.events[0].n < body.n:
            return chain  # its first part belongs to transitions that are complete; the fold leaves the rest out
        chain.pop()
    return chain


def _fold_chain(workflow: Workflow, run_id: str, chain: list[Found], encode_events: Any) -> LiveRun:
    run = Run(workflow.id, run_id, Remembered())
    live = LiveRun(run)
    for key, raw, offset, record in chain:
        body = record.body
        assert isinstance(body, r.Chunk)
        last = key is chain[-1][0]
        half = last and body.continues
        events = [event for event in body.events if not (half and event.n == body.n)]
        for event in events:
            fold(run, event)
        blocks = encode_events(events)
        run.history_bytes += Codec.events_bytes(blocks)
        run.inbox_offset = live.inbox_written = body.inbox_offset
        workflow.offsets[raw] = offset
        live.chunk, live.previous_claim = key.number, body.previous_claim
        live.take_chunk(key.claim)
        live.first_event, live.chunk_events, live.blocks = body.first_event, len(events), blocks
        if not last or (body.sealed and not half):
            live.chain.append(key.claim)
    if run.started is None:
        raise ValueError("a history does not begin with RunStarted")
    tail = chain[-1][3].body
    assert isinstance(tail, r.Chunk)
    # What was awaited before a transition that is there by half only is not written anywhere: a replay says it.
    live.steps_lost = (tail.awaits_steps or tail.continues) and run.is_open
    if tail.sealed and not tail.continues and run.is_open:
        live.begin_next_chunk()
    return live


def _fold_progress(live: LiveRun, workflow: Workflow, items: list[Found]) -> set[bytes]:
    best: dict[int, Found] = {}
    for item in items:
        if item[0].kind == "p" and item[0].number in live.run.activities:
            body = item[3].body
            assert isinstance(body, r.Progress)
            held = best.get(item[0].number)
            if held is None or (item[0].claim, body.n) > (held[0].claim, held[3].body.n):  # type: ignore[union-attr]
                best[item[0].number] = item
    for seq, (key, raw, offset, record) in best.items():
        activity = live.run.activities[seq]
        assert isinstance(record.body, r.Progress)
        activity.progress, activity.progress_claim = record.body, key.claim
        workflow.offsets[raw] = offset
    return {item[1] for item in best.values()}


def keys_of(live: LiveRun) -> list[bytes]:
    """Every key that holds something of a closed run; those of its activities became stale when it was closed."""
    run = live.run
    chunks = [keys.chunk(run.workflow_id, run.run_id, number, claim) for number, claim in enumerate(live.chain, 1)]
    if live.chunk_claim != NO_CLAIM:
        chunks.append(keys.chunk(run.workflow_id, run.run_id, live.chunk, live.chunk_claim))
    return list(dict.fromkeys([*chunks, *live.stale]))
