"""What can be asked of a run after its end, through a client."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.worker import OrchestratorSettings, Worker


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class LongHistory:
    """Fills more than one chunk."""

    @workflow.run
    async def run(self) -> int:
        for _ in range(20):
            await workflow.execute_activity(echo, "x" * 300, start_to_close_timeout=timedelta(seconds=10))
        return 20


def test_history_of_a_closed_run_can_be_read_once_its_chunks_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    """The archive answers from the moment that the run's own records may go; its partition goes on as it was."""

    async def scenario() -> None:
        settings = OrchestratorSettings(checkpoint_seconds=0.02)
        async with (
            await Client.connect("memory://") as client,
            Worker(client, task_queue="q", workflows=[LongHistory], activities=[echo], orchestrator_settings=settings),
        ):
            assert await client.execute_workflow(LongHistory.run, id="long", task_queue="q") == 20
            handle = client.get_workflow_handle("long")
            for _ in range(20):
                assert len((await handle.fetch_history()).events) == 42
                await asyncio.sleep(0.02)

    asyncio.run(scenario())
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
