"""Workflows that use everything at once, on every log: children, continue-as-new, updates, steps, signals, queries."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from odradek.exceptions import ApplicationError, ChildWorkflowError
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

SOON = {"start_to_close_timeout": timedelta(seconds=20)}


@activity.defn
async def ship(item: str) -> str:
    return f"{item} shipped"


def rounded(price: float) -> int:
    return round(price)


@workflow.defn
class Parcel:
    @workflow.run
    async def run(self, item: str) -> str:
        if item == "piano":
            raise ApplicationError(f"{item} is too heavy", type="TooHeavy")
        shipped: str = await workflow.execute_activity(ship, item, **SOON)
        return shipped


@workflow.defn
class Cart:
    """Takes items by update and by signal, in several runs, and sends a child for each when it is closed."""

    @workflow.init
    def __init__(self, items: list[str], total: int) -> None:
        self.items, self.total, self.closed = items, total, False

    @workflow.run
    async def run(self, items: list[str], total: int) -> list[str]:
        here = len(self.items)
        await workflow.wait_condition(lambda: self.closed or len(self.items) >= here + 2)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self.closed:
            workflow.continue_as_new(args=[self.items, self.total])
        own_id = workflow.info().workflow_id
        sent = await asyncio.gather(
            *(workflow.execute_child_workflow(Parcel.run, item, id=f"{own_id}/{item}") for item in self.items),
            return_exceptions=True,
        )
        return [str(s.cause) if isinstance(s, ChildWorkflowError) else str(s) for s in sent] + [str(self.total)]

    @workflow.update
    async def add(self, item: str, price: float) -> int:
        self.total += await workflow.step(rounded, price)
        self.items.append(item)
        return self.total

    @add.validator
    def may_add(self, item: str, price: float) -> None:
        if price < 0:
            raise ValueError("nothing is that cheap")

    @workflow.signal
    def gift(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def count(self) -> int:
        return len(self.items)


def test_everything_at_once(address: str) -> None:
    async def body(client: Client) -> None:
        first = await client.start_workflow(Cart.run, args=[[], 0], id="cart", task_queue="q")
        cart = client.get_workflow_handle_for(Cart.run, "cart")
        for number in range(5):
            assert await cart.execute_update(Cart.add, args=[f"tea {number}", 1.6]) == 2 * (number + 1)
            await cart.signal(Cart.gift, f"honey {number}")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await cart.execute_update(Cart.add, args=["air", -1.0])
        assert "nothing is that cheap" in str(refused.value.cause)
        await cart.execute_update(Cart.add, args=["piano", 4000.0])
        await cart.signal(Cart.close)
        expected = [f"{what} {number} shipped" for number in range(5) for what in ("tea", "honey")]
        assert await first.result() == [*expected, "TooHeavy: piano is too heavy", "4010"]
        assert await cart.query(Cart.count) == 11
        with pytest.raises(WorkflowFailureError, match="failed"):
            await client.get_workflow_handle("cart/piano").result()

    async def main() -> None:
        namespace = f"workflows-{uuid.uuid4().hex[:8]}"
        log = open_log(address)
        await asyncio.to_thread(create_namespace, log, namespace, partitions=4, queues=("q",))
        settings = OrchestratorSettings(checkpoint_seconds=0.2)
        async with (
            await Client.connect(address, namespace=namespace) as client,
            Worker(
                client,
                task_queue="q",
                workflows=[Cart, Parcel],
                activities=[ship],
                orchestrator_settings=settings,
            ),
        ):
            await asyncio.wait_for(body(client), 90)
        log.close()

    asyncio.run(main())
