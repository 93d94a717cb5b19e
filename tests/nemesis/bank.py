"""Transfers between accounts, as sagas: the workflows and activities that the processes under test run."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final
from zlib import crc32

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from tests.nemesis.books import Books

BOOKS_VARIABLE: Final = "NEMESIS_BOOKS"
BUILD_VARIABLE: Final = "NEMESIS_BUILD"
BUILD: Final = int(os.environ.get(BUILD_VARIABLE, "1"))
"""Which build of this code it is: each one does more than the one before, behind ``patched``."""
QUEUE: Final = "bank"
COMPLETED: Final = "completed"
COMPENSATED: Final = "compensated"
REFUSED: Final = "refused"
CLOSED_ONE_IN: Final = 10
"""Accounts that take no deposits."""
FAILS_ONE_IN: Final = 20

_LIMIT: Final = timedelta(minutes=5)
_RETRIES: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=2))


@dataclass(frozen=True)
class Order:
    """Move ``amount`` from one account to the other."""

    source: int
    target: int
    amount: int


@dataclass(frozen=True)
class Step:
    """One entry of a transfer. Its key is the transfer's ID and the kind."""

    transfer: str
    kind: str
    account: int
    amount: int


@cache
def books() -> Books:
    return Books(Path(os.environ[BOOKS_VARIABLE]))


@activity.defn
async def enter(step: Step) -> bool:
    """Enter it in the books. Some attempts fail before it, and some when it is done; False: not enough money."""
    key, attempt = f"{step.transfer}/{step.kind}", activity.info().attempt
    trouble = crc32(f"{key}/{attempt}".encode()) % (2 * FAILS_ONE_IN)
    if step.kind == "deposit" and step.account % CLOSED_ONE_IN == 0:
        await asyncio.to_thread(books().execute, key, attempt)
        raise ApplicationError(f"account {step.account} is closed", type="Closed", non_retryable=True)
    if trouble == 0:
        await asyncio.to_thread(books().execute, key, attempt)
        raise ApplicationError("the bank is at lunch")
    done = await asyncio.to_thread(books().enter, key, step.transfer, step.kind, step.account, step.amount, attempt)
    if trouble == 1:
        raise ApplicationError("the answer of the bank got lost")
    return done


@activity.defn
async def audit(key: str) -> int:
    """An activity within an update; the attempt."""
    attempt = activity.info().attempt
    await asyncio.to_thread(books().execute, key, attempt)
    return attempt


async def audit_changes(name: str) -> None:
    """What the builds after the first one have added: an audit each."""
    for build in range(2, BUILD + 1):
        if workflow.patched(f"build-{build}"):
            await workflow.execute_activity(
                audit, f"{name}/build-{build}", start_to_close_timeout=_LIMIT, retry_policy=_RETRIES
            )


@workflow.defn
class Transfer:
    """Withdraw, then deposit; the withdrawal is refunded when the deposit is refused."""

    @workflow.run
    async def run(self, order: Order) -> str:
        if not await self._enter("withdrawal", order.source, -order.amount):
            return REFUSED
        await audit_changes(workflow.info().workflow_id)
        try:
            await self._enter("deposit", order.target, order.amount)
        except ActivityError:
            await self._enter("refund", order.source, order.amount)
            return COMPENSATED
        return COMPLETED

    async def _enter(self, kind: str, account: int, amount: int) -> bool:
        step = Step(workflow.info().workflow_id, kind, account, amount)
        entered: bool = await workflow.execute_activity(
            enter, step, start_to_close_timeout=_LIMIT, retry_policy=_RETRIES
        )
        return entered


@workflow.defn
class Payday:
    """Several transfers at once, each as a child; how each of them ended."""

    @workflow.run
    async def run(self, orders: list[Order]) -> list[str]:
        name = workflow.info().workflow_id
        children = (
            workflow.execute_child_workflow(Transfer.run, order, id=f"{name}-{number}")
            for number, order in enumerate(orders)
        )
        return list(await asyncio.gather(*children))
