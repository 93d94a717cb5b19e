"""Workflows that wait: for a time, a signal, an activity that takes its time. Imported by the processes under test."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from odradek import activity, workflow

FOLDER_VARIABLE = "CHAOS_FOLDER"
"""Where activities leave traces, and find what they wait for."""
AN_HOUR = timedelta(hours=1)


def _folder() -> Path:
    return Path(os.environ[FOLDER_VARIABLE])


@activity.defn
async def hold(name: str) -> int:
    """Ends when it is let go; the number of the attempt that ended."""
    attempt = activity.info().attempt
    (_folder() / f"{name}-{os.getpid()}").touch()
    while not (_folder() / "let-go").exists():  # noqa: ASYNC110 - another process lets go
        await asyncio.sleep(0.02)
    return attempt


@workflow.defn
class Holder:
    """One long activity."""

    @workflow.run
    async def run(self, name: str) -> int:
        attempt: int = await workflow.execute_activity(hold, name, start_to_close_timeout=AN_HOUR)
        return attempt


@workflow.defn
class Sleeper:
    """Sleeps for a time; notes that reach it meanwhile are part of its result."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._awake = False

    @workflow.run
    async def run(self, seconds: float) -> list[str]:
        limit = timedelta(seconds=seconds)
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._awake, timeout=limit, timeout_summary="sleep")
        return self._notes

    @workflow.signal
    def note(self, text: str) -> None:
        self._notes.append(text)

    @workflow.signal
    def wake(self) -> None:
        self._awake = True

    @workflow.query
    def notes(self) -> list[str]:
        return self._notes
