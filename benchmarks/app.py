"""What the benchmarks run: a workflow of sequential no-op activities; a parent with many children of that kind."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from odradek import activity, workflow

STEPS = 5
LIMIT = timedelta(seconds=60)


@activity.defn
async def echo(value: str) -> str:
    return value


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, value: str) -> str:
        for _ in range(STEPS):
            value = await workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)
        return value


@workflow.defn
class Child:
    """``steps`` sequential no-op activities."""

    @workflow.run
    async def run(self, steps: int, value: str) -> int:
        for _ in range(steps):
            await workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)
        return steps


@workflow.defn
class Parent:
    """All children at once; the steps that they have taken together."""

    @workflow.run
    async def run(self, children: int, steps: int, value: str) -> int:
        own = workflow.info().workflow_id
        calls = (
            workflow.execute_child_workflow(Child.run, args=[steps, value], id=f"{own}/{number}")
            for number in range(children)
        )
        return sum(await asyncio.gather(*calls))


@activity.defn
async def wait(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@workflow.defn
class Batches:
    """``rounds`` times ``width`` activities at once; how many gave back what they were given."""

    @workflow.run
    async def run(self, rounds: int, width: int) -> int:
        right = 0
        for number in range(rounds):
            values = [f"{number}/{n}" for n in range(width)]
            calls = (workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT) for value in values)
            right += sum(a == b for a, b in zip(values, await asyncio.gather(*calls), strict=True))
        return right


@workflow.defn
class FanOut:
    """``width`` activities at once, each with a payload of so many bytes there and back; how many came back whole."""

    @workflow.run
    async def run(self, width: int, payload_bytes: int) -> int:
        value = "x" * max(0, payload_bytes - 2)
        limit = timedelta(minutes=30)
        calls = (workflow.execute_activity(echo, value, start_to_close_timeout=limit) for _ in range(width))
        return sum(got == value for got in await asyncio.gather(*calls))


@workflow.defn
class Patient:
    """Waits for a word, for a year at most."""

    def __init__(self) -> None:
        self._word = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._word), timeout=timedelta(days=365))
        return self._word

    @workflow.signal
    def say(self, word: str) -> None:
        self._word = word


@workflow.defn
class Customer:
    """Takes signals for ever, and tells how many it has had."""

    @workflow.init
    def __init__(self, had: int = 0) -> None:
        self.had = had
        self._over = False

    @workflow.run
    async def run(self, had: int = 0) -> int:
        await workflow.wait_condition(lambda: self._over or workflow.info().is_continue_as_new_suggested())
        if not self._over:
            workflow.continue_as_new(self.had)
        return self.had

    @workflow.signal
    def order(self, text: str) -> None:
        self.had += 1

    @workflow.signal
    def leave(self) -> None:
        self._over = True

    @workflow.query
    def orders(self) -> int:
        return self.had


@workflow.defn
class Alarm:
    """Sleeps until ``due_ms`` by the wall clock; how many milliseconds after that it was woken."""

    @workflow.run
    async def run(self, due_ms: int) -> float:
        await asyncio.sleep(max(0.0, due_ms / 1000 - workflow.time()))
        return workflow.time() * 1000 - due_ms
