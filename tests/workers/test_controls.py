"""What an operator says of a queue reaches its workers: the present ones soon, later ones before their first task."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from odradek import activity
from odradek.log.controls import write_control
from odradek.schemas.records import QueueControl
from odradek.workers import ActivityWorker, WorkerSettings
from tests.workers.fake import QUEUE, QUICK, Orchestrator, holds, until

PAUSED = QueueControl(QUEUE, paused_ms=1, reason="the bank is down", identity="ada")
LIFTED = QueueControl(QUEUE)
begun: list[str] = []
gates: list[asyncio.Event] = []


@activity.defn
async def note(what: str) -> str:
    begun.append(what)
    return what


@activity.defn
async def linger() -> str:
    begun.append("linger")
    await gates[-1].wait()
    return "done"


async def say(orchestrator: Orchestrator, control: QueueControl) -> None:
    await asyncio.to_thread(write_control, orchestrator.namespace, control)


async def hears(worker: ActivityWorker, control: QueueControl) -> None:
    """Wait until the worker knows, and its event loop has been told."""
    await until(lambda: worker._parts and worker._parts.fetcher._control == control)
    await asyncio.sleep(0)


async def test_a_paused_queue_begins_nothing_and_lets_what_runs_go_on() -> None:
    begun.clear()
    gates.append(asyncio.Event())
    orchestrator = Orchestrator()
    async with orchestrator.worker(note, linger) as worker:
        await holds(worker)
        lingering = orchestrator.start("linger")
        await until(lambda: begun == ["linger"])
        await say(orchestrator, PAUSED)
        await hears(worker, PAUSED)
        waiting = orchestrator.start("note", "later")
        gates[-1].set()
        assert await orchestrator.value(lingering) == "done"
        assert begun == ["linger"]
        await say(orchestrator, LIFTED)
        assert await orchestrator.value(waiting) == "later"


async def test_what_has_been_fetched_already_waits_too() -> None:
    begun.clear()
    gates.append(asyncio.Event())
    orchestrator = Orchestrator()
    async with orchestrator.worker(note, linger, max_concurrent_activities=1) as worker:
        await holds(worker)
        orchestrator.start("linger")
        fetched = orchestrator.start("note", "fetched")
        parts = worker._parts
        assert parts is not None
        await until(lambda: parts.fetcher._sent_count == 2 and begun == ["linger"])
        await say(orchestrator, PAUSED)
        await hears(worker, PAUSED)
        gates[-1].set()
        await until(lambda: len(orchestrator.answers()) == 1)
        assert begun == ["linger"]
        await say(orchestrator, LIFTED)
        assert await orchestrator.value(fetched) == "fetched"


async def test_a_new_worker_finds_the_queue_paused() -> None:
    """It knows before it has joined the group, so no task can come first."""
    begun.clear()
    orchestrator = Orchestrator()
    waiting = orchestrator.start("note", "x")
    await say(orchestrator, PAUSED)
    async with orchestrator.worker(note) as worker:
        await holds(worker)
        assert worker._parts is not None
        assert worker._parts.fetcher._control == PAUSED
        assert begun == []
        await say(orchestrator, dataclasses.replace(PAUSED, task_queue="another", reason=""))
        await say(orchestrator, LIFTED)
        assert await orchestrator.value(waiting) == "x"


async def test_a_pause_that_was_lifted_before_stops_nobody() -> None:
    begun.clear()
    orchestrator = Orchestrator()
    await say(orchestrator, PAUSED)
    await say(orchestrator, LIFTED)
    async with orchestrator.worker(note):
        assert await orchestrator.value(orchestrator.start("note", "x")) == "x"


async def test_an_operators_rate_takes_the_place_of_the_workers() -> None:
    """A worker told one task an hour runs ten of them at once under an operator's thousand per second, and back."""
    begun.clear()
    orchestrator = Orchestrator()
    generous = QueueControl(QUEUE, tasks_per_second=1000)
    async with orchestrator.worker(note, max_task_queue_activities_per_second=1 / 3600, settings=QUICK) as worker:
        await holds(worker)
        tasks = [orchestrator.start("note", str(number)) for number in range(10)]
        await until(lambda: begun)
        assert begun == ["0"]
        await say(orchestrator, generous)
        for task in tasks:
            await orchestrator.result(task)
        await say(orchestrator, LIFTED)
        await hears(worker, LIFTED)
        assert worker._parts is not None
        (limit,) = worker._parts.execution.limits
        assert getattr(limit, "per_second", None) == 1 / 3600


@pytest.mark.kafka
async def test_on_a_broker_a_worker_follows_and_a_new_one_finds_it(kafka_broker: str) -> None:
    begun.clear()
    orchestrator = Orchestrator(address=f"kafka://{kafka_broker}")
    async with orchestrator.worker(note, settings=WorkerSettings()) as worker:
        await until(lambda: worker._parts and worker._parts.fetcher._assignments, 30)
        assert await orchestrator.value(orchestrator.start("note", "before")) == "before"
        await say(orchestrator, PAUSED)
        await until(lambda: worker._parts and worker._parts.fetcher._control == PAUSED, 30)
        waiting = orchestrator.start("note", "later")
    async with orchestrator.worker(note, settings=WorkerSettings()) as worker:
        await until(lambda: worker._parts and worker._parts.fetcher._assignments, 30)
        assert begun == ["before"]
        await say(orchestrator, LIFTED)
        await until(lambda: orchestrator.answers(waiting), 30)
        assert await orchestrator.value(waiting) == "later"
