"""The attempts of activities: what a worker reports, time limits, retries, lost workers, cancellation.

History holds one event when an activity is scheduled and one when it ends; between them its state is a progress record.
"""

from __future__ import annotations

import dataclasses
from zlib import crc32

from odradek.orchestrator.core.backoff import next_delay_ms
from odradek.orchestrator.core.decide import Decide
from odradek.orchestrator.core.effects import Effect, Reply
from odradek.orchestrator.core.run import Activity
from odradek.orchestrator.core.sizes import OVERHEAD_BYTES, fitted, last_failure_beside, shortened
from odradek.orchestrator.core.workflow import LiveRun
from odradek.schemas import records as r
from odradek.schemas.records import FailureKind

NOBODY = ""
"""Holds the attempts that go on without a worker."""
PUT_OFF_MS = 300_000
"""After how long a task is tried again whose queue has no topic, while many others wait for that already; up to twice
that."""


class Attempts(Decide):
    def activity_started(self, live: LiveRun, body: r.ActivityStarted) -> None:
        activity = self._current(live, body.seq, body.attempt)
        if activity is None:
            self._tell(body.worker, live.run.run_id, body.seq, body.attempt, "superseded")
            return
        if body.detached:
            self._detach(live, activity, body)
            return
        if any(holder.worker == body.worker for holder in activity.progress.holders):
            return
        holder = r.Holder(body.worker, min(body.started_ms, self.now_ms))
        self.progress(live, activity, holders=(*activity.progress.holders, holder))
        self.holders.setdefault(body.worker, set()).add((live.run.workflow_id, body.seq))
        stop = _reason_to_stop(activity)
        if stop:  # its worker may not have been known when that was asked for
            self._tell(body.worker, live.run.run_id, body.seq, body.attempt, stop)

    def _detach(self, live: LiveRun, activity: Activity, body: r.ActivityStarted) -> None:
        """The attempt goes on without this worker; whoever has its token or its ID will report the end."""
        others = [holder for holder in activity.progress.holders if holder.worker not in (body.worker, NOBODY)]
        self.holders.get(body.worker, set()).discard((live.run.workflow_id, body.seq))
        holder = r.Holder(NOBODY, min(body.started_ms, self.now_ms))
        self.progress(live, activity, holders=(*others, holder))

    def activity_heartbeat(self, live: LiveRun, body: r.ActivityHeartbeat) -> None:
        activity = self._current(live, body.seq, body.attempt)
        if activity is None:
            self._tell(body.worker, live.run.run_id, body.seq, body.attempt, "superseded")
            return
        holders = activity.progress.holders
        if not any(holder.worker == body.worker for holder in holders):
            holders = (*holders, r.Holder(body.worker, min(body.started_ms, self.now_ms)))
            self.holders.setdefault(body.worker, set()).add((live.run.workflow_id, body.seq))
        self.progress(live, activity, holders=holders, heartbeat_ms=self.now_ms, heartbeat_details=tuple(body.details))
        stop = _reason_to_stop(activity)
        if stop:
            self._tell(body.worker, live.run.run_id, body.seq, body.attempt, stop)

    def activity_result(self, live: LiveRun, body: r.ActivityResult) -> None:
        """A result counts once per attempt: that of the current one, while the activity is open."""
        activity = self._current(live, body.seq, body.attempt)
        if activity is None:
            return
        if body.failure is None:
            self.attempt_completed(live, activity, body.result, body.worker, body.started_ms)
        else:
            self.attempt_failed(live, activity, body.failure, body.worker, body.started_ms)

    def attempt_completed(
        self, live: LiveRun, activity: Activity, result: r.Payload | None, worker: str, started_ms: int
    ) -> None:
        self._end(live, activity)
        seq, last = activity.scheduled.seq, activity.progress.last_failure
        last = last_failure_beside(result, last, self.config.event_bytes_max)
        self.input(live, r.ActivityCompleted(seq, result, activity.progress.attempt, started_ms, worker, last))

    def _current(self, live: LiveRun, seq: int, attempt: int) -> Activity | None:
        activity = live.run.activities.get(seq)
        if activity is None or activity.progress.attempt != attempt or activity.progress.retry_at_ms is not None:
            return None
        return activity

    def _end(self, live: LiveRun, activity: Activity) -> None:
        self.retire(live, activity.scheduled.seq)
        self.durations.append(
            ("activity", activity.scheduled.activity_type, (self.now_ms - activity.scheduled_ms) / 1000)
        )

    # ------------------------------------------------------------------------------------------ failure and retry

    def attempt_failed(
        self,
        live: LiveRun,
        activity: Activity,
        failure: r.Failure,
        worker: str,
        started_ms: int | None,
        workers_lost: int = 0,
    ) -> None:
        retry_at, state = self._retry(activity, failure)
        if retry_at is None:
            self._fail(live, activity, failure, state, worker, started_ms)
            return
        for holder in activity.progress.holders:
            self.holders.get(holder.worker, set()).discard((live.run.workflow_id, activity.scheduled.seq))
        self.count("retried", activity.scheduled.activity_type)
        self.progress(
            live,
            activity,
            attempt=activity.progress.attempt + 1,
            retry_at_ms=retry_at,
            dispatched_ms=None,
            holders=(),
            last_failure=failure,
            workers_lost=workers_lost,
        )

    def _retry(self, activity: Activity, failure: r.Failure) -> tuple[int | None, str]:
        """When the next attempt begins, or why there is none."""
        options = activity.options
        if activity.progress.cancel_requested:
            return None, "cancel-requested"
        delay_ms, state = next_delay_ms(options.retry_policy, activity.attempts, failure)
        if delay_ms is None:
            return None, state
        retry_at = self.now_ms + delay_ms
        close = options.timeouts.schedule_to_close_ms
        if close is not None and retry_at >= activity.scheduled_ms + close:
            return None, "timeout"
        return retry_at, state

    def _fail(
        self,
        live: LiveRun,
        activity: Activity,
        failure: r.Failure,
        retry_state: str,
        worker: str,
        started_ms: int | None,
    ) -> None:
        """The activity is over: its code's workflow sees an activity failure whose cause says why."""
        scheduled = activity.scheduled
        self._end(live, activity)
        self.count("activity-failed", scheduled.activity_type)
        facts = {
            "activity_type": scheduled.activity_type,
            "activity_id": scheduled.activity_id,
            "identity": worker,
            "retry_state": retry_state,
        }
        message = "Activity task timed out" if failure.kind == FailureKind.TIMEOUT else "Activity task failed"
        cause = shortened(failure, self.config.event_bytes_max - OVERHEAD_BYTES)
        outer = r.Failure(FailureKind.ACTIVITY, message, attributes=facts, cause=cause)
        attempt = activity.progress.attempt
        self.input(live, r.ActivityFailed(scheduled.seq, outer, attempt, retry_state, started_ms, worker))

    # ------------------------------------------------------------------------------------------ time

    def activity_due(self, live: LiveRun, seq: int) -> None:
        """An activity's deadline has come."""
        activity = live.run.activities[seq]
        deadline = activity.deadline()
        assert deadline is not None
        what = deadline[1]
        if what in ("retry", "dispatch"):
            self.dispatch_attempt(live, activity)
            return
        limits = activity.options.timeouts
        limit = {
            "schedule-to-close": limits.schedule_to_close_ms,
            "schedule-to-start": limits.schedule_to_start_ms,
            "start-to-close": limits.start_to_close_ms,
            "heartbeat": limits.heartbeat_ms,
        }[what]
        failure = r.Failure(
            FailureKind.TIMEOUT,
            f"{what} timeout of {(limit or 0) / 1000:g} s",
            timeout_type=what,
            details=activity.progress.heartbeat_details,
            cause=activity.progress.last_failure if what == "schedule-to-close" else None,
        )
        holders = activity.progress.holders
        self.revoke(live, seq, "timed-out")
        started = holders[0].started_ms if holders else None
        worker = holders[0].worker if holders else ""
        if what in ("schedule-to-close", "schedule-to-start"):
            self._fail(live, activity, failure, "timeout", worker, started)
        else:
            self.attempt_failed(live, activity, failure, worker, started)

    def dispatch_attempt(self, live: LiveRun, activity: Activity) -> None:
        """Send the current attempt; the record that says so goes first, so that a takeover knows."""
        scheduled_ms = activity.progress.attempt_scheduled_ms if activity.is_put_off else self.now_ms
        self.progress(live, activity, retry_at_ms=None, dispatched_ms=self.now_ms, attempt_scheduled_ms=scheduled_ms)
        live.effects.append(self.task(live, activity.scheduled.seq))
        self.touched[id(live)] = live

    def put_off(self, workflow_id: str, run_id: str, seq: int, attempt: int) -> None:
        """No topic takes this attempt's task, and it is not kept for later: the history says when to send it again."""
        live = self.workflow(workflow_id).live
        if live is None or live.run.run_id != run_id:
            return
        activity = self._current(live, seq, attempt)
        if activity is not None and not activity.progress.holders and activity.progress.paused_ms is None:
            # By its name and number: all at once would be too many again.
            spread_ms = crc32(f"{run_id}:{seq}".encode()) % PUT_OFF_MS
            self.progress(live, activity, retry_at_ms=self.now_ms + PUT_OFF_MS + spread_ms)

    def progress(self, live: LiveRun, activity: Activity, **changes: object) -> None:
        progress = activity.progress
        changed = dataclasses.replace(progress, n=progress.n + 1, **changes)  # type: ignore[arg-type]
        activity.progress = fitted(changed, self.config.event_bytes_max)
        self.write_progress(live, activity)
        live.push_activity(activity)
        self.reschedule(self.workflow(live.run.workflow_id))

    # ------------------------------------------------------------------------------------------ workers

    def worker_lost(self, worker: str, reason: str) -> None:
        """A worker has fallen silent: the attempts that only it holds have failed."""
        for workflow_id, seq in sorted(self.holders.pop(worker, set())):
            wf = self.workflow(workflow_id)
            live = wf.live
            if wf.waiting or (live is not None and live.barrier):
                self.holders.setdefault(worker, set()).add((workflow_id, seq))  # it stays silent: next time
                continue
            activity = live.run.activities.get(seq) if live else None
            if live is None or activity is None:
                continue
            others = [holder for holder in activity.progress.holders if holder.worker != worker]
            mine = [holder for holder in activity.progress.holders if holder.worker == worker]
            if not mine:
                continue
            if others:
                self.progress(live, activity, holders=tuple(others))
                continue
            failure = r.Failure(
                FailureKind.TIMEOUT, f"ODR-073: worker {worker} is lost: {reason}", timeout_type="heartbeat"
            )
            lost = activity.progress.workers_lost + 1
            if lost >= self.config.workers_lost_max > 0:
                failure = _poisonous(activity, lost, failure)
            self.attempt_failed(live, activity, failure, worker, mine[0].started_ms, lost)
        self.flush()

    def cancel_activity(self, live: LiveRun, command: r.ActivityCancelRequested) -> None:
        """The code cancels an activity: its worker is told; between attempts there is nobody to tell."""
        activity = live.run.activities.get(command.seq)
        if activity is None:
            self.record(live, command)
            return
        self.revoke(live, command.seq, "cancelled")
        waits = activity.scheduled.cancellation_type == "wait-cancellation-completed"
        if not waits:
            self.retire(live, command.seq)
        self.record(live, command)
        if waits and activity.progress.retry_at_ms is not None:
            failure = r.Failure(FailureKind.CANCELLED, "Cancelled between attempts")
            self.later.append(lambda: self._fail(live, activity, failure, "cancel-requested", "", None))
        elif waits:
            self.progress(live, activity, cancel_requested=True)

    def revoke(self, live: LiveRun, seq: int, reason: str) -> None:
        """Tell the holders of an activity's current attempt to stop."""
        activity = live.run.activities.get(seq)
        if activity is None:
            return
        for holder in activity.progress.holders:
            told = self._notice(holder.worker, live.run.run_id, seq, activity.progress.attempt, reason)
            if told is not None:
                live.effects.append(told)
                self.touched[id(live)] = live

    def _tell(self, worker: str, run_id: str, seq: int, attempt: int, reason: str) -> None:
        told = self._notice(worker, run_id, seq, attempt, reason)
        if told is not None:
            self.leave_behind(told)

    def _notice(self, worker: str, run_id: str, seq: int, attempt: int, reason: str) -> Effect | None:
        partition = self.worker_partition(worker)
        if partition is None:
            return None
        return Reply(None, partition, worker, "", r.AttemptRevoked(run_id, seq, attempt, reason))


def _reason_to_stop(activity: Activity) -> str:
    """Why the attempt should end; empty: it may go on."""
    if activity.progress.cancel_requested:
        return "cancelled"
    return "paused" if activity.progress.paused_ms is not None else ""


def _poisonous(activity: Activity, lost: int, last: r.Failure) -> r.Failure:
    message = (
        f'ODR-118: {lost} workers in succession were lost while they ran activity "{activity.scheduled.activity_type}" '
        f"(ID {activity.scheduled.activity_id}), so it is not tried again: it may take down whatever runs it. Look at "
        "how these processes ended; settings say after how many (workers_lost_max)"
    )
    return r.Failure(FailureKind.APPLICATION, message, "WorkersLost", non_retryable=True, cause=last)
