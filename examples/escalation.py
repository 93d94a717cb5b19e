"""Escalation: a ticket that nobody takes is remembered daily, and goes to the next level after three days."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from odradek import activity, workflow

REMINDER = timedelta(days=1)
ESCALATION = timedelta(days=3)


@activity.defn
async def page(level: str, text: str) -> None:
    print(f"paging {level}: {text}")


@workflow.defn
class Ticket:
    """Returns who took it, or ``nobody``."""

    def __init__(self) -> None:
        self.taken_by: str | None = None

    @workflow.run
    async def run(self, title: str, levels: Sequence[str]) -> str:
        for level in levels:
            try:
                async with asyncio.timeout(ESCALATION.total_seconds()):
                    return await self._insist(level, title)
            except TimeoutError:
                workflow.logger.warning("%s did not take %s", level, title)
        return "nobody"

    async def _insist(self, level: str, title: str) -> str:
        """Page the level once a day until somebody takes the ticket."""
        while True:
            await workflow.execute_activity(page, args=[level, title], start_to_close_timeout=timedelta(minutes=1))
            try:
                await workflow.wait_condition(lambda: self.taken_by is not None, timeout=REMINDER)
            except TimeoutError:
                continue
            assert self.taken_by is not None
            return self.taken_by

    @workflow.signal
    def take(self, person: str) -> None:
        self.taken_by = person
