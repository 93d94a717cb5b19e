"""Workflows and activities for the command's tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ApplicationError

SOON = timedelta(seconds=5)


@activity.defn
async def charge(order: str) -> str:
    return f"charged {order}"


@activity.defn
async def ship(order: str) -> str:
    raise LookupError("no truck")


@workflow.defn
class Order:
    """Waits to be approved, then charges."""

    def __init__(self) -> None:
        self.approved_by = ""

    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.wait_condition(lambda: bool(self.approved_by))
        return str(await workflow.execute_activity(charge, order, start_to_close_timeout=SOON))

    @workflow.signal
    def approve(self, by: str) -> None:
        self.approved_by = by

    @workflow.update
    def rename(self, order: str) -> str:
        if not order:
            raise ApplicationError("an order needs a name", type="Nameless")
        return f"renamed {order}"

    @workflow.query
    def approved(self) -> str:
        return self.approved_by


@workflow.defn
class Quick:
    @workflow.run
    async def run(self, order: str) -> str:
        return str(await workflow.execute_activity(charge, order, start_to_close_timeout=SOON))


@workflow.defn
class Waiting:
    """Waits for a timer and for an activity that fails again and again."""

    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=timedelta(hours=1))
        shipping = workflow.start_activity(ship, "A1", start_to_close_timeout=SOON, retry_policy=policy)
        await workflow.sleep(timedelta(hours=2), summary="cool-off")
        await shipping


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("no funds", type="CardDeclined", non_retryable=True)


@workflow.defn
class Broken:
    """Its code has a bug, so it is parked."""

    @workflow.run
    async def run(self) -> None:
        raise KeyError("a bug")


@activity.defn
async def approve_by_hand(order: str) -> str:
    activity.raise_complete_async()


@workflow.defn
class ByHand:
    """Waits for somebody outside."""

    @workflow.run
    async def run(self, order: str) -> str:
        return str(
            await workflow.execute_activity(
                approve_by_hand, order, activity_id="approval", start_to_close_timeout=timedelta(hours=1)
            )
        )


@activity.defn
async def hold() -> None:
    await asyncio.sleep(3600)


@workflow.defn
class Held:
    """Its activity runs for an hour."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(hold, start_to_close_timeout=timedelta(hours=2))


@workflow.defn
class Elsewhere:
    """Its activity is sent to a queue that has no worker."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("lose", task_queue="nobodys", start_to_close_timeout=SOON)


@workflow.defn(version="1.9")
class Stocked:
    """Waits for ever, on a version of its code."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)
