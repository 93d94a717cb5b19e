"""A task queue that no worker serves is told of: in the log, in the gauges, and by ``describe``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from odradek import activity, workflow
from odradek.client import Client, PendingWait, WorkflowHandle
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

NAMESPACE = "unserved"
SETTINGS = OrchestratorSettings(
    watch_seconds=0.02, beacon_seconds=0.05, worker_lost_seconds=0.2, unserved_warn_seconds=0.3
)


@activity.defn
async def charge() -> str:
    return "charged"


@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> str:
        return str(
            await workflow.execute_activity(charge, task_queue="payments", start_to_close_timeout=timedelta(seconds=30))
        )


def gauge() -> float | None:
    labels = {"namespace": NAMESPACE, "task_queue": "payments"}
    return REGISTRY.get_sample_value("odradek_task_queue_unserved_seconds", labels)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(2000):
        if await holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 20 s")


async def wait_of(handle: WorkflowHandle[Any, Any]) -> PendingWait:
    (wait,) = (await handle.describe()).waits
    return wait


async def test_a_queue_without_a_worker_is_told_of_until_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "odradek.orchestrator.queues")
    async with (
        await Client.connect("memory://unserved", namespace=NAMESPACE) as client,
        Worker(client, task_queue="orders", workflows=[Order], orchestrator_settings=SETTINGS),
    ):
        handle = await client.start_workflow(Order.run, id="order-77", task_queue="orders")

        def warnings() -> list[str]:
            return [message for message in caplog.messages if "ODR-205" in message]

        async def told() -> bool:
            return (await wait_of(handle)).unserved is not None and bool(gauge()) and bool(warnings())

        await until(told)
        wait = await wait_of(handle)
        assert (wait.state, wait.task_queue) == ("dispatched", "payments")
        (warning,) = warnings()  # once, however often it is looked
        assert 'no worker has served task queue "payments"' in warning
        assert 'activity "charge" of workflow "order-77" waits there' in warning
        async with Worker(client, task_queue="payments", activities=[charge]):
            assert await handle.result() == "charged"

            async def gone() -> bool:
                return gauge() is None

            await until(gone)


async def test_a_paused_queue_says_so_where_a_workflow_waits_for_it() -> None:
    """The orchestrator knows as soon as the worker does, and the worker begins nothing."""
    async with await Client.connect("memory://unserved-paused", namespace=NAMESPACE) as client:
        async with Worker(client, task_queue="payments", activities=[charge]):
            await client.pause_task_queue("payments", reason="the bank is down")  # the worker has made the queue
        async with (
            Worker(client, task_queue="orders", workflows=[Order], orchestrator_settings=SETTINGS),
            Worker(client, task_queue="payments", activities=[charge]),
        ):
            handle = await client.start_workflow(Order.run, id="order-78", task_queue="orders")
            wait = await wait_of(handle)
            assert (wait.state, wait.pause_reason) == ("queue-paused", "the bank is down")
            await client.resume_task_queue("payments")
            assert await handle.result() == "charged"


async def test_a_type_paused_before_the_orchestrator_began_does_not_run_even_once() -> None:
    async with await Client.connect("memory://paused-type", namespace=NAMESPACE) as client:
        await client.pause_workflow_type("Order", reason="a bad deploy")
        (paused,) = await client.list_paused_workflow_types()
        assert (paused.name, paused.pause.reason, paused.pause.identity) == ("Order", "a bad deploy", client.identity)
        async with (
            Worker(client, task_queue="orders", workflows=[Order], orchestrator_settings=SETTINGS),
            Worker(client, task_queue="payments", activities=[charge]),
        ):
            handle = await client.start_workflow(Order.run, id="order-79", task_queue="orders")
            description = await handle.describe()
            assert description.parked is not None
            assert "ODR-206" in description.parked.message
            assert description.waits == []
            await client.resume_workflow_type("Order")
            assert await handle.result() == "charged"
            assert await client.list_paused_workflow_types() == []
