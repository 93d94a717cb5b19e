"""The outside world's own books: what was asked for, what was done and what was answered, each made durable at once.

Knows nothing of the engine, so that it can testify against it: ``audit`` counts what is lost, doubled or out of order.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from examples.orders.models import Effect, Order, Receipt, Status, Trouble

T = TypeVar("T")

BATCH_MAX: Final = 500
LOCK_SECONDS_MAX: Final = 30

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS asked (order_id TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS expedited (order_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS answered (order_id TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS applied (
    place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, order_id TEXT NOT NULL, effect TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS applied_by_key ON applied (key);
CREATE INDEX IF NOT EXISTS applied_by_order ON applied (order_id, effect);
CREATE TABLE IF NOT EXISTS executed (
    key TEXT NOT NULL, order_id TEXT NOT NULL, effect TEXT NOT NULL, attempt INTEGER NOT NULL, time REAL NOT NULL);
"""

_EXPECTED: Final[Mapping[Status, Mapping[Trouble, Sequence[Effect]]]] = {
    Status.COMPLETED: dict.fromkeys(
        (Trouble.NONE, Trouble.GATEWAY_DOWN, Trouble.ANSWER_LOST),
        (Effect.RESERVE, Effect.CHARGE, Effect.SHIP, Effect.NOTIFY),
    ),
    Status.COMPENSATED: {
        Trouble.CARD_DECLINED: (Effect.RESERVE, Effect.RELEASE),
        Trouble.UNDELIVERABLE: (Effect.RESERVE, Effect.CHARGE, Effect.REFUND, Effect.RELEASE),
    },
}
"""The effects of an order, in order, by how it must end."""


class Ledger:
    """A SQLite file that several processes write, synchronous=FULL: what a call returned from survives a power cut.

    One thread writes, as many calls per transaction as are waiting. The coroutines may be awaited on any event loop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waiting.put(None)
        self._thread.join()

    async def asked(self, order: Order) -> None:
        """The client is about to start this order."""
        await self._insert("INSERT INTO asked VALUES (?, ?)", order.id, order.model_dump_json())

    async def expedited(self, order_id: str) -> None:
        """The engine has acknowledged this order's signal."""
        await self._insert("INSERT INTO expedited VALUES (?)", order_id)

    async def answered(self, receipt: Receipt) -> None:
        """The client has this result."""
        await self._insert("INSERT INTO answered VALUES (?, ?)", receipt.order_id, receipt.model_dump_json())

    async def apply(self, key: str, order_id: str, effect: Effect, attempt: int) -> bool:
        """Do it, unless it was done under this idempotency key; the execution is written down in any case."""

        def write(books: sqlite3.Connection) -> bool:
            books.execute("INSERT INTO executed VALUES (?, ?, ?, ?, ?)", (key, order_id, effect, attempt, time.time()))
            done = books.execute(
                "INSERT INTO applied (key, order_id, effect) SELECT ?1, ?2, ?3 "
                "WHERE NOT EXISTS (SELECT 1 FROM applied WHERE key = ?1)",
                (key, order_id, effect),
            )
            return done.rowcount == 1

        return await self._call(write)

    async def has(self, order_id: str, effect: Effect) -> bool:
        """Whether this was done to this order, under whatever key."""
        query = "SELECT 1 FROM applied WHERE order_id = ? AND effect = ?"
        return await self._call(lambda books: books.execute(query, (order_id, effect)).fetchone() is not None)

    async def first_execution_after(self, time: float) -> float | None:
        """When an activity reached the ledger next; seconds since 1970, as ``time``."""
        query = "SELECT MIN(time) FROM executed WHERE time > ?"
        found: float | None = await self._call(lambda books: books.execute(query, (time,)).fetchone()[0])
        return found

    async def audit(self) -> Audit:
        """Compare what was asked for with what was done and answered."""
        return await self._call(_audit)

    async def _insert(self, statement: str, *values: str) -> None:
        await self._call(lambda books: books.execute(statement, values))

    async def _call(self, action: Callable[[sqlite3.Connection], T]) -> T:
        call = _Call(action, asyncio.get_running_loop())
        self._waiting.put(call)
        result: T = await call.future
        return result

    # ------------------------------------------------------------------------------------------ in the thread

    def _write(self) -> None:
        books = sqlite3.connect(self._path, timeout=LOCK_SECONDS_MAX, isolation_level=None)
        books.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _TABLES)
        try:
            while (call := self._waiting.get()) is not None:
                batch = [call]
                while len(batch) < BATCH_MAX and not self._waiting.empty():
                    following = self._waiting.get()
                    if following is None:
                        self._waiting.put(None)
                        break
                    batch.append(following)
                _commit(books, batch)
        finally:
            books.close()


class _Call:
    """One action that waits for its transaction."""

    def __init__(self, action: Callable[[sqlite3.Connection], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.action = action
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()

    def settle(self, result: object, error: Exception | None) -> None:
        """From the thread: nobody may be waiting any more."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: object, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


def _commit(books: sqlite3.Connection, batch: Sequence[_Call]) -> None:
    try:
        books.execute("BEGIN IMMEDIATE")
        results = [call.action(books) for call in batch]
        books.execute("COMMIT")
    except Exception as error:
        if books.in_transaction:
            books.execute("ROLLBACK")
        for call in batch:
            call.settle(None, error)
        return
    for call, result in zip(batch, results, strict=True):
        call.settle(result, None)


# ---------------------------------------------------------------------------------------------------- the audit


@dataclass(frozen=True)
class EffectCount:
    """How often one kind of effect was executed and applied."""

    applied: int = 0
    keys: int = 0
    """Idempotency keys that it was applied under; exactly-once means that this equals ``applied``."""
    repeated_by_retry: int = 0
    """Executions of a key by a later attempt: the attempt before had done it, and failed afterwards."""
    repeated_by_delivery: int = 0
    """Executions of the same attempt: a process died, or a partition moved, before the result was durable."""


@dataclass
class Audit:
    """The books, compared. Every list of problems holds a sentence for each."""

    asked: int = 0
    completed: int = 0
    compensated: int = 0
    lost: list[str] = field(default_factory=list)
    """Asked for, and not answered, or without one of the effects that it should have had."""
    decided_twice: list[str] = field(default_factory=list)
    """One step of an order under two idempotency keys, one effect under one key twice, or two answers."""
    unexpected: list[str] = field(default_factory=list)
    """Effects that the order should not have had, or an order that nobody asked for."""
    out_of_order: list[str] = field(default_factory=list)
    """The right effects in a wrong order: compensations that did not run last-in first-out, say."""
    effects: dict[Effect, EffectCount] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        return [*self.lost, *self.decided_twice, *self.unexpected, *self.out_of_order]


def _audit(books: sqlite3.Connection) -> Audit:
    orders = [Order.model_validate_json(body) for (body,) in books.execute("SELECT body FROM asked")]
    receipts: dict[str, list[Receipt]] = defaultdict(list)
    for (body,) in books.execute("SELECT body FROM answered"):
        receipt = Receipt.model_validate_json(body)
        receipts[receipt.order_id].append(receipt)
    done: dict[str, list[Effect]] = defaultdict(list)
    for order_id, effect in books.execute("SELECT order_id, effect FROM applied ORDER BY place"):
        done[order_id].append(Effect(effect))
    expedited = {order_id for (order_id,) in books.execute("SELECT order_id FROM expedited")}
    audit = Audit(asked=len(orders), effects=_effects(books))
    for order in orders:
        _check_answers(audit, order, receipts.pop(order.id, []), order.id in expedited)
        _check_effects(audit, order, done.pop(order.id, []))
    for order_id in {*receipts, *done}:
        audit.unexpected.append(f"{order_id}: nobody asked for it")
    _check_keys(audit, books)
    return audit


def _must_end(order: Order) -> Status:
    return Status.COMPENSATED if order.trouble in _EXPECTED[Status.COMPENSATED] else Status.COMPLETED


def _check_answers(audit: Audit, order: Order, receipts: Sequence[Receipt], expedited: bool) -> None:
    if not receipts:
        audit.lost.append(f"{order.id}: no answer")
        return
    if len(receipts) > 1:
        audit.decided_twice.append(f"{order.id}: {len(receipts)} answers")
    for receipt in receipts:
        if receipt.status is not _must_end(order):
            audit.unexpected.append(f"{order.id}: {receipt.status}, although its trouble is {order.trouble}")
        if expedited and not receipt.expedited:
            audit.lost.append(f"{order.id}: its signal was acknowledged and never seen")
    if receipts[0].status is Status.COMPLETED:
        audit.completed += 1
    else:
        audit.compensated += 1


def _check_effects(audit: Audit, order: Order, done: Sequence[Effect]) -> None:
    expected = _EXPECTED[_must_end(order)][order.trouble]
    for effect, count in Counter(done).items():
        if count > 1:
            audit.decided_twice.append(f"{order.id}: {effect} {count} times")
        if effect not in expected:
            audit.unexpected.append(f"{order.id}: {effect}")
    for effect in expected:
        if effect not in done:
            audit.lost.append(f"{order.id}: never {effect}")
    if sorted(done) == sorted(expected) and list(done) != list(expected):
        audit.out_of_order.append(f"{order.id}: {', '.join(done)}")


def _check_keys(audit: Audit, books: sqlite3.Connection) -> None:
    for key, count in books.execute("SELECT key, COUNT(*) FROM applied GROUP BY key HAVING COUNT(*) > 1"):
        audit.decided_twice.append(f"{key}: applied {count} times under one idempotency key")


def _effects(books: sqlite3.Connection) -> dict[Effect, EffectCount]:
    applied: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    for effect, times, different in books.execute(
        "SELECT effect, COUNT(*), COUNT(DISTINCT key) FROM applied GROUP BY effect"
    ):
        applied[effect], keys[effect] = times, different
    by_retry: Counter[str] = Counter()
    by_delivery: Counter[str] = Counter()
    for effect, times, attempts in books.execute(
        "SELECT effect, COUNT(*), COUNT(DISTINCT attempt) FROM executed GROUP BY key HAVING COUNT(*) > 1"
    ):
        by_retry[effect] += attempts - 1
        by_delivery[effect] += times - attempts
    return {
        effect: EffectCount(applied[effect], keys[effect], by_retry[effect], by_delivery[effect]) for effect in Effect
    }
