"""For tests of lost workers: activities that last, one that ends its process. Imported by the processes under test."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from odradek import activity, workflow
from odradek.common import RetryPolicy
from tests.chaos.sleepers import FOLDER_VARIABLE

LIMITS = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=30))
"""Start-to-close timeouts, all far longer than a lost worker may take to be noticed."""


def _note(name: str, text: str) -> None:
    with (Path(os.environ[FOLDER_VARIABLE]) / name).open("a") as file:
        file.write(text + "\n")


@activity.defn
async def last(name: str) -> int:
    """Lasts until it is let go; notes who began it when. Returns the attempt."""
    attempt = activity.info().attempt
    _note("begun", f"{name} {attempt} {os.getpid()} {time.time()}")
    while not (Path(os.environ[FOLDER_VARIABLE]) / "let-go").exists():  # noqa: ASYNC110 - another process lets go
        await asyncio.sleep(0.1)
    _note("ended", f"{name} {attempt} {os.getpid()} {time.time()}")
    return attempt


@activity.defn
async def short(number: int) -> int:
    return number


@activity.defn
async def deadly() -> None:
    """Ends its process, as a crash of a native library or the kernel's killer of large ones does it."""
    _note("deaths", str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


@workflow.defn
class Crowd:
    """Many activities that last, at once; the attempts that ended."""

    @workflow.run
    async def run(self, count: int) -> list[int]:
        calls = (
            workflow.execute_activity(last, f"{n}", start_to_close_timeout=LIMITS[n % len(LIMITS)])
            for n in range(count)
        )
        return list(await asyncio.gather(*calls))


@workflow.defn
class Shorts:
    """Many short activities at once; their sum."""

    @workflow.run
    async def run(self, count: int) -> int:
        limit = timedelta(minutes=5)
        return sum(
            await asyncio.gather(
                *(workflow.execute_activity(short, n, start_to_close_timeout=limit) for n in range(count))
            )
        )


@workflow.defn
class Deadly:
    """One activity that no process survives."""

    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=100), backoff_coefficient=1)
        await workflow.execute_activity(deadly, start_to_close_timeout=timedelta(hours=1), retry_policy=policy)
