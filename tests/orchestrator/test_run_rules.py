"""What a run begins with, is parked with, and leaves behind when it ends."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.exceptions import ChildWorkflowError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.rest import at_rest
from odradek.schemas import records as r
from odradek.workflow.definition import Definition
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Counted:
    @workflow.run
    async def run(self) -> list[int]:
        lengths = [workflow.info().get_current_history_length()]
        for _ in range(2):
            await asyncio.sleep(1)
            lengths.append(workflow.info().get_current_history_length())
        return lengths


@workflow.defn
class Told:
    """Fails with each signal, until that is put right."""

    is_right = False

    def __init__(self) -> None:
        self.heard = 0

    @workflow.signal
    def hear(self) -> None:
        if not Told.is_right:
            raise RuntimeError("a bug")
        self.heard += 1

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.heard == 2)
        return self.heard


@workflow.defn
class Leaver:
    """Ends while a step is asked for."""

    @workflow.run
    async def run(self) -> str:
        task = asyncio.create_task(workflow.step(len, "12"))
        await asyncio.sleep(0)
        task.cancel()
        del task
        left = asyncio.create_task(workflow.step(len, "123"))
        await asyncio.sleep(0)
        return "gone" if not left.done() else "done"


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> str:
        child: str = await workflow.execute_child_workflow("Leaver", id="child")
        return child


@workflow.defn
class Turning:
    @workflow.run
    async def run(self, left: int) -> None:
        if left:
            workflow.continue_as_new(left - 1)


def opened(*codes: type, **limits: Any) -> tuple[Partition, Owner]:
    partition = Partition(codes, **limits)
    return partition, Owner(partition)


def live_run(owner: Owner, workflow_id: str = "w") -> r.Parked | None:
    live = owner.shard.workflow(workflow_id).live
    assert live is not None
    return live.parked


def test_the_length_of_a_history_is_how_many_events_it_has() -> None:
    partition, owner = opened(Counted)
    request = partition.start("w", "Counted")
    owner.run()
    for _ in range(2):
        owner.pass_time(1)
    assert partition.result(request) == [1, 3, 5]


def test_a_delayed_run_has_its_whole_time() -> None:
    partition, owner = opened(Counted)
    request = partition.start("w", "Counted", start_delay_ms=10_000, run_timeout_ms=5_000)
    owner.run()
    owner.pass_time(10)
    for _ in range(2):
        owner.pass_time(1)
    assert len(partition.result(request)) == 3


def test_a_parked_run_is_counted_once_and_tried_until_its_code_can_go_on() -> None:
    partition, owner = opened(Told, replays_each_activation=False)
    Told.is_right = False
    request = partition.start("w", "Told")
    owner.run()
    for _ in range(2):
        partition.send("w", r.SignalWorkflow("hear", request=partition.request()))
        owner.run()
    for failures in (2, 3, 4):
        owner.pass_time(2**failures)
        parked = live_run(owner)
        assert parked is not None
        assert parked.failures >= failures
    assert owner.shard.counts["parked", "Told"] == 1
    before = live_run(owner)
    owner.shard.types_resumed(partition.now_ms)
    assert live_run(owner) == before
    Told.is_right = True
    owner.pass_time(600)
    assert partition.result(request) == 2


def test_a_run_that_has_ended_begins_no_step() -> None:
    partition, owner = opened(Leaver)
    owner.hold_steps = True
    request = partition.start("w", "Leaver")
    owner.run()
    assert partition.result(request) == "gone"
    assert owner.held_steps == []
    assert not owner.shard.stepping


def test_nobody_but_its_parent_is_answered_about_a_child() -> None:
    partition, owner = opened(Parent, Leaver)
    request = partition.start("w", "Parent")
    owner.run()
    assert partition.result(request) == "gone"
    assert all(reply.recipient for reply in partition.emitted if isinstance(reply, fx.Reply))


def test_a_turn_of_a_schedule_that_continues_is_followed_by_the_next_turn() -> None:
    partition, owner = opened(Turning)
    partition.start("w", "Turning", 1, cron_schedule="* * * * *")
    owner.run()
    for _ in range(2):
        owner.pass_time(60)
    live = owner.shard.workflow("w").live
    assert live is not None
    assert live.run.started is not None
    assert live.run.started.cron_schedule == "* * * * *"
    assert len(owner.shard.workflow("w").closed) == 3


def test_a_partition_is_not_at_rest_while_something_is_on_its_way() -> None:
    partition, owner = opened(Counted)
    owner.run()
    assert at_rest(owner.shard) == (None,)
    partition.start("w", "Counted")
    owner.read()
    assert at_rest(owner.shard) is None
    owner.run()
    assert at_rest(owner.shard) == (partition.now_ms + timedelta(seconds=1) // timedelta(milliseconds=1),)


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self) -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await workflow.wait_condition(lambda: False)


@workflow.defn
class Impatient:
    @workflow.signal
    def stop(self) -> None:
        self.handle.cancel()

    @workflow.run
    async def run(self) -> str:
        waits = workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        self.handle = await workflow.start_child_workflow("Stubborn", id="child", cancellation_type=waits)
        try:
            await self.handle
        except ChildWorkflowError as error:
            return f"{error.namespace} {error.workflow_id}"
        return "it ended"


@workflow.defn
class Informed:
    @workflow.run
    async def run(self) -> float:
        return workflow.info().task_timeout.total_seconds()


@workflow.defn
class Quitter:
    @workflow.signal
    def quit(self) -> None:
        self.handle.cancel()

    @workflow.run
    async def run(self) -> None:
        self.handle = workflow.start_activity("work", start_to_close_timeout=timedelta(hours=1))
        await workflow.wait_condition(lambda: False)


def test_a_child_is_asked_once_to_cancel_and_its_error_says_where_it_was() -> None:
    partition, owner = opened(Impatient, Stubborn)
    request = partition.start("w", "Impatient")
    owner.run()
    for _ in range(3):
        partition.send("w", r.SignalWorkflow("stop", request=partition.request()))
        owner.run()
    assert len(partition.bodies(r.CancelWorkflow)) == 1
    partition.send("child", r.TerminateWorkflow(partition.request()))
    owner.run()
    assert partition.result(request) == "test child"


def test_a_run_knows_for_how_long_its_code_may_take() -> None:
    partition, owner = opened(Informed)
    requests = [partition.start("w", "Informed", task_timeout_ms=3000), partition.start("v", "Informed")]
    owner.run()
    assert [partition.result(request) for request in requests] == [3.0, 10.0]


def test_an_activity_that_is_given_up_leaves_nothing() -> None:
    partition = Partition([Quitter])
    owner = Owner(partition, activities=False)
    partition.start("w", "Quitter")
    owner.run()
    (task,) = (effect.task for effect in partition.emitted if isinstance(effect, fx.SendTask))
    assert task is not None
    partition.send("w", r.ActivityStarted(task.run_id, task.seq, task.attempt, "w1", partition.now_ms))
    owner.run()
    assert owner.shard.holders == {"w1": {("w", task.seq)}}
    partition.send("w", r.SignalWorkflow("quit", request=partition.request()))
    owner.run()
    last = dict(record for record in partition.history if record)
    assert [value for key, value in last.items() if b"\0p" in key] == [None]
    assert not any(owner.shard.holders.values())


@workflow.defn
class Withdrawn:
    """Two timers, the first of which is withdrawn before it has begun."""

    @workflow.run
    async def run(self) -> None:
        first, _second = asyncio.create_task(asyncio.sleep(5)), asyncio.create_task(asyncio.sleep(7))
        await asyncio.sleep(0)
        first.cancel()
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Despairing:
    @workflow.run
    async def run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await workflow.wait_condition(lambda: False)


@workflow.defn(name="Parent")
class OtherParent:
    @workflow.run
    async def run(self) -> str:
        child: str = await workflow.execute_child_workflow("Leaver", id="another")
        return child


def test_a_timer_that_is_cancelled_at_once_was_never_set() -> None:
    partition, owner = opened(Withdrawn)
    partition.start("w", "Withdrawn")
    owner.run()
    live = owner.shard.workflow("w").live
    assert live is not None
    assert [timer.due_ms - partition.now_ms for timer in live.run.timers.values()] == [7000]


def test_code_that_cancels_itself_is_parked() -> None:
    partition, owner = opened(Despairing)
    partition.start("w", "Despairing")
    owner.run()
    parked = live_run(owner)
    assert parked is not None
    assert "ODR-067" in parked.message


def test_code_that_starts_another_child_than_its_history_says_is_parked() -> None:
    partition, owner = opened(Parent, Stubborn)
    partition.start("w", "Parent")
    owner.run()
    partition.hosted["Parent"] = Definition.of(OtherParent)
    heir = Owner(partition)
    heir.run()
    partition.send("w", r.SignalWorkflow("any", request=partition.request()))
    heir.run()
    parked = live_run(heir)
    assert parked is not None
    assert "ODR-070" in parked.message
