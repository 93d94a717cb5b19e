"""How a connection ends when nobody closes it: at exit, when it is collected, and in a forked child."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from odradek.client import Client, RequestPolicy
from odradek.service import RPCError
from tests.client.fake_orchestrator import Connected, FakeOrchestrator, silent

_SCRIPT = """
import asyncio, sys
from odradek.client import Client, RequestPolicy
import odradek.client.pump as pump
import odradek.log.memory as memory

async def main():
    global client, waiting
    client = await Client.connect("memory://x", namespace="shop")
    waiting = asyncio.ensure_future(client.get_workflow_handle("a").result())
    await client.start_workflow("Order", id="a", task_queue="q", wait=False)
    flush = memory.MemoryAppender.flush
    memory.MemoryAppender.flush = lambda self, seconds: (print("flushed", flush=True), flush(self, seconds))[1]

asyncio.new_event_loop().run_until_complete(main())
print("left open")
"""


def test_a_client_that_is_left_open_does_not_hold_up_the_interpreter() -> None:
    path = os.pathsep.join(sys.path)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["left open", "flushed"]
    assert time.monotonic() - started < 5


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("odradek-client")]


def test_a_client_that_nobody_holds_ends_its_threads(address: str, orchestrator: FakeOrchestrator) -> None:
    client: Any = asyncio.run(Client.connect(address, namespace="shop"))
    assert sorted(client_threads()) == ["odradek-client-acks", "odradek-client-replies"]
    del client
    gc.collect()
    deadline = time.monotonic() + 5
    while client_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert client_threads() == []


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_forked_child_is_told_to_connect_again(connected: Connected, orchestrator: FakeOrchestrator) -> None:
    async with connected() as client:
        lane = client.connection.opened("shop")
        assert lane is not None
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                message = client.connection._pump.closed_reason
            finally:
                os.write(writing, message.encode())
                os._exit(0)
        await asyncio.to_thread(os.waitpid, child, 0)
        assert os.read(reading, 1000) == b"it was made before this process was forked: connect again in the child"
        os.close(reading)
        os.close(writing)
        assert await client.execute_workflow("Order", 1, id="a", task_queue="q") == 1


async def test_an_address_without_a_scheme_is_kafkas() -> None:
    client = await Client.connect("broker-1:9092,broker-2:9092", lazy=True)
    assert client.connection.log.address == "kafka://broker-1:9092,broker-2:9092"
    await client.close()


def test_a_call_whose_loop_is_gone_is_not_repeated_for_ever(address: str, orchestrator: FakeOrchestrator) -> None:
    orchestrator.script = silent
    policy = RequestPolicy(retry_seconds=0.02, retry_seconds_max=0.02)
    loop = asyncio.new_event_loop()
    client = loop.run_until_complete(Client.connect(address, namespace="shop", request_policy=policy))
    call = loop.create_task(client.get_workflow_handle("a").result())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    deadline = time.monotonic() + 5
    while client.connection._pump._exchanges and time.monotonic() < deadline:
        time.sleep(0.005)
    assert client.connection._pump._exchanges == {}
    call._log_destroy_pending = False  # type: ignore[attr-defined]
    asyncio.run(client.close())


async def test_close_before_the_first_request(address: str) -> None:
    client = await Client.connect(address, namespace="shop", lazy=True)
    await client.close()
    with pytest.raises(RPCError, match="ODR-132"):
        await client.start_workflow("Order", id="a", task_queue="q")
