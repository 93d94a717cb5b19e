"""Workers come, go and die while tasks of all lengths arrive: every task is answered in the end."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import pytest

from odradek import activity
from odradek.workers import ActivityWorker
from tests.workers.fake import QUICK, Orchestrator, kill, until

SETTINGS = replace(QUICK, hand_over_seconds=0.03)
TASKS = 400


class Fleet:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.orchestrator = Orchestrator(partitions=4)
        self.calls: Counter[int] = Counter()
        self.alive: list[ActivityWorker] = []
        self.runs: list[asyncio.Task[None]] = []
        self.deaths = 0

    @activity.defn
    async def work(self, n: int, seconds: float) -> int:
        self.calls[n] += 1
        await asyncio.sleep(seconds)
        return n

    def join(self) -> None:
        worker = self.orchestrator.worker(self.work, settings=SETTINGS, max_concurrent_activities=8)
        self.alive.append(worker)
        self.runs.append(asyncio.create_task(worker.run()))

    async def change(self) -> None:
        step = self.random.random()
        if step < 0.4 or len(self.alive) < 2:
            self.join()
            return
        worker = self.alive.pop(self.random.randrange(len(self.alive)))
        await until(lambda: worker._parts and worker._parts.fetcher._membership)
        if step < 0.7:
            await worker.shutdown()
        else:
            self.deaths += 1
            await asyncio.to_thread(kill, worker)
            self.runs.append(asyncio.create_task(worker.shutdown()))


@pytest.mark.parametrize("seed", range(3))
async def test_every_task_is_answered(seed: int) -> None:
    """Started attempts whose worker died count as answered: the orchestrator sees the lease end and tries again."""
    fleet = Fleet(seed)
    orchestrator = fleet.orchestrator
    fleet.join()
    tasks = []
    for n in range(TASKS):
        seconds = fleet.random.choice([0, 0, 0, 0.005, 0.1])
        tasks.append(orchestrator.start("work", n, seconds, partition=fleet.random.randrange(4)))
        if n % 40 == 39:
            await fleet.change()
        await asyncio.sleep(0.001)
    fleet.join()
    await until(lambda: sum(orchestrator.committed(p).offset for p in range(4)) == TASKS, seconds=20)
    for worker in fleet.alive:
        await worker.shutdown()
    await asyncio.wait(fleet.runs)
    answered = {a.run_id for a in orchestrator.answers() if a.failure is None}
    watched = {s.run_id for s in orchestrator.started()}
    stopped = {a.run_id for a in orchestrator.answers() if a.failure is not None}
    assert {task.run_id for task in tasks} <= answered | watched | stopped
    assert all(fleet.calls[n] or task.run_id in watched for n, task in enumerate(tasks))
    repeated = sum(count - 1 for count in fleet.calls.values())
    assert repeated <= fleet.deaths * 8 * 4, "only what a dead worker had begun may run again"
