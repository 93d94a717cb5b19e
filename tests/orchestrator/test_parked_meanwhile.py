"""What ends while its run is parked, and the code has cancelled by the time it sees that."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from odradek import workflow
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from tests.orchestrator.listening import say
from tests.orchestrator.partition import Owner, Partition


class Code:
    has_bug = True


@workflow.defn
class Race:
    """The first of two timers cancels the second; what is raised before is a bug."""

    @workflow.run
    async def run(self) -> str:
        second = asyncio.create_task(asyncio.sleep(20))
        await asyncio.sleep(10)
        if Code.has_bug:
            raise RuntimeError("bug")
        second.cancel()
        await asyncio.sleep(5)
        return "won"


@pytest.mark.parametrize("taken_over", [False, True])
def test_timer_that_fired_while_its_run_was_parked_may_be_cancelled_by_an_earlier_one(
    taken_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Code, "has_bug", True)
    partition = Partition([Race])
    partition.start("w", "Race")
    owner = Owner(partition)
    owner.run()
    for _ in range(3):
        owner.pass_time(10)
    live = owner.shard.workflow("w").live
    assert live is not None
    assert live.run.deferred == 2
    monkeypatch.setattr(Code, "has_bug", False)
    if taken_over:
        owner = Owner(partition)
        owner.run()
    for _ in range(3):
        owner.pass_time(60)
    wf = owner.shard.workflow("w")
    assert wf.live is None
    assert [summary.status for summary in wf.closed.values()] == ["completed"]


@workflow.defn
class Impatient:
    """Cancels its activity at the first word; what is raised before is a bug."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity("work", start_to_close_timeout=timedelta(seconds=60))
        await self.heard.wait()
        if Code.has_bug:
            raise RuntimeError("bug")
        handle.cancel()
        await asyncio.sleep(1)
        return "cancelled"

    @workflow.signal
    def say(self, word: str) -> None:
        self.heard.set()


def test_activity_that_ended_while_its_run_was_parked_may_be_cancelled_by_an_earlier_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Code, "has_bug", True)
    partition = Partition([Impatient])
    request = partition.start("w", "Impatient")
    owner = Owner(partition, activities=False)
    owner.run()
    say(partition, "w", "now")
    owner.run()
    (task,) = [effect.task for effect in partition.emitted if isinstance(effect, fx.SendTask)]
    assert task is not None
    partition.send("w", r.ActivityResult(task.run_id, task.seq, 1, "worker", partition.now_ms, partition.payload(1)))
    owner.run()
    monkeypatch.setattr(Code, "has_bug", False)
    for _ in range(2):
        owner.pass_time(60)
    assert partition.result(request) == "cancelled"
