"""The client's side: places orders, insists on answers, and writes both into the ledger."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Final

from examples.orders.ledger import Ledger
from examples.orders.models import Order, Receipt, Status, Trouble
from examples.orders.workflows import OrderWorkflow
from odradek.client import Client
from odradek.exceptions import OdradekError
from odradek.service import RPCError

TASK_QUEUE: Final = "orders"
PATIENCE: Final = timedelta(seconds=60)
"""For one request, across the death of the process that should answer it."""
IMPATIENT_ONE_IN: Final = 10
ALREADY_CLOSED: Final = "ODR-102"


class Customers:
    """Everybody who orders something, ``at_once_max`` orders at a time."""

    def __init__(self, client: Client, ledger: Ledger, orders: Sequence[Order], at_once_max: int) -> None:
        self._client = client
        self._ledger = ledger
        self._orders = orders
        self._places = asyncio.Semaphore(at_once_max)
        self.running: set[str] = set()
        self.answered: dict[str, Receipt] = {}
        self.failed: dict[str, OdradekError] = {}
        """Orders that ended without an answer, which none should."""
        self.last_answer = time.monotonic()

    @property
    def total(self) -> int:
        return len(self._orders)

    @property
    def by_status(self) -> Counter[Status]:
        return Counter(receipt.status for receipt in self.answered.values())

    async def order_everything(self) -> None:
        """Done when each order has an answer or has failed."""
        async with asyncio.TaskGroup() as customers:
            for number, order in enumerate(self._orders):
                await self._places.acquire()
                customers.create_task(self._order(order, impatient=number % IMPATIENT_ONE_IN == 0))

    async def _order(self, order: Order, *, impatient: bool) -> None:
        self.running.add(order.id)
        try:
            receipt = await self._place(order, impatient=impatient)
            await self._ledger.answered(receipt)
            self.answered[order.id] = receipt
            self.last_answer = time.monotonic()
        except OdradekError as error:
            self.failed[order.id] = error
        finally:
            self.running.discard(order.id)
            self._places.release()

    async def _place(self, order: Order, *, impatient: bool) -> Receipt:
        await self._ledger.asked(order)
        handle = await self._client.start_workflow(
            OrderWorkflow.run, order, id=order.id, task_queue=TASK_QUEUE, rpc_timeout=PATIENCE
        )
        if impatient:
            try:
                await handle.signal(OrderWorkflow.expedite, rpc_timeout=PATIENCE)
                await self._ledger.expedited(order.id)
            except RPCError as error:
                if error.code != ALREADY_CLOSED:
                    raise
        return await handle.result()

    async def ask_status(self) -> str | None:
        """Where one of the running orders stands, by a query; None when none is running or it is over already."""
        order_id = min(self.running, default=None)
        if order_id is None:
            return None
        handle = self._client.get_workflow_handle_for(OrderWorkflow.run, order_id)
        try:
            status = await handle.query(OrderWorkflow.status, rpc_timeout=PATIENCE)
        except OdradekError:
            return None
        return f"{order_id} is {status}"

    def a_compensated_order(self, preferred: Collection[str]) -> str | None:
        """An order that was undone: of the ``preferred`` ones if possible, and one that had been charged."""
        undelivered = {order.id for order in self._orders if order.trouble is Trouble.UNDELIVERABLE}
        undone = [id for id, receipt in self.answered.items() if receipt.status is Status.COMPENSATED]
        return max(undone, key=lambda id: (id in undelivered, id in preferred), default=None)
