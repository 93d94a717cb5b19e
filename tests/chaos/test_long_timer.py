"""A timer of fourteen days on the embedded log, with nothing of what set it left but the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from examples.orders.fleet import Fleet
from odradek.client import Client, WorkflowExecutionStatus
from tests.chaos.elsewhen import FastClock, serving
from tests.chaos.shop import ASK_AGAIN
from tests.chaos.sleepers import Sleeper

FORTNIGHT = timedelta(days=14)
A_MINUTE = timedelta(minutes=1)
SECONDS_MAX = timedelta(seconds=20)


def ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)


async def is_asleep(client: Client) -> bool:
    """By a query too, for which its code has been replayed, and by a signal that is taken in behind anything due."""
    handle = client.get_workflow_handle_for(Sleeper.run, "sleeper")
    await handle.signal(Sleeper.note, "still asleep?")
    assert await handle.query(Sleeper.notes)
    description = await handle.describe()
    (wait,) = [wait for wait in description.waits if wait.kind == "timer"]
    assert wait.due_time == description.start_time + FORTNIGHT
    return description.status is WorkflowExecutionStatus.RUNNING


@pytest.mark.parametrize("stored", [True, False], ids=["with a store", "without a store"])
async def test_timer_of_a_fortnight_survives_a_restart_of_everything(tmp_path: Path, *, stored: bool) -> None:
    """It has not fired a minute before it is due, and it fires when it is, in a process that did not see it begin."""
    address = f"sqlite:///{tmp_path / 'log.db'}"
    store = tmp_path / "store" if stored else None
    async with serving(address, "sleep", FastClock(), store) as client:
        await client.start_workflow(Sleeper.run, FORTNIGHT.total_seconds(), id="sleeper", task_queue="sleep")
        assert await is_asleep(client)
    clock = FastClock(ms(FORTNIGHT - A_MINUTE))
    async with serving(address, "sleep", clock, store) as client:
        assert await is_asleep(client)
        clock.ahead_ms = ms(FORTNIGHT)
        handle = client.get_workflow_handle_for(Sleeper.run, "sleeper")
        assert await handle.result(rpc_timeout=SECONDS_MAX) == ["still asleep?"] * 2


async def test_timer_of_a_fortnight_survives_the_death_of_everything(tmp_path: Path) -> None:
    """SIGKILL to the only process: the log is enough."""
    address = f"sqlite:///{tmp_path / 'log.db'}"

    @asynccontextmanager
    async def life(name: str, ahead: timedelta) -> AsyncIterator[Client]:
        command = ["-m", "tests.chaos.elsewhen", address, "sleep", str(ms(ahead)), str(tmp_path / "store")]
        with Fleet(tmp_path, {name: command}, {}) as process:
            async with await Client.connect(address, namespace="sleep", request_policy=ASK_AGAIN) as client:
                yield client
            process.check()
            process.kill()

    async with life("today", timedelta()) as client:
        await client.start_workflow(
            Sleeper.run, FORTNIGHT.total_seconds(), id="sleeper", task_queue="sleep", rpc_timeout=SECONDS_MAX
        )
        assert await is_asleep(client)
    async with life("a minute before", FORTNIGHT - A_MINUTE) as client:
        assert await is_asleep(client)
    async with life("a fortnight later", FORTNIGHT) as client:
        handle = client.get_workflow_handle_for(Sleeper.run, "sleeper")
        assert await handle.result(rpc_timeout=SECONDS_MAX) == ["still asleep?"] * 2
