"""Limits of starts per second, and what workers share through a real Redis."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from odradek import activity
from odradek.log.namespace import create_namespace
from odradek.schemas.records import TaskRecord
from odradek.testing.redis import LocalRedis
from odradek.workers import WorkerSettings
from odradek.workers.attempts import AttemptKey
from odradek.workers.pace import BURST_SECONDS, Pace
from odradek.workers.shared import SharedState
from tests.workers.fake import QUICK, Orchestrator, holds, kill, until

WINDOW_SECONDS = 2.0


def starts_within(pace: Pace, seconds: float, step: float) -> int:
    """How many may begin when somebody looks every ``step`` seconds; the clock is made up."""
    now, begun = 1000.0, 0
    while now < 1000.0 + seconds:
        while pace.wait_seconds(now, 100) == 0:
            pace.start(now)
            begun += 1
        now += step
    return begun


@pytest.mark.parametrize("per_second", [0.5, 3, 250, 20_000])
@pytest.mark.parametrize("step", [0.0001, 0.02])
def test_the_pace_is_kept_within_five_percent(per_second: float, step: float) -> None:
    begun = starts_within(Pace(per_second), 20, step)
    assert begun == pytest.approx(20 * per_second, rel=0.05, abs=1.01)


def test_a_pause_is_not_made_up_for() -> None:
    pace = Pace(100)
    starts_within(pace, 1, 0.001)
    begun = 0
    while pace.wait_seconds(2000.0, 100) == 0:
        pace.start(2000.0)
        begun += 1
    assert begun <= 100 * BURST_SECONDS + 1


def test_a_divided_pace_follows_its_share() -> None:
    pace = Pace(1000, divided=True)
    pace.share = 0.25
    assert starts_within(pace, 4, 0.001) == pytest.approx(1000, rel=0.05)
    pace.share = 0
    assert pace.wait_seconds(3000.0, 1) > 0


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_that_is_none(rate: float) -> None:
    with pytest.raises(ValueError, match="must be more than 0"):
        Orchestrator().worker(quick, max_activities_per_second=rate)


@activity.defn
async def quick() -> float:
    return time.monotonic()


async def test_a_worker_begins_no_more_than_it_may() -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(quick, max_activities_per_second=50):
        tasks = [orchestrator.start("quick") for _ in range(40)]
        moments = [await orchestrator.value(task) for task in tasks]
    took = max(moments) - min(moments)
    assert 50 * (took + BURST_SECONDS) * 1.05 + 1 >= 40


async def test_two_workers_keep_a_queues_pace_together(redis_url: str) -> None:
    orchestrator = Orchestrator(partitions=4)
    settings = sharing(redis_url)
    limit = 200
    options: dict[str, Any] = {"max_task_queue_activities_per_second": limit, "settings": settings}
    async with orchestrator.worker(quick, **options) as one, orchestrator.worker(quick, **options) as two:
        await until(lambda: partitions_of(one) == 2 and partitions_of(two) == 2, 10)
        tasks = [orchestrator.start("quick", partition=number % 4) for number in range(400)]
        moments = sorted([await orchestrator.value(task) for task in tasks])
        assert {answer.worker for answer in orchestrator.answers()} == {one.worker_id, two.worker_id}
    first = moments[0]
    for number, moment in enumerate(moments, 1):
        assert number <= limit * (moment - first + BURST_SECONDS + 0.1) * 1.05 + 1


async def test_all_goes_to_whoever_has_work(redis_url: str) -> None:
    orchestrator = Orchestrator(partitions=4)
    options: dict[str, Any] = {"max_task_queue_activities_per_second": 1000, "settings": sharing(redis_url)}
    async with orchestrator.worker(quick, **options) as one, orchestrator.worker(quick, **options) as two:
        await until(lambda: partitions_of(one) == 2 and partitions_of(two) == 2, 10)
        tasks = [orchestrator.start("quick", partition=0) for _ in range(100)]
        for task in tasks:
            await orchestrator.value(task)
        assert len({answer.worker for answer in orchestrator.answers()}) == 1


async def test_while_redis_is_away_each_keeps_to_its_share(
    local_redis: LocalRedis, caplog: pytest.LogCaptureFixture
) -> None:
    orchestrator = Orchestrator()
    options: dict[str, Any] = {"max_task_queue_activities_per_second": 500, "settings": sharing(local_redis.url)}
    async with orchestrator.worker(quick, **options):
        await orchestrator.value(orchestrator.start("quick"))
        local_redis.kill()
        with caplog.at_level(logging.INFO, "odradek.redis"):
            for task in [orchestrator.start("quick") for _ in range(50)]:
                await orchestrator.value(task)
            await asyncio.sleep(0)
            warnings = [record for record in caplog.records if "ODR-146" in record.message]
            assert len(warnings) == 1
            local_redis.start()
            await until_back(orchestrator, caplog)


async def until_back(orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture) -> None:
    deadline = time.monotonic() + 20
    while not any("is back" in record.message for record in caplog.records):
        assert time.monotonic() < deadline
        await orchestrator.value(orchestrator.start("quick"))
        await asyncio.sleep(0.1)


async def test_a_redis_that_hangs_holds_nothing_up(local_redis: LocalRedis) -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(quick, settings=sharing(local_redis.url)):
        await orchestrator.value(orchestrator.start("quick"))
        local_redis.pause()
        try:
            for task in [orchestrator.start("quick") for _ in range(10)]:
                await orchestrator.value(task)
        finally:
            local_redis.resume()


runs: list[str] = []


@activity.defn
async def counted() -> None:
    runs.append(str(activity.info().workflow_id))


async def test_a_finished_attempt_is_not_run_again_elsewhere(redis_url: str) -> None:
    runs.clear()
    orchestrator = Orchestrator()
    async with orchestrator.worker(counted, settings=sharing(redis_url)) as first:
        task = orchestrator.start("counted")
        await orchestrator.result(task)
        assert first._parts is not None
        shared = first._parts.shared
        assert shared is not None
        await until(lambda: shared.finished([key_of(task)]))
        kill(first)
    async with orchestrator.worker(counted, settings=sharing(redis_url)) as second:
        await holds(second)
        orchestrator.send(task)
        marker = orchestrator.start("counted")
        await orchestrator.result(marker)
    assert runs == [task.workflow_id, marker.workflow_id]


def key_of(task: TaskRecord) -> AttemptKey:
    return task.namespace, task.run_id, task.seq, task.attempt


async def test_what_was_finished_before_a_move_is_run_again_after_it(redis_url: str) -> None:
    """A copy of the namespace issues the same attempt: the answer that was given went to the original."""
    runs.clear()
    orchestrator = Orchestrator()
    copied = orchestrator.namespace.topics.namespace + "-copy"
    create_namespace(orchestrator.log, copied, partitions=1)
    async with orchestrator.worker(counted, settings=sharing(redis_url)) as worker:
        task = orchestrator.start("counted")
        await orchestrator.result(task)
        assert worker._parts is not None
        shared = worker._parts.shared
        assert shared is not None
        await until(lambda: shared.finished([key_of(task)]))
        again = replace(task, namespace=copied)
        assert not shared.finished([key_of(again)])
        orchestrator.send(again)
        await until(lambda: runs.count(task.workflow_id) == 2)
        orchestrator.send(again)  # and once is enough there, too
        marker = orchestrator.start("counted")
        await orchestrator.result(marker)
    assert runs == [task.workflow_id, task.workflow_id, marker.workflow_id]


def test_what_was_finished_for_a_queue_that_is_gone_says_nothing_of_one_of_its_name(redis_url: str) -> None:
    """A namespace is restored under its name, beside the Redis of the lost one."""
    name = f"ns-{time.time_ns()}"
    before, after = (SharedState(redis_url, name, topic_id=topic_id) for topic_id in ("lost", "restored"))
    attempt = (name, "run", 1, 1)
    before.remember([attempt])
    assert before.finished([attempt]) == {attempt}
    assert after.finished([attempt]) == set()
    for state in (before, after):
        state.close()


def test_moments_are_handed_out_once(redis_url: str) -> None:
    states = [SharedState(redis_url, f"ns-{time.time_ns()}") for _ in range(1)]
    states.append(SharedState(redis_url, states[0]._prefix.split(":")[1]))
    began, granted = time.monotonic(), 0
    while time.monotonic() - began < WINDOW_SECONDS:
        granted += sum(state.moments("q", 400, 100, BURST_SECONDS) or 0 for state in states)
        time.sleep(0.005)
    took = time.monotonic() - began
    assert granted <= 400 * (took + BURST_SECONDS) * 1.05 + 1
    assert granted >= 400 * took * 0.95 - 1, "who asks every 5 ms gets it all"


def test_without_the_client_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ImportError, match=r"ODR-145: .*pip install odradek\[redis\]"):
        SharedState("redis://nowhere", "ns")


def partitions_of(worker: object) -> int:
    parts = worker._parts  # type: ignore[attr-defined]
    return len(parts.fetcher._assignments) if parts else 0


def sharing(url: str) -> WorkerSettings:
    return replace(QUICK, redis=url)
