"""What each kind of inbox record means to the workflow that it is addressed to, and what time brings about."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from odradek.common.cron import CronSchedule
from odradek.orchestrator.core import children, erasing, queries, reports, updates
from odradek.orchestrator.core.attempts import Attempts
from odradek.orchestrator.core.closed_runs import READS_MAX, ClosedRun
from odradek.orchestrator.core.describe import describe, history_page
from odradek.orchestrator.core.effects import DeadLetter, ReadArchive
from odradek.orchestrator.core.rejected import rejected
from odradek.orchestrator.core.run import Run
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.core.successors import derived_run_id
from odradek.orchestrator.core.versions import newest_version
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.orchestrator.core.writer import Entry
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.limits import problem
from odradek.schemas.records import RunStatus


class Inputs(Attempts):
    def dispatch(self, wf: Workflow, item: InboxItem, body: Any) -> None:
        """Take in one record of the inbox."""
        self.at = (wf.id, item.offset)
        self.intake.count(wf.id)
        self.inbox_ms = max(self.inbox_ms, item.time_ms)
        wf.remembered.tidy(self.inbox_ms)
        if wf.damaged and wf.live is None:
            self.on_damaged(wf, item, body)
        else:
            _HANDLERS[type(body)](self, wf, item, body)

    def take_now(self, item: InboxItem) -> None:
        """Take an inbox record in, or let it wait: for an append of its run, or for its workflow's next turn.

        Raises ``NewerSchema``, and has done nothing then.
        """
        wf = self.workflow(item.workflow_id)
        if wf.waiting or not self._may_take(wf):
            wf.waiting.append((item, self.hold_x(item.offset, item.held_bytes)))
            self._note_backlog(wf)
        elif (body := self._body(item)) is not None:
            self.dispatch(wf, item, body)

    def _may_take(self, wf: Workflow) -> bool:
        return not wf.is_held() and self.intake.taken[wf.id] < self.config.inputs_per_turn

    def _note_backlog(self, wf: Workflow) -> None:
        if wf.waiting and not wf.is_held():
            self.intake.backlog[wf.id] = None
        else:
            self.intake.backlog.pop(wf.id, None)

    def _body(self, item: InboxItem) -> Any:
        """What the record says; None of one that cannot be read, and is on its way to the dead letters."""
        if isinstance(item.record, r.InboxRecord):
            return item.record.body
        code, body = "ODR-002", None
        try:
            record = self.config.codec.decode(r.InboxRecord, item.record)
            wrong = problem(record)
            if wrong is None:
                return record.body
            code, body = "ODR-164", record.body
            reason = f"ODR-164: no {type(body).__name__} can be so: {wrong}"
        except UnreadableRecord as error:
            reason = str(error)
        letter = rejected(
            self.config.namespace, self.config.partition, item.offset, item.time_ms, item.workflow_id.encode(),
            item.record, code, reason, self.config.event_bytes_max, body, self.now_ms,
        )  # fmt: skip
        self.send_dead_letter(item.offset, letter)
        return None

    def send_dead_letter(self, offset: int, letter: DeadLetter) -> None:
        """The record's copy must be safe before the inbox may be deleted behind it."""
        hold = self.hold_x(offset)

        def stored(partition: int, offset: int) -> None:
            self.release_x(hold)
            self.writer.taken_to(self.decided_x())

        letter.on_stored = stored
        self.writer.after_in_flight([letter, *letter.answers])

    def drain_waiting(self, live: LiveRun) -> None:
        """The barrier has lifted: take in what waited behind it, until the next one."""
        self.drain(self.workflow(live.run.workflow_id))

    def drain(self, wf: Workflow) -> None:
        """Take in what waits, for one turn."""
        if self.careful is not None and wf.waiting and self._may_take(wf):
            self.careful.run(wf, partial(self._drain_now, wf))
        else:
            self._drain_now(wf)

    def _drain_now(self, wf: Workflow) -> None:
        while wf.waiting and self._may_take(wf) and self.intake.total < self.config.inputs_per_flush:
            item, hold = wf.waiting[0]
            body = self._body(item)
            wf.waiting.popleft()
            self.release_x(hold)
            if body is not None:
                self.dispatch(wf, item, body)
        self._note_backlog(wf)
        self.reschedule(wf)

    # ------------------------------------------------------------------------------------------ start

    def on_start(self, wf: Workflow, item: InboxItem, body: r.StartWorkflow) -> None:
        request, parent = body.request, body.parent
        if parent is None:
            run_id = self.run_id(item, request.id)
        else:
            run_id = children.child_run_id(parent.run_id, parent.number)
        seen = wf.remembered.requests.get(request.id) if body.update is not None else None
        if body.update is not None and seen is not None:
            updates.on_start_again(self, wf, item, seen[1], body.update)
            return
        if self.answered_before(wf, request, body.origin, run_id):
            if body.wait_result and request.id not in wf.remembered.refusals:
                self.wait_for_result(wf, wf.remembered.requests.get(request.id, (0, run_id))[1], request)
            return
        if run_id in wf.closed or (wf.live is not None and wf.live.run.run_id == run_id):
            refused = run_id in wf.closed and wf.closed[run_id].status == RunStatus.REFUSED
            if body.origin is not None and not refused:  # only the start of this child makes this run
                self.answer_message(body.origin, None, run_id)
            return
        if item.time_ms > request.expires_ms:
            self.refuse_start(wf, run_id, item, body, "ODR-104", _expired(item, request))
            return
        live = wf.live
        if live is not None and not self._resolve_conflict(wf, live, item, body):
            return
        problem = self._reuse_problem(wf, item.workflow_id, body) if live is None else None
        problem = problem or _cron_problem(body)
        if problem is not None:
            self.refuse_start(wf, run_id, item, body, *problem)
            return
        self.begin_run(wf, run_id, item, body)

    def begin_run(self, wf: Workflow, run_id: str, item: InboxItem, body: r.StartWorkflow) -> None:
        request = body.request
        run = Run(wf.id, run_id, wf.remembered)
        live = wf.live = LiveRun(run, stale=wf.leftovers.pop(run_id, []))
        run.inbox_offset = item.offset
        if body.wait_result:
            self.add_waiter(run_id, request)
        started = r.RunStarted(
            body.workflow_type,
            body.task_queue,
            run_id,
            1,
            body.input,
            body.headers,
            r.RequestSeen(request.id, request.expires_ms),
            request.identity,
            body.execution_timeout_ms,
            body.run_timeout_ms,
            body.task_timeout_ms,
            body.retry_policy,
            body.memo,
            body.search_attributes,
            body.start_delay_ms if body.start_delay_ms or not body.cron_schedule else self._first_turn_ms(body),
            body.static_summary,
            body.static_details,
            cron_schedule=body.cron_schedule,
            signals=[] if body.signal is None else [_signal_with_start(body.signal, request)],
            lineage=None if body.parent is None else r.Lineage(parent=body.parent),
            priority=body.priority,
            version=body.version or newest_version(self.config, body.task_queue, body.workflow_type),
        )
        self.count("started", body.workflow_type)
        if body.update is not None:
            updates.start_with(self, live, started, body.update)
            return
        self.accept(live, request, awaits_result=body.wait_result)
        if body.origin is not None:
            live.effects.append(children.answer(self.now_ms, body.origin, None, run_id))
        self.start(live, started)

    def _first_turn_ms(self, body: r.StartWorkflow) -> int:
        return CronSchedule.parse(body.cron_schedule).next_after(self.now_ms) - self.now_ms

    def _resolve_conflict(self, wf: Workflow, live: LiveRun, item: InboxItem, body: r.StartWorkflow) -> bool:
        """The ID is in use: whether the start goes on nevertheless."""
        request, run = body.request, live.run
        seen = r.RequestSeen(request.id, request.expires_ms)
        run.inbox_offset = item.offset
        policy = body.id_conflict_policy
        if body.signal is not None and policy != "terminate-existing":
            self.accept(live, request, already=True, awaits_result=body.wait_result)
            if body.wait_result:
                self.add_waiter(run.run_id, request)
            self.input(live, _signal_with_start(body.signal, request, seen))
            return False
        match policy:
            case "use-existing":
                self.note(live, r.RequestJoined(seen))
                if body.update is not None and updates.join(self, live, item, body.update):
                    return False
                self.accept(live, request, already=True)
                if body.wait_result:
                    self.add_waiter(run.run_id, request)
                return False
            case "terminate-existing":
                self.close(live, r.RunTerminated("terminated by a start with conflict policy terminate-existing"))
                wf.waiting.appendleft((item, self.hold_x(item.offset, item.held_bytes)))
                return False
            case _:
                message = (
                    f'ODR-101: workflow "{wf.id}" is running already (run {run.run_id}): use another ID, or say with '
                    "id_conflict_policy what shall happen"
                )
                self.note(live, r.RequestRefused(seen, "ODR-101", message))
                refusal = r.Refused("ODR-101", message, run.run_id, run.status)
                self.answer_with(live, request, refusal)
                if body.origin is not None:
                    live.effects.append(children.answer(self.now_ms, body.origin, refusal))
                return False

    def _reuse_problem(self, wf: Workflow, workflow_id: str, body: r.StartWorkflow) -> tuple[str, str] | None:
        latest = wf.latest_closed()
        if latest is None or body.id_reuse_policy in ("allow-duplicate", "terminate-if-running"):
            return None
        run_id, summary = latest
        if body.id_reuse_policy == "allow-duplicate-failed-only" and summary.status != RunStatus.COMPLETED:
            return None
        return "ODR-103", (
            f'ODR-103: workflow "{workflow_id}" has been run before (run {run_id}, {summary.status}), and the '
            f'reuse policy "{body.id_reuse_policy}" forbids another run: use another ID'
        )

    def refuse_start(
        self, wf: Workflow, run_id: str, item: InboxItem, body: r.StartWorkflow, code: str, message: str
    ) -> None:
        """A refused start stands in the log as a refused run, so that nobody decides otherwise later."""
        request = body.request
        refusal = r.RequestRefused(r.RequestSeen(request.id, request.expires_ms), code, message)
        wf.remembered.refusal(refusal, run_id)
        summary = r.Summary(
            RunStatus.REFUSED, body.workflow_type, body.task_queue, run_id, self.now_ms, self.now_ms, 1, item.offset, 0,
            request.expires_ms, refusals=[refusal],
        )  # fmt: skip
        wf.closed[run_id] = summary
        latest = wf.latest_closed()
        about = latest[0] if latest else None
        refused = r.Refused(code, message, about)
        entry = self._write_summary_and_answer(wf, run_id, summary, request, refused)
        if body.origin is not None:
            entry.effects = [*entry.effects, children.answer(self.now_ms, body.origin, refused)]

    def _write_summary_and_answer(
        self, wf: Workflow, run_id: str, summary: r.Summary, request: r.Request | None, answer: r.Refused | r.Accepted
    ) -> Entry:
        entry = self.write_summary(wf, run_id, summary)
        if request is not None and request.reply_partition >= 0:
            entry.effects = [*entry.effects, self.reply(request, answer)]
        self.reschedule(wf)
        return entry

    def run_id(self, item: InboxItem, request_id: str) -> str:
        """The ID of the run that this record begins: whoever owns the partition means the same one."""
        config = self.config
        return derived_run_id(config.topic_id, config.partition, item.offset, request_id)

    # ------------------------------------------------------------------------------------------ damaged histories

    def on_damaged(self, wf: Workflow, item: InboxItem, body: Any) -> None:
        """A run whose history cannot be read is parked: it can be described and terminated, and nothing else."""
        run_id, why = next(iter(wf.damaged.items()))
        message = (
            f'ODR-079: the history of workflow "{wf.id}" (run {run_id}) cannot be read: {why}. The record stands in '
            "the dead-letter topic; terminate the workflow to free its ID"
        )
        if isinstance(body, r.TerminateWorkflow):
            self._bury_damaged(wf, run_id, item, body)
        elif isinstance(body, r.StartWorkflow):
            self.refuse_start(wf, self.run_id(item, body.request.id), item, body, "ODR-079", message)
        elif isinstance(body, r.DescribeWorkflow):
            parked = r.Parked("ODR-079", message, self.now_ms, self.now_ms, 1)
            status = RunStatus.RUNNING
            self.answer(body.request, r.Description(run_id, run_id, "", "", status, 0, None, 0, 0, parked=parked))
        else:
            refusal = r.Refused("ODR-079", message)
            request, origin = getattr(body, "request", None), getattr(body, "origin", None)
            self.refuse(request, origin, refusal, run_id, RunStatus.RUNNING)

    def _bury_damaged(self, wf: Workflow, run_id: str, item: InboxItem, body: r.TerminateWorkflow) -> None:
        failure = r.Failure(r.FailureKind.TERMINATED, body.reason or "Workflow terminated")
        expires_ms = self.now_ms + self.config.summary_retention_ms
        wf.closed[run_id] = summary = r.Summary(
            RunStatus.TERMINATED,
            "",
            "",
            run_id,
            self.now_ms,
            self.now_ms,
            1,
            item.offset,
            0,
            expires_ms,
            failure=failure,
        )
        del wf.damaged[run_id]
        self._write_summary_and_answer(wf, run_id, summary, body.request, r.Accepted(run_id))

    # ---------------------------------------------------------------------- signal, cancel, terminate

    def on_signal(self, wf: Workflow, item: InboxItem, body: r.SignalWorkflow) -> None:
        live = self._target(wf, item, body.run_id, body.request, body.origin)
        if live is not None:
            seen, identity = _seen(body.request)
            self.input(live, r.SignalReceived(body.name, body.input, body.headers, seen, body.origin, identity))
            self._taken_in(live, body.request, body.origin)

    def on_cancel(self, wf: Workflow, item: InboxItem, body: r.CancelWorkflow) -> None:
        live = self._target(wf, item, body.run_id, body.request, body.origin)
        if live is not None:
            self.input(live, r.CancelRequested(body.reason, _seen(body.request)[0], body.origin))
            self._taken_in(live, body.request, body.origin)

    def on_terminate(self, wf: Workflow, item: InboxItem, body: r.TerminateWorkflow) -> None:
        live = self._target(wf, item, body.run_id, body.request, None)
        if live is not None:
            seen, identity = _seen(body.request)
            self.close(live, r.RunTerminated(body.reason, body.details, seen, identity))
            self._taken_in(live, body.request, None)

    def _target(
        self,
        wf: Workflow,
        item: InboxItem,
        run_id: str | None,
        request: r.Request | None,
        origin: r.MessageOrigin | None,
    ) -> LiveRun | None:
        """As ``open_run``, of what is taken in for certain."""
        live = self.open_run(wf, item, run_id, request, origin)
        if live is not None:
            live.run.inbox_offset = item.offset
        return live

    def open_run(
        self,
        wf: Workflow,
        item: InboxItem,
        run_id: str | None,
        request: r.Request | None,
        origin: r.MessageOrigin | None,
    ) -> LiveRun | None:
        """The open run that a message is for, if it may be taken in; otherwise it has been answered here."""
        if request is not None and self.answered_before(wf, request):
            return None
        if origin is not None and wf.remembered.has_message(origin):
            self.answer_message(origin, None)
            return None
        live = wf.live
        if live is not None and item.offset <= live.run.inbox_offset:
            return None
        if live is not None and live.is_meant(run_id):
            late = _late(item, request, origin)
            if late is None:
                return live
            self.refuse(request, origin, late, live.run.run_id, live.run.status)
            return None
        late = _late(item, None, origin)
        if late is not None:  # it may have been taken in before the run closed, and forgotten
            self.refuse(None, origin, late, None, None)
            return None
        self.refuse_closed_or_unknown(wf, item, run_id, request, origin)
        return None

    def too_late(self, item: InboxItem, request: r.Request) -> r.Refused | None:
        return _late(item, request, None)

    def _taken_in(self, live: LiveRun, request: r.Request | None, origin: r.MessageOrigin | None) -> None:
        if request is not None:
            self.accept(live, request)
        if origin is not None:
            if origin.number < children.PARENT_CLOSED:
                live.effects.append(children.answer(self.now_ms, origin, None))
            self.touched[id(live)] = live

    def answered_before(
        self, wf: Workflow, request: r.Request, origin: r.MessageOrigin | None = None, run_id: str | None = None
    ) -> bool:
        """Answer a request that has been taken in already as it was answered then; a child's start to its origin."""
        refusal = wf.remembered.refusals.get(request.id)
        if refusal is not None:
            self.refuse(request, origin, r.Refused(refusal[0].code, refusal[0].message), None, None)
            return True
        seen = wf.remembered.requests.get(request.id)
        if seen is not None:
            self.answer(request, r.Accepted(seen[1]))
            if origin is not None:
                self.answer_message(origin, None, run_id)
            return True
        return False

    def refuse_closed_or_unknown(
        self,
        wf: Workflow,
        item: InboxItem,
        run_id: str | None,
        request: r.Request | None,
        origin: r.MessageOrigin | None,
    ) -> None:
        closed = wf.closed.get(run_id) if run_id else None
        latest = (run_id, closed) if run_id and closed else wf.latest_closed() if run_id is None else None
        if latest is not None:
            status = latest[1].status
            message = (
                f'ODR-102: workflow "{wf.id}" (run {latest[0]}) is closed ({status}) and takes nothing in any more'
            )
            self.refuse(request, origin, r.Refused("ODR-102", message), latest[0], status)
            return
        refusal = r.Refused("ODR-100", self.unknown(wf, run_id))
        self.writer.when_x(item.offset, lambda: self.refuse(request, origin, refusal, None, None))

    def unknown(self, wf: Workflow, run_id: str | None) -> str:
        run = f" with run {run_id}" if run_id else ""
        return (
            f'ODR-100: there is no workflow "{wf.id}"{run} in namespace "{self.config.namespace}": correct the ID or '
            "the namespace; closed runs are forgotten after their retention"
        )

    def refuse(
        self,
        request: r.Request | None,
        origin: r.MessageOrigin | None,
        refusal: r.Refused,
        run_id: str | None,
        status: str | None,
    ) -> None:
        if request is not None:
            self.answer(request, r.Refused(refusal.code, refusal.message, run_id, status))
        if origin is not None:
            self.answer_message(origin, refusal)

    def answer_message(
        self, origin: r.MessageOrigin, refusal: r.Refused | None, started_run_id: str | None = None
    ) -> None:
        if origin.number < children.PARENT_CLOSED:
            self.leave_behind(children.answer(self.now_ms, origin, refusal, started_run_id))

    # ------------------------------------------------------------------------------------------ questions

    def run_in_memory(self, wf: Workflow, run_id: str | None) -> LiveRun | None:
        if wf.live is not None and run_id in (None, wf.live.run.run_id):
            return wf.live
        if run_id is None and wf.ending:
            return list(wf.ending.values())[-1]
        return wf.ending.get(run_id) if run_id else None

    def known_run(self, wf: Workflow, run_id: str | None) -> str | None:
        """The run that is meant, open or closed: this one, else the current or latest one; None if there is none."""
        live = self.run_in_memory(wf, run_id)
        if live is not None:
            return live.run.run_id
        if run_id is None:
            latest = wf.latest_closed()
            return latest[0] if latest else None
        closed = wf.closed.get(run_id)
        return run_id if closed is not None and closed.status != RunStatus.REFUSED else None

    def with_closed_run(self, wf: Workflow, run_id: str, request: r.Request, then: Callable[[ClosedRun], None]) -> None:
        """Call ``then`` with a run that is in the archive, now or when that has been read; else refuse the request."""
        runs = self.closed_runs
        known = runs.get(run_id)
        if known is not None:
            then(known)
            return
        status = wf.closed[run_id].status

        def read(found: ClosedRun | str) -> None:
            if isinstance(found, str):
                self.answer(request, r.Refused("ODR-134", found, run_id, status))
            else:
                then(found)

        parts = wf.closed[run_id].archive
        asking = runs.reading.get(run_id, [])
        if 0 < len(asking) < READS_MAX:
            asking.append(read)
        elif not parts:
            read(f'ODR-134: the history of closed workflow "{wf.id}" (run {run_id}) was not archived')
        elif asking or len(runs.reading) >= READS_MAX:
            what = "queries wait for its history" if asking else "closed runs are being read"
            message = f'ODR-108: workflow "{wf.id}" cannot answer now: {READS_MAX} {what} already'
            self.answer(request, r.Refused("ODR-108", message, run_id, status))
        else:
            runs.reading[run_id] = [read]
            self.writer.outbox.append(ReadArchive(wf.id, run_id, parts, partial(runs.have_read, wf.id, run_id)))

    def on_await(self, wf: Workflow, item: InboxItem, body: r.AwaitResult) -> None:
        if not self.wait_for_result(wf, body.run_id, body.request):
            self.refuse_closed_or_unknown(wf, item, body.run_id, body.request, None)

    def wait_for_result(self, wf: Workflow, run_id: str | None, request: r.Request) -> bool:
        """Answer with the result now or when the run closes; False if there is no such run."""
        if wf.live is not None and run_id in (None, wf.live.run.run_id):
            if wf.live.refusal is not None:
                self.answer(request, wf.live.refusal)
            else:
                self.add_waiter(wf.live.run.run_id, request)
            return True
        latest = wf.latest_closed()
        known = run_id or (latest[0] if latest else None)
        if known is None or known not in wf.closed:
            return False
        self.answer(request, self.outcome(wf.closed[known], known))
        return True

    def on_describe(self, wf: Workflow, item: InboxItem, body: r.DescribeWorkflow) -> None:
        description = describe(self, wf, body.run_id)
        if description is None:
            self.refuse_closed_or_unknown(wf, item, body.run_id, body.request, None)
        else:
            self.answer(body.request, description)

    def on_history(self, wf: Workflow, item: InboxItem, body: r.FetchHistory) -> None:
        live = self.run_in_memory(wf, body.run_id)
        if live is not None:
            events = list(self.events(live))
            page = history_page(live, events, body.first_event, self.config.history_page_bytes, self.config.codec)
            self.answer(body.request, page)
            return
        latest = wf.latest_closed()
        run_id = body.run_id or (latest[0] if latest else None)
        summary = wf.closed.get(run_id) if run_id else None
        if run_id is None or summary is None:
            self.refuse_closed_or_unknown(wf, item, body.run_id, body.request, None)
        else:
            self.answer(body.request, r.HistoryPage(run_id, summary.status, 0, None, (), summary.archive))

    # ------------------------------------------------------------------------------------------ activities and answers

    def on_activity(self, wf: Workflow, item: InboxItem, body: Any) -> None:
        live = wf.live
        if live is None or live.run.run_id != body.run_id:
            if not isinstance(body, r.ActivityResult):
                self._tell(body.worker, body.run_id, body.seq, body.attempt, "closed")
            return
        n = len(live.pending)
        if isinstance(body, r.ActivityResult):
            self.activity_result(live, body)
        elif isinstance(body, r.ActivityStarted):
            self.activity_started(live, body)
        else:
            self.activity_heartbeat(live, body)
        if len(live.pending) > n:
            live.run.inbox_offset = item.offset

    def on_message_answer(self, wf: Workflow, item: InboxItem, body: r.MessageAnswer) -> None:
        live = wf.live
        if live is None or live.run.run_id != body.run_id or not live.run.awaits_answer(body.number):
            return
        live.run.inbox_offset = item.offset
        live.message_due.pop(body.number, None)
        if body.number not in live.run.children:
            self.input(live, r.MessageAnswered(body.number, body.failure))
        elif body.failure is None:
            run_id = body.started_run_id or children.child_run_id(body.run_id, body.number)
            self.input(live, r.ChildStarted(body.number, run_id))
        else:
            self.input(live, r.ChildStartFailed(body.number, body.failure))

    def on_child_result(self, wf: Workflow, item: InboxItem, body: r.ChildResult) -> None:
        live = wf.live
        if live is None or live.run.run_id != body.run_id or body.number not in live.run.children:
            return
        child = live.run.children[body.number]
        live.run.inbox_offset = item.offset
        if child.run_id is None:  # the answer to its start is late, or went with the owner that gave it
            live.message_due.pop(body.number, None)
            self.input(live, r.ChildStarted(body.number, children.child_run_id(body.run_id, body.number)))
        if live.run.is_open:
            self.input(live, children.closed(child, self.config.namespace, body))

    # ------------------------------------------------------------------------------------------ time

    def fire_due(self, wf: Workflow) -> None:
        """Everything of this workflow whose time has come, in the order of the times."""
        if any(s.expires_ms <= self.now_ms for s in wf.closed.values()):
            self.forget_summaries(wf)
        live = wf.live
        while live is not None and wf.live is live and self._may_take(wf):
            due = live.next_due()
            if due is None or due[0] > self.now_ms:
                return
            self.intake.count(wf.id)
            self._fire(live, *due)

    def _fire(self, live: LiveRun, due_ms: int, kind: str, number: int) -> None:
        match kind:
            case "t":
                self.input(live, r.TimerFired(number))
            case "a":
                self.activity_due(live, number)
            case "m":
                live.effects.append(self.message(live, number))
                live.push_message(number, self.now_ms)
                self.touched[id(live)] = live
            case "s":
                live.run.starts_at_ms = None
                self.resume(live)
            case "p" | "x":
                self.resume(live)
            case _:
                name = next(name for limit_ms, name in live.run.limits() if limit_ms <= self.now_ms)
                self.close(live, r.RunTimedOut(name))


def _signal_with_start(
    signal: r.SignalWorkflow, request: r.Request, seen: r.RequestSeen | None = None
) -> r.SignalReceived:
    return r.SignalReceived(signal.name, signal.input, signal.headers, seen, None, request.identity)


def _cron_problem(body: r.StartWorkflow) -> tuple[str, str] | None:
    if body.cron_schedule:
        try:
            CronSchedule.parse(body.cron_schedule)
        except ValueError as error:
            return "ODR-111", str(error)
    return None


def _seen(request: r.Request | None) -> tuple[r.RequestSeen | None, str]:
    return (None, "") if request is None else (r.RequestSeen(request.id, request.expires_ms), request.identity)


def _expired(item: InboxItem, request: r.Request) -> str:
    late = (item.time_ms - request.expires_ms) / 1000
    return f"ODR-104: the request arrived {late:g} s after it expired, and may have been forgotten: send a new one"


def _late(item: InboxItem, request: r.Request | None, origin: r.MessageOrigin | None) -> r.Refused | None:
    if request is not None and item.time_ms > request.expires_ms:
        return r.Refused("ODR-104", _expired(item, request))
    if origin is not None and item.time_ms > origin.expires_ms:
        late = (item.time_ms - origin.expires_ms) / 1000
        return r.Refused(
            "ODR-110",
            f'ODR-110: a message from workflow "{origin.workflow_id}" arrived {late:g} s after its lifetime, and may '
            "have been taken in before: find out whether it was, then send a new one",
        )
    return None


_HANDLERS: dict[type, Callable[[Inputs, Workflow, InboxItem, Any], None]] = {
    r.StartWorkflow: Inputs.on_start,
    r.SignalWorkflow: Inputs.on_signal,
    r.CancelWorkflow: Inputs.on_cancel,
    r.TerminateWorkflow: Inputs.on_terminate,
    r.QueryWorkflow: queries.on_query,
    r.UpdateWorkflow: updates.on_update,
    r.AwaitUpdate: updates.on_await_update,
    r.AwaitResult: Inputs.on_await,
    r.DescribeWorkflow: Inputs.on_describe,
    r.FetchHistory: Inputs.on_history,
    r.ActivityStarted: Inputs.on_activity,
    r.ActivityHeartbeat: Inputs.on_activity,
    r.ActivityResult: Inputs.on_activity,
    r.MessageAnswer: Inputs.on_message_answer,
    r.ChildResult: Inputs.on_child_result,
    r.ReportActivity: reports.on_report,
    r.ControlActivity: reports.on_control,
    r.EraseWorkflow: erasing.on_erase,
}
