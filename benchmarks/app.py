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
