"""Updates: requests that change a run and are answered by it, once each, however often they are sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from odradek.orchestrator.core.run import UPDATE_CANNOT_END
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.schemas import records as r

if TYPE_CHECKING:
    from odradek.orchestrator.core.closed_runs import ClosedRun
    from odradek.orchestrator.core.decide import Decide
    from odradek.orchestrator.core.inputs import Inputs


def waiting_for(run_id: str, update_id: str) -> str:
    """The key of those who wait for an update to complete."""
    return f"{run_id}\0{update_id}"


# ---------------------------------------------------------------------------------------------- what clients send


def on_update(shard: Inputs, wf: Workflow, item: InboxItem, body: r.UpdateWorkflow) -> None:
    request, live = body.request, wf.live
    seen = wf.remembered.requests.get(request.id)
    if seen is not None:
        _answer_again(shard, wf, item, seen[1], body, _unknown(wf.id, seen[1], body.update_id))
    elif live is None or not live.is_meant(body.run_id):
        run_id = shard.known_run(wf, body.run_id)
        if run_id is None:
            shard.refuse_closed_or_unknown(wf, item, body.run_id, request, None)
        else:
            _answer_again(shard, wf, item, run_id, body, None)
    elif item.offset > live.run.inbox_offset:
        late = shard.too_late(item, request)
        if late is not None:
            shard.answer(request, late)
        elif not join(shard, live, item, body):
            shard.answer(request, _not_now(live))


def on_await_update(shard: Inputs, wf: Workflow, item: InboxItem, body: r.AwaitUpdate) -> None:
    run_id = shard.known_run(wf, body.run_id)
    if run_id is None:
        shard.refuse_closed_or_unknown(wf, item, body.run_id, body.request, None)
    else:
        _answer_again(shard, wf, item, run_id, body, _unknown(wf.id, run_id, body.update_id))


def on_start_again(shard: Inputs, wf: Workflow, item: InboxItem, run_id: str, body: r.UpdateWorkflow) -> None:
    """The start that this update came with has been taken in by this run before; the update perhaps not."""
    _answer_again(shard, wf, item, run_id, body, r.Accepted(run_id))


# ---------------------------------------------------------------------------------------------- taking one in


def accepted(body: r.UpdateWorkflow, seen: r.RequestSeen | None) -> r.UpdateAccepted:
    return r.UpdateAccepted(body.update_id, body.name, body.input, body.headers, seen, body.request.identity)


def join(shard: Inputs, live: LiveRun, item: InboxItem, body: r.UpdateWorkflow) -> bool:
    """Let an open run's code decide about the update, and answer; False if its code cannot be asked now."""
    run, request = live.run, body.request
    seen = r.RequestSeen(request.id, request.expires_ms)
    if run.updates is not None and body.update_id in run.updates:
        run.inbox_offset = item.offset
        if request.id not in run.remembered.requests:  # else a late copy of it would be taken in by a later run
            shard.note(live, r.RequestJoined(seen))
        _answer_from(shard, live, item, body, None)
        return True
    if live.parked is not None or run.deferred or run.starts_at_ms is not None:
        return False
    instance = shard.instance_or_park(live)
    if instance is None:
        return False
    run.inbox_offset = item.offset
    event = accepted(body, seen)
    failure = instance.rejection(event, max(shard.now_ms, run.time_ms))
    if instance.spoiled:
        shard.drop_instance(live)
    if failure is not None:
        reject(shard, live, body, failure, seen)
        return True
    shard.add_waiter(waiting_for(run.run_id, body.update_id), request)
    shard.input(live, event)
    answer_accepted(shard, live, body)
    return True


def start_with(shard: Decide, live: LiveRun, started: r.RunStarted, body: r.UpdateWorkflow) -> None:
    """Begin a run together with an update, whose handler begins before the main method; a rejected one is left out.

    If the code cannot be asked now the run begins alone: the sender learns that, and sends the update by itself.
    """
    run, asked, failure = live.run, False, None
    if not started.start_delay_ms:
        run.started, run.started_ms = started, shard.now_ms
        instance = shard.instance_or_park(live)
        if instance is not None:
            event = accepted(body, None)
            try:
                instance.construct(started, max(shard.now_ms, run.time_ms))
            except Exception:  # the start is going to meet it again, and parks the run
                shard.drop_instance(live)
            else:
                asked, failure = True, instance.rejection(event, instance.time_ms)
                if instance.spoiled:
                    shard.drop_instance(live)
                if failure is None:
                    started = replace(started, update=event)
                    shard.add_waiter(waiting_for(run.run_id, body.update_id), body.request)
    shard.start(live, started)
    if failure is not None:
        reject(shard, live, body, failure, r.RequestSeen(body.request.id, body.request.expires_ms))
    elif asked:
        answer_accepted(shard, live, body)
    else:
        shard.accept(live, body.request)


def reject(shard: Decide, live: LiveRun, body: r.UpdateWorkflow, failure: r.Failure, seen: r.RequestSeen) -> None:
    shard.note(live, r.UpdateRejected(body.update_id, body.name, failure, seen))
    shard.answer_with(live, body.request, r.UpdateOutcome(live.run.run_id, body.update_id, True, None, failure))


def answer_accepted(shard: Decide, live: LiveRun, body: r.UpdateWorkflow) -> None:
    """Tell the sender of an update that is not over yet; one that waits for more stays a waiter."""
    run = live.run
    waiting = shard.waiters.get(waiting_for(run.run_id, body.update_id))
    if waiting is None:
        return  # completed, or ended with its run: answered by that
    shard.answer_with(live, body.request, r.UpdateOutcome(run.run_id, body.update_id, False))
    if not body.wait_completed:
        waiting.pop(body.request.id, None)


def _not_now(live: LiveRun) -> r.Refused:
    run = live.run
    if live.refusal is not None:
        return live.refusal
    if live.parked is not None:
        why = f"is parked: {live.parked.message}"
    elif run.starts_at_ms is not None:
        why = "has not begun, as its start delay says"
    else:
        why = "has not seen all of its inputs yet"
    message = f'ODR-108: workflow "{run.workflow_id}" cannot take an update now: its code {why}'
    return r.Refused("ODR-108", message, run.run_id, run.status)


# ---------------------------------------------------------------------------------------------- answering


def completed(shard: Decide, live: LiveRun, command: r.UpdateCompleted) -> None:
    """Tell those who wait, once that is durable."""
    run_id = live.run.run_id
    outcome = r.UpdateOutcome(run_id, command.update_id, True, command.result, command.failure)
    for request in shard.waiters.pop(waiting_for(run_id, command.update_id), {}).values():
        shard.answer_with(live, request, outcome)


def abandon(shard: Decide, live: LiveRun) -> None:
    """The run is over: tell those who wait for updates that it has not completed."""
    run = live.run
    for update_id, is_completed in (run.updates or {}).items():
        if not is_completed:
            outcome = r.UpdateOutcome(run.run_id, update_id, True, None, UPDATE_CANNOT_END)
            for request in shard.waiters.pop(waiting_for(run.run_id, update_id), {}).values():
                shard.answer_with(live, request, outcome)


def refuse_waiters(shard: Decide, live: LiveRun, refusal: r.Refused) -> None:
    run = live.run
    for update_id in run.updates or ():
        for request in shard.waiters.pop(waiting_for(run.run_id, update_id), {}).values():
            shard.answer_with(live, request, refusal)
            shard.touched[id(live)] = live


def _answer_again(
    shard: Inputs,
    wf: Workflow,
    item: InboxItem,
    run_id: str,
    body: r.UpdateWorkflow | r.AwaitUpdate,
    unknown: r.Refused | r.Accepted | None,
) -> None:
    """How the update stands or stood in this run; ``unknown`` if the run does not know it (None: it is closed)."""
    live = wf.live if wf.live is not None and wf.live.run.run_id == run_id else wf.ending.get(run_id)
    if live is not None:
        repeated = body.request.id in live.run.remembered.requests  # may have been rejected, and another one accepted
        outcome = outcome_in(shard.events(live), run_id, body) if repeated else None
        if outcome is not None and outcome.completed:
            shard.answer_about(live, body.request, outcome)
        else:
            _answer_from(shard, live, item, body, unknown)
        return
    if run_id not in wf.closed:
        shard.refuse_closed_or_unknown(wf, item, run_id, body.request, None)
        return

    def read(closed: ClosedRun) -> None:
        outcome = outcome_in(closed.events, run_id, body)
        if outcome is not None:
            shard.answer(body.request, _final(outcome))
        elif unknown is not None:
            shard.answer(body.request, unknown)
        else:
            shard.refuse_closed_or_unknown(wf, item, run_id, body.request, None)

    shard.with_closed_run(wf, run_id, body.request, read)


def _answer_from(
    shard: Inputs,
    live: LiveRun,
    item: InboxItem,
    body: r.UpdateWorkflow | r.AwaitUpdate,
    unknown: r.Refused | r.Accepted | None,
) -> None:
    run, request = live.run, body.request
    if run.is_open and run.updates is not None and run.updates.get(body.update_id) is False:
        if live.refusal is not None:
            shard.answer(request, live.refusal)
            return
        if body.wait_completed:
            shard.add_waiter(waiting_for(run.run_id, body.update_id), request)
        shard.answer_about(live, request, r.UpdateOutcome(run.run_id, body.update_id, False))
        return
    outcome = outcome_in(shard.events(live), run.run_id, body)
    if outcome is not None:
        shard.answer_about(live, request, outcome if run.is_open else _final(outcome))
    elif unknown is not None:
        shard.answer_about(live, request, unknown)
    else:
        shard.refuse_closed_or_unknown(shard.workflow(run.workflow_id), item, run.run_id, request, None)


def outcome_in(
    events: Iterable[r.Event], run_id: str, asked: r.UpdateWorkflow | r.AwaitUpdate
) -> r.UpdateOutcome | None:
    """How far the update came in these events; None if they do not know it.

    An update ID may have been rejected and then accepted: the acceptance counts, unless this very request was rejected.
    """
    found: r.UpdateOutcome | None = None
    update_id = asked.update_id
    for event in events:
        body = event.body
        if isinstance(body, r.RunStarted):
            body = body.update  # type: ignore[assignment]
        if isinstance(body, r.UpdateRejected) and body.update_id == update_id:
            rejected = r.UpdateOutcome(run_id, update_id, True, None, body.failure)
            if body.request is not None and body.request.id == asked.request.id:
                return rejected
            found = rejected
        elif isinstance(body, r.UpdateAccepted) and body.update_id == update_id:
            found = r.UpdateOutcome(run_id, update_id, False)
        elif isinstance(body, r.UpdateCompleted) and body.update_id == update_id:
            return r.UpdateOutcome(run_id, update_id, True, body.result, body.failure)
    return found


def _final(outcome: r.UpdateOutcome) -> r.UpdateOutcome:
    """Of a run that is closed: what has not completed never will."""
    if outcome.completed:
        return outcome
    return r.UpdateOutcome(outcome.run_id, outcome.update_id, True, None, UPDATE_CANNOT_END)


def _unknown(workflow_id: str, run_id: str, update_id: str) -> r.Refused:
    message = (
        f'ODR-139: workflow "{workflow_id}" (run {run_id}) has taken in no update of ID "{update_id}": correct the ID, '
        "or name the run that the update was sent to"
    )
    return r.Refused("ODR-139", message, run_id)
