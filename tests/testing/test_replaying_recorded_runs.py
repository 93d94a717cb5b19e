"""Runs of an environment, replayed: fetched, as JSON, from the archive; with patches, children and steps in them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from odradek import activity, workflow
from odradek.client import WorkflowHistory, archived_histories
from odradek.testing import WorkflowEnvironment
from odradek.worker import HistoryMismatch, Replayer, Worker

SOON = timedelta(seconds=20)


@activity.defn
async def note(word: str) -> str:
    return word


def four() -> str:
    return "step"


@workflow.defn(name="Everything")
class Everything:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self, depth: int) -> int:
        if workflow.patched("notes-first"):
            await workflow.execute_activity(note, "first", start_to_close_timeout=SOON)
        await workflow.wait_condition(lambda: self.total > 0 or depth > 0, timeout=timedelta(days=3))
        if depth == 0:
            self.total += await workflow.execute_child_workflow("Everything", 1, id="child")
        self.total += len(await workflow.step(four))
        await workflow.sleep(timedelta(days=1))
        await workflow.execute_activity(note, "last", start_to_close_timeout=SOON)
        return self.total

    @workflow.signal
    async def add(self, number: int) -> None:
        await asyncio.sleep(0.01)
        self.total += number


@workflow.defn(name="Everything")
class EndsOtherwise(Everything):
    @workflow.run
    async def run(self, depth: int) -> int:
        if workflow.patched("notes-first"):
            await workflow.execute_activity(note, "first", start_to_close_timeout=SOON)
        await workflow.execute_activity("other", start_to_close_timeout=SOON)
        return 0


@pytest.fixture
def recorded() -> list[WorkflowHistory]:
    async def run() -> list[WorkflowHistory]:
        async with (
            await WorkflowEnvironment.start_time_skipping() as env,
            Worker(env.client, task_queue="q", workflows=[Everything], activities=[note]),
        ):
            handle = await env.client.start_workflow(Everything.run, 0, id="parent", task_queue="q")
            await handle.signal(Everything.add, 5)
            assert await handle.result() == 13
            fetched = await handle.fetch_history()
            archived = [history async for history in archived_histories(env.client, workflow_type="Everything")]
            assert sorted(history.workflow_id for history in archived) == ["child", "parent"]
            assert [history async for history in archived_histories(env.client, workflow_type="Other")] == []
            same = next(history for history in archived if history.workflow_id == "parent")
            assert list(same.events) == list(fetched.events)
            return archived

    return asyncio.run(run())


async def test_what_has_run_replays(recorded: list[WorkflowHistory]) -> None:
    results = await Replayer(workflows=[Everything]).replay_workflows(recorded)
    assert results.replay_failures == {}
    as_text = [WorkflowHistory.from_json(history.workflow_id, history.to_json()) for history in recorded]
    await Replayer(workflows=[Everything]).replay_workflows(as_text)


async def test_every_beginning_of_it_replays(recorded: list[WorkflowHistory]) -> None:
    """As an orchestrator would find it that takes over after any transition."""
    replayer = Replayer(workflows=[Everything])
    for history in recorded:
        transitions = sorted({event.n for event in history.events})
        for last in transitions:
            events = [event for event in history.events if event.n <= last]
            await replayer.replay_workflow(WorkflowHistory(history.workflow_id, events, run_id=history.run_id))


async def test_a_difference_behind_a_patch_is_placed_right(recorded: list[WorkflowHistory]) -> None:
    """The mark of the patch is an event, too, and no command of this replay."""
    for history in recorded:
        with pytest.raises(HistoryMismatch) as raised:
            await Replayer(workflows=[EndsOtherwise]).replay_workflow(history)
        error = raised.value
        names = [type(event.body).__name__ for event in history.events]
        assert error.event - 1 > names.index("VersionMarked")
        assert error.made.endswith('"other")')
        assert "in EndsOtherwise.run" in error.place
