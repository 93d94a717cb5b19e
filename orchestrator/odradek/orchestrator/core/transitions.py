"""Writes a run's transitions into its chunks, cumulatively.

Says a run's last chunk again when ownership demands it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.closing import Closing
from odradek.orchestrator.core.effects import Effect
from odradek.orchestrator.core.keys import Key
from odradek.orchestrator.core.run import NO_CLAIM, Activity, fold
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.orchestrator.core.writer import Entry
from odradek.schemas import records as r

_OVERHEAD_BYTES = 1024
"""Room for what surrounds the events in a record."""


class Transitions(Closing):
    @abstractmethod
    def drain_waiting(self, live: LiveRun) -> None: ...

    @abstractmethod
    def check_length(self, live: LiveRun) -> None: ...

    @abstractmethod
    def begin_successor(self, closed: LiveRun) -> LiveRun | None: ...

    def record(self, live: LiveRun, body: r.EventBody, *, deferred: bool = False) -> None:
        """Add an event to the transition that is being made."""
        run = live.run
        n = run.n if live.pending else run.n + 1
        event = r.Event(n, max(self.now_ms, run.time_ms), body, deferred)
        live.pending.append(event)
        fold(run, event)
        self.touched[id(live)] = live

    def write_transition(self, live: LiveRun) -> None:
        """Append the transition that has been made; a very large one is spread over several chunks."""
        if live.run.event_count > self.config.history_events_warned:
            self.check_length(live)
        events, live.pending = live.pending, []
        effects, live.effects = live.effects, []
        self.transitions += 1
        block = self.config.codec.encode_events(events)
        live.run.history_bytes += self.config.codec.events_bytes(block)
        if len(live.blocks) + len(block) + _OVERHEAD_BYTES <= self.config.record_bytes_max:
            live.blocks += block
            live.chunk_events += len(events)
            self._write_chunk(live, live.run.inbox_offset, effects, continues=False)
        else:
            self._write_in_parts(live, events, effects)
        if live.due_moved:
            live.due_moved = False
            self.reschedule(self.workflow(live.run.workflow_id))

    def _write_in_parts(self, live: LiveRun, events: Sequence[r.Event], effects: list[Effect]) -> None:
        """Part after part, each waiting for the acknowledgement of the one before; inputs wait until the last."""
        parts = self._parts(len(live.blocks), events)
        inbox_before = live.inbox_written
        self.in_parts += 1
        hold = self.hold_x(inbox_before + 1)

        def write_next(_: int = 0) -> None:
            part = parts.pop(0)
            live.blocks += self.config.codec.encode_events(part)
            live.chunk_events += len(part)
            if parts:
                self._write_chunk(live, inbox_before, [], continues=True, then=write_next)
            else:
                live.barrier = False
                self.in_parts -= 1
                self.release_x(hold)
                self._write_chunk(live, live.run.inbox_offset, effects, continues=False)
                if not live.barrier:
                    self.drain_waiting(live)

        write_next()

    def _parts(self, taken: int, events: Sequence[r.Event]) -> list[list[r.Event]]:
        room = self.config.record_bytes_max - _OVERHEAD_BYTES
        parts: list[list[r.Event]] = [[]]
        size = taken
        for event in events:
            event_bytes = len(self.config.codec.encode_events([event]))
            if size + event_bytes > room and (parts[-1] or taken):
                parts.append([])
                size = taken = 0
            parts[-1].append(event)
            size += event_bytes
        return parts

    def _write_chunk(
        self, live: LiveRun, inbox_offset: int, effects: list[Effect], *, continues: bool, then: object = None
    ) -> None:
        run, claim = live.run, self.writer.claim
        sealed = continues or (run.is_open and len(live.blocks) >= self.config.chunk_bytes)
        old = live.chunk_claim
        if old != claim:
            if old != NO_CLAIM:
                live.stale.append(keys.chunk(run.workflow_id, run.run_id, live.chunk, old))
            live.take_chunk(claim)
        body = r.Chunk(
            run.n,
            live.chunk,
            sealed,
            live.previous_claim,
            inbox_offset,
            live.first_event,
            run.status,
            continues,
            run.is_open and (bool(live.steps) or live.steps_lost),
            0 if continues else live.quiet_until_ms(),
        )
        stale: list[bytes] = []
        if run.is_open and not continues:  # until a transition is complete, what it replaces is what counts
            stale, live.stale = live.stale, []
        live.in_flight += 1
        live.inbox_written = inbox_offset
        entry = self.writer.append(live.chunk_key, body, live.blocks, effects)
        ends = not run.is_open and not continues
        entry.then = partial(self._chunk_checked, live, stale, sealed, continues, ends, then)
        if sealed:
            live.barrier = True

    def _chunk_checked(
        self, live: LiveRun, stale: list[bytes], sealed: bool, continues: bool, ends: bool, then: object, offset: int
    ) -> None:
        live.in_flight -= 1
        for key in stale:
            self.writer.append(key, None)
        if sealed:
            live.chain.append(self.writer.claim)
            live.begin_next_chunk()
            if continues:
                assert callable(then)
                then(offset)
            else:
                live.barrier = False
                self.drain_waiting(live)
        elif ends:
            self.closing_checked(live, offset)

    def closing_checked(self, live: LiveRun, offset: int) -> None:
        """The closing record stands: its outputs leave, and the run that follows begins.

        Behind that one's first record the archive leaves, and when everything is out, the summary is written.
        """

        def all_out() -> None:
            token.outstanding += 1  # y waits for the summary, too
            self.write_down(live, lambda: self.writer.emitted(token))

        def archive(_: int) -> None:
            self.writer.emit_under(token, self.archive(live))
            self.writer.emitted(token)

        live.closes = False
        token = self.writer.begin_closing(offset, all_out)
        self.writer.emit_under(token, self.closing_effects(live))
        following = self.begin_successor(live)
        if following is None:
            archive(offset)
            self.drain_waiting(live)
        else:
            self.writer.then_in_flight(archive)
            self.drain_waiting(following)

    # ------------------------------------------------------------------------------------------ said again

    def write_again(self, live: LiveRun) -> Entry:
        """The run's last chunk once more, as it stands, under this claim."""
        run = live.run
        number, blocks, previous, first = live.chunk, live.blocks, live.previous_claim, live.first_event
        sealed = live.chunk_claim == NO_CLAIM and bool(live.chain)
        if sealed:
            number, previous, first, blocks = self._last_sealed_chunk(live)
            old = live.chain[-1]
            live.chain[-1] = live.previous_claim = self.writer.claim
            live.barrier = True
        else:
            old = live.chunk_claim
            live.take_chunk(self.writer.claim)
        stale = (
            [keys.chunk(run.workflow_id, run.run_id, number, old)] if old not in (NO_CLAIM, self.writer.claim) else []
        )
        awaits_steps = run.is_open and (bool(live.steps) or live.steps_lost)
        due_ms = live.quiet_until_ms()
        body = r.Chunk(
            run.n, number, sealed, previous, run.inbox_offset, first, run.status,
            awaits_steps=awaits_steps, due_ms=due_ms,
        )  # fmt: skip
        live.in_flight += 1
        key = keys.chunk(run.workflow_id, run.run_id, number, self.writer.claim)

        def checked(offset: int) -> None:
            live.in_flight -= 1
            for old_key in [*stale, *live.stale]:
                self.writer.append(old_key, None)
            live.stale = []
            if sealed:
                live.barrier = False
                self.drain_waiting(live)

        live.inbox_written = run.inbox_offset
        return self.writer.append(key, body, blocks, then=checked)

    def _last_sealed_chunk(self, live: LiveRun) -> tuple[int, int, int, bytes]:
        run, number = live.run, len(live.chain)
        raw = self.raw(keys.chunk(run.workflow_id, run.run_id, number, live.chain[-1]))
        assert raw is not None
        body = self.config.codec.decode(r.HistoryRecord, raw).body
        assert isinstance(body, r.Chunk)
        return number, body.previous_claim, *self.config.codec.event_blocks(raw)

    def write_progress(self, live: LiveRun, activity: Activity) -> Entry:
        """The state of an activity between its attempts, under this claim."""
        run, seq, claim = live.run, activity.scheduled.seq, self.writer.claim
        old, activity.progress_claim = activity.progress_claim, claim
        live.in_flight += 1

        def checked(_: int) -> None:
            live.in_flight -= 1
            if old not in (NO_CLAIM, claim):
                self.writer.append(keys.progress(run.workflow_id, run.run_id, seq, old), None)

        key = keys.progress(run.workflow_id, run.run_id, seq, claim)
        return self.writer.append(key, activity.progress, then=checked)

    def write_current(self, wf: Workflow, late: Key) -> Entry | None:
        """Say again, under this claim, what a late record of an older one could contradict.

        None if this claim says it already, or nothing has been said of the run: it waits for the end of the one before.
        """
        claim = self.writer.claim
        live = wf.live
        if late.run_id in wf.summary_claims:
            said = wf.summary_claims[late.run_id] == claim
            return None if said else self.write_summary(wf, late.run_id, wf.closed[late.run_id])
        if live is None or live.run.run_id != late.run_id:
            return None
        if late.kind == "p":
            activity = live.run.activities.get(late.number)
            return None if activity is None or activity.progress_claim == claim else self.write_progress(live, activity)
        if live.chunk_claim == NO_CLAIM and not live.chain:
            return None
        said = claim in (live.chunk_claim, live.chain[-1] if live.chunk_claim == NO_CLAIM and live.chain else NO_CLAIM)
        return None if said else self.write_again(live)

    def own_chain(self, wf: Workflow, run_id: str) -> list[bytes]:
        """Keys of the sealed chunks of a run's valid history."""
        live = wf.live
        if live is None or live.run.run_id != run_id:
            return []
        return [keys.chunk(wf.id, run_id, number, claim) for number, claim in enumerate(live.chain, 1)]
