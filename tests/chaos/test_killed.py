"""SIGKILL to one part in the middle of a thousand orders, with everybody else going on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from examples.orders.customers import TASK_QUEUE, Customers
from odradek.client import WorkflowHandle
from odradek.testing.broker import LocalBroker
from tests.chaos.shop import ORDERS, Measured, Shop
from tests.chaos.sleepers import Holder

pytestmark = pytest.mark.kafka


async def half_way(shop: Shop, customers: Customers) -> float:
    """Wait until a fifth is answered and the rest is at all stages; the time of what happens then."""
    await shop.until(lambda: len(customers.answered) >= ORDERS // 5, "the first answers")
    assert len(customers.running) >= ORDERS // 5
    return time.time()


async def next_execution(shop: Shop, since: float) -> float:
    first = await shop.ledger.first_execution_after(since)
    assert first is not None
    return first - since


async def test_orchestrator_is_killed_and_started_again(shop: Shop, measured: Measured) -> None:
    """What was acknowledged stands, what was not is decided once: nothing is lost, doubled or left half undone."""
    orchestrator = shop.orchestrator(stored=True)
    shop.worker()
    async with shop.ordering() as customers:
        killed = await half_way(shop, customers)
        orchestrator.kill()
        orchestrator.start()
        await shop.until(orchestrator.is_live, "the partitions to be live again")
        measured("from SIGKILL until all partitions are live again", time.time() - killed)
    await shop.audited()


async def test_worker_is_killed_and_another_one_started(shop: Shop, measured: Measured) -> None:
    """What it had begun is done again by another; what was watched too, within seconds, not an hour."""
    shop.orchestrator()
    worker = shop.worker()
    async with shop.ordering() as customers, await shop.connect() as client:
        held = [
            await client.start_workflow(Holder.run, f"held-{n}", id=f"held-{n}", task_queue=TASK_QUEUE)
            for n in range(5)
        ]
        killed = await half_way(shop, customers)
        await _are_watched(shop, held)
        killed = time.time()
        worker.kill()
        shop.processes.remove(worker)
        shop.worker("worker-2")
        (shop.folder / "let-go").touch()
        for handle in held:
            await handle.result()
            assert len(list(shop.folder.glob(f"{handle.id}-*"))) == 2, "each of the two processes has begun it"
        measured("until what was watched has been done again", time.time() - killed)
    await shop.audited()
    measured("to the next activity", await next_execution(shop, killed))


async def _are_watched(shop: Shop, held: Sequence[WorkflowHandle[Any, Any]]) -> None:
    """Wait until the orchestrator knows who runs each activity."""
    for handle in held:
        await shop.until(partial(_is_started, handle), f"{handle.id} to be handed over")


async def _is_started(handle: WorkflowHandle[Any, Any]) -> bool:
    description = await handle.describe()
    return [wait.state for wait in description.waits] == ["started"]


async def test_broker_is_killed_and_started_again(broker: LocalBroker, shop: Shop, measured: Measured) -> None:
    """Everybody waits for it and goes on; nobody ends, and no request fails."""
    shop.orchestrator()
    shop.worker()
    async with shop.ordering() as customers:
        await half_way(shop, customers)
        broker.kill()
        await asyncio.to_thread(broker.start)
        started = time.time()
    await shop.audited()
    measured("from the start of the broker to the next activity", await next_execution(shop, started))
