"""What an order is, and what becomes of it. Pydantic models travel through workflows and activities as they are."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel


class Trouble(StrEnum):
    """What the outside world does to an order; part of the order, so that every run of the demo meets the same."""

    NONE = "none"
    GATEWAY_DOWN = "gateway-down"
    """The first charge fails before money moves."""
    ANSWER_LOST = "answer-lost"
    """The first charge fails before money moves, the second one after it: only its idempotency key prevents a third."""
    CARD_DECLINED = "card-declined"
    UNDELIVERABLE = "undeliverable"


class Effect(StrEnum):
    """Something done to the outside world, each by an activity of its own."""

    RESERVE = "reserve stock"
    CHARGE = "charge card"
    SHIP = "ship parcel"
    NOTIFY = "notify customer"
    REFUND = "refund card"
    RELEASE = "release stock"


class Status(StrEnum):
    """Where an order stands."""

    RECEIVED = "received"
    CHARGING = "charging"
    COOLING_OFF = "cooling off"
    SHIPPING = "shipping"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


class Order(BaseModel):
    id: str
    sku: str
    quantity: int
    cents: int
    trouble: Trouble = Trouble.NONE
    cool_off_seconds: float = 2.0
    """How long a customer may think again before the parcel leaves."""


class Receipt(BaseModel):
    order_id: str
    status: Status
    reason: str = ""
    expedited: bool = False


_EVERY_TWENTY = {
    1: Trouble.GATEWAY_DOWN,
    6: Trouble.GATEWAY_DOWN,
    3: Trouble.ANSWER_LOST,
    13: Trouble.ANSWER_LOST,
    9: Trouble.CARD_DECLINED,
    19: Trouble.UNDELIVERABLE,
}


def some_orders(count: int) -> list[Order]:
    """The same orders each time: of twenty, one is declined, one is undeliverable, and four charges fail at first."""
    return [
        Order(
            id=f"order-{number:05}",
            sku=f"spool-{number % 7}",
            quantity=1 + number % 3,
            cents=1999 * (1 + number % 3),
            trouble=_EVERY_TWENTY.get(number % 20, Trouble.NONE),
        )
        for number in range(1, count + 1)
    ]


def steps_of(order: Order) -> int:
    """Durable steps: activities and timers, each counted once however often it was tried."""
    match order.trouble:
        case Trouble.CARD_DECLINED:
            return 4  # reserve, charge, refund, release
        case Trouble.UNDELIVERABLE:
            return 6  # reserve, charge, cool-off, ship, refund, release
        case _:
            return 5  # reserve, charge, cool-off, ship, notify
