"""A process of customers: they start, signal and update all the time, and print what became of each request.

``python -m tests.rollout.customers ADDRESS NAMESPACE NAME`` until SIGTERM, which lets what is open come to its end;
with ``close`` for a name it closes the depots and prints what they hold.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final, TypeVar

from odradek.client import Client
from odradek.common import WorkflowIDConflictPolicy
from tests.rollout.parcels import QUEUE, Depot, Parcel

T = TypeVar("T")

DEPOTS: Final = 4
AT_ONCE: Final = 3
PATIENCE: Final = timedelta(seconds=60)
CLOSE: Final = "close"


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def told(what: str, asked: Awaitable[T], **facts: Any) -> T:
    began = time.monotonic()
    try:
        answer = await asked
    except Exception as error:
        say(what=what, error=f"{type(error).__name__}: {error}", **facts)
        raise
    say(what=what, seconds=round(time.monotonic() - began, 3), **facts)
    return answer


async def send_parcel(client: Client, name: str) -> None:
    handle = await told(
        "start", client.start_workflow(Parcel.run, name, id=name, task_queue=QUEUE, rpc_timeout=PATIENCE)
    )
    await told("signal", handle.signal(Parcel.stamp, rpc_timeout=PATIENCE))
    await told("update", handle.execute_update(Parcel.send_to, "Prague", rpc_timeout=PATIENCE))
    await told("signal", handle.signal(Parcel.stamp, rpc_timeout=PATIENCE))
    result = await told("result", handle.result())
    if result != f"label of {name} to Prague":
        say(what="result", error=f"{name} came to {result!r}")


async def use_depot(client: Client, name: str, number: int) -> None:
    handle = client.get_workflow_handle_for(Depot.run, f"depot-{number % DEPOTS}")
    await told("drop", handle.signal(Depot.drop, f"{name}/s", rpc_timeout=PATIENCE), piece=f"{name}/s")
    await told("hand in", handle.execute_update(Depot.hand_in, f"{name}/u", rpc_timeout=PATIENCE), piece=f"{name}/u")


async def customer(client: Client, name: str, stopping: asyncio.Event) -> None:
    number = 0
    while not stopping.is_set():
        await send_parcel(client, f"{name}-{number}")
        await use_depot(client, f"{name}-{number}", number)
        number += 1


async def serve(client: Client, name: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    for number in range(DEPOTS):
        await client.start_workflow(
            Depot.run,
            id=f"depot-{number}",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            rpc_timeout=PATIENCE,
        )
    say(what="ready")
    await asyncio.gather(*(customer(client, f"{name}-{number}", stopping) for number in range(AT_ONCE)))
    say(what="done")


async def close(client: Client) -> None:
    for number in range(DEPOTS):
        handle = client.get_workflow_handle_for(Depot.run, f"depot-{number}")
        await handle.signal(Depot.close, rpc_timeout=PATIENCE)
        say(what="closed", pieces=await handle.result())


async def main(address: str, namespace: str, name: str) -> None:
    async with await Client.connect(address, namespace=namespace) as client:
        await (close(client) if name == CLOSE else serve(client, name))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
