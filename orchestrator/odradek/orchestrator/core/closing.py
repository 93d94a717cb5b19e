"""The end of a run: outputs, visibility and archive acknowledged → summary → x past its last input → tombstones.

Only what can no longer become false gets a tombstone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.children import closing_messages, parent_of
from odradek.orchestrator.core.effects import Archive, Effect, Reply, Show
from odradek.orchestrator.core.run import CLOCK_SKEW_MS_MAX
from odradek.orchestrator.core.sizes import summary_that_fits
from odradek.orchestrator.core.state import ShardState
from odradek.orchestrator.core.workflow import LiveRun, Workflow, keys_of, successor_id
from odradek.orchestrator.core.writer import Entry
from odradek.schemas import records as r

LONG_MEMORY = 16
"""A summary that remembers more requests and senders than this is not kept whole in memory."""
FORGET_AGAIN_MS_MAX = 3_600_000
"""A summary that is still needed when its retention has ended is looked at again after so long at the latest."""


class HistoryIncomplete(Exception):
    """A sealed chunk of a run is not where it should be."""


class Closing(ShardState):
    def outcome(self, summary: r.Summary, run_id: str) -> r.RunOutcome:
        return r.RunOutcome(run_id, summary.status, summary.result, summary.failure, summary.next_run_id)

    def closing_effects(self, live: LiveRun) -> list[Effect]:
        run = live.run
        outcome = self.outcome(self.workflow(run.workflow_id).closed[run.run_id], run.run_id)
        effects: list[Effect] = [
            Reply(None, request.reply_partition, request.recipient, request.id, outcome)
            for request in self.waiters.pop(run.run_id, {}).values()
        ]
        effects += closing_messages(run, self.config.namespace, outcome, self.now_ms)
        effects.append(Show(record=self.visibility(live)))
        return effects

    def archive(self, live: LiveRun) -> list[Effect]:
        """The whole history as archive records, each within the record limit."""
        run = live.run
        assert run.started is not None
        parts: list[tuple[int, bytes]] = []
        for first_event, blocks in self.chunks(live):
            if parts and len(parts[-1][1]) + len(blocks) <= self.config.record_bytes_max * 3 // 4:
                parts[-1] = (parts[-1][0], parts[-1][1] + blocks)
            else:
                parts.append((first_event, blocks))
        live.archived[:] = [r.ArchivePart(-1, -1)] * len(parts)  # the summary holds this very list
        effects: list[Effect] = []
        for number, (first_event, blocks) in enumerate(parts):
            record = r.ArchiveRecord(
                run.workflow_id, run.run_id, run.started.workflow_type, run.status, number + 1, len(parts), first_event
            )

            def stored(partition: int, offset: int, number: int = number) -> None:
                live.archived[number] = r.ArchivePart(partition, offset)

            effects.append(Archive(record=record, blocks=blocks, on_stored=stored))
        return effects

    def chunks(self, live: LiveRun) -> list[tuple[int, bytes]]:
        """All acknowledged events of a run as encoded blocks: (place of the first event, blocks)."""
        run, found = live.run, []
        for number, claim in enumerate(live.chain, 1):
            raw = self.raw(keys.chunk(run.workflow_id, run.run_id, number, claim))
            if raw is None:
                raise HistoryIncomplete(
                    f'ODR-078: chunk {number} of run {run.run_id} of workflow "{run.workflow_id}" is not in the local '
                    "store: stop this process, delete its store, and start it again"
                )
            found.append(self.config.codec.event_blocks(raw))
        if live.blocks:
            found.append((live.first_event, live.blocks))
        return found

    def summarise(self, live: LiveRun) -> r.Summary:
        run = live.run
        started, closing = run.started, run.closing
        assert started is not None
        assert run.closed_ms is not None
        requests, refusals, messages = run.remembered.as_records(run.run_id, self.inbox_ms)
        summary = r.Summary(
            run.status,
            started.workflow_type,
            started.task_queue,
            started.first_run_id,
            run.started_ms,
            run.closed_ms,
            run.n,
            run.inbox_offset,
            run.event_count,
            run.closed_ms + self.config.summary_retention_ms,
            closing.result if isinstance(closing, r.RunCompleted) else None,
            _failure_of(closing),
            requests,
            refusals,
            messages,
            live.archived,
            run.memo,
            run.search_attributes,
            successor_id(run),
            run.version,
            parent_of(run),
        )
        return summary_that_fits(summary, self.config.event_bytes_max)

    def write_down(self, live: LiveRun, then: Callable[[], None]) -> None:
        """Remember the run by its summary from now on."""
        run = live.run
        wf = self.workflow(run.workflow_id)
        if wf.live is live:
            wf.live = None
        wf.ending.pop(run.run_id, None)
        self.parked.pop(run.workflow_id, None)
        self.drop_instance(live)
        summary = wf.closed[run.run_id]
        wf.leftovers[run.run_id] = keys_of(live)

        def summarised(_: int) -> None:
            if len(summary.requests) + len(summary.messages) > LONG_MEMORY and wf.closed.get(run.run_id) is summary:
                # What was taken in stands in the log now, and in memory once for all runs of the ID.
                wf.closed[run.run_id] = dataclasses.replace(summary, requests=(), refusals=(), messages=())
            then()
            self.bury(wf, run.run_id, run.inbox_offset)

        self.write_summary(wf, run.run_id, summary, summarised)
        self.reschedule(wf)

    def write_summary(self, wf: Workflow, run_id: str, summary: r.Summary, then: object = None) -> Entry:
        """Write a summary under this claim; a copy under an older one gets its tombstone when this is acknowledged."""
        old = wf.summary_claims.get(run_id)
        wf.summary_claims[run_id] = self.writer.claim

        def checked(offset: int) -> None:
            if old is not None and old != self.writer.claim:
                self.writer.append(keys.summary(wf.id, run_id, old), None)
            if callable(then):
                then(offset)

        return self.writer.append(keys.summary(wf.id, run_id, self.writer.claim), summary, then=checked)

    def bury(self, wf: Workflow, run_id: str, inbox_offset: int) -> None:
        """Put tombstones on all keys of a run that its summary replaces.

        Once x can no longer fall behind its last input.
        """

        def tombstones() -> None:
            for key in wf.leftovers.pop(run_id, []):
                self.writer.append(key, None)

        self.writer.when_x(inbox_offset, tombstones)

    def forget_summaries(self, wf: Workflow) -> None:
        """Drop the summaries whose retention has ended: of refused starts, when no copy of them can be unread.

        What the inbox says of the time decides that. A quiet one says nothing: look again later, and ever more rarely.
        """
        unread_ms = self.inbox_ms - CLOCK_SKEW_MS_MAX
        for run_id, summary in list(wf.closed.items()):
            if summary.expires_ms > self.now_ms:
                continue
            if summary.status == r.RunStatus.REFUSED and summary.expires_ms > unread_ms:
                waited_ms = self.now_ms - summary.expires_ms
                wf.forget_again_ms = self.now_ms + min(max(waited_ms, CLOCK_SKEW_MS_MAX), FORGET_AGAIN_MS_MAX)
                continue
            del wf.closed[run_id]
            for key in [*wf.leftovers.pop(run_id, []), keys.summary(wf.id, run_id, wf.summary_claims.pop(run_id))]:
                self.writer.append(key, None)

    def visibility(self, live: LiveRun) -> r.VisibilityRecord:
        run = live.run
        started = run.started
        assert started is not None
        return r.VisibilityRecord(
            run.workflow_id,
            run.run_id,
            self.writer.claim,
            run.n,
            started.workflow_type,
            started.task_queue,
            run.status,
            run.started_ms,
            run.closed_ms,
            live.parked,
            run.memo,
            run.search_attributes,
            started.first_run_id,
            parent_of(run),
            run.version,
        )

    def show(self, live: LiveRun) -> None:
        """Show where the run stands when the transition that is being made is durable; once, however often said."""
        self.show_nothing(live)
        live.effects.append(Show(record=self.visibility(live)))
        self.touched[id(live)] = live

    @staticmethod
    def show_nothing(live: LiveRun) -> None:
        """What was to be shown with the transition that is being made is said anew, or by the closing."""
        live.effects = [effect for effect in live.effects if not isinstance(effect, Show)]


def _failure_of(closing: object) -> r.Failure | None:
    match closing:
        case r.RunCompleted():
            return None
        case r.RunFailed(failure=failure):
            return failure
        case r.RunCancelled(details):
            return r.Failure(r.FailureKind.CANCELLED, "Workflow cancelled", details=details)
        case r.RunTerminated(reason, details):
            return r.Failure(r.FailureKind.TERMINATED, reason or "Workflow terminated", details=details)
        case r.RunTimedOut(timeout_type):
            return r.Failure(
                r.FailureKind.TIMEOUT, f"Workflow timed out ({timeout_type} timeout)", timeout_type="start-to-close"
            )
        case _:
            return None
