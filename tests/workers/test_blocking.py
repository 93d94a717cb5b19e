"""One task that never ends among thousands, with workers that join and leave all the time: it holds nobody up."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import replace

import pytest

from odradek import activity
from odradek.schemas.records import ActivityResult
from tests.workers.fake import QUICK, Orchestrator, holds, until

TASKS = 2_000
PARTITIONS = 2
STAY_SECONDS = 0.5
SETTINGS = replace(QUICK, hand_over_seconds=0.1, session_timeout_seconds=6)


@pytest.mark.alone
@pytest.mark.timeout(240)
@pytest.mark.parametrize("log", ["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def test_an_endless_task_and_slow_ones_hold_nobody_up(log: str, request: pytest.FixtureRequest) -> None:
    """All short ones are answered, each once, and in the end the commit says all and needs no text for it."""
    address = "memory://" if log == "memory" else f"kafka://{request.getfixturevalue('kafka_broker')}"
    orchestrator = Orchestrator(PARTITIONS, address=address, name=f"blocking-{secrets.token_hex(3)}")
    calls: Counter[str] = Counter()
    over = asyncio.Event()

    @activity.defn
    async def endless(name: str) -> None:
        calls[name] += 1
        await over.wait()

    @activity.defn
    async def slow(name: str, seconds: float) -> None:
        calls[name] += 1
        await asyncio.sleep(seconds)

    async def guests() -> int:
        count = 0
        while not over.is_set():
            async with orchestrator.worker(endless, slow, settings=SETTINGS):
                await asyncio.sleep(STAY_SECONDS)
            count += 1
        return count

    async with orchestrator.worker(endless, slow, settings=SETTINGS) as steady:
        await holds(steady, PARTITIONS) if log == "memory" else await until(lambda: assigned(steady), 30)
        for partition in range(PARTITIONS):
            orchestrator.start("endless", f"endless-{partition}", partition=partition)
        await until(lambda: len(calls) == PARTITIONS, 30)
        coming_and_going = asyncio.create_task(guests())
        for n in range(TASKS):
            seconds = 0.3 if n % 100 == 0 else 0.0
            orchestrator.start("slow", f"{n}", seconds, partition=n % PARTITIONS)
            await asyncio.sleep(0.001)
        await until(lambda: len(calls) == TASKS + PARTITIONS, 60)
        await until(lambda: len(ended(orchestrator)) == TASKS, 60)
        await until(lambda: behind(orchestrator) == 0, 60)
        assert not over.is_set(), "the endless ones still run"
        over.set()
        assert await coming_and_going >= 2
    repeated = [name for name, count in calls.items() if count > 1]
    assert repeated == [], "every worker left in order"
    assert all(count == 1 for count in ended(orchestrator).values())
    orchestrator.log.close()


def assigned(worker: object) -> bool:
    parts = worker._parts  # type: ignore[attr-defined]
    return parts is not None and len(parts.fetcher._assignments) == PARTITIONS


def ended(orchestrator: Orchestrator) -> Counter[str]:
    return Counter(body.run_id for body in orchestrator.inbox() if isinstance(body, ActivityResult))


def behind(orchestrator: Orchestrator) -> int:
    group = orchestrator.namespace.topics.queue_group("q")
    return sum(orchestrator.log.lag(group, orchestrator.topic).values())
