"""Orders, with what makes every role use its rights: an activity, a child, a signal, a query, a search attribute."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from odradek import activity, workflow
from odradek.client import Client
from odradek.contrib.encryption import TopicKeyStore, WorkflowKeyCodec
from odradek.converter import DataConverter
from odradek.log import Log, open_log
from odradek.log.namespace import open_namespace
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.access import Role
from odradek.workers import ActivityWorker

QUEUE = "orders"

Config = Mapping[str, str]


MASTER = {"2026": b"a key of these tests, 32 bytes.."}


@activity.defn
async def charge(order: str) -> str:
    return f"charged {order}"


@activity.defn
async def weigh() -> str:
    return "2 kg"


@workflow.defn
class Parcel:
    @workflow.run
    async def run(self, order: str) -> str:
        return f"sent {order}"


@workflow.defn
class OrderPlaced:
    def __init__(self) -> None:
        self.confirmed = False

    @workflow.run
    async def run(self, order: str) -> list[str]:
        await workflow.wait_condition(lambda: self.confirmed)
        charged = await workflow.execute_activity(charge, order, start_to_close_timeout=timedelta(seconds=20))
        sent = await workflow.execute_child_workflow(Parcel.run, order, id=f"parcel-{order}")
        return [charged, sent]

    @workflow.signal
    def confirm(self) -> None:
        self.confirmed = True

    @workflow.query
    def is_confirmed(self) -> bool:
        return self.confirmed


@workflow.defn
class Unserved:
    """Its activity goes to a queue that has no topic yet."""

    @workflow.run
    async def run(self) -> None:
        limit = timedelta(seconds=20)
        await workflow.execute_activity(charge, "x", task_queue="unserved", start_to_close_timeout=limit)


@workflow.defn
class Weighed:
    """Its first payload is its worker's."""

    @workflow.run
    async def run(self) -> str:
        weight: str = await workflow.execute_activity(weigh, start_to_close_timeout=timedelta(seconds=20))
        return weight


def converter(log: Log, namespace: str) -> DataConverter:
    """With a key for each workflow, as whoever reads and writes through ``log`` may."""
    return DataConverter(payload_codec=WorkflowKeyCodec(TopicKeyStore(log, namespace, MASTER, "2026")))


@asynccontextmanager
async def orchestrating(address: str, namespace: str, config: Config) -> AsyncIterator[None]:
    """As ``odradek orchestrator`` does it."""
    log = open_log(address, config)
    registry = Registry()
    registry.add([OrderPlaced, Parcel, Unserved, Weighed])
    opened = await asyncio.to_thread(open_namespace, log, namespace, role=Role.ORCHESTRATOR)
    settings = OrchestratorSettings(
        delete_records_seconds=0.2, checkpoint_seconds=0.1, watch_seconds=0.5, prune_seconds=0.5
    )
    served = Orchestrator(opened, registry, data_converter=converter(log, namespace), settings=settings)
    thread = threading.Thread(target=served.run)
    thread.start()
    try:
        await asyncio.to_thread(served.ready.wait, 30)
        yield
    finally:
        served.stop()
        await asyncio.to_thread(thread.join)
        log.close()


@asynccontextmanager
async def working(address: str, namespace: str, config: Config) -> AsyncIterator[None]:
    """As ``odradek worker`` does it."""
    log = open_log(address, config)
    opened = await asyncio.to_thread(open_namespace, log, namespace, role=Role.WORKER, queues=[QUEUE])
    async with ActivityWorker(opened, QUEUE, [charge, weigh], data_converter=converter(log, namespace)):
        yield
    log.close()


async def order(client: Client, name: str) -> list[str]:
    """One order from its start to its result, and what people ask afterwards."""
    handle = await client.start_workflow(OrderPlaced.run, name, id=name, task_queue=QUEUE)
    assert await handle.query(OrderPlaced.is_confirmed) is False
    assert (await handle.fetch_history()).events
    await handle.signal(OrderPlaced.confirm)
    result = await handle.result()
    assert await handle.query(OrderPlaced.is_confirmed) is True
    assert (await handle.fetch_history()).events
    assert [found async for found in client.list_workflows("WorkflowType = 'OrderPlaced'")]
    return result
