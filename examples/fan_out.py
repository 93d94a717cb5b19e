"""Fan-out and fan-in: one activity for each of many items, at most so many at once, and a report of what failed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError

AT_ONCE_MAX = 1_000


@dataclass
class Report:
    total: int = 0
    failed: list[int] = field(default_factory=list)


@activity.defn
async def process(item: int) -> int:
    """What is done to one item; returns what it weighs."""
    if item < 0:
        raise ValueError(f"item {item} is no item")
    return item % 7


@workflow.defn
class FanOut:
    """Processes items 0 to ``count`` - 1, those of ``broken`` in vain."""

    @workflow.run
    async def run(self, count: int, broken: list[int]) -> Report:
        report, places = Report(), asyncio.Semaphore(AT_ONCE_MAX)

        async def one(item: int) -> None:
            async with places:
                try:
                    weight: int = await workflow.execute_activity(
                        process,
                        -1 - item if item in broken else item,
                        start_to_close_timeout=timedelta(seconds=30),
                        retry_policy=RetryPolicy(maximum_attempts=2),
                    )
                except ActivityError:
                    report.failed.append(item)
                else:
                    report.total += weight  # never "+= await": the old total would be read before the wait

        async with asyncio.TaskGroup() as items:
            for item in range(count):
                items.create_task(one(item))
        return report
