"""Counters that live long, and alarms: the workflows that the processes under test run beside the bank's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from odradek import workflow
from odradek.common import RetryPolicy
from tests.nemesis.bank import audit

INPUTS_PER_RUN: Final = 150

_LIMIT: Final = timedelta(minutes=5)
_RETRIES: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=2))


@workflow.defn
class Counter:
    """Each signal and each update adds one; it goes on as a new run after a number of them. Its result is the total."""

    @workflow.init
    def __init__(self, total: int) -> None:
        self._total = total
        self._begun_with = total
        self._closing = False

    @workflow.run
    async def run(self, total: int) -> int:
        await workflow.wait_condition(lambda: self._closing or self._total - self._begun_with >= INPUTS_PER_RUN)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._closing:
            workflow.continue_as_new(self._total)
        return self._total

    @workflow.signal
    def add(self, number: int) -> None:
        """``number`` names the operation that this is."""
        self._total += 1

    @workflow.signal
    def close(self) -> None:
        self._closing = True

    @workflow.update
    def add_and_tell(self, number: int) -> int:
        self._total += 1
        return self._total

    @workflow.update
    async def add_when_audited(self, number: int) -> int:
        """The same, after an activity."""
        await workflow.execute_activity(
            audit, f"audit/{number}", start_to_close_timeout=_LIMIT, retry_policy=_RETRIES
        )
        self._total += 1
        return self._total

    @workflow.query
    def total(self) -> int:
        return self._total


@workflow.defn
class Alarm:
    """Sleeps as often as it is told, all at once; how long each sleep was by the workflow's clock, in seconds."""

    @workflow.run
    async def run(self, seconds: list[float]) -> list[float]:
        return list(await asyncio.gather(*(self._sleep(each) for each in seconds)))

    async def _sleep(self, seconds: float) -> float:
        began = workflow.now()
        await workflow.sleep(seconds)
        return (workflow.now() - began).total_seconds()
