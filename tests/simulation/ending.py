"""What must hold at the end of a seed, when everything is over: of the histories that came to be the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from odradek.converter import DataConverter
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.random_workflows import recorded, replayed
from tests.simulation.programs import Life
from tests.simulation.witness import CLOSINGS, Violated, brief

if TYPE_CHECKING:
    from tests.simulation.world import World

CUT_SHORT: Final = (r.RunTerminated, r.RunTimedOut)
"""Ends that the code of a run hears nothing of."""

Runs = dict[tuple[str, str], list[r.Event]]


def check_end(world: World) -> None:
    runs = _runs(world)
    for (workflow_id, run_id), events in runs.items():
        _check_shape(events)
        _check_timers(events)
        _check_sagas(events)
        _check_replay(workflow_id, run_id, events)
    _check_outputs(world, runs)
    _check_requests(world, runs)
    _check_messages(runs)
    _check_order(world, runs)
    _check_customers(world, runs)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Violated(what)


def _runs(world: World) -> Runs:
    runs: Runs = {}
    for key, found in world.witness.archive.items():
        _require(sorted(found) == list(range(len(found))), f"the archive of {key} has holes: {sorted(found)}")
        runs[key] = [found[place] for place in range(len(found))]
    for workflow_id, run_ids in world.ledger.started.items():
        for run_id in run_ids:
            _require((workflow_id, run_id) in runs, f"run {run_id} of {workflow_id}, which was acknowledged, is lost")
    return runs


def _check_shape(events: list[r.Event]) -> None:
    bodies = [event.body for event in events]
    _require(isinstance(bodies[0], r.RunStarted), "a history begins in its middle")
    _require([isinstance(body, CLOSINGS) for body in bodies].index(True) == len(bodies) - 1, "it goes on after its end")
    _require([e.time_ms for e in events] == sorted(e.time_ms for e in events), "time goes back in a run")
    scheduled = {body.seq for body in bodies if isinstance(body, r.ActivityScheduled)}
    ended = Counter(body.seq for body in bodies if isinstance(body, r.ActivityCompleted | r.ActivityFailed))
    _require(set(ended) <= scheduled and set(ended.values()) <= {1}, f"an activity ended twice: {ended}")
    answered = Counter(body.seq for body in bodies if isinstance(body, r.MessageAnswered | r.ChildClosed))
    _require(set(answered.values()) <= {1}, f"a message was answered twice: {answered}")


def _check_replay(workflow_id: str, run_id: str, events: list[r.Event]) -> None:
    """The code decides the same again; which run follows is not for it to say."""
    made, said = replayed(Life, workflow_id, run_id, events), recorded(events)
    if isinstance(events[-1].body, r.RunContinued):
        made, said = made[:-1], said[:-1]
    if made != said:
        made_events, said_events = (b"".join(commands) for commands in (made, said))
        shown = [
            [brief(event.body) for event in Codec().decode_events(blocks)] for blocks in (made_events, said_events)
        ]
        raise Violated(f"{workflow_id} replays differently: made {shown[0]}, said {shown[1]}")


def _check_timers(events: list[r.Event]) -> None:
    due_ms = {event.body.seq: event.body.due_ms for event in events if isinstance(event.body, r.TimerStarted)}
    for event in events:
        if isinstance(event.body, r.TimerFired):
            _require(event.time_ms >= due_ms[event.body.seq], f"a timer fired early: {event}")


def _check_sagas(events: list[r.Event]) -> None:
    """What was begun is done completely, or undone completely and in reverse order."""
    if isinstance(events[-1].body, CUT_SHORT):
        return
    completed = {event.body.seq for event in events if isinstance(event.body, r.ActivityCompleted)}
    steps: dict[str, list[tuple[int, int]]] = {}
    undone: dict[str, list[tuple[int, int]]] = {}
    for event in events:
        body = event.body
        if isinstance(body, r.ActivityScheduled) and body.activity_type in ("do", "undo"):
            key, step = (_value(payload) for payload in body.input[:2])
            (steps if body.activity_type == "do" else undone).setdefault(key, []).append((step, body.seq))
    for key, done in steps.items():
        back = undone.get(key, [])
        if not back:
            _require({seq for _, seq in done} <= completed, f"a saga was left half done: {done}")
            continue
        registered = max(step for step, _ in done)
        wanted = [*range(registered, -1, -1)]
        more = [registered + 1, *wanted]  # cancelled between its compensation and its step
        _require([step for step, _ in back] in (wanted, more), f"a saga was undone in part: {done}, undone {back}")
        _require({seq for _, seq in back} <= completed, f"a compensation did not complete: {back}")


def _value(payload: r.Payload) -> Any:
    return DataConverter.default.payload_converter.from_payload(payload)


def _check_outputs(world: World, runs: Runs) -> None:
    """What has left stands in a history that came to be the truth, and nothing else does."""
    by_run = {run_id: events for (_, run_id), events in runs.items()}
    scheduled = {
        (run_id, event.body.seq): (event.body.activity_type, [p.data for p in event.body.input])
        for run_id, events in by_run.items()
        for event in events
        if isinstance(event.body, r.ActivityScheduled)
    }
    for key, decided in world.witness.tasks.items():
        _require(scheduled.get(key) == decided, f"emitted, and not what history says: {key} {decided}")
    _check_attempts(world, by_run, scheduled)
    sent = {
        (run_id, event.body.seq)
        for run_id, events in by_run.items()
        for event in events
        if isinstance(event.body, r.MessageSent | r.ChildScheduled)
    }
    for kind, run_id, number in world.witness.messages:
        if kind is not r.ChildResult and number in range(1 << 30):
            _require((run_id, number) in sent, f"a message left, and no history says so: {run_id} {number}")
    for run_id, outcome in world.witness.outcomes.items():
        closing = by_run[run_id][-1].body
        _require(outcome.result == getattr(closing, "result", None), f"told of another end: {outcome}, {closing}")


def _check_attempts(
    world: World, by_run: dict[str, list[r.Event]], scheduled: Mapping[tuple[str, int], object]
) -> None:
    """What ran had been scheduled, and what is recorded as an attempt's result is what that attempt returned."""
    for run_id, seq, _ in world.attempts:
        _require((run_id, seq) in scheduled, f"an attempt ran, and no history says so: {run_id} {seq}")
    for run_id, events in by_run.items():
        for event in events:
            body = event.body
            if isinstance(body, r.ActivityCompleted) and body.result is not None:
                ran = world.attempts[_value(body.result)]
                _require(ran == (run_id, body.seq, body.attempt), f"the result of another attempt: {ran} {body}")


def _requests(body: Any) -> Iterator[r.RequestSeen]:
    for holder in (body, getattr(body, "update", None), *getattr(body, "signals", ())):
        request = getattr(holder, "request", None)
        if isinstance(request, r.RequestSeen):
            yield request


def _check_requests(world: World, runs: Runs) -> None:
    """What was accepted has been taken in, and once only."""
    taken: dict[str, list[str]] = {}
    for (_, run_id), events in runs.items():
        for event in events:
            for request in _requests(event.body):
                taken.setdefault(request.id, []).append(run_id)
    for request_id, takers in taken.items():
        _require(len(takers) == 1, f"request {request_id} was taken in twice: {takers}")
    for request_id, run_id in world.witness.accepted.items():
        _require(taken.get(request_id) == [run_id], f"request {request_id} was accepted for {run_id} and is lost")


def _origins(runs: Runs) -> Iterator[tuple[str, int]]:
    for events in runs.values():
        for event in events:
            body: Any = event.body
            origin = getattr(body, "origin", None)
            if origin is not None:
                yield origin.run_id, origin.number


def _check_messages(runs: Runs) -> None:
    """Each was taken in once, and those of one sender in their order."""
    for origin, count in Counter(_origins(runs)).items():
        _require(count == 1, f"message {origin} was taken in {count} times")
    for (workflow_id, run_id), events in runs.items():
        last: dict[str, int] = {}
        for event in events:
            body = event.body
            if isinstance(body, r.SignalReceived) and body.origin is not None:
                sender, number = (_value(payload) for payload in body.input[:2])
                _require(last.get(sender, -1) < number, f"{workflow_id} {run_id}: {sender} came out of order")
                last[sender] = number


def _check_order(world: World, runs: Runs) -> None:
    """A run takes in what is addressed to it in the order of its inbox."""
    for (workflow_id, run_id), events in runs.items():
        last = -1
        for event in events:
            body: Any = event.body
            if not isinstance(body, r.SignalReceived | r.CancelRequested):
                continue
            origin, request = body.origin, body.request
            source = (origin.run_id, origin.number) if origin is not None else request and request.id
            places = [place for place in world.witness.places.get(source, []) if place > last]
            _require(bool(places), f"{workflow_id} {run_id} took {source} in out of order")
            last = min(places)


def _check_customers(world: World, runs: Runs) -> None:
    heard: dict[tuple[str, str], list[int]] = {}
    answers: dict[tuple[str, str], list[Any]] = {}
    for (workflow_id, _), events in sorted(runs.items(), key=lambda item: world.witness.begun[item[0][1]]):
        for event in events:
            body = event.body
            if isinstance(body, r.SignalReceived) and body.origin is None:
                sender, number = (_value(payload) for payload in body.input[:2])
                heard.setdefault((workflow_id, sender), []).append(number)
            elif isinstance(body, r.UpdateCompleted):
                answers.setdefault((workflow_id, body.update_id), []).append(_value(body.result or _NOTHING))
    for key, numbers in world.ledger.signals.items():
        found = heard.get(key, [])
        _require(len(found) == len(set(found)), f"a signal of {key} was taken in twice: {found}")
        kept = [number for number in found if number in numbers]
        _require(kept == numbers, f"{key} was told of {numbers}, and history holds {found}")
    for key, results in world.ledger.updates.items():
        for result in results:
            told = isinstance(result, str) or result in answers.get(key, [])
            _require(told, f"update {key} was answered with {result}, and history says {answers.get(key)}")


_NOTHING: Final = r.Payload("null", b"")
