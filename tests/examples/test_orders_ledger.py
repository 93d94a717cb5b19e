"""The demo's ledger finds what it is there to find: each fault, written into the books on purpose, fails the audit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from examples.orders.ledger import Audit, EffectCount, Ledger
from examples.orders.models import Effect, Order, Receipt, Status, Trouble

T = TypeVar("T")

GOOD = Order(id="good", sku="spool", quantity=1, cents=100)
UNDELIVERABLE = Order(id="bad", sku="spool", quantity=1, cents=100, trouble=Trouble.UNDELIVERABLE)
COMPLETED = (Effect.RESERVE, Effect.CHARGE, Effect.SHIP, Effect.NOTIFY)
COMPENSATED = (Effect.RESERVE, Effect.CHARGE, Effect.REFUND, Effect.RELEASE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def in_ledger(path: Path, scenario: Callable[[Ledger], Awaitable[T]]) -> T:
    async def run() -> T:
        with closing(Ledger(path)) as ledger:
            return await scenario(ledger)

    return asyncio.run(run())


async def fulfil(ledger: Ledger, order: Order, effects: tuple[Effect, ...], status: Status) -> None:
    await ledger.asked(order)
    for effect in effects:
        await ledger.apply(f"{order.id}-{effect}", order.id, effect, 1)
    await ledger.answered(Receipt(order_id=order.id, status=status))


def audit_of(path: Path, *, fault: Callable[[Ledger], Awaitable[object]] | None = None) -> Audit:
    """The audit of one completed and one compensated order, and a fault."""

    async def scenario(ledger: Ledger) -> Audit:
        await fulfil(ledger, GOOD, COMPLETED, Status.COMPLETED)
        await fulfil(ledger, UNDELIVERABLE, COMPENSATED, Status.COMPENSATED)
        if fault is not None:
            await fault(ledger)
        return await ledger.audit()

    return in_ledger(path, scenario)


def test_orders_that_went_well_have_no_problems(path: Path) -> None:
    audit = audit_of(path)
    assert audit.problems == []
    assert (audit.asked, audit.completed, audit.compensated) == (2, 1, 1)
    assert audit.effects[Effect.CHARGE] == EffectCount(applied=2, keys=2)
    assert audit.effects[Effect.REFUND] == EffectCount(applied=1, keys=1)


def test_an_effect_counts_once_for_each_key(path: Path) -> None:
    """The second execution is refused by its key, and counted: as a retry, or as the same attempt delivered again."""

    async def repeat(ledger: Ledger) -> None:
        assert not await ledger.apply("good-charge card", "good", Effect.CHARGE, 2)
        assert not await ledger.apply("good-charge card", "good", Effect.CHARGE, 2)

    audit = audit_of(path, fault=repeat)
    assert audit.problems == []
    assert audit.effects[Effect.CHARGE] == EffectCount(2, 2, repeated_by_retry=1, repeated_by_delivery=1)


def test_an_order_without_an_answer_is_lost(path: Path) -> None:
    audit = audit_of(path, fault=lambda ledger: ledger.asked(GOOD.model_copy(update={"id": "silent"})))
    assert "silent: no answer" in audit.lost


def test_a_missing_effect_is_lost(path: Path) -> None:
    def forget(ledger: Ledger) -> Awaitable[None]:
        return fulfil(ledger, GOOD.model_copy(update={"id": "unshipped"}), COMPLETED[:2], Status.COMPLETED)

    assert audit_of(path, fault=forget).lost == ["unshipped: never ship parcel", "unshipped: never notify customer"]


def test_a_step_under_two_keys_was_decided_twice(path: Path) -> None:
    audit = audit_of(path, fault=lambda ledger: ledger.apply("another key", "good", Effect.CHARGE, 1))
    assert audit.decided_twice == ["good: charge card 2 times"]


def test_a_key_that_was_applied_twice_is_found(path: Path) -> None:
    """Were the ledger's own guard to fail, the audit would say so."""
    audit_of(path)
    with closing(sqlite3.connect(path)) as books, books:
        books.execute(
            "INSERT INTO applied (key, order_id, effect) SELECT key, order_id, effect FROM applied WHERE place = 1"
        )
    audit = in_ledger(path, lambda ledger: ledger.audit())
    assert audit.effects[Effect.RESERVE] == EffectCount(applied=3, keys=2)
    assert "good-reserve stock: applied 2 times under one idempotency key" in audit.decided_twice


def test_two_answers_are_one_too_many(path: Path) -> None:
    second = Receipt(order_id="good", status=Status.COMPLETED)
    assert audit_of(path, fault=lambda ledger: ledger.answered(second)).decided_twice == ["good: 2 answers"]


def test_compensations_in_the_order_of_the_steps_are_out_of_order(path: Path) -> None:
    wrong = (Effect.RESERVE, Effect.CHARGE, Effect.RELEASE, Effect.REFUND)

    def muddle(ledger: Ledger) -> Awaitable[None]:
        return fulfil(ledger, UNDELIVERABLE.model_copy(update={"id": "muddled"}), wrong, Status.COMPENSATED)

    audit = audit_of(path, fault=muddle)
    assert audit.out_of_order == ["muddled: reserve stock, charge card, release stock, refund card"]


def test_effects_that_an_order_should_not_have_are_unexpected(path: Path) -> None:
    async def overdo(ledger: Ledger) -> None:
        await ledger.apply("refunded all the same", "good", Effect.REFUND, 1)
        await ledger.apply("out of nowhere", "nobody", Effect.SHIP, 1)

    assert audit_of(path, fault=overdo).unexpected == ["good: refund card", "nobody: nobody asked for it"]


def test_a_signal_that_was_acknowledged_and_not_seen_is_lost(path: Path) -> None:
    audit = audit_of(path, fault=lambda ledger: ledger.expedited("good"))
    assert audit.lost == ["good: its signal was acknowledged and never seen"]


def test_what_is_written_survives_the_death_of_the_writer(path: Path) -> None:
    """A connection that is never closed leaves everything that its calls returned from."""

    async def scenario() -> None:
        await fulfil(Ledger(path), GOOD, COMPLETED, Status.COMPLETED)

    asyncio.run(scenario())
    assert in_ledger(path, lambda ledger: ledger.audit()).completed == 1
