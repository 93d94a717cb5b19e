"""What is said of open activities by somebody who is no worker: their ends and heartbeats, and an operator's wishes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from odradek.orchestrator.core.run import Activity
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.schemas import records as r

if TYPE_CHECKING:
    from odradek.orchestrator.core.inputs import Inputs


def on_report(shard: Inputs, wf: Workflow, item: InboxItem, body: r.ReportActivity) -> None:
    live = shard.open_run(wf, item, body.run_id, body.request, None)
    if live is None:
        return
    activity = _meant(live, body)
    if activity is None:
        which = f'ID "{body.activity_id}"' if body.seq < 0 else f"number {body.seq}, attempt {body.attempt},"
        message = (
            f'ODR-115: workflow "{wf.id}" (run {live.run.run_id}) waits for no activity with {which}: it has ended, '
            "was given up, or is at another attempt"
        )
        shard.answer_about(live, body.request, r.Refused("ODR-115", message, live.run.run_id))
        return
    if body.kind == "heartbeat":
        shard.progress(live, activity, heartbeat_ms=shard.now_ms, heartbeat_details=tuple(body.details))
        shard.answer_about(live, body.request, _told_to_stop(live, activity) or r.Accepted(live.run.run_id))
        return
    holders = activity.progress.holders
    started_ms = holders[0].started_ms if holders else activity.progress.attempt_scheduled_ms
    _take(shard, live, item, body.request)
    if body.kind == "completed":
        shard.attempt_completed(live, activity, body.result, body.request.identity, started_ms)
        return
    failure = body.failure
    if body.details:  # for the next attempt
        shard.progress(live, activity, heartbeat_ms=shard.now_ms, heartbeat_details=tuple(body.details))
    if failure is None or body.kind == "cancelled":
        failure = r.Failure(r.FailureKind.CANCELLED, "Cancelled", details=tuple(body.details))
    shard.attempt_failed(live, activity, failure, body.request.identity, started_ms)


def on_control(shard: Inputs, wf: Workflow, item: InboxItem, body: r.ControlActivity) -> None:
    live = shard.open_run(wf, item, body.run_id, body.request, None)
    if live is None:
        return
    meant = [
        activity
        for activity in live.run.activities.values()
        if body.activity_id in ("", activity.scheduled.activity_id)
        and body.activity_type in ("", activity.scheduled.activity_type)
    ]
    if not meant:
        wanted = f'ID "{body.activity_id}"' if body.activity_id else f'type "{body.activity_type}"'
        message = f'ODR-115: workflow "{wf.id}" (run {live.run.run_id}) waits for no activity with {wanted}'
        shard.answer_about(live, body.request, r.Refused("ODR-115", message, live.run.run_id))
        return
    _take(shard, live, item, body.request)
    for activity in meant:
        match body.action:
            case "pause":
                _pause(shard, live, activity, body.reason)
            case "unpause":
                _unpause(shard, live, activity, body)
            case "reset":
                _reset(shard, live, activity, body)
            case _:
                _change(shard, live, activity, body)


def _take(shard: Inputs, live: LiveRun, item: InboxItem, request: r.Request) -> None:
    """What was asked for is done once, however often it is asked, and answered when it is durable."""
    live.run.inbox_offset = item.offset
    shard.note(live, r.RequestJoined(r.RequestSeen(request.id, request.expires_ms)))
    shard.accept(live, request)


def _meant(live: LiveRun, body: r.ReportActivity) -> Activity | None:
    if body.seq >= 0:
        found = live.run.activities.get(body.seq)
    else:
        known = live.run.activities.values()
        found = next((one for one in known if one.scheduled.activity_id == body.activity_id), None)
    if found is None or body.attempt not in (0, found.progress.attempt):
        return None
    return found if found.progress.retry_at_ms is None else None


def _told_to_stop(live: LiveRun, activity: Activity) -> r.Refused | None:
    """The answer to a heartbeat, where it should be the last."""
    progress, which = activity.progress, f'activity "{activity.scheduled.activity_id}"'
    if progress.cancel_requested:
        return r.Refused("ODR-116", f"ODR-116: {which} is asked to cancel", live.run.run_id, "cancelled")
    if progress.paused_ms is not None:
        return r.Refused("ODR-116", f"ODR-116: {which} is paused: {progress.paused_why}", live.run.run_id, "paused")
    return None


def _pause(shard: Inputs, live: LiveRun, activity: Activity, reason: str) -> None:
    """No further attempt begins, and the one that runs is told to stop."""
    if activity.progress.paused_ms is None:
        shard.progress(live, activity, paused_ms=shard.now_ms, paused_why=reason)
        shard.revoke(live, activity.scheduled.seq, "paused")


def _unpause(shard: Inputs, live: LiveRun, activity: Activity, body: r.ControlActivity) -> None:
    if activity.progress.paused_ms is not None:
        shard.progress(live, activity, paused_ms=None, paused_why="", **_anew(activity, body))
        _hasten(shard, live, activity, body.jitter_ms)


def _reset(shard: Inputs, live: LiveRun, activity: Activity, body: r.ControlActivity) -> None:
    """As if it had just been scheduled: the attempts so far do not count, and the next one begins at once."""
    changes = _anew(activity, dataclasses.replace(body, reset_attempts=True))
    if not body.keep_paused:
        changes |= {"paused_ms": None, "paused_why": ""}
    shard.progress(live, activity, **changes)
    if activity.progress.holders:
        shard.revoke(live, activity.scheduled.seq, "reset")
    else:
        _hasten(shard, live, activity, body.jitter_ms)


def _change(shard: Inputs, live: LiveRun, activity: Activity, body: r.ControlActivity) -> None:
    """What time limits say holds at once; the rest holds from the next attempt on, which begins if none is held."""
    assert body.options is not None
    queue = activity.options.task_queue
    shard.progress(live, activity, options=_changed(activity.options, body.options, body.changed))
    progress = activity.progress
    waits = not progress.holders and progress.paused_ms is None and progress.retry_at_ms is None
    if waits and activity.options.task_queue != queue:
        shard.dispatch_attempt(live, activity)


def _anew(activity: Activity, body: r.ControlActivity) -> dict[str, object]:
    changes: dict[str, object] = {}
    if body.reset_attempts:
        running = bool(activity.progress.holders)
        changes |= {"attempts_before": activity.progress.attempt - (not running), "workers_lost": 0}
    if body.reset_heartbeat:
        changes["heartbeat_details"] = ()
    return changes


def _hasten(shard: Inputs, live: LiveRun, activity: Activity, jitter_ms: int) -> None:
    """An attempt that waits for its turn begins now, or within the jitter."""
    if activity.progress.retry_at_ms is not None and activity.progress.paused_ms is None:
        # By the activity's number: chance would decide otherwise after a takeover.
        spread_ms = activity.scheduled.seq * 7919 % (jitter_ms + 1)
        shard.progress(live, activity, retry_at_ms=shard.now_ms + spread_ms)


def _changed(
    old: r.ActivityScheduled | r.ActivityOptions, new: r.ActivityOptions, fields: Sequence[str]
) -> r.ActivityOptions:
    timeouts = {name.removeprefix("timeouts.") for name in fields if name.startswith("timeouts.")}
    return r.ActivityOptions(
        new.task_queue if "task_queue" in fields else old.task_queue,
        dataclasses.replace(old.timeouts, **{name: getattr(new.timeouts, name) for name in timeouts}),
        new.retry_policy if "retry_policy" in fields else old.retry_policy,
        new.priority if "priority" in fields else old.priority,
    )
