"""Activities that workers of another namespace run: results, heartbeats, cancellation, and what cannot be reached."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError, WorkflowHandle
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from odradek.log import AppendFailed, OnAppended
from odradek.log.memory import MemoryAppender
from odradek.log.namespace import read_to_end
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.service import RPCError
from odradek.worker import Worker
from odradek.workers import ActivityWorker, WorkerSettings
from odradek.workers.sender import LEASE_KEY
from tests.workers.fake import kill, until

SETTINGS = OrchestratorSettings(beacon_seconds=0.05, worker_lost_seconds=0.4, checkpoint_seconds=0.1)
QUICK = WorkerSettings(lease_seconds=0.05, hand_over_seconds=0.05, commit_seconds=0.05, session_timeout_seconds=1)
QUEUE = "payments:cards"
cancelled: list[str] = []


@activity.defn
async def charge(what: str) -> str:
    info = activity.info()
    if what == "wait" or (what == "die" and info.attempt == 1):
        try:
            while True:
                activity.heartbeat(what)
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            cancelled.append(what)
            raise
    return f"{info.workflow_namespace}, {info.task_queue}, attempt {info.attempt}"


@workflow.defn
class Order:
    @workflow.run
    async def run(self, what: str, queue: str) -> str:
        return str(
            await workflow.execute_activity(
                "charge",
                what,
                task_queue=queue,
                start_to_close_timeout=timedelta(seconds=60),
                heartbeat_timeout=timedelta(seconds=60),
                retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
            )
        )


@asynccontextmanager
async def fleet(address: str = "") -> AsyncIterator[tuple[Client, Client]]:
    """The shop's orchestrator without workers, and a client for the payments team, whose namespace exists."""
    log = address or f"memory://{uuid.uuid4().hex}"
    async with (
        await Client.connect(log, namespace="shop") as shop,
        await Client.connect(log, namespace="payments") as payments,
        Worker(shop, task_queue="q", workflows=[Order], orchestrator_settings=SETTINGS),
    ):
        yield shop, payments


def cards(payments: Client) -> Worker:
    return Worker(payments, task_queue="cards", activities=[charge], worker_settings=QUICK)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_result_comes_back_to_the_namespace_of_the_workflow(kind: str, tmp_path: Path) -> None:
    """Whether the queue's topic is made by the task or by the worker."""
    async with fleet(f"sqlite:///{tmp_path}/log.db" if kind == "sqlite" else "") as (shop, payments):
        first = await shop.start_workflow(Order.run, args=["now", QUEUE], id="order-1", task_queue="q")
        async with cards(payments):
            assert await first.result() == "shop, payments:cards, attempt 1"
            second = await shop.execute_workflow(Order.run, args=["now", QUEUE], id="order-2", task_queue="q")
            assert second == "shop, payments:cards, attempt 1"


async def test_cancellation_reaches_the_worker_over_there() -> None:
    cancelled.clear()
    async with fleet() as (shop, payments), cards(payments):
        handle = await shop.start_workflow(Order.run, args=["wait", QUEUE], id="order", task_queue="q")
        await running(handle)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        await until(lambda: cancelled == ["wait"])


async def test_a_worker_that_is_lost_over_there_is_noticed_here() -> None:
    """By the leases that it writes to the namespace whose tasks it runs; no time limit is near."""
    async with fleet() as (shop, payments):
        home = (await shop.connection.lane("shop")).namespace
        there = (await payments.connection.lane("payments")).namespace
        dying = ActivityWorker(there, "cards", [charge], settings=QUICK)
        running_it = asyncio.create_task(dying.run())
        handle = await shop.start_workflow(Order.run, args=["die", QUEUE], id="order", task_queue="q")
        await running(handle)

        def says_that_it_lives() -> bool:
            return any((record.key or b"")[:2] == LEASE_KEY for record in read_to_end(home.log, home.topics.workers, 0))

        await until(says_that_it_lives)
        await asyncio.to_thread(kill, dying)
        async with cards(payments):
            assert await handle.result() == "shop, payments:cards, attempt 2"
        running_it.cancel()
        await asyncio.wait([running_it])


@pytest.mark.parametrize("queue", ["nowhere:cards", "not a name:cards"])
async def test_a_namespace_that_does_not_exist_fails_the_activity_and_is_not_made(queue: str) -> None:
    async with fleet() as (shop, _):
        with pytest.raises(WorkflowFailureError) as failed:
            await shop.execute_workflow(Order.run, args=["now", queue], id="order", task_queue="q")
        cause = failed.value.cause
        assert isinstance(cause, ActivityError)
        assert isinstance(cause.cause, ApplicationError)
        assert cause.cause.type == "ODR-129"
        assert f'is for task queue "{queue}"' in str(cause.cause)
        assert shop.connection.log.topics("nowhere") == []


async def test_a_topic_over_there_that_refuses_tasks_holds_up_those_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to write there, our own partitions go on, and the task goes once it may."""
    refused = 0
    append = MemoryAppender.append

    def refusing(
        self: MemoryAppender,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        on_appended: OnAppended | None = None,
    ) -> None:
        nonlocal refused
        if topic == "payments.tasks.cards" and refused < 2 and on_appended is not None:
            refused += 1
            on_appended(None, AppendFailed(topic, partition, "not authorised", fatal=False))
        else:
            append(self, topic, partition, key, value, on_appended)

    monkeypatch.setattr(MemoryAppender, "append", refusing)
    async with fleet() as (shop, payments), cards(payments):
        result = await shop.execute_workflow(Order.run, args=["now", QUEUE], id="order", task_queue="q")
        assert result == "shop, payments:cards, attempt 1"
    assert refused == 2


async def test_operators_are_sent_to_the_queues_own_namespace() -> None:
    async with fleet() as (shop, payments):
        with pytest.raises(RPCError, match=r'ask namespace "payments" for "cards"'):
            await shop.describe_task_queue(QUEUE)
        async with cards(payments):
            pass
        assert [queue.name for queue in await payments.list_task_queues()] == ["cards"]


async def running(handle: WorkflowHandle[Any, Any]) -> None:
    for _ in range(1000):
        if any(wait.state == "started" for wait in (await handle.describe()).waits):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not running within 10 s")
