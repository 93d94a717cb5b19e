"""Answers reach the log although it fails now and then."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odradek import activity
from odradek.log import AppendFailed, AppendQueueFull
from odradek.log.memory import MemoryAppender
from tests.workers.fake import QUICK, Orchestrator, until


@activity.defn
async def quick(name: str) -> str:
    return name


@activity.defn
def in_thread(name: str) -> str:
    activity.heartbeat(name)
    return name


@pytest.mark.parametrize("fatal", [False, True])
async def test_an_answer_that_was_not_appended_is_appended_again(monkeypatch: pytest.MonkeyPatch, fatal: bool) -> None:
    append = MemoryAppender.append
    refusals = [3]

    def flaky(self: Any, topic: str, partition: int, key: Any, value: Any, on_appended: Any = None) -> None:
        if topic.endswith(".inbox") and refusals[0]:
            refusals[0] -= 1
            self._due.append((on_appended, None, AppendFailed(topic, partition, "by the test", fatal)))
        else:
            append(self, topic, partition, key, value, on_appended)

    monkeypatch.setattr(MemoryAppender, "append", flaky)
    orchestrator = Orchestrator()
    async with orchestrator.worker(quick):
        tasks = [orchestrator.start("quick", str(n)) for n in range(5)]
        for n, task in enumerate(tasks):
            assert await orchestrator.value(task) == str(n)
        await until(lambda: orchestrator.committed().offset == 5)
    assert refusals == [0]


async def test_a_full_queue_of_the_appender_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    append = MemoryAppender.append

    def small(self: Any, topic: str, partition: int, key: Any, value: Any, on_appended: Any = None) -> None:
        if topic.endswith(".inbox") and self.in_flight >= 2:
            raise AppendQueueFull(topic, self.in_flight)
        append(self, topic, partition, key, value, on_appended)

    monkeypatch.setattr(MemoryAppender, "append", small)
    orchestrator = Orchestrator()
    async with orchestrator.worker(quick):
        orchestrator.send(*(orchestrator.task("quick", "x") for _ in range(200)))
        await until(lambda: orchestrator.committed().offset == 200)
    assert len(orchestrator.answers()) == 200


async def test_nothing_is_fetched_while_too_many_answers_wait_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    append, outage = MemoryAppender.append, [True]

    def down(self: Any, topic: str, partition: int, key: Any, value: Any, on_appended: Any = None) -> None:
        if topic.endswith(".inbox") and outage[0]:
            raise AppendQueueFull(topic, 0)
        append(self, topic, partition, key, value, on_appended)

    monkeypatch.setattr(MemoryAppender, "append", down)
    orchestrator = Orchestrator()
    settings = replace(QUICK, unacknowledged_max=10)
    async with orchestrator.worker(quick, settings=settings, max_concurrent_activities=5) as worker:
        orchestrator.send(*(orchestrator.task("quick", "x") for _ in range(500)))
        await until(lambda: worker._parts and worker._parts.sender.unacknowledged >= 10)
        assert worker._parts is not None
        assert worker._parts.fetcher._sent_count < 200
        outage[0] = False
        await until(lambda: orchestrator.committed().offset == 500)


async def test_nothing_is_fetched_while_answers_of_too_many_bytes_wait_for_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Results that the log does not acknowledge fill no memory: those of what had been fetched before are the last."""
    append, held = MemoryAppender.append, deque[tuple[Any, ...]]()
    outage = [True]

    def unheard(self: Any, topic: str, *record: Any) -> None:
        if topic.endswith(".inbox") and outage[0]:
            held.append((self, topic, *record))
        else:
            append(self, topic, *record)

    monkeypatch.setattr(MemoryAppender, "append", unheard)
    orchestrator = Orchestrator()
    settings = replace(QUICK, unacknowledged_bytes_max=20_000, prefetch_count_max=10)
    async with orchestrator.worker(quick, settings=settings, max_concurrent_activities=5) as worker:
        orchestrator.send(*(orchestrator.task("quick", "x" * 1000) for _ in range(500)))
        await until(lambda: worker._parts and worker._parts.sender.is_congested)
        assert worker._parts is not None
        parts = worker._parts
        await until(lambda: parts.sender.unacknowledged == parts.fetcher._sent_count)
        assert 20 <= parts.fetcher._sent_count < 200
        outage[0] = False
        while held:
            append(*held.popleft())
        await until(lambda: orchestrator.committed().offset == 500)
        assert parts.sender._outstanding_bytes == 0


async def test_it_works_on_a_file_too(tmp_path: Path) -> None:
    orchestrator = Orchestrator(partitions=2, address=f"sqlite:////{tmp_path}/log.db")
    for _ in range(2):
        async with orchestrator.worker(quick, in_thread):
            tasks = [orchestrator.start("quick", str(n), partition=n % 2) for n in range(50)]
            tasks.append(orchestrator.start("in_thread", "last"))
            for task in tasks[-3:]:
                await orchestrator.result(task)
    assert len(orchestrator.answers()) == 102
    assert orchestrator.log.lag(orchestrator.namespace.topics.queue_group("q"), orchestrator.topic) == {0: 0, 1: 0}
    orchestrator.log.close()
