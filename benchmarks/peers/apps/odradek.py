"""odradek's part: workflows and an activity for the ``odradek`` command, and the client (``python -m …``)."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.peers.counter import STEPS, WAITING, of_environment
from benchmarks.peers.load import Answer, Load, fresh, serve
from odradek import activity, workflow
from odradek.client import Client

QUEUE = "bench"
LIMIT = timedelta(seconds=60)
PATIENCE = timedelta(seconds=120)
"""Of the client: 200 of them on two cores may well wait for longer than its default of 10 s."""
COUNTER = of_environment()


@activity.defn
async def echo(value: str) -> str:
    COUNTER.add(STEPS)
    return value


def call(kind: str, value: str) -> Any:
    if kind == "local":
        return workflow.step(echo, value)
    return workflow.execute_activity(echo, value, start_to_close_timeout=LIMIT)


@workflow.defn(name="chain")
class Chain:
    @workflow.run
    async def run(self, kind: str, steps: int, value: str) -> str:
        for _ in range(steps):
            value = await call(kind, value)
        return value


@workflow.defn(name="fan_out")
class FanOut:
    @workflow.run
    async def run(self, kind: str, width: int, value: str) -> int:
        got = await asyncio.gather(*(call(kind, value) for _ in range(width)))
        return sum(item == value for item in got)


@workflow.defn(name="sleeper")
class Sleeper:
    def __init__(self) -> None:
        self._word = ""

    @workflow.run
    async def run(self) -> str:
        COUNTER.add(WAITING)
        await workflow.wait_condition(lambda: bool(self._word), timeout=timedelta(days=365))
        return self._word

    @workflow.signal
    def say(self, word: str) -> None:
        self._word = word


class Odradek:
    starts_all_at_once = True

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace

    async def open(self) -> None:
        self.client = await Client.connect(self._address, namespace=self._namespace)

    async def close(self) -> None:
        await self.client.close()

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self.client.start_workflow(workflow, args=arguments, id=id, task_queue=QUEUE, rpc_timeout=PATIENCE)

    async def result(self, handle: Any) -> Any:
        return await handle.result()

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self.client.execute_workflow(
            workflow, args=arguments, id=id, task_queue=QUEUE, rpc_timeout=PATIENCE
        )

    async def signal(self, handle: Any, word: str) -> None:
        await handle.signal("say", word)

    def handle(self, workflow: str, id: str) -> Any:
        return self.client.get_workflow_handle(id)


class Crowd(Load):
    """The load, and one of many client processes."""

    def __init__(self, api: Odradek, address: str, namespace: str) -> None:
        super().__init__(api)
        self._address, self._namespace = address, namespace
        self._lines: list[Connection] = []

    async def gather(self, processes: int) -> Answer:
        """Start so many client processes, and connect them."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__spec__.name])
        began = time.perf_counter()
        for _ in range(processes):
            line, theirs = context.Pipe()
            arguments = (self._address, self._namespace, theirs)
            context.Process(target=_member, args=arguments, daemon=True).start()
            self._lines.append(line)
        await self._heard()
        return {"seconds": time.perf_counter() - began}

    async def crowd(self, kind: str, each: int) -> Answer:
        """Each process starts so many chains at once; until the last has its last result."""
        began = time.perf_counter()
        for line in self._lines:
            line.send((kind, each))
        await self._heard()
        return {"seconds": time.perf_counter() - began}

    async def disperse(self) -> Answer:
        for line in self._lines:
            with suppress(OSError):  # it may have failed, which was said then
                line.send(None)
            line.close()
        self._lines.clear()
        return {}

    async def _heard(self) -> None:
        loop = asyncio.get_running_loop()
        for line in self._lines:
            try:
                await loop.run_in_executor(None, line.recv)
            except EOFError:
                raise RuntimeError("a client process has ended; the log of the first one says why") from None


def _member(address: str, namespace: str, line: Connection) -> None:
    asyncio.run(_obey(address, namespace, line))


async def _obey(address: str, namespace: str, line: Connection) -> None:
    api = Odradek(address, namespace)
    await api.open()
    load, names = Load(api), fresh()
    line.send("done")
    loop = asyncio.get_running_loop()
    while asked := await loop.run_in_executor(None, line.recv):
        kind, each = asked
        await asyncio.gather(*(load._one(kind, names(n)) for n in range(each)))
        names = fresh()
        line.send("done")
    await api.close()


if __name__ == "__main__":
    place, space = sys.argv[1:]
    made = Odradek(place, space)
    asyncio.run(serve(made, Crowd(made, place, space)))
    os._exit(0)
