"""Which attempt begins next: by priority, by fairness key and weight, within the limit of its key."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest

from odradek import activity, workflow
from odradek.common import Priority
from odradek.schemas.records import TaskPriority
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker
from odradek.workers.attempts import Assignment, Attempt, Place
from odradek.workers.tracker import OffsetTracker
from odradek.workers.waiting import Waiting
from tests.workers.fake import QUICK, Orchestrator, holds, until

ASSIGNMENT = Assignment(0, OffsetTracker(0), 0)


def attempt(number: int, key: int = 0, fairness_key: str = "", weight: float = 0) -> Attempt:
    priority = TaskPriority(key, fairness_key, weight) if key or fairness_key else None
    task = replace(TASKS.task("x"), seq=number, priority=priority)
    return Attempt(task, Place(ASSIGNMENT, number), 10)


TASKS = Orchestrator()


def order(waiting: Waiting) -> list[int]:
    popped = []
    while (one := waiting.pop()) is not None:
        popped.append(one.task.seq)
    return popped


def test_without_names_it_is_the_order_of_arrival() -> None:
    waiting = Waiting()
    waiting.extend(attempt(number) for number in range(100))
    assert not waiting.is_mixed
    assert order(waiting) == list(range(100))


def test_the_most_urgent_first_and_those_of_one_priority_in_order() -> None:
    waiting = Waiting()
    waiting.extend([attempt(1), attempt(2, key=5), attempt(3, key=1), attempt(4, key=3), attempt(5, key=1), attempt(6)])
    assert waiting.is_mixed
    assert len(waiting) == 6
    assert order(waiting) == [3, 5, 1, 4, 6, 2]


def test_a_tenant_of_many_does_not_starve_one_of_few() -> None:
    waiting = Waiting()
    waiting.extend(attempt(number, fairness_key="large") for number in range(100_000))
    waiting.extend(attempt(200_000 + number, fairness_key="small") for number in range(10))
    first = order_of(waiting, 21)
    assert sum(number >= 200_000 for number in first) == 10


def test_turns_are_in_proportion_to_weights() -> None:
    waiting = Waiting()
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    keys = {}
    for number, key in enumerate([key for key in weights for _ in range(1000)]):
        keys[number] = key
        waiting.extend([attempt(number, fairness_key=key, weight=weights[key])])
    share = Counter(keys[number] for number in order_of(waiting, 800))
    assert share == {"a": pytest.approx(100, abs=2), "b": pytest.approx(200, abs=2), "c": pytest.approx(500, abs=2)}


def test_who_was_away_has_saved_nothing_up() -> None:
    waiting = Waiting()
    waiting.extend(attempt(number, fairness_key="busy") for number in range(1000))
    order_of(waiting, 500)
    waiting.extend(attempt(5000 + number, fairness_key="late") for number in range(100))
    assert sum(number >= 5000 for number in order_of(waiting, 100)) == pytest.approx(50, abs=2)


def test_a_key_has_no_more_under_way_than_it_may() -> None:
    waiting = Waiting(per_key_max=2)
    waiting.extend(attempt(number, fairness_key="a") for number in range(4))
    waiting.extend([attempt(10, fairness_key="b"), attempt(11)])
    begun = [one for _ in range(4) if (one := waiting.pop()) is not None]
    assert sorted(one.task.seq for one in begun) == [0, 1, 10, 11]
    assert waiting.pop() is None
    assert len(waiting) == 2
    waiting.ended(next(one for one in begun if one.task.seq == 0))
    assert order(waiting) == [2]
    for one in begun:
        if one.task.seq != 0:
            waiting.ended(one)
    assert order(waiting) == [3]


def test_nothing_is_lost_whatever_happens() -> None:
    chance = random.Random(7)
    waiting = Waiting(per_key_max=3)
    inside: dict[int, Attempt] = {}
    running: list[Attempt] = []
    out: set[int] = set()
    for number in range(5000):
        match chance.randrange(5):
            case 0 | 1:
                one = attempt(
                    number, chance.choice([0, 0, 1, 4]), chance.choice(["", "a", "b"]), chance.choice([0, 2.5])
                )
                inside[number] = one
                waiting.extend([one])
            case 2 if (popped := waiting.pop()) is not None:
                del inside[popped.task.seq]
                running.append(popped)
                out.add(popped.task.seq)
            case 3 if running:
                waiting.ended(running.pop(chance.randrange(len(running))))
            case 4 if inside and chance.random() < 0.2:
                gone = inside.pop(chance.choice(sorted(inside)))
                assert waiting.remove(gone)
                assert not waiting.remove(gone)
        assert len(waiting) == len(inside)
    for one in running:
        waiting.ended(one)
    while (popped := waiting.pop()) is not None:
        del inside[popped.task.seq]
        waiting.ended(popped)
    assert not inside


def test_what_goes_with_its_partition() -> None:
    waiting = Waiting()
    waiting.extend([attempt(1), attempt(2, key=1), attempt(3, fairness_key="a")])
    assert {one.task.seq for one in waiting.take_out(lambda one: one.task.seq != 2)} == {1, 3}
    assert order(waiting) == [2]


def order_of(waiting: Waiting, count: int) -> list[int]:
    return [one.task.seq for _ in range(count) if (one := waiting.pop()) is not None]


# ------------------------------------------------------------------------------------------------- on a whole worker


async def test_a_worker_looks_past_a_heap_of_one_tenant() -> None:
    begun: list[str] = []

    @activity.defn
    async def work() -> None:
        begun.append(activity.info().priority.fairness_key or "")

    orchestrator = Orchestrator()
    gate = asyncio.Event()

    @activity.defn
    async def block() -> None:
        await gate.wait()

    async with orchestrator.worker(work, block, max_concurrent_activities=1, settings=QUICK) as worker:
        await holds(worker)
        blocking = orchestrator.start("block")
        heap = [orchestrator.task("work", priority=TaskPriority(0, "large")) for _ in range(3000)]
        orchestrator.send(*heap)
        small = [orchestrator.task("work", priority=TaskPriority(0, "small")) for _ in range(10)]
        orchestrator.send(*small)
        await until(lambda: worker._parts and len(worker._parts.execution._waiting) == 3010)
        gate.set()
        await orchestrator.result(blocking)
        for task in small:
            await orchestrator.result(task)
        last_small = len(begun) - begun[::-1].index("small")
        assert last_small <= 25, "they took turns"


async def test_priorities_travel_from_client_to_activity_and_child(odradek_env: WorkflowEnvironment) -> None:
    seen: list[Priority] = []

    @activity.defn
    async def look() -> None:
        seen.append(activity.info().priority)

    @workflow.defn
    class Child:
        @workflow.run
        async def run(self) -> None:
            seen.append(workflow.info().priority)
            await workflow.execute_activity(look, start_to_close_timeout=timedelta(seconds=10))

    @workflow.defn
    class Parent:
        @workflow.run
        async def run(self) -> None:
            seen.append(workflow.info().priority)
            limit = timedelta(seconds=10)
            await workflow.execute_activity(look, start_to_close_timeout=limit)
            await workflow.execute_activity(look, start_to_close_timeout=limit, priority=Priority(priority_key=1))
            await workflow.execute_child_workflow(Child.run, id="child", priority=Priority(fairness_weight=3))

    given = Priority(priority_key=2, fairness_key="acme", fairness_weight=2.5)
    async with Worker(odradek_env.client, task_queue="tq", workflows=[Parent, Child], activities=[look]):
        await odradek_env.client.execute_workflow(Parent.run, id="wf", task_queue="tq", priority=given)
    child = Priority(priority_key=2, fairness_key="acme", fairness_weight=3)
    assert seen == [given, given, Priority(priority_key=1, fairness_key="acme", fairness_weight=2.5), child, child]


def test_a_weight_out_of_bounds() -> None:
    with pytest.raises(ValueError, match=r"from 0.001 to 1000, not 0"):
        Priority(fairness_weight=0)
