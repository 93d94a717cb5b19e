"""What is done to the outside world. Each activity may run more than once; its idempotency key makes it count once."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from examples.orders.ledger import Ledger
from examples.orders.models import Effect, Order, Trouble
from odradek import activity
from odradek.exceptions import ApplicationError

LEDGER_VARIABLE = "ORDERS_LEDGER"
"""The environment variable that says where the ledger is."""


@functools.cache
def _ledger() -> Ledger:
    return Ledger(Path(os.environ[LEDGER_VARIABLE]))


async def _apply(effect: Effect, order: Order) -> None:
    info = activity.info()
    await _ledger().apply(info.idempotency_key, order.id, effect, info.attempt)


@activity.defn
async def reserve_stock(order: Order) -> None:
    await _apply(Effect.RESERVE, order)


@activity.defn
async def charge_card(order: Order) -> None:
    """Fails for good when the card is declined, and once or twice when the payment gateway has a bad moment."""
    attempt = activity.info().attempt
    if order.trouble is Trouble.CARD_DECLINED:
        raise ApplicationError("the bank said no", type="CardDeclined")
    if attempt == 1 and order.trouble in (Trouble.GATEWAY_DOWN, Trouble.ANSWER_LOST):
        raise ConnectionError("the payment gateway refused the connection")
    await _apply(Effect.CHARGE, order)
    if attempt == 2 and order.trouble is Trouble.ANSWER_LOST:
        raise ConnectionError("the payment gateway's answer was lost")


@activity.defn
async def ship_parcel(order: Order) -> None:
    """Fails for good when nobody can deliver there."""
    if order.trouble is Trouble.UNDELIVERABLE:
        raise ApplicationError("no carrier goes there", type="Undeliverable", non_retryable=True)
    await _apply(Effect.SHIP, order)


@activity.defn
async def notify_customer(order: Order) -> None:
    await _apply(Effect.NOTIFY, order)


@activity.defn
async def refund_card(order: Order) -> None:
    """Registered before the charge, so it also runs when nothing was charged: then there is nothing to give back."""
    if await _ledger().has(order.id, Effect.CHARGE):
        await _apply(Effect.REFUND, order)


@activity.defn
async def release_stock(order: Order) -> None:
    if await _ledger().has(order.id, Effect.RESERVE):
        await _apply(Effect.RELEASE, order)
