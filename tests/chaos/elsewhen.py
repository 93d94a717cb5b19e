"""Runs the sleepers at another time: ``python -m tests.chaos.elsewhen <log> <namespace> <milliseconds> <store>``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from odradek.client import Client
from odradek.log.clock import Clock
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker
from tests.chaos.shop import ASK_AGAIN
from tests.chaos.sleepers import Holder, Sleeper, hold


class FastClock(Clock):
    """Runs as the wall clock does, so many milliseconds ahead of it."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@asynccontextmanager
async def serving(address: str, namespace: str, clock: Clock, store: Path | None) -> AsyncIterator[Client]:
    """Everything in this process: a client, an orchestrator by that clock, a worker; at the end all of it is gone."""
    settings = OrchestratorSettings(store=store, session_timeout_seconds=1, checkpoint_seconds=0.1)
    async with await Client.connect(address, namespace=namespace, request_policy=ASK_AGAIN) as client:
        worker = Worker(
            client,
            task_queue="sleep",
            workflows=[Sleeper, Holder],
            activities=[hold],
            orchestrator_settings=settings,
            clock=clock,
        )
        async with worker:
            yield client


async def main(address: str, namespace: str, ahead_ms: str, store: str) -> None:
    async with serving(address, namespace, FastClock(int(ahead_ms)), Path(store)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
