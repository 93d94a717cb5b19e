"""Chains of runs as clients see them: real client, worker and orchestrator on a log in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from odradek import workflow
from odradek.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from odradek.common import RetryPolicy
from odradek.exceptions import ApplicationError
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, session_timeout_seconds=2)


@workflow.defn
class Countdown:
    @workflow.run
    async def run(self, left: int) -> str:
        if left > 0:
            workflow.continue_as_new(left - 1)
        return f"run {workflow.info().run_id}"


@workflow.defn
class Mailbox:
    def __init__(self) -> None:
        self.letters: list[str] = []

    @workflow.signal
    def post(self, letter: str) -> None:
        self.letters.append(letter)

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.letters) >= enough)
        return self.letters


@workflow.defn
class ThirdTime:
    @workflow.run
    async def run(self) -> int:
        if workflow.info().attempt < 3:
            raise ApplicationError("not yet")
        return workflow.info().attempt


@asynccontextmanager
async def served() -> AsyncIterator[Client]:
    workflows = [Countdown, Mailbox, ThirdTime]
    async with (
        await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
        Worker(client, task_queue="q", workflows=workflows, orchestrator_settings=SETTINGS),
    ):
        yield client


def run(test: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served() as client:
            await asyncio.wait_for(test(client), 60)

    asyncio.run(main())


def test_the_result_is_that_of_the_last_run() -> None:
    async def body(client: Client) -> None:
        handle = await client.start_workflow(Countdown.run, 3, id="c", task_queue="q")
        last = (await handle.result()).removeprefix("run ")
        assert last != handle.first_execution_run_id
        with pytest.raises(WorkflowContinuedAsNewError) as caught:
            await handle.result(follow_runs=False)
        second = client.get_workflow_handle("c", run_id=caught.value.new_execution_run_id)
        assert (await second.describe()).status is WorkflowExecutionStatus.CONTINUED_AS_NEW
        assert await second.result() == f"run {last}"
        assert await client.execute_workflow(Countdown.run, 2, id="d", task_queue="q")

    run(body)


def test_signal_with_start() -> None:
    async def body(client: Client) -> None:
        handles = [
            await client.start_workflow(
                Mailbox.run, 3, id="m", task_queue="q", start_signal="post", start_signal_args=[f"letter {n}"]
            )
            for n in range(3)
        ]
        assert len({handle.result_run_id for handle in handles}) == 1
        assert await handles[0].result() == ["letter 0", "letter 1", "letter 2"]

    run(body)


def test_retries_of_a_whole_workflow() -> None:
    async def body(client: Client) -> None:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=20))
        handle = await client.start_workflow(ThirdTime.run, id="t", task_queue="q", retry_policy=policy)
        assert await handle.result() == 3
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result(follow_runs=False)
        assert isinstance(caught.value.cause, ApplicationError)

    run(body)


def test_a_wrong_cron_schedule_is_told_before_anything_is_sent() -> None:
    async def body(client: Client) -> None:
        with pytest.raises(ValueError, match='ODR-111: cron schedule "now and then"'):
            await client.start_workflow(Countdown.run, 0, id="c", task_queue="q", cron_schedule="now and then")

    run(body)
