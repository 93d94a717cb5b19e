"""An orchestrator that is frozen, is replaced, and wakes with appends still to be sent."""

from __future__ import annotations

import asyncio
import time

import pytest

from examples.orders.customers import TASK_QUEUE
from odradek.testing.broker import LocalBroker
from tests.chaos.evidence import Evidence
from tests.chaos.shop import ORDERS, Measured, Process, Shop

pytestmark = pytest.mark.kafka
IN_FLIGHT = "odradek_appends_in_flight"


def noticed(process: Process) -> bool:
    """The group or the log has told it that it owns nothing any more."""
    return any(said in process.output() for said in ("went to others", "another owner claimed"))


async def freeze_with_appends_in_flight(shop: Shop, broker: LocalBroker, owner: Process) -> None:
    """While the broker does not answer the owner's appends pile up, and it is frozen before the broker goes on."""

    async def piled_up() -> bool:
        return await owner.metric(IN_FLIGHT) >= 50

    broker.pause()
    await shop.until(piled_up, "unacknowledged appends")
    owner.freeze()
    broker.resume()


async def test_zombie_cannot_decide_after_takeover(broker: LocalBroker, shop: Shop, measured: Measured) -> None:
    """Its late appends land behind its successor's claims, count for nothing, and are taken out of the log."""
    zombie = shop.orchestrator("zombie")
    shop.worker()
    async with shop.ordering() as customers:
        await shop.until(lambda: len(customers.answered) >= ORDERS // 10, "the first answers")
        await freeze_with_appends_in_flight(shop, broker, zombie)
        frozen = time.monotonic()
        successor = shop.orchestrator("successor")
        await shop.until(successor.is_live, "the takeover")
        measured("from the freeze until a process started then serves all partitions", time.monotonic() - frozen)
        zombie.thaw()
        await shop.until(lambda: noticed(zombie), "the zombie to notice")
    await shop.audited()
    evidence = await asyncio.to_thread(Evidence, shop.log, shop.topics.namespace)
    assert len(evidence.late_records()) >= 10, "hardly anything came late: this test showed nothing"
    evidence.check_late_records_are_removed()
    assert len(evidence.archived) == ORDERS
    assert evidence.check_tasks(TASK_QUEUE) >= 4 * ORDERS
    assert evidence.check_replies() >= ORDERS
