"""Where a run stands, and its history page by page, for those who ask."""

from __future__ import annotations

from collections.abc import Sequence

from odradek.orchestrator.core.children import parent_of
from odradek.orchestrator.core.paused import as_parked
from odradek.orchestrator.core.run import Activity, Child
from odradek.orchestrator.core.state import ShardState
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.conditions import condition_name


def describe(shard: ShardState, workflow: Workflow, run_id: str | None) -> r.Description | None:
    """The run asked for, else the current or latest one; None if there is none."""
    live = workflow.live
    if live is not None and run_id in (None, live.run.run_id):
        return _live(shard, live)
    latest = workflow.latest_closed()
    known = run_id or (latest[0] if latest else None)
    if known is None or known not in workflow.closed:
        return None
    s = workflow.closed[known]
    return r.Description(
        known, s.first_run_id, s.workflow_type, s.task_queue, s.status, s.started_ms, s.closed_ms, s.event_count, 0,
        memo=s.memo, search_attributes=s.search_attributes, parent=s.parent, version=s.version,
    )  # fmt: skip


def _live(shard: ShardState, live: LiveRun) -> r.Description | None:
    run = live.run
    started = run.started
    if started is None:
        return None
    waits = [
        r.Wait("timer", timer.summary or f"timer {timer.seq}", timer.seq, timer.due_ms) for timer in run.timers.values()
    ]
    waits += [_activity(shard, activity) for activity in run.activities.values()]
    waits += [
        r.Wait("message", f'{sent.name or "cancel request"} to "{sent.workflow_id}"', sent.seq)
        for sent in run.messages.values()
    ]
    waits += [_child(child) for child in run.children.values()]
    waits += [
        r.Wait("step", s.call.activity, seq, attempt=s.attempt, last_failure=s.last_failure, scheduled_ms=s.asked_ms)
        for seq, s in live.steps.items()
    ]
    instance = live.instance
    if instance is not None:
        waits += [r.Wait("condition", condition_name(predicate), 0) for predicate in instance.waited_for()]
    if run.starts_at_ms is not None:
        waits.append(r.Wait("timer", "start delay", 0, run.starts_at_ms))
    parked = live.parked or as_parked(shard.paused_types, run, shard.now_ms)
    return r.Description(
        run.run_id, started.first_run_id, started.workflow_type, started.task_queue, run.status, run.started_ms,
        run.closed_ms, run.event_count, run.history_bytes, waits, parked, run.memo, run.search_attributes,
        started.static_summary, started.static_details, run.version, started.cron_schedule, parent_of(run),
        instance.current_details if instance is not None else "",
    )  # fmt: skip


def _child(child: Child) -> r.Wait:
    scheduled = child.scheduled
    where = f' of namespace "{scheduled.namespace}"' if scheduled.namespace else ""
    name = f'{scheduled.workflow_type} "{scheduled.workflow_id}"{where}'
    return r.Wait("child", name, scheduled.seq, state="starting" if child.run_id is None else "started")


def _activity(shard: ShardState, activity: Activity) -> r.Wait:
    progress, scheduled = activity.progress, activity.scheduled
    due: int | None
    if progress.retry_at_ms is not None:
        state, due = "backing-off", progress.retry_at_ms
    else:
        deadline = activity.deadline()
        state, due = ("started" if progress.holders else "dispatched"), deadline[0] if deadline else None
    if progress.cancel_requested:
        state = "cancel-requested"
    elif progress.paused_ms is not None:
        state = "paused"
    reason, queue, unserved_ms = progress.paused_why, activity.options.task_queue, None
    if state == "dispatched":
        unserved_ms, control = shard.unserved_ms(queue), shard.paused_queues.get(queue)
        if control is not None and control.paused_ms is not None:
            state, reason = "queue-paused", control.reason
    return r.Wait(
        "activity",
        scheduled.activity_type,
        scheduled.seq,
        due,
        state,
        activity.attempts,
        progress.holders[0].worker if progress.holders else "",
        progress.last_failure,
        progress.heartbeat_details,
        activity.scheduled_ms,
        scheduled.activity_id,
        reason,
        progress.options,
        queue,
        unserved_ms,
    )


def history_page(live: LiveRun, events: Sequence[r.Event], first: int, bytes_max: int, codec: Codec) -> r.HistoryPage:
    """As many events from ``first`` on as fit the page, at least one."""
    first = min(first, len(events))
    size, end = 0, first
    while end < len(events) and (size == 0 or size < bytes_max):
        size += len(codec.encode_events([events[end]]))
        end += 1
    return r.HistoryPage(live.run.run_id, live.run.status, first, end if end < len(events) else None, events[first:end])
