"""Counters that live long, and alarms: the workflows that the processes under test run beside the bank's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from odradek import workflow
from odradek.common import RetryPolicy
from tests.nemesis.bank import audit, audit_changes

INPUTS_PER_RUN: Final = 60

_LIMIT: Final = timedelta(minutes=5)
_RETRIES: Final = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=2))


@workflow.defn
class Counter:
    """Each signal and each update adds its number to those taken in. Goes on as a new run after some of them."""

    @workflow.init
    def __init__(self, taken_in: list[int]) -> None:
        self._taken_in = list(taken_in)
        self._inherited = len(taken_in)
        self._closing = False

    @workflow.run
    async def run(self, taken_in: list[int]) -> list[int]:
        await workflow.wait_condition(lambda: self._closing or self._new >= INPUTS_PER_RUN)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if not self._closing:
            workflow.continue_as_new(self._taken_in)
        return self._taken_in

    @workflow.signal
    def add(self, number: int) -> None:
        self._take_in(number)

    @workflow.signal
    def close(self) -> None:
        self._closing = True

    @workflow.update
    def add_and_tell(self, number: int) -> int:
        """How many there are with this one."""
        return self._take_in(number)

    @workflow.update
    async def add_when_audited(self, number: int) -> int:
        """The same, after an activity."""
        await workflow.execute_activity(audit, f"audit/{number}", start_to_close_timeout=_LIMIT, retry_policy=_RETRIES)
        await audit_changes(f"audit/{number}")
        return self._take_in(number)

    @workflow.query
    def total(self) -> int:
        return len(self._taken_in)

    def _take_in(self, number: int) -> int:
        """Update IDs count once in a run; what comes again in a later one is this code's business."""
        if number in self._taken_in[: self._inherited]:
            return self._taken_in.index(number) + 1
        self._taken_in.append(number)
        return len(self._taken_in)

    @property
    def _new(self) -> int:
        return len(self._taken_in) - self._inherited


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
