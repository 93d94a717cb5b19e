"""Durable steps: one record when a step has ended, none before; run again by whoever takes over."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.orchestrator.core.state import Room
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition
from odradek.workflow.runtime import NondeterminismError
from tests.orchestrator.partition import Owner, Partition

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls_yet() -> None:
    calls.clear()


async def double(n: int) -> int:
    calls.append(n)
    return 2 * n


def fail(n: int) -> int:
    calls.append(n)
    raise ValueError(f"no {n}")


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        return [await workflow.step(double, n) for n in range(count)]


@workflow.defn
class FanOut:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        return list(await asyncio.gather(*(workflow.step(double, n) for n in range(count))))


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.step(fail, 7, retry_policy=RetryPolicy(maximum_attempts=1))
        except ActivityError as error:
            return f"{error.activity_type}: {error.cause}" if isinstance(error.cause, ApplicationError) else "?"
        return "?"


@workflow.defn
class Talking:
    """A step, while signals come."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def heard(self) -> list[str]:
        return self.words

    @workflow.run
    async def run(self) -> str:
        value = await workflow.step(double, 21)
        return f"{value} {' '.join(self.words)}"


@workflow.defn
class GivingUp:
    cancellation_type = workflow.ActivityCancellationType.TRY_CANCEL

    @workflow.run
    async def run(self) -> str:
        try:
            async with asyncio.timeout(5):
                await workflow.step(double, 1, cancellation_type=self.cancellation_type)
        except TimeoutError:
            return "gave up"
        return "done"


@workflow.defn
class WaitingForIt(GivingUp):
    cancellation_type = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED

    @workflow.run
    async def run(self) -> str:
        return await super().run()


WORKFLOWS = (Chain, FanOut, Failing, Talking, GivingUp, WaitingForIt)


def opened(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition(WORKFLOWS, **limits)
    return partition, Owner(partition)


def signal(partition: Partition, workflow_id: str, word: str) -> None:
    body = r.SignalWorkflow("say", [partition.payload(word)], request=partition.request())
    partition.send(workflow_id, body)


def asked_again(partition: Partition, owner: Owner, workflow_id: str) -> Any:
    """Who waited for the result asks the new owner."""
    request = partition.request()
    partition.send(workflow_id, r.AwaitResult(request))
    owner.run()
    return partition.result(request)


def archived(partition: Partition) -> list[r.Event]:
    return [event for _, blocks in partition.archive for event in Codec().decode_events(blocks)]


def test_a_chain_of_steps_records_one_event_for_each() -> None:
    partition, owner = opened()
    request = partition.start("chain", "Chain", 3)
    owner.run()
    assert partition.result(request) == [0, 2, 4]
    bodies = [event.body for event in archived(partition)]
    assert [type(body).__name__ for body in bodies] == ["RunStarted", *["StepEnded"] * 3, "RunCompleted"]
    assert [body.name for body in bodies if isinstance(body, r.StepEnded)] == ["double"] * 3
    assert calls == [0, 1, 2]


def test_steps_side_by_side_end_in_any_order() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    request = partition.start("fan", "FanOut", 4)
    owner.run()
    assert [step.seq for step in owner.held_steps] == [1, 2, 3, 4]
    for step in reversed(owner.held_steps):
        owner.end_step(step)
        owner.run()
    assert partition.result(request) == [0, 2, 4, 6]


def test_a_step_begins_only_when_everything_before_it_is_durable() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("chain", "Chain", 1)
    owner.read()
    owner.emit_all()
    assert not owner.held_steps
    owner.land_all()
    owner.emit_all()
    assert len(owner.held_steps) == 1


def test_a_failed_step_is_an_activity_error_with_its_cause() -> None:
    partition, owner = opened()
    request = partition.start("failing", "Failing")
    owner.run()
    assert partition.result(request) == "fail: ValueError: no 7"


@pytest.mark.parametrize("with_store", [True, False], ids=["local store", "from the log"])
def test_a_step_without_a_recorded_end_is_run_again_by_the_next_owner(with_store: bool) -> None:
    """Nothing of it is recorded before its end, but that the run awaits one is."""
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("talking", "Talking")
    owner.run()
    owner.pass_time(30)
    owner.shard.checkpoint(partition.now_ms)
    owner.run()
    (before,) = owner.held_steps
    store = owner.store if with_store else None
    successor = Owner(partition, store)
    successor.run()
    successor.pass_time(0)
    assert calls == [21]
    assert asked_again(partition, successor, "talking").strip() == "42"
    owner.end_step(before)
    owner.run()
    assert owner.fenced is not None


def test_a_takeover_runs_the_step_once_though_a_signal_came_first() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("talking", "Talking")
    owner.run()
    successor = Owner(partition)
    signal(partition, "talking", "hello")
    successor.run()
    successor.pass_time(0)
    successor.pass_time(100)
    assert calls == [21]
    assert asked_again(partition, successor, "talking") == "42 hello"


def test_a_run_dropped_from_memory_still_gets_the_end_of_its_step() -> None:
    partition, owner = opened(room=Room(instances=0))
    owner.hold_steps = True
    request = partition.start("talking", "Talking")
    owner.run()
    for word in "ab":
        signal(partition, "talking", word)
        owner.run()
    (step,) = owner.held_steps
    owner.end_step(step)
    owner.run()
    assert partition.result(request) == "42 a b"
    assert calls == [21]
    assert owner.shard.replays >= 3


def test_a_step_that_ends_while_its_run_waits_for_a_sealed_chunk() -> None:
    partition, owner = opened(chunk_bytes=1)
    owner.hold_steps = True
    request = partition.start("talking", "Talking")
    owner.run()
    (step,) = owner.held_steps
    signal(partition, "talking", "a")
    owner.read()
    owner.end_step(step)
    owner.run()
    assert partition.result(request) == "42 a"


def test_what_a_step_ends_with_after_its_call_was_cancelled_is_dropped() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    request = partition.start("giving-up", "GivingUp")
    owner.run()
    owner.pass_time(6)
    assert partition.result(request) == "gave up"
    assert owner.cancelled_steps == owner.held_steps
    owner.end_step(owner.held_steps[0])
    owner.run()
    assert [type(event.body).__name__ for event in archived(partition)] == [
        "RunStarted", "TimerStarted", "TimerFired", "RunCompleted"
    ]  # fmt: skip


def test_a_call_that_waits_for_its_cancellation_gets_what_came_of_it() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    request = partition.start("waiting", "WaitingForIt")
    owner.run()
    owner.pass_time(6)
    (step,) = owner.held_steps
    assert owner.cancelled_steps == [step]
    assert not [body for body in partition.replies(request) if isinstance(body, r.RunOutcome)]
    owner.end_step(step)
    owner.run()
    assert partition.result(request) == "done"


def test_the_end_of_a_run_stops_its_steps() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("fan", "FanOut", 2)
    owner.run()
    partition.send("fan", r.TerminateWorkflow(partition.request(), "enough"))
    owner.run()
    assert owner.cancelled_steps == owner.held_steps
    assert not owner.shard.stepping


def test_a_waiting_step_is_shown_where_the_run_is_described() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    partition.start("talking", "Talking")
    owner.run()
    owner.held_steps[0].attempt = 3
    request = partition.request()
    partition.send("talking", r.DescribeWorkflow(request))
    owner.run()
    (description,) = partition.replies(request)
    (wait,) = description.waits
    assert (wait.kind, wait.name, wait.attempt) == ("step", "double", 3)


def test_a_step_of_another_name_is_not_the_one_of_the_history() -> None:
    converter = Partition().converter
    instance = WorkflowInstance(
        Definition.of(Chain), "w", "r", "n", converter.payload_converter, converter.failure_converter
    )
    payload = converter.payload_converter.to_payload(1)
    history = [
        r.Event(1, 1, r.RunStarted("Chain", "q", "r", input=[payload])),
        r.Event(2, 2, r.StepEnded(1, "triple", payload, 1, 1)),
    ]
    with pytest.raises(NondeterminismError, match=r'"triple".* step 1 "double"'):
        instance.replay(history)
    instance.close()


def test_steps_ended_while_the_run_was_parked_are_seen_when_it_goes_on() -> None:
    partition, owner = opened()
    owner.hold_steps = True
    request = partition.start("talking", "Talking")
    owner.run()
    hosted = dict(partition.hosted)
    owner.shard.drop_instance(owner.shard.workflow("talking").live)  # type: ignore[arg-type]
    partition.hosted.clear()
    (step,) = owner.held_steps
    owner.end_step(step)
    owner.run()
    assert owner.shard.parked
    partition.hosted.update(hosted)
    owner.pass_time(120)
    assert partition.result(request).strip() == "42"
    assert len(owner.held_steps) == 1
    assert calls == [21]


async def _ask(*args: Any, **options: Any) -> None:
    await workflow.step(*args, **options)


@pytest.mark.parametrize(
    ("function", "options", "code"),
    [
        (lambda: 1, {}, "ODR-140"),
        (functools.partial(lambda n: n, 1), {}, "ODR-140"),
        (double, {"inline": True}, "ODR-141"),
        (3, {}, "ODR-140"),
    ],
)
def test_what_cannot_be_a_step_is_refused_with_a_reason(function: Any, options: Any, code: str) -> None:
    with pytest.raises((ValueError, TypeError), match=code):
        asyncio.run(_ask(function, **options))


def test_effects_of_steps_are_told_apart() -> None:
    """Two steps are never the same order, even with the same values."""
    call = fx.RunStep("w", "r", "t", "q", 1, None, 0)  # type: ignore[arg-type]
    assert call != fx.RunStep("w", "r", "t", "q", 1, None, 0)  # type: ignore[arg-type]
