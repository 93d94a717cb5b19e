"""The reader's rule: what a history says of one workflow, whatever order, copies and leftovers it holds."""

from __future__ import annotations

import random
from typing import Any

import pytest

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.run import NO_CLAIM
from odradek.orchestrator.core.workflow import Found, Workflow, keys_of, resolve
from odradek.schemas import records as r
from odradek.schemas.codec import Codec

ENCODE = Codec().encode_events
STARTED = r.RunStarted("Order", "queue", "run")


def events(*ns: int, bodies: dict[int, Any] | None = None) -> list[r.Event]:
    """One event of each transition: the first begins the run, the others start timers, unless ``bodies`` says more."""
    given = bodies or {}
    return [
        r.Event(n, 1000 * n, given.get(n) or (STARTED if n == 1 else r.TimerStarted(10 * n + place, 9_000_000)))
        for place, n in enumerate(ns)
    ]


class History:
    """Records of one workflow as a store holds them."""

    def __init__(self, workflow_id: str = "w") -> None:
        self.id = workflow_id
        self.found: list[Found] = []

    def add(self, raw: bytes, body: Any) -> bytes:
        key = keys.parse(raw)
        assert key is not None
        self.found.append((key, raw, 100 + len(self.found), r.HistoryRecord(key.claim, -1, -1, -1, body)))
        return raw

    def chunk(
        self, claim: int, said: list[r.Event], *, number: int = 1, previous: int = 0, run: str = "run", **facts: Any
    ) -> bytes:
        given = {"n": said[-1].n if said else 0, "sealed": False, "inbox_offset": 5, "first_event": 0, **facts}
        body = r.Chunk(number=number, previous_claim=previous, status="", events=said, **given)
        return self.add(keys.chunk(self.id, run, number, claim), body)

    def progress(self, claim: int, seq: int, n: int, run: str = "run") -> bytes:
        return self.add(keys.progress(self.id, run, seq, claim), r.Progress(n, n, 0))

    def summary(self, claim: int, run: str = "run", **facts: Any) -> bytes:
        given = {"status": "completed", "closed_ms": 5000, "expires_ms": 9000, "inbox_offset": 8, **facts}
        body = r.Summary(
            workflow_type="Order", task_queue="queue", first_run_id="run", started_ms=1, n=3, event_count=3, **given
        )
        return self.add(keys.summary(self.id, run, claim), body)

    def resolved(self, damaged: dict[str, str] | None = None) -> Workflow:
        """Whatever order the records come in, it is the same."""
        shuffled = list(self.found)
        random.Random(4).shuffle(shuffled)
        first, second = (resolve(self.id, found, ENCODE, damaged) for found in (self.found, shuffled))
        assert _facts(first) == _facts(second)
        return first


def _facts(wf: Workflow) -> Any:
    live = wf.live
    return (
        wf.offsets, wf.closed, wf.summary_claims, wf.damaged, wf.suspects, set(wf.ending),
        {run_id: sorted(left) for run_id, left in wf.leftovers.items()},
        live and (live.run.run_id, live.run.n, live.chunk, live.chunk_claim, live.chain, live.blocks),
        live and sorted(live.stale),
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------------- chains


def test_the_highest_claim_wins_however_far_an_older_one_came() -> None:
    history = History()
    older = history.chunk(5, events(1, 2, 3, 4))
    newer = history.chunk(7, events(1, 2), inbox_offset=9)
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.n, wf.live.run.inbox_offset, wf.live.inbox_written) == (2, 9, 9)
    assert (wf.live.chunk, wf.live.chunk_claim, wf.live.chunk_key) == (1, 7, newer)
    assert wf.live.stale == [older]
    assert wf.offsets == {newer: 101}


def test_a_history_is_its_chunks_in_order() -> None:
    history = History()
    first = history.chunk(5, events(1, 2), sealed=True)
    second = history.chunk(5, events(3, 4, 4), number=2, previous=5, first_event=2, inbox_offset=6)
    wf = history.resolved()
    assert wf.live is not None
    live = wf.live
    assert (live.run.n, live.run.event_count, len(live.run.timers)) == (4, 5, 4)
    assert (live.chain, live.chunk, live.previous_claim, live.first_event, live.chunk_events) == ([5], 2, 5, 2, 3)
    assert Codec().decode_events(live.blocks) == events(3, 4, 4)
    assert live.run.history_bytes == sum(Codec.events_bytes(ENCODE(part)) for part in (events(1, 2), events(3, 4, 4)))
    assert wf.offsets == {first: 100, second: 101}
    assert live.stale == []
    assert live.run.inbox_offset == 6


def test_a_chunk_counts_only_with_those_before_it() -> None:
    """A later one whose predecessor was never acknowledged is left over from an owner that was fenced."""
    history = History()
    holds = history.chunk(5, events(1, 2))
    orphan = history.chunk(9, events(3), number=2, previous=8, first_event=2)
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.n, wf.live.chunk, wf.live.chunk_key) == (2, 1, holds)
    assert wf.live.stale == [orphan]


def test_chunks_of_several_claims_make_one_chain() -> None:
    history = History()
    history.chunk(5, events(1, 2), sealed=True)
    history.chunk(7, events(3), number=2, previous=5, sealed=True, first_event=2)
    late = history.chunk(6, events(3, 4), number=2, previous=5, first_event=2)
    last = history.chunk(9, events(5), number=3, previous=7, first_event=3)
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.chain, wf.live.chunk, wf.live.chunk_key) == ([5, 7], 3, last)
    assert sorted(wf.live.run.timers) == [21, 30, 50]
    assert wf.live.stale == [late]


def test_without_a_complete_chain_there_was_no_run() -> None:
    history = History()
    orphan = history.chunk(9, events(3), number=2, previous=8)
    wf = history.resolved()
    assert (wf.live, wf.ending, wf.closed) == (None, {}, {})
    assert wf.leftovers == {"run": [orphan]}


def test_a_chain_under_the_very_first_claim_is_complete_or_not_like_any_other() -> None:
    """Its number is 0, as is the one that stands before the first chunk."""
    history = History()
    orphan = history.chunk(3, events(3), number=2, previous=0)
    assert history.resolved().leftovers == {"run": [orphan]}
    history.chunk(0, events(1, 2), sealed=True)
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.chain, wf.live.run.n) == ([0], 3)


def test_after_a_sealed_chunk_the_next_one_is_open() -> None:
    history = History()
    history.chunk(5, events(1, 2), sealed=True)
    wf = history.resolved()
    assert wf.live is not None
    live = wf.live
    assert (live.chain, live.chunk, live.previous_claim, live.chunk_claim) == ([5], 2, 5, NO_CLAIM)
    assert (live.first_event, live.chunk_events, live.blocks) == (2, 0, b"")


def test_half_a_transition_has_not_happened() -> None:
    """It is spread over several chunks, and the last of them is not there."""
    history = History()
    said = events(1, 2, 3, 3)
    open_chunk = history.chunk(5, said, sealed=True, continues=True)
    wf = history.resolved()
    assert wf.live is not None
    live = wf.live
    assert (live.run.n, live.run.event_count) == (2, 2)
    assert Codec().decode_events(live.blocks) == said[:2]
    assert (live.chain, live.chunk, live.chunk_key, live.chunk_events) == ([], 1, open_chunk, 2)


def test_chunks_that_only_begin_a_transition_are_dropped() -> None:
    history = History()
    holds = history.chunk(5, events(1, 2), sealed=True)
    parts = [
        history.chunk(5, events(3), number=2, previous=5, sealed=True, continues=True, first_event=2),
        history.chunk(5, events(3), number=3, previous=5, sealed=True, continues=True, first_event=3),
    ]
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.n, wf.live.chunk, wf.live.chain) == (2, 2, [5])
    assert sorted(wf.live.stale) == sorted(parts)
    assert wf.offsets == {holds: 100}


def test_a_start_of_which_half_is_there_is_no_run() -> None:
    history = History()
    half = history.chunk(5, events(1, 1), sealed=True, continues=True)
    wf = history.resolved()
    assert wf.live is None
    assert wf.leftovers == {"run": [half]}


def test_a_transition_whose_last_part_is_there_counts() -> None:
    history = History()
    history.chunk(5, events(1, 2), sealed=True, continues=True, n=2)
    history.chunk(5, events(2), number=2, previous=5, first_event=2)
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.n, wf.live.run.event_count, wf.live.chain, wf.live.chunk) == (2, 3, [5], 2)


@pytest.mark.parametrize(("closed", "lost"), [(False, True), (True, False)])
def test_steps_of_an_open_run_are_lost_with_their_process(*, closed: bool, lost: bool) -> None:
    history = History()
    said = events(1, 2, bodies={2: r.RunCompleted()} if closed else None)
    history.chunk(5, said, awaits_steps=True)
    wf = history.resolved()
    live = wf.ending["run"] if closed else wf.live
    assert live is not None
    assert live.steps_lost is lost
    history.found.clear()
    history.chunk(5, events(1, 2))
    wf = history.resolved()
    assert wf.live is not None
    assert not wf.live.steps_lost


# ------------------------------------------------------------------------------------------------------ progress


def scheduled(seq: int) -> r.ActivityScheduled:
    return r.ActivityScheduled(seq, str(seq), "charge", "queue")


def test_progress_of_the_highest_claim_and_then_the_highest_n_counts() -> None:
    history = History()
    bodies = {2: scheduled(1), 3: scheduled(2), 4: r.ActivityCompleted(2, None, 1, 0, "worker")}
    chunk = history.chunk(7, events(1, 2, 3, 4, bodies=bodies))
    older = history.progress(5, 1, 9)
    newest = history.progress(7, 1, 3)
    over = history.progress(7, 2, 4)
    wf = history.resolved()
    assert wf.live is not None
    activity = wf.live.run.activities[1]
    assert (activity.progress.n, activity.progress_claim) == (3, 7)
    assert wf.live.stale == [older, over]
    assert wf.offsets == {chunk: 100, newest: 102}


# ----------------------------------------------------------------------------------------------------- summaries


def test_a_summary_stands_for_everything_else_of_its_run() -> None:
    history = History()
    chunk = history.chunk(9, events(1, 2))
    old = history.summary(5, closed_ms=1)
    newest = history.summary(7)
    progress = history.progress(9, 1, 1)
    wf = history.resolved()
    assert (wf.live, wf.ending) == (None, {})
    assert (wf.closed["run"].closed_ms, wf.summary_claims) == (5000, {"run": 7})
    assert wf.leftovers == {"run": [chunk, old, progress]}
    assert wf.offsets == {newest: 102}


def origin(number: int) -> r.MessageOrigin:
    return r.MessageOrigin("", "workflow", "sender", number, 0)


def test_what_runs_have_taken_in_is_remembered_by_the_workflow() -> None:
    history = History()
    seen, refused = r.RequestSeen("request", 70), r.RequestRefused(r.RequestSeen("no", 80), "ODR-101", "no")
    messages = [r.MessagesSeen("sender", [1, 3, 7, 7], 90)]
    history.summary(5, "one", requests=[seen], refusals=[refused], messages=messages)
    history.summary(5, "two", messages=[r.MessagesSeen("sender", [4, 4], 95)])
    said = events(1, 2, bodies={2: r.SignalReceived("say", request=r.RequestSeen("signal", 60))})
    history.chunk(7, said, run="three")
    wf = history.resolved()
    assert wf.remembered.requests == {"request": (70, "one"), "signal": (60, "three")}
    assert wf.remembered.refusals == {"no": (refused, "one")}
    assert {number for number in range(9) if wf.remembered.has_message(origin(number))} == {
        1, 2, 3, 4, 7,
    }  # fmt: skip
    assert {run: expires for run, (_, expires) in wf.remembered.messages["sender"].items()} == {"one": 90, "two": 95}
    assert wf.live is not None
    assert wf.live.run.remembered is wf.remembered


def test_the_closed_run_that_began_last_is_the_latest() -> None:
    history = History()
    assert history.resolved().latest_closed() is None
    history.summary(5, "first", closed_ms=100, inbox_offset=1, next_run_id="second")
    history.summary(5, "second", closed_ms=200, inbox_offset=1)
    history.summary(5, "refused", status="refused", closed_ms=900)
    latest = history.resolved().latest_closed()
    assert latest is not None
    assert latest[0] == "second"


def test_of_runs_that_closed_in_one_millisecond_the_last_of_the_chain_is_the_latest() -> None:
    history = History()
    history.summary(5, "last", closed_ms=100, inbox_offset=1)
    history.summary(5, "first", closed_ms=100, inbox_offset=1, next_run_id="last")
    latest = history.resolved().latest_closed()
    assert latest is not None
    assert latest[0] == "last"


# -------------------------------------------------------------------------------------------- runs of a chain


def started_by(before: str | None) -> r.RunStarted:
    return r.RunStarted("Order", "queue", "run", lineage=r.Lineage(before) if before else None)


def continued(run_id: str) -> r.RunContinued:
    return r.RunContinued(r.Successor(run_id, started_by("run")))


def test_a_run_whose_predecessor_goes_on_never_was() -> None:
    """It was begun by an owner that no longer was one; nor was what followed it."""
    history = History()
    history.chunk(7, events(1, 2))
    ended = r.RunContinued(r.Successor("after", started_by("next")))
    begun = history.chunk(5, events(1, 2, bodies={1: started_by("run"), 2: ended}), run="next")
    after = history.chunk(5, events(1, 2, bodies={1: started_by("next")}), run="after")
    wf = history.resolved()
    assert wf.live is not None
    assert wf.live.run.run_id == "run"
    assert wf.leftovers == {"next": [begun], "after": [after]}
    assert wf.ending == {}


def test_a_run_that_its_predecessor_names_holds() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={2: continued("next")}))
    history.chunk(5, events(1, 2, bodies={1: started_by("run")}), run="next")
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.run_id, wf.live.barrier, list(wf.ending)) == ("next", False, ["run"])


@pytest.mark.parametrize(("named", "holds"), [("next", True), ("another", False), (None, False)])
def test_a_summary_names_the_run_that_follows(named: str | None, *, holds: bool) -> None:
    history = History()
    history.summary(7, next_run_id=named)
    history.chunk(5, events(1, 2, bodies={1: started_by("run")}), run="next")
    wf = history.resolved()
    assert (wf.live is not None) is holds
    assert ("next" in wf.leftovers) is not holds


def test_a_run_of_whose_predecessor_nothing_is_left_holds() -> None:
    history = History()
    history.chunk(5, events(1, 2, bodies={1: started_by("long ago")}), run="next")
    assert history.resolved().live is not None


def test_until_its_first_record_is_there_a_successor_is_waited_for() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={2: continued("next")}), inbox_offset=12)
    late = history.chunk(3, events(3), number=2, previous=2, run="next")
    wf = history.resolved()
    assert wf.live is not None
    assert (wf.live.run.run_id, wf.live.barrier, wf.live.run.started) == ("next", True, None)
    assert wf.live.run.inbox_offset == 12
    assert wf.live.run.remembered is wf.remembered
    assert wf.live.stale == [late]
    assert wf.leftovers == {}
    assert list(wf.ending) == ["run"]


def test_a_successor_that_has_closed_is_not_waited_for() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={2: continued("next")}))
    history.summary(7, "next")
    wf = history.resolved()
    assert wf.live is None
    assert list(wf.ending) == ["run"]


# ---------------------------------------------------------------------------------------- what cannot be read


def test_no_older_copy_passes_for_a_run_that_cannot_be_read() -> None:
    history = History()
    history.chunk(5, events(1, 2))
    wf = history.resolved(damaged={"run": "its newest record is garbage"})
    assert wf.live is None
    assert wf.damaged == {"run": "its newest record is garbage"}


def test_a_summary_outlives_damage() -> None:
    history = History()
    history.summary(5)
    history.chunk(7, events(1, 2), run="other")
    wf = history.resolved(damaged={"run": "garbage"})
    assert wf.damaged == {}
    assert wf.live is not None


# --------------------------------------------------------------------------------------------------------- notes


def test_the_note_of_the_highest_claim_says_how_often_its_process_died() -> None:
    history = History()
    assert history.resolved().crashes() == 0
    raw = [history.add(keys.suspect("w", claim), r.Suspect(crashes)) for claim, crashes in ((5, 4), (9, 2), (7, 3))]
    wf = history.resolved()
    assert wf.crashes() == 2
    assert wf.suspects == {5: 4, 9: 2, 7: 3}
    assert wf.offsets == {key: 100 + place for place, key in enumerate(raw)}


# ---------------------------------------------------------------------------------------------------------- time


def test_a_workflow_is_due_when_its_run_is_or_a_summary_expires() -> None:
    history = History()
    assert history.resolved().next_due() is None
    history.summary(5, "old", expires_ms=7_000_000)
    assert history.resolved().next_due() == 7_000_000
    history.chunk(5, events(1, 2, bodies={2: r.TimerStarted(1, 8_000_000)}))
    assert history.resolved().next_due() == 7_000_000
    history.found.clear()
    history.summary(5, "old", expires_ms=9_000_000)
    history.chunk(5, events(1, 2, bodies={2: r.TimerStarted(1, 8_000_000)}))
    wf = history.resolved()
    assert wf.next_due() == 8_000_000
    assert wf.live is not None
    assert wf.live.next_due() == (8_000_000, "t", 1)


def test_a_run_that_is_being_closed_does_not_expire() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={2: r.RunCompleted()}))
    wf = history.resolved()
    wf.closed["run"] = r.Summary("completed", "Order", "queue", "run", 1, 2, 3, 4, 5, expires_ms=9)
    assert wf.next_due() is None


def test_everything_that_a_restored_run_waits_for_in_time() -> None:
    history = History()
    start = r.RunStarted("Order", "queue", "run", run_timeout_ms=600_000)
    limit = r.ActivityTimeouts(schedule_to_close_ms=50_000)
    bodies = {
        1: start,
        2: r.TimerStarted(1, 40_000),
        3: r.ActivityScheduled(2, "2", "charge", "queue", timeouts=limit),
        4: r.MessageSent(3, "other", None, "say", 99_000),
    }
    history.chunk(7, events(1, 2, 3, 4, bodies=bodies), awaits_steps=True)
    wf = history.resolved()
    live = wf.live
    assert live is not None
    dues = sorted(entry for entry in live.due if live.is_true(entry))
    assert dues == [
        (4000, "x", 0),
        (34_000, "m", 3),
        (40_000, "t", 1),
        (53_000, "a", 2),
        (601_000, "l", 0),
    ]
    untrue = [(39_999, "t", 1), (33_999, "m", 3), (52_999, "a", 2), (53_000, "a", 7), (4000, "s", 0)]
    assert [entry for entry in untrue if live.is_true(entry)] == []
    live.run.timers.clear()
    live.run.activities.clear()
    live.run.messages.clear()
    live.steps_lost = False
    assert [entry for entry in dues if live.is_true(entry)] == [(601_000, "l", 0)]


def test_a_delayed_start_is_due() -> None:
    history = History()
    history.chunk(7, events(1, bodies={1: r.RunStarted("Order", "queue", "run", start_delay_ms=7000)}))
    wf = history.resolved()
    assert wf.live is not None
    assert wf.live.next_due() == (8000, "s", 0)


def test_inputs_that_the_code_has_not_seen_are_tried_after_a_restore() -> None:
    history = History()
    said = [*events(1), r.Event(2, 2000, r.SignalReceived("say"), deferred=True)]
    history.chunk(7, said)
    wf = history.resolved()
    assert wf.live is not None
    assert wf.live.next_due() == (2000, "p", 0)


def test_parked_code_is_tried_again_at_its_time_and_not_before() -> None:
    history = History()
    history.chunk(7, events(1, 2))
    live = history.resolved().live
    assert live is not None
    assert not live.is_true((5000, "p", 0))
    live.steps_lost = True
    assert live.is_true((5000, "p", 0))
    assert live.is_true((5000, "x", 0))
    live.parked = r.Parked("ODR-080", "a bug", 1, 5000, 1)
    assert live.is_true((5000, "p", 0))
    assert not live.is_true((4999, "p", 0))
    assert not live.is_true((5000, "x", 0))


def test_nothing_is_due_for_a_run_that_has_ended() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={1: r.RunStarted("Order", "q", "run", run_timeout_ms=9), 2: r.RunCompleted()}))
    live = history.resolved().ending["run"]
    live.push_limits()
    assert live.next_due() is None
    assert live.due == []


def test_what_is_not_due_any_more_is_forgotten_in_time() -> None:
    """A loop of timers that are cancelled leaves entries behind; the heap stays as small as what is true."""
    history = History()
    history.chunk(7, events(1, 2, bodies={2: r.TimerStarted(1, 5000)}))
    live = history.resolved().live
    assert live is not None
    for number in range(1000, 0, -1):
        live.push_due(6000 + number, "t", 7)
    live.push_due(5500, "l", 0)
    assert len(live.due) < 100
    assert live.next_due() == (5000, "t", 1)
    del live.run.timers[1]
    assert live.next_due() == (5500, "l", 0)


def test_a_nearer_due_time_is_told() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={2: r.TimerStarted(1, 5000)}))
    live = history.resolved().live
    assert live is not None
    for due_ms, moved in ((6000, False), (4000, True), (4500, False)):
        live.due_moved = False
        live.push_due(due_ms, "l", 0)
        assert live.due_moved is moved


def test_a_run_id_means_its_run_or_the_chain_that_began_with_it() -> None:
    history = History()
    history.chunk(7, events(1, 2, bodies={1: started_by("run")}), run="next")
    live = history.resolved().live
    assert live is not None
    assert [live.is_meant(run_id) for run_id in (None, "next", "run", "another")] == [True, True, True, False]
    history.found.clear()
    history.chunk(7, events(1, 2, bodies={2: continued("next")}))
    awaited = history.resolved().live
    assert awaited is not None
    assert [awaited.is_meant(run_id) for run_id in (None, "next", "another")] == [True, True, False]


@pytest.mark.parametrize("what", ["in_flight", "pending", "parked", "steps"])
def test_a_run_of_which_something_is_in_memory_only_is_busy(what: str) -> None:
    history = History()
    history.chunk(7, events(1, 2))
    live = history.resolved().live
    assert live is not None
    assert not live.busy
    held = {
        "in_flight": 1,
        "pending": events(3),
        "parked": r.Parked("", "", 1, 2, 1),
        "steps": {1: 1},
    }
    setattr(live, what, held[what])
    assert live.busy


def test_every_key_of_a_closed_run_is_named_once() -> None:
    history = History()
    sealed = history.chunk(5, events(1, 2), sealed=True)
    older = history.chunk(4, events(1))
    last = history.chunk(6, events(3, bodies={3: r.RunCompleted()}), number=2, previous=5, first_event=2)
    live = history.resolved().ending["run"]
    live.stale.append(older)
    assert keys_of(live) == [sealed, last, older]
