"""Workflows in every state that a namespace may be moved in."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from odradek import activity, workflow
from odradek.common import RetryPolicy

QUEUE: Final = "works"
LONG: Final = timedelta(hours=1)
AGAIN: Final = RetryPolicy(initial_interval=timedelta(milliseconds=50))


@activity.defn
async def attempt_of(until: int) -> int:
    """Fails before this attempt, which never ends in the namespace that it begins in first."""
    info = activity.info()
    if info.attempt < until:
        raise RuntimeError("not yet")
    if info.namespace.startswith("first"):
        await asyncio.sleep(3600)
    return info.attempt


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class Held:
    """A worker holds the third attempt of its activity."""

    @workflow.run
    async def run(self) -> int:
        attempt: int = await workflow.execute_activity(attempt_of, 3, start_to_close_timeout=LONG, retry_policy=AGAIN)
        return attempt


@workflow.defn
class Collecting:
    """Takes in what comes, on several chunks, and echoes it in the end."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> str:
        await workflow.wait_condition(lambda: len(self._texts) >= wanted)
        return str(await workflow.execute_activity(echo, ",".join(self._texts), start_to_close_timeout=LONG))

    @workflow.signal
    def take(self, text: str) -> None:
        self._texts.append(text)

    @workflow.update
    def hand(self, text: str) -> int:
        self._texts.append(text)
        return len(self._texts)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Collecting.run, 2, id=f"{workflow.info().workflow_id}-child")


@workflow.defn
class Sleeping:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(12)
        return "awake"


@workflow.defn
class Chained:
    """Continues as new, so that what follows needs what was before."""

    @workflow.run
    async def run(self, turn: int) -> int:
        if turn < 2:
            workflow.continue_as_new(turn + 1)
        await workflow.sleep(12)
        return turn
