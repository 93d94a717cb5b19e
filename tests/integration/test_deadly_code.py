"""Real processes: code that does not come back, and code that takes its process down, cost their own workflow only."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from odradek.client import Client, WorkflowHandle
from odradek.client.description import ParkedInfo
from odradek.orchestrator.core.careful import TRIAL_MS

QUEUE = "queue"
PATIENCE = timedelta(seconds=100)
BEFORE_ITS_TRIAL = timedelta(milliseconds=TRIAL_MS - 5000)
OTHERS = 20


class Supervisor:
    """Starts an orchestrator again whenever it has died, as Kubernetes would; every start has an empty store."""

    def __init__(self, address: str, *options: str, **variables: str) -> None:
        self.command = [
            sys.executable, "-m", "odradek.cli", "--log", address, "orchestrator", "tests.chaos.deadly",
            "--session-timeout", "2", *options,
        ]  # fmt: skip
        self.environment = {**os.environ, **variables}
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        while True:
            self.starts += 1
            self.process = subprocess.Popen(self.command, env=self.environment)  # noqa: ASYNC220
            await asyncio.to_thread(self.process.wait)

    async def __aexit__(self, *error: object) -> None:
        assert self.task is not None
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        if self.process is not None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 30)


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[str, Client]]:
    address = f"sqlite:///{path}/log.db"
    yield address, await Client.connect(address)


async def started(client: Client, name: str, *args: Any, id: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(name, args=list(args), id=id, task_queue=QUEUE, rpc_timeout=PATIENCE)


async def parked(handle: WorkflowHandle[Any, Any]) -> ParkedInfo:
    while True:
        description = await handle.describe(rpc_timeout=PATIENCE)
        if description.parked is not None:
            return description.parked
        await asyncio.sleep(0.05)


async def others_complete(others: Sequence[WorkflowHandle[Any, Any]]) -> None:
    for other in others:
        await other.signal("go", rpc_timeout=PATIENCE)
    assert [await other.result(rpc_timeout=PATIENCE) for other in others] == [1] * len(others)


@pytest.mark.parametrize("name", ["Looping", "Exploding"])
async def test_code_that_does_not_come_back_stops_nobody(tmp_path: Path, name: str) -> None:
    """Not in its process either, which neither dies nor loses its partitions."""
    async with connected(tmp_path) as (address, client), Supervisor(address, "--deadlock-timeout", "0.5") as supervisor:
        handle, *others = await asyncio.gather(
            started(client, name, id="stuck"), *[started(client, "Plain", id=f"plain-{n}") for n in range(OTHERS)]
        )
        await others_complete(others)
        assert (await parked(handle)).code == "ODR-087"
        assert supervisor.starts == 1


@pytest.mark.parametrize("at_once", [True, False])
async def test_code_that_takes_its_process_down_is_parked(tmp_path: Path, at_once: bool) -> None:
    """After three crashes, by whichever owner comes next; mended, it goes on."""
    async with connected(tmp_path) as (address, client):
        async with Supervisor(address) as supervisor:
            others = [await started(client, "Plain", id=f"plain-{n}") for n in range(OTHERS)]
            if at_once:
                await client.start_workflow(
                    "Crashing", args=[True], id="deadly", task_queue=QUEUE, rpc_timeout=PATIENCE, wait=False
                )
                handle = client.get_workflow_handle("deadly")
            else:
                handle = await started(client, "Crashing", False, id="deadly")
                await handle.signal("crash", wait=False)
            why = await parked(handle)
            assert why.code == "ODR-088"
            await others_complete(others)
            assert supervisor.starts == 4
        async with Supervisor(address) as supervisor:
            assert (await parked(handle)).code == "ODR-088", "another process knows it, too"
            assert supervisor.starts == 1
        async with Supervisor(address, "--retry-suspects", ODRADEK_TEST_MENDED="1"):
            assert await handle.result(rpc_timeout=BEFORE_ITS_TRIAL) == "survived"
