"""Another life, or another process, finds what the one before has left."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import pytest

from examples.orders.customers import TASK_QUEUE
from odradek.client import Client, WorkflowExecutionDescription, WorkflowHandle
from tests.chaos.shop import ORDERS, Measured, Process, Shop
from tests.chaos.sleepers import Sleeper

pytestmark = pytest.mark.kafka
SLEEPERS = 200
A_WEEK_SECONDS = 7 * 24 * 3600.0

Sleepers = list[WorkflowHandle[Any, list[str]]]


async def put_to_sleep(client: Client) -> Sleepers:
    async def start(number: int) -> WorkflowHandle[Any, list[str]]:
        handle = await client.start_workflow(
            Sleeper.run, A_WEEK_SECONDS + number, id=f"sleeper-{number}", task_queue=TASK_QUEUE
        )
        await handle.signal(Sleeper.note, f"note {number}")
        return handle

    return await asyncio.gather(*(start(number) for number in range(SLEEPERS)))


async def describe(sleepers: Sleepers) -> list[WorkflowExecutionDescription]:
    return await asyncio.gather(*(handle.describe() for handle in sleepers))


async def wake(sleepers: Sleepers) -> list[list[str]]:
    await asyncio.gather(*(handle.signal(Sleeper.wake) for handle in sleepers))
    return await asyncio.gather(*(handle.result() for handle in sleepers))


def restored_from(process: Process) -> list[int]:
    """Where the reading of history began in its last life, by partition."""
    return [int(offset) for offset in re.findall(r"restoring from (\d+)", process.latest_life())]


@pytest.mark.parametrize("store", ["its local store", "an empty store on another process"])
async def test_takeover_finds_everything(shop: Shop, store: str, measured: Measured) -> None:
    """Sleeping workflows are described word for word as before, and all that was on its way goes on."""
    first = shop.orchestrator(stored=True)
    shop.worker()
    async with await shop.connect() as client:
        sleepers = await put_to_sleep(client)
        first.stop()
        first.start()
        async with shop.ordering() as customers:
            await shop.until(lambda: len(customers.answered) >= ORDERS // 5, "the first answers")
            before = await describe(sleepers)
            killed = time.monotonic()
            first.kill()
            second = first
            if store == "its local store":
                first.start()
            else:
                shop.processes.remove(first)
                second = shop.orchestrator("second", stored=True)
            after = await describe(sleepers)
            measured(f"from SIGKILL to all answers, with {store}", time.monotonic() - killed)
        assert after == before
        assert (max(restored_from(second)) > 0) == (store == "its local store")
        assert await wake(sleepers) == [[f"note {number}"] for number in range(SLEEPERS)]
    await shop.audited()
