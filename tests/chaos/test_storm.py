"""Deaths in a row, each before what the one before has left is put in order."""

from __future__ import annotations

import asyncio
import random

import pytest

from examples.orders.customers import TASK_QUEUE
from odradek.testing.broker import LocalBroker
from tests.chaos.evidence import Evidence
from tests.chaos.shop import Shop

pytestmark = pytest.mark.kafka
ORDERS = 2000
BLOWS = 10
PAUSE_SECONDS_MAX = 0.8


@pytest.mark.parametrize("seed", [1])
async def test_storm_of_deaths(broker: LocalBroker, shop: Shop, seed: int) -> None:
    """Two orchestrators and a worker die again and again, within takeovers too; the broker pauses; nothing is lost."""
    chance = random.Random(seed)
    orchestrators = [shop.orchestrator("first", stored=True), shop.orchestrator("second", stored=True)]
    worker = shop.worker()

    async def pause() -> None:
        await asyncio.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))

    async with shop.ordering(ORDERS) as customers:
        await shop.until(lambda: len(customers.answered) >= ORDERS // 20, "the first answers")
        for _ in range(BLOWS):
            await pause()
            if chance.random() < 0.15:
                broker.pause()
                await pause()
                broker.resume()
            else:
                victim = chance.choice([*orchestrators, worker])
                victim.kill()
                await pause()
                victim.start()
    await shop.audited(ORDERS)
    evidence = await asyncio.to_thread(Evidence, shop.log, shop.topics.namespace)
    assert len(evidence.archived) == ORDERS
    evidence.check_late_records_are_removed()
    evidence.check_tasks(TASK_QUEUE)
    evidence.check_replies()
