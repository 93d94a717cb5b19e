"""Owners that die between a decision and its last record: what has left by then, and what the next one finds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.partition import Owner, Partition

SOON: dict[str, Any] = {"start_to_close_timeout": timedelta(seconds=60)}
MANY = 200
"""So many activities do not fit into one record of these tests."""
RECORD_BYTES = 3000


def ask_for_many() -> None:
    for number in range(MANY):
        workflow.start_activity("do", f"{number} of many", **SOON)


@workflow.defn
class Hasty:
    """Asks for much, and ends at once."""

    @workflow.run
    async def run(self) -> str:
        ask_for_many()
        await asyncio.sleep(0)
        return "over"


@workflow.defn
class Patient:
    """One activity first; then much."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("first", **SOON)
        ask_for_many()
        await asyncio.sleep(1000)


@workflow.defn
class Stepper:
    """Much between two steps."""

    @workflow.run
    async def run(self) -> int:
        one: int = await workflow.step(len, "1")
        ask_for_many()
        two: int = await workflow.step(len, "12")
        return one + two


@workflow.defn
class Leaver:
    """Ends in the very moment in which it cancels an activity whose cancellation it waits for."""

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def leave(self) -> None:
        self.told = True

    @workflow.run
    async def run(self) -> str:
        waits = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        task = asyncio.create_task(workflow.execute_activity("first", cancellation_type=waits, **SOON))
        await workflow.wait_condition(lambda: self.told)
        task.cancel()
        await asyncio.sleep(0)
        return "gone"


def land_one(owner: Owner) -> None:
    owner.send()
    entry = owner.in_flight.pop(0)
    owner.shard.acked(entry, owner.partition.land(entry.key, entry.value))
    owner.shard.flush()


def in_parts(code: type) -> tuple[Partition, Owner]:
    partition = Partition([code], record_bytes_max=RECORD_BYTES)
    owner = Owner(partition, activities=False)
    owner.run()
    return partition, owner


def fail(partition: Partition, task_run: str, seq: int) -> None:
    failure = r.Failure(r.FailureKind.APPLICATION, "not yet", "Flaky")
    partition.send("wf", r.ActivityResult(task_run, seq, 1, "worker", partition.now_ms, None, failure))


def test_a_repeat_is_answered_behind_the_first_copy_of_its_batch() -> None:
    partition = Partition([Leaver])
    owner = Owner(partition)
    owner.run()
    request = partition.request()
    for _ in range(2):
        partition.start("wf", "Leaver", request=request)
    owner.read()
    owner.emit_all()
    assert partition.replies(request) == []
    owner.run()
    assert [type(body) for body in partition.replies(request)] == [r.Accepted, r.Accepted]


def test_an_end_in_parts_is_told_behind_its_last_part() -> None:
    partition, owner = in_parts(Hasty)
    partition.start("wf", "Hasty")
    owner.read()
    waiter, again = partition.request(), partition.request()
    partition.send("wf", r.AwaitResult(waiter))
    partition.start("wf", "Hasty", request=again)
    owner.read()
    land_one(owner)
    owner.emit_all()
    assert partition.replies(waiter) == partition.replies(again) == []
    owner.run()
    assert [type(body) for body in partition.replies(waiter)] == [r.RunOutcome]
    assert isinstance(partition.replies(again)[0], r.Accepted)


def test_an_answer_from_the_batch_of_a_transition_in_parts_leaves_behind_its_last_part() -> None:
    partition, owner = in_parts(Patient)
    partition.start("wf", "Patient")
    owner.run()
    live = owner.shard.workflow("wf").live
    assert live is not None
    partition.send("wf", r.ActivityResult(live.run.run_id, 1, 1, "worker", partition.now_ms))
    origin = r.MessageOrigin("test", "sender", "run", 1, partition.now_ms + 1000)
    for _ in range(2):
        partition.send("wf", r.SignalWorkflow("unknown", origin=origin))
    owner.read()
    land_one(owner)
    owner.emit_all()
    assert not partition.bodies(r.MessageAnswer)
    owner.run()
    assert len(partition.bodies(r.MessageAnswer)) == 2


def test_half_a_transition_leaves_the_attempts_before_it() -> None:
    """The result of a second attempt was taken in by half; the next owner must know that there was a second one."""
    partition, owner = in_parts(Patient)
    partition.start("wf", "Patient")
    owner.run()
    live = owner.shard.workflow("wf").live
    assert live is not None
    fail(partition, live.run.run_id, 1)
    owner.run()
    owner.pass_time(2)
    partition.send("wf", r.ActivityResult(live.run.run_id, 1, 2, "worker", partition.now_ms))
    owner.read()
    for _ in range(3):
        land_one(owner)
    following = Owner(partition, activities=False).shard.workflow("wf").live
    assert following is not None
    assert following.run.activities[1].progress.attempt == 2


def test_half_a_transition_awaits_the_step_before_it() -> None:
    partition, owner = in_parts(Stepper)
    owner.hold_steps = True
    partition.start("wf", "Stepper")
    owner.run()
    owner.end_step(owner.held_steps.pop())
    land_one(owner)
    following = Owner(partition, activities=False)
    following.hold_steps = True
    following.run()
    following.pass_time(1)
    assert len(following.held_steps) == 1


def test_an_end_takes_along_what_was_to_follow() -> None:
    """Between its attempts, a cancelled activity fails at once: not when its run has ended with the same input."""
    partition = Partition([Leaver])
    owner = Owner(partition, activities=False)
    request = partition.start("wf", "Leaver")
    owner.run()
    live = owner.shard.workflow("wf").live
    assert live is not None
    fail(partition, live.run.run_id, 1)
    owner.run()
    partition.send("wf", r.SignalWorkflow("leave", request=partition.request()))
    owner.run()
    partition.start("another", "Leaver")
    owner.run()
    assert partition.result(request) == "gone"


def test_the_place_in_the_inbox_is_always_written_somewhere() -> None:
    """A new owner may die at any record: what is left after compaction says how far the inbox has been taken in."""
    partition = Partition([Leaver])
    owner = Owner(partition)
    owner.activities = {"first": lambda: None}
    partition.start("wf", "Leaver")
    owner.run()
    partition.send("wf", r.DescribeWorkflow(partition.request()))
    for _ in range(2):
        owner.run()
        owner.shard.checkpoint(partition.now_ms)
        owner.run()
    taken = owner.shard.writer.x
    following = Owner(partition)
    following.read()
    while following.shard.writer.to_send or following.in_flight:
        land_one(following)
        last = {record[0]: record[1] for record in partition.history if record}
        places = [Codec().watermarks(value)[2] for value in last.values() if value is not None]
        assert max(places) >= taken
