"""The shop that never closes, for one round."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.orders import activities, shop
from examples.orders.ledger import Ledger
from examples.orders.models import Status
from examples.orders.workflows import OrderWorkflow
from odradek.client import Client
from odradek.worker import Worker

ADDRESS = "memory://a-shop"


async def test_a_round_of_orders_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty one is declined and one cannot be delivered, which is undone."""
    monkeypatch.setenv(activities.LEDGER_VARIABLE, str(tmp_path / "ledger.db"))
    activities._ledger.cache_clear()
    ledger = Ledger(tmp_path / "ledger.db")
    async with await Client.connect(ADDRESS, namespace="orders") as client:
        does = [
            activities.reserve_stock,
            activities.charge_card,
            activities.ship_parcel,
            activities.notify_customer,
            activities.refund_card,
            activities.release_stock,
        ]
        async with Worker(client, task_queue="orders", workflows=[OrderWorkflow], activities=does):
            ended = await shop.sell(ADDRESS, "orders", ledger, 1000, 1)
    assert ended == {Status.COMPLETED: 18, Status.COMPENSATED: 2}
    audit = await ledger.audit()
    assert (audit.lost, audit.decided_twice) == ([], [])
    activities._ledger().close()
    activities._ledger.cache_clear()
    ledger.close()
