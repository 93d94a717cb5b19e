"""One partition's state machine: inbox records, acknowledgements and time go in; appends and effects come out.

What an input means stands in ``inputs``, how code is run in ``decide``, attempts of activities in ``attempts``, the end
of a run in ``closing``. Here: which run an input belongs to, batches, time, memory and restore.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from heapq import heappop
from itertools import groupby, islice

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.careful import CAREFUL_MS, Careful, has_trial
from odradek.orchestrator.core.effects import DeadLetter, SendMessage, SendTask, Show
from odradek.orchestrator.core.run import NO_CLAIM
from odradek.orchestrator.core.state import HORIZON_MS, InboxItem, LostRecord, ShardConfig, due_key
from odradek.orchestrator.core.steps import Steps
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.core.workflow import FOREVER_MS, LiveRun, Workflow
from odradek.orchestrator.core.writer import Entry, HistoryWriter, LateRecord, chain_then
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.limits import NUMBER_MAX

DIRTY_MAX = 100_000
"""Changes that a takeover collects for the store before it writes them."""
ENDED = 0
"""The number of a mark with which a claim ends in order."""


class Shard(Steps):
    """Owns one partition from its claim until it is fenced or released.

    Life: ``restore`` every history record up to the claim, ``begin``, then ``take``, ``acked``, ``emitted`` and
    ``tick`` in any order; ``go_live`` once the inbox has been read to where it ended at the claim. After each call the
    host sends ``writer.to_send`` and carries out ``writer.outbox``.
    """

    def __init__(self, config: ShardConfig, store: Store) -> None:
        super().__init__(config, store)
        self.to_reassert = 0
        self._restored: dict[str, None] = {}
        self._began_empty = store.get(b"m") is None
        """The store knew nothing, so that it holds nothing but what has been restored from the log."""
        self._old_notes: list[bytes] = []
        """Marks and checkpoints of earlier claims."""
        self._old_suspicions: list[bytes] = []
        """Those that blame nobody any more."""
        self._pending: list[tuple[str, str, list[tuple[int, int]], list[int]]] = []
        """Runs with outputs that the predecessor may not have emitted, by workflow and run ID: their dispatched
        activities and their messages.
        """
        self._ended_before: list[LiveRun] = []
        """Runs that the predecessor closed, and whose outputs may not all be out."""
        self._ended_claim = int(store.get(b"e") or -1)
        self._claims = [(int(value), key[1:]) for key, value in store.scan(b"c", b"d")]

    # ------------------------------------------------------------------------------------------ restore

    @property
    def restore_from(self) -> int:
        """The history offset from which records must be read."""
        return min(self.position, self.v0, self.y0) + 1

    def restore(self, offset: int, key: bytes, value: bytes | None) -> None:
        """Take in one history record of the time before the claim. Raises ``NewerSchema``."""
        self.position = max(self.position, offset)
        if value is not None:
            self._restore_watermarks(offset, key, value)
        if key.startswith(keys.CLAIM):
            self._restore_claim(offset, key, value)
        elif key.startswith(b"\0"):
            if value is not None:
                self._old_notes.append(key)
                self._restore_end(key, value)
        elif self._is_run_key(offset, key, value):
            self.put(key, value, offset)
            self._restored[key.partition(b"\0")[0].decode()] = None
        if len(self.dirty) > DIRTY_MAX:
            self.flush_store()

    def _is_run_key(self, offset: int, key: bytes, value: bytes | None) -> bool:
        try:
            return keys.parse(key) is not None
        except ValueError:
            self.lost_records.append(
                LostRecord("", offset, key, value or b"", "its key is not one of a history record")
            )
            return False

    def _restore_watermarks(self, offset: int, key: bytes, value: bytes) -> None:
        """Take the watermarks of a record whose claim is the one in its key: foreign bytes must not move them."""
        with suppress(UnreadableRecord):
            claim, v, x, y = self.config.codec.watermarks(value)
            if keys.claim_of(key) == claim and max(v, y) <= offset and x < self.inbox_end:
                self.v0, self.x0, self.y0 = max(self.v0, v), max(self.x0, x), max(self.y0, y)

    def _restore_end(self, key: bytes, value: bytes) -> None:
        with suppress(UnreadableRecord):
            body = self.config.codec.decode(r.HistoryRecord, value).body if key.startswith(keys.MARK) else None
            if isinstance(body, r.Mark) and body.number == ENDED:
                self._note_end(keys.claim_of(key) or 0)

    def _note_end(self, claim: int) -> None:
        self._ended_claim = max(claim, self._ended_claim)
        self.dirty[b"e"] = b"%d" % self._ended_claim

    def end(self) -> None:
        """Write down that this claim ends in order: no code of it took its process down."""
        claim = self.writer.claim

        def ended(_: int) -> None:
            self._note_end(claim)
            self.flush_store()

        self.writer.append(keys.mark(claim), r.Mark(ENDED), then=ended)

    def _restore_claim(self, offset: int, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._claims = [claim for claim in self._claims if claim[1] != key]
            self.dirty[b"c" + key] = None
        elif (offset, key) not in self._claims:
            self._claims.append((offset, key))
            self.dirty[b"c" + key] = str(offset).encode()

    def begin(self, claim: int, now_ms: int) -> None:
        """Everything up to the claim has been restored; call ``load`` until it is done, which brings it into memory."""
        self.now_ms = now_ms
        self.taken = self.x0
        self.flush_store()
        codec = self.config.codec
        self.writer = HistoryWriter(claim, self.v0, self.x0, self.y0, codec, self.checked, self._late)
        self.owns = True
        claims = self._claims_before = sorted(offset for offset, _ in self._claims)
        before = max((offset for offset in claims if offset < claim), default=None)
        ended = before is None or before == self._ended_claim or before in self.config.survived
        self.config.survived.add(claim)
        if self.config.crashes_max and (not ended or self.config.retries_suspects):
            self.careful = Careful(self)
        restored, self._restored = self._restored, {}
        self.to_load = self._all_of_store() if self._began_empty else ((workflow_id, []) for workflow_id in restored)

    def load(self, workflows: int) -> bool:
        """Assert again, under this claim, what is not settled of so many workflows; whether none is left."""
        assert self.to_load is not None
        looked_at = 0
        for workflow_id, records in islice(self.to_load, workflows):
            looked_at += 1
            if len(records) != 1 or not self._is_quiet(workflow_id, *records[0]):
                self.at = (workflow_id, -1)
                self._reassert(self.workflow(workflow_id), self._claims_before)
        self.at = None
        self.keep_to_room()
        if looked_at == workflows:
            if len(self.dirty) > DIRTY_MAX:
                self.flush_store()
            return False
        self.to_load = None
        if self.to_reassert == 0:
            self._settle()
        self.flush_store()
        self.due_from_store()
        return True

    def _all_of_store(self) -> Iterator[tuple[str, list[tuple[bytes, bytes]]]]:
        """Workflows with their records."""
        for name, found in groupby(self.store.scan(b"h", b"i"), lambda item: item[0].partition(b"\0")[0]):
            yield name[1:].decode(), [(key[1:], value) for key, value in found]

    def _is_quiet(self, workflow_id: str, key: bytes, value: bytes) -> bool:
        """Whether this, its only record, says that nobody need look at it for now; until when stands in the store then.

        Of a million workflows that sleep, hardly any has to be read and folded to take a partition over.
        """
        offset = int.from_bytes(value[:8], "big")
        known = workflow_id in self.workflows or workflow_id in self.config.set_aside
        if known or offset > min(self.v0, self.y0) or _is_late(key, offset, self._claims_before):
            return False
        try:
            due_ms = self._quiet_until_ms(key, value[8:])
        except UnreadableRecord:
            return False
        if 0 < due_ms < FOREVER_MS:
            self.dirty[due_key(due_ms, workflow_id.encode())] = b""
        return due_ms > 0

    def _quiet_until_ms(self, key: bytes, value: bytes) -> int:
        parsed = keys.parse(key)
        assert parsed is not None
        if parsed.kind == "s":
            body = self.config.codec.decode(r.HistoryRecord, value).body
            return body.expires_ms if isinstance(body, r.Summary) else 0
        if parsed.kind != "c" or parsed.number != 1:
            return 0
        head = self.config.codec.chunk_head(value)
        exists = head.inbox_offset <= max(self.taken + 1, self.inbox_end) and head.n <= NUMBER_MAX
        whole = head.number == 1 and not head.sealed and not head.continues and head.status == r.RunStatus.RUNNING
        return min(head.due_ms, FOREVER_MS) if exists and whole else 0

    def _reassert(self, wf: Workflow, claims: list[int]) -> None:
        self._reassert_suspicion(wf, claims)
        unsettled = {raw for raw, offset in wf.offsets.items() if offset > self.v0 or _is_late(raw, offset, claims)}
        runs = [*wf.ending.values()]
        if wf.live is not None and wf.live.run.started is not None:
            runs.append(wf.live)
        if any(offset > self.y0 for offset in wf.offsets.values()):
            self._pending += [(wf.id, live.run.run_id, self.dispatched(live), live.run.unanswered()) for live in runs]
        self._ended_before += wf.ending.values()
        for live in runs:
            self._reassert_run(live, unsettled)
        for run_id, claim in list(wf.summary_claims.items()):
            if keys.summary(wf.id, run_id, claim) in unsettled:
                self._count_reassertion(self.write_summary(wf, run_id, wf.closed[run_id]))
        wf.offsets = {}

    def _reassert_suspicion(self, wf: Workflow, claims: list[int]) -> None:
        """The newest note says how often processes died before, too; those that are late blame nobody."""
        noted = [(parsed, raw) for raw in wf.offsets if (parsed := keys.parse(raw)) is not None and parsed.kind == "x"]
        for parsed, raw in sorted(noted, key=lambda note: -note[0].claim):
            offset = wf.offsets.pop(raw)
            newer = any(claim > parsed.claim for claim in wf.suspects)
            if newer or parsed.claim not in wf.suspects or _is_late(raw, offset, claims):
                wf.suspects.pop(parsed.claim, None)
                self._old_suspicions.append(raw)

    def _reassert_run(self, live: LiveRun, unsettled: set[bytes]) -> None:
        run = live.run
        key = keys.chunk(run.workflow_id, run.run_id, live.chunk, live.chunk_claim)
        if live.chunk_claim == NO_CLAIM and live.chain:
            key = self._last_sealed(live)
        if key in unsettled:
            self._count_reassertion(self.write_again(live))
        for seq, activity in run.activities.items():
            key = keys.progress(run.workflow_id, run.run_id, seq, activity.progress_claim)
            if key in unsettled:
                self._count_reassertion(self.write_progress(live, activity))

    @staticmethod
    def _last_sealed(live: LiveRun) -> bytes:
        return keys.chunk(live.run.workflow_id, live.run.run_id, len(live.chain), live.chain[-1])

    def _count_reassertion(self, entry: Entry) -> None:
        self.to_reassert += 1

        def checked(_: int) -> None:
            self.to_reassert -= 1
            if self.to_reassert == 0 and self.to_load is None:
                self._settle()

        chain_then(entry, checked)

    def _settle(self) -> None:
        """The log says the same under this claim as before: older claims are of no more use."""
        self.writer.settled = True
        claims = [key for offset, key in self._claims if offset < self.writer.claim]
        for key in dict.fromkeys([*claims, *self._old_suspicions]):
            self.writer.append(key, None)
        self._old_suspicions = []

    def go_live(self, now_ms: int) -> None:
        """The inbox is read to where it ended at the claim: emit again what is still pending."""
        self.now_ms = now_ms
        if self.careful is None:
            self._emit_pending()
        else:
            self.careful.until_ms = now_ms + CAREFUL_MS
            self.careful.when_idle(self._emit_pending)
        self.flush()

    def _emit_pending(self) -> None:
        outputs: list[SendTask | SendMessage | Show] = []
        for workflow_id, run_id, dispatched, messages in self._pending:
            live = self.workflow(workflow_id).live  # it may have been put aside meanwhile
            if live is not None and live.run.run_id == run_id and live.run.is_open:
                outputs += self.outputs_again(live, dispatched, messages)
        ended, self._ended_before, self._pending = self._ended_before, [], []

        def close_again(_: int) -> None:
            for live in ended:
                self.closing_checked(live, self.writer.y + 1)

        self.writer.catch_up(outputs, close_again)

    # ------------------------------------------------------------------------------------------ input

    def take(self, items: Sequence[InboxItem | tuple[int, DeadLetter]], now_ms: int) -> None:
        """Take in a batch of the inbox, in order; an unreadable record comes as (offset, what to do with it)."""
        self.now_ms = max(now_ms, self.now_ms)
        take_one = self.take_now if self.careful is None else self._take_carefully
        for item in items:
            if item[0] <= self.taken:
                continue
            if isinstance(item, InboxItem):
                take_one(item)
            else:
                self.send_dead_letter(*item)
            self.taken = item[0]
        self.flush()

    @property
    def ahead(self) -> int:
        """How many inbox records have been read and are not decided yet."""
        return len(self.intake.holds) + self.writer.waiting_for_x

    def go_on(self, now_ms: int) -> None:
        """The next turn of workflows whose inputs wait for nothing else."""
        self.now_ms = max(now_ms, self.now_ms)
        for workflow_id in list(islice(self.intake.backlog, self.config.inputs_per_flush)):
            if self.intake.total >= self.config.inputs_per_flush:
                break
            del self.intake.backlog[workflow_id]
            self.drain(self.workflow(workflow_id))
        self.flush()

    def acked(self, entry: Entry, offset: int) -> None:
        """The log has acknowledged an append; call ``flush`` after a batch of these."""
        self.writer.acked(entry, offset)

    def _take_carefully(self, item: InboxItem) -> None:
        assert self.careful is not None
        wf = self.workflow(item.workflow_id)
        if wf.waiting:
            self.take_now(item)
        elif (body := self._body(item)) is not None:
            decoded = item._replace(record=r.InboxRecord(item.time_ms, body))
            self.careful.run(wf, partial(self.take_now, decoded), item.offset, item.held_bytes)

    def tick(self, now_ms: int, due_max: int = 200) -> None:
        """Let time pass: fire what is due, of so many workflows at most; those that are left are due at once again."""
        self.now_ms = max(now_ms, self.now_ms)
        if self.now_ms > self.due_seen_ms - HORIZON_MS // 2:
            self.due_from_store()
        if self.due_heap and self.due_heap[0][0] <= self.now_ms:
            self._fire_due(due_max)
        self.flush()

    def _fire_due(self, due_max: int) -> None:
        for _ in range(due_max):
            if not self.due_heap or self.due_heap[0][0] > self.now_ms:
                return
            due_ms, workflow_id = heappop(self.due_heap)
            self.at = (workflow_id, -1)
            wf = self.workflow(workflow_id)
            if wf.stored_due != due_ms:  # what the store says may be out of date
                self.dirty[due_key(due_ms, workflow_id.encode())] = None
            if wf.heaped == due_ms:
                wf.heaped = None
            if wf.live is not None and wf.live.barrier:
                continue  # rescheduled when the barrier lifts
            if wf.suspects and has_trial(self, wf):
                self._begin_careful_mode().try_again(wf, partial(self._fire_now, workflow_id))
            elif self.careful is None:
                self._fire_now(workflow_id)
            else:
                self.careful.run(wf, partial(self._fire_now, workflow_id))

    def _begin_careful_mode(self) -> Careful:
        """If it is not on: for as long as somebody waits in it."""
        if self.careful is None:
            self.careful = Careful(self)
            self.careful.until_ms = self.now_ms
        return self.careful

    def _fire_now(self, workflow_id: str) -> None:
        wf = self.workflow(workflow_id)
        self.fire_due(wf)
        self.reschedule(wf)

    def next_tick_ms(self) -> int:
        """When ``tick`` should be called next, if nothing else happens."""
        return min(self.due_heap[0][0] if self.due_heap else FOREVER_MS, self.due_seen_ms - HORIZON_MS // 2)

    def flush(self) -> None:
        """Write down what the batch decided, one record per run."""
        if self.careful is not None and self.careful.is_over:
            self.careful = None
        self.intake.flushed()
        touched, self.touched = self.touched, {}
        for live in touched.values():
            if live.pending:
                self.at = (
                    live.run.workflow_id,
                    live.run.inbox_offset if live.run.inbox_offset > live.inbox_written else -1,
                )
                self.write_transition(live)
            elif live.effects:
                effects, live.effects = live.effects, []
                self.writer.after_in_flight(effects)
        self.at = None
        if self.behind and not self.in_parts:
            behind, self.behind = self.behind, []
            self.writer.after_in_flight(behind)
        self.writer.taken_to(self.decided_x())
        self.writer.mark_if_idle()
        self.keep_to_room()

    def keep_to_room(self) -> None:
        """Put aside what is more than may be in memory."""
        room = self.config.room
        if len(self.workflows) > room.workflows + min(room.workflows, 1000):
            self.evict_workflows()
        while len(self.instances) > room.instances:
            self.drop_instance(next(iter(self.instances.values())))

    def checkpoint(self, now_ms: int, then: Callable[[int], None] | None = None) -> None:
        """Write the watermarks down and bring the store up to what is acknowledged.

        Behind the first one the marks and checkpoints of earlier claims go: a next owner might have found the
        watermarks nowhere else.
        """
        self.now_ms = max(now_ms, self.now_ms)
        older: list[bytes] = []
        if self.writer.settled:
            older, self._old_notes = self._old_notes, older

        def checked(offset: int) -> None:
            for key in dict.fromkeys(older):
                self.writer.append(key, None)
            if then is not None:
                then(offset)

        self.writer.checkpoint(self.now_ms, checked)
        self.flush_store()

    # ------------------------------------------------------------------------------------------ trouble

    def _late(self, late: LateRecord) -> None:
        """A record of an older claim landed after ours: say again what holds, then remove it."""
        parsed = keys.parse(late.key)

        def done(_: int) -> None:
            self.writer.late_done(late.offset)

        def remove(_: int) -> None:
            self.writer.append(late.key, None, then=done)

        entry = None
        if parsed is not None:
            wf = self.workflow(parsed.workflow_id)
            if late.key in self.own_chain(wf, parsed.run_id):
                remove = done  # a sealed chunk of the history that holds, repeated word for word
            entry = self.write_current(wf, parsed)
        if entry is None:
            entry = self.writer.mark()  # what this claim says of the run stands before it
        chain_then(entry, remove)


def _is_late(raw: bytes, offset: int, claims: list[int]) -> bool:
    """Another claim lies between the record's claim and the record."""
    parsed = keys.parse(raw)
    assert parsed is not None
    following = bisect_right(claims, parsed.claim)
    return following < len(claims) and claims[following] < offset
