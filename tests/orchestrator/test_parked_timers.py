"""Timers whose time comes while their run is parked: the code may have cancelled them by the time it sees that."""

from __future__ import annotations

import asyncio

import pytest

from odradek import workflow
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
