"""How a run's transitions are written into its chunks: what seals one, what is spread over several, who waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition

SOON = {"start_to_close_timeout": timedelta(seconds=10)}


@workflow.defn
class Spreading:
    """So many activities at once, with so long an argument."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self, count: int, letters: int) -> list[str]:
        text = "x" * letters
        await workflow.wait_condition(lambda: "begin" in self.words)
        await asyncio.gather(*(workflow.execute_activity("do", [n, text], **SOON) for n in range(count)))
        return self.words


@workflow.defn
class Trying:
    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=timedelta(seconds=10))
        await workflow.execute_activity("fail", start_to_close_timeout=timedelta(seconds=60), retry_policy=policy)


@workflow.defn
class Stepping:
    def __init__(self) -> None:
        self.ended = False

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.run
    async def run(self) -> int:
        number: int = await workflow.step(_seven)
        await workflow.wait_condition(lambda: self.ended)
        return number


def _seven() -> int:
    return 7


def opened(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition([Listening, Spreading, Trying, Stepping], **limits)
    owner = Owner(partition)
    owner.activities = {"do": lambda _, __: None, "fail": _fail}
    return partition, owner


def _fail() -> None:
    raise RuntimeError("no")


def chunks(partition: Partition, workflow_id: str, since: int = 0) -> list[tuple[int, int, r.Chunk, int]]:
    """Number, claim, record and size of every chunk that has been written, in order."""
    found = []
    for record in partition.history[since:]:
        key = keys.parse(record[0]) if record and record[1] else None
        if record and record[1] and key and key.workflow_id == workflow_id and key.kind == "c":
            body = Codec().decode(r.HistoryRecord, record[1]).body
            assert isinstance(body, r.Chunk)
            found.append((key.number, key.claim, body, len(record[1])))
    return found


def land_one(owner: Owner) -> None:
    owner.send()
    entry = owner.in_flight.pop(0)
    owner.shard.acked(entry, owner.partition.land(entry.key, entry.value))
    owner.shard.flush()
    owner.emit_all()


# ------------------------------------------------------------------------------------------------------- sealing


def test_a_chunk_is_sealed_when_it_is_full_and_the_next_one_begins() -> None:
    partition, owner = opened(chunk_bytes=400)
    partition.start("w", "Listening", 40)
    owner.run()
    for n in range(39):
        say(partition, "w", f"{n:020}")
        owner.run()
    written = chunks(partition, "w")
    assert max(number for number, *_ in written) > 4
    for number, _, body, _ in written:
        full = len(Codec().encode_events(body.events)) >= 400
        assert body.sealed is full
        assert body.number == number
    sealed = [body for _, _, body, _ in written if body.sealed]
    assert [body.first_event for body in sealed] == [sum(len(b.events) for b in sealed[:n]) for n in range(len(sealed))]
    assert {body.inbox_offset for _, _, body, _ in written} == set(range(40))


def test_the_record_that_closes_a_run_is_not_sealed() -> None:
    partition, owner = opened(chunk_bytes=1)
    partition.start("w", "Listening", 0)
    owner.run()
    assert [body.sealed for _, _, body, _ in chunks(partition, "w")] == [False]


def test_inputs_wait_while_a_sealed_chunk_is_on_its_way() -> None:
    """Its key must never be written again."""
    partition, owner = opened(chunk_bytes=1)
    partition.start("w", "Listening", 9)
    owner.read()
    first, second = say(partition, "w", "one"), say(partition, "w", "two")
    owner.read()
    assert [entry.key.count(b"\0c1\0") for entry in owner.shard.writer.to_send] == [1]
    assert owner.shard.decided_x() == 0
    assert partition.replies(first) == []
    land_one(owner)
    assert [body.number for _, _, body, _ in chunks(partition, "w")] == [1]
    owner.run()
    assert owner.shard.decided_x() == 2
    assert [body.number for _, _, body, _ in chunks(partition, "w")] == [1, 2]
    assert [type(partition.replies(request)[0]) for request in (first, second)] == [r.Accepted, r.Accepted]


# ------------------------------------------------------------------------------------------------------- in parts


def spread(limit: int, count: int, letters: int) -> tuple[Partition, Owner]:
    partition, owner = opened(record_bytes_max=limit, chunk_bytes=limit)
    partition.start("w", "Spreading", count, letters)
    owner.run()
    say(partition, "w", "begin")
    owner.read()
    return partition, owner


def test_the_parts_of_a_transition_fill_their_records_and_do_not_exceed_them() -> None:
    partition, owner = spread(8000, 200, 100)
    before = len(chunks(partition, "w"))
    owner.run()
    parts = [part for part in chunks(partition, "w") if part[2].n == 2]
    assert before == 1
    assert len(parts) > 4
    assert all(size <= 8000 for *_, size in parts)
    assert all(size > 8000 - 1024 - 300 for *_, size in parts[:-1])
    assert [body.continues for _, _, body, _ in parts] == [True] * (len(parts) - 1) + [False]
    assert [body.sealed for _, _, body, _ in parts[:-1]] == [True] * (len(parts) - 1)
    assert [number for number, *_ in parts] == list(range(1, len(parts) + 1))
    scheduled = [e.body.seq for _, _, body, _ in parts for e in body.events if isinstance(e.body, r.ActivityScheduled)]
    assert len(scheduled) == 200
    assert scheduled == sorted(set(scheduled))
    assert {body.inbox_offset for _, _, body, _ in parts[:-1]} == {0}
    assert parts[-1][2].inbox_offset == 1


def test_an_event_that_does_not_fit_has_a_record_of_its_own() -> None:
    partition, owner = spread(3000, 3, 4000)
    owner.run()
    sizes = [len(body.events) for _, _, body, _ in chunks(partition, "w") if body.n == 2]
    assert sizes == [2, 1, 1, 1], "the start and the signal, and one for each activity"


def test_no_part_is_empty() -> None:
    """Also where the first event does not fit into a chunk that has just begun."""
    partition, owner = opened(record_bytes_max=3000, chunk_bytes=1)
    partition.start("w", "Spreading", 2, 4000)
    owner.run()
    partition.send("w", r.SignalWorkflow("say", [partition.payload("x" * 4000)], request=partition.request()))
    say(partition, "w", "begin")
    owner.run()
    assert all(body.events for _, _, body, _ in chunks(partition, "w"))
    assert any(body.continues for _, _, body, _ in chunks(partition, "w"))


def test_parts_are_written_one_after_the_other_and_nothing_leaves_before_the_last() -> None:
    partition, owner = spread(4000, 60, 100)
    late = say(partition, "w", "late")
    owner.activities = None
    count = 0
    while partition.replies(late) == []:
        owner.read()
        owner.send()
        on_their_way = [
            Codec().decode(r.HistoryRecord, entry.value).body
            for entry in owner.in_flight
            if b"\0c" in entry.key and entry.value
        ]
        assert [body.continues for body in on_their_way if isinstance(body, r.Chunk)] in (
            [True],
            [False],
            [False, False],
        )
        complete = any(not body.continues and body.n == 2 for _, _, body, _ in chunks(partition, "w"))
        if not complete:
            assert owner.shard.writer.x == 0
            assert not [e for e in partition.emitted if isinstance(e, fx.SendTask)]
        land_one(owner)
        count += 1
    assert count > 3
    owner.run()
    assert owner.shard.writer.x == 2
    assert len([e for e in partition.emitted if isinstance(e, fx.SendTask)]) == 60
    live = owner.shard.workflow("w").live
    assert live is not None
    assert not live.barrier
    assert not live.busy


def test_a_transition_that_just_fits_is_written_at_once() -> None:
    """1,024 bytes are kept for what surrounds the events."""
    for limit, at_once in ((1024, False), (3000, True)):
        partition, owner = opened(record_bytes_max=limit)
        partition.start("w", "Listening", 9)
        owner.run()
        say(partition, "w", "word")
        owner.run()
        assert any(body.continues for _, _, body, _ in chunks(partition, "w")) is not at_once
    _, owner = spread(1_000_000, 3, 100)
    live = owner.shard.workflow("w").live
    assert live is not None
    for limit, at_once in ((len(live.blocks) + 1024, True), (len(live.blocks) + 1023, False)):
        partition, owner = spread(limit, 3, 100)
        owner.activities = None
        owner.run()
        assert any(body.continues for _, _, body, _ in chunks(partition, "w")) is not at_once


# -------------------------------------------------------------------------------------------------- what is counted


def test_nothing_is_in_flight_when_everything_is_written() -> None:
    """Else its workflow could never leave memory."""
    partition, owner = opened(chunk_bytes=300)
    partition.start("w", "Listening", 99)
    partition.start("trying", "Trying")
    owner.run()
    for n in range(10):
        say(partition, "w", str(n))
        owner.run()
    assert owner.shard.workflow("w").live.in_flight == 0  # type: ignore[union-attr]
    assert owner.shard.workflow("trying").live.in_flight == 0  # type: ignore[union-attr]
    say(partition, "w", "on its way")
    owner.read()
    assert owner.shard.workflow("w").live.in_flight == 1  # type: ignore[union-attr]
    owner.run()
    heir = Owner(partition)
    assert heir.shard.workflow("w").live.in_flight == 1, "it is written again"  # type: ignore[union-attr]
    heir.activities = owner.activities
    heir.run()
    assert [heir.shard.workflow(name).live.busy for name in ("w", "trying")] == [False, False]  # type: ignore[union-attr]


def test_transitions_and_bytes_of_history_are_counted() -> None:
    partition, owner = opened(chunk_bytes=300)
    partition.start("w", "Listening", 10)
    owner.run()
    for n in range(9):
        say(partition, "w", str(n))
        owner.run()
    live = owner.shard.workflow("w").live
    assert live is not None
    assert owner.shard.transitions == live.run.n == 10
    last = {number: body for number, _, body, _ in chunks(partition, "w")}
    sizes = [Codec.events_bytes(Codec().encode_events(body.events)) for body in last.values()]
    assert live.run.history_bytes == sum(sizes)
    restored = Owner(partition).shard.workflow("w").live
    assert restored is not None
    assert restored.run.history_bytes == sum(sizes)


def test_events_of_one_run_never_go_back_in_time() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 10)
    owner.run()
    began = partition.now_ms
    heir_of_a_slower_clock = Owner(partition)
    partition.now_ms -= 5000
    heir = Owner(partition)
    say(partition, "w", "word")
    heir.run()
    assert heir_of_a_slower_clock is not heir
    live = heir.shard.workflow("w").live
    assert live is not None
    (*_, (_, _, body, _)) = chunks(partition, "w")
    assert [event.time_ms for event in body.events] == [began, began]
    assert [event.n for event in body.events] == [1, 2]


# ------------------------------------------------------------------------------------------------------ older copies


def test_a_copy_under_an_older_claim_goes_when_the_newer_one_is_acknowledged() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 10)
    owner.run()
    for _ in range(3):
        owner.shard.checkpoint(partition.now_ms)
        owner.run()
    heir = Owner(partition)
    heir.run()
    say(partition, "w", "word")
    heir.read()
    old = next(record[0] for record in partition.history if record and record[0].startswith(b"w\0"))
    assert not any(entry.key == old for entry in heir.shard.writer.to_send)
    heir.run()
    assert (old, None) in partition.history
    assert [claim for _, claim, _, _ in chunks(partition, "w")] == [owner.shard.writer.claim, heir.shard.writer.claim]


def test_parts_after_a_takeover_carry_what_was_taken_in_before() -> None:
    partition, owner = opened(record_bytes_max=4000, chunk_bytes=4000)
    partition.start("w", "Spreading", 60, 100)
    owner.run()
    say(partition, "w", "not yet")
    owner.run()
    heir = Owner(partition)
    heir.activities = {"do": lambda _, __: None}
    heir.run()
    say(partition, "w", "begin")
    heir.run()
    parts = [body for _, claim, body, _ in chunks(partition, "w") if body.continues and claim]
    assert len(parts) > 2
    assert {body.inbox_offset for body in parts} == {1}


# ------------------------------------------------------------------------------------------------------------ steps


def test_a_record_says_whether_the_code_awaits_a_step() -> None:
    """So that the next owner runs it again at once; whoever writes the record again says the same."""
    partition, owner = opened()
    owner.hold_steps = True
    request = partition.start("w", "Stepping")
    owner.run()
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w")] == [True]
    heir = owner
    for _ in range(2):
        since = len(partition.history)
        heir = Owner(partition)
        heir.hold_steps = True
        heir.run()
        assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w", since)] == [True]
        assert len(heir.held_steps) == 0
        heir.pass_time(1)
        assert len(heir.held_steps) == 1
    since = len(partition.history)
    heir.end_step(heir.held_steps[0])
    heir.run()
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w", since)] == [False]
    since = len(partition.history)
    last = Owner(partition)
    last.run()
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w", since)] == [False]
    partition.send("w", r.SignalWorkflow("end", request=partition.request()))
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    last.run()
    assert partition.result(waiting) == 7
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w", since)][-1] is False
    assert request.id


def test_an_input_that_waits_for_code_does_not_hide_that_a_step_is_awaited() -> None:
    """The process in between does not have the code, so it knows of no step."""
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("w", "Stepping")
    owner.run()
    for _ in range(3):
        owner.shard.checkpoint(partition.now_ms)
        owner.run()
    code = partition.hosted.pop("Stepping")
    between = Owner(partition)
    between.run()
    since = len(partition.history)
    partition.send("w", r.SignalWorkflow("end", request=partition.request()))
    between.run()
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w", since)] == [True]
    partition.hosted["Stepping"] = code
    last = Owner(partition)
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    last.run()
    last.pass_time(1)
    assert partition.result(waiting) == 7


def test_a_run_that_is_over_awaits_no_step() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("w", "Stepping")
    owner.run()
    partition.send("w", r.TerminateWorkflow(partition.request(), ""))
    owner.read()
    owner.land_all()
    assert [body.awaits_steps for _, _, body, _ in chunks(partition, "w")] == [True, False]
