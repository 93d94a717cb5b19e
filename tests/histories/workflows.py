"""Workflows whose recorded histories stand beside this file; they must replay on every later build."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError

SOON = timedelta(seconds=20)
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)


@activity.defn
async def double(value: int) -> int:
    return value * 2


@activity.defn
async def flaky(value: int) -> int:
    if activity.info().attempt < 3:
        raise ApplicationError("not yet", type="NotYet")
    return value


@activity.defn
async def hopeless() -> None:
    raise ApplicationError("never", type="Never", non_retryable=True)


@workflow.defn
class Chained:
    @workflow.run
    async def run(self, steps: int) -> int:
        value: int = 1
        for _ in range(steps):
            value = await workflow.execute_activity(double, value, start_to_close_timeout=SOON)
        value += await workflow.execute_activity(flaky, 5, start_to_close_timeout=SOON, retry_policy=QUICKLY)
        return value


@workflow.defn
class FannedOut:
    @workflow.run
    async def run(self, width: int) -> list[int]:
        parts = [workflow.start_activity(double, n, start_to_close_timeout=SOON) for n in range(width)]
        first = await workflow.execute_activity(double, 100, start_to_close_timeout=SOON)
        return [*await asyncio.gather(*parts), first]


@workflow.defn
class Signalled:
    def __init__(self) -> None:
        self.seen: list[str] = []
        self.done = False

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: len(self.seen) > 5, timeout=timedelta(milliseconds=20))
        except TimeoutError:
            self.seen.append("time-out")
        await workflow.wait_condition(lambda: self.done)
        return self.seen

    @workflow.signal
    async def note(self, text: str) -> None:
        await asyncio.sleep(0.01)
        self.seen.append(text)

    @workflow.signal
    def finish(self) -> None:
        self.done = True


@workflow.defn
class Compensated:
    @workflow.run
    async def run(self) -> str:
        try:
            async with workflow.saga(start_to_close_timeout=SOON) as saga:
                saga.compensate(double, 1)
                await workflow.execute_activity(double, 2, start_to_close_timeout=SOON)
                saga.compensate(double, 3)
                await workflow.execute_activity(hopeless, start_to_close_timeout=SOON)
        except ActivityError:
            return f"compensated {workflow.random().randint(0, 1000)} {workflow.uuid4()}"
        return "not"


@workflow.defn
class Cancelled:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.sleep(3600)
        finally:
            await asyncio.shield(workflow.execute_activity(double, 9, start_to_close_timeout=SOON))
        return "never"


@workflow.defn
class Telling:
    @workflow.run
    async def run(self, other: str) -> str:
        handle = workflow.get_external_workflow_handle(other)
        await handle.signal("note", "hello")
        await handle.signal("finish")
        try:
            await workflow.get_external_workflow_handle("nobody").signal("note", "hello")
        except ApplicationError as error:
            return error.type or ""
        return "odd"


WORKFLOWS = [Chained, FannedOut, Signalled, Compensated, Cancelled, Telling]
ACTIVITIES = [double, flaky, hopeless]
