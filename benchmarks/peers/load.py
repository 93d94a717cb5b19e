"""The client of a contestant: carries out commands, one JSON object a line, and times what it does.

Runs in the contestant's own Python, so it knows nothing but the standard library and the ``Api`` that it is given.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from benchmarks.peers.counter import WAITING, of_environment

STEPS = 5
VALUE = "x" * 98
"""With its quotes 100 bytes of JSON."""
CALLS_MAX = 200
"""Requests that the client has open at the same time, unless the command says otherwise."""
WAIT_SECONDS_MAX = 150.0
RETRY_SECONDS = 0.1

Answer = dict[str, Any]


class Api(Protocol):
    """What the load needs of an engine. ``kind`` of a step: "remote" or "local"."""

    starts_all_at_once: bool
    """The client takes thousands of open calls better than a window of them."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        """``workflow``: "chain" (kind, steps, value), "fan_out" (kind, width, value) or "sleeper" ()."""

    async def result(self, handle: Any) -> Any: ...

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        """Start it and wait for its result, in the engine's quickest way for one."""

    async def signal(self, handle: Any, word: str) -> None: ...

    def handle(self, workflow: str, id: str) -> Any:
        """Of a workflow that may have been started."""


class Load:
    """Each public coroutine is a command; its keyword arguments are the command's."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._sleepers: list[Any] = []
        self._running: asyncio.Task[Answer] | None = None

    async def chain(self, kind: str, workflows: int) -> Answer:
        """So many workflows, started as fast as the client can; seconds until all have their result."""
        names, began = fresh(), time.perf_counter()
        if self._api.starts_all_at_once:
            await asyncio.gather(*(self._one(kind, names(n)) for n in range(workflows)))
        else:
            await self._start_and_collect(kind, workflows, names)
        return {"seconds": time.perf_counter() - began}

    async def closed(self, kind: str, open: int, seconds: float) -> Answer:
        """``open`` callers, each of which starts its next workflow when it has the result of the last."""
        names, began = fresh(), time.perf_counter()
        latencies: list[float] = []

        async def caller(number: int) -> None:
            count = 0
            while time.perf_counter() - began < seconds:
                at = time.perf_counter()
                await self._one(kind, names(f"{number}-{count}"))
                latencies.append((time.perf_counter() - at) * 1000)
                count += 1

        await asyncio.gather(*(caller(n) for n in range(open)))
        return {"seconds": time.perf_counter() - began, "workflows": len(latencies), "latencies_ms": latencies}

    async def latency(self, kind: str, workflows: int, seconds_max: float) -> Answer:
        """One at a time, from the start to the result in the client's hands."""
        names, began = fresh(), time.perf_counter()
        latencies: list[float] = []
        while len(latencies) < workflows and time.perf_counter() - began < seconds_max:
            at = time.perf_counter()
            await self._one(kind, names(len(latencies)))
            latencies.append((time.perf_counter() - at) * 1000)
        return {"seconds": time.perf_counter() - began, "workflows": len(latencies), "latencies_ms": latencies}

    async def paced(self, kind: str, per_second: float, seconds: float) -> Answer:
        """Starts that come as they come (Poisson), whoever waits; each latency counts from when it was due."""
        chance, names, began = random.Random(7), fresh(), time.perf_counter()
        latencies: list[float] = []
        tasks: list[asyncio.Task[None]] = []
        due = 0.0

        async def one(name: str, due_at: float) -> None:
            await self._one(kind, name)
            latencies.append((time.perf_counter() - due_at) * 1000)

        while due < seconds:
            await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
            tasks.append(asyncio.create_task(one(names(len(tasks)), began + due)))
            due += chance.expovariate(per_second)
        await asyncio.gather(*tasks)
        return {"seconds": time.perf_counter() - began, "workflows": len(latencies), "latencies_ms": latencies}

    async def fan_out(self, kind: str, width: int) -> Answer:
        """One workflow with so many steps at once."""
        began = time.perf_counter()
        got = await self._api.execute("fan_out", fresh()(0), [kind, width, VALUE])
        require(int(got), width)
        return {"seconds": time.perf_counter() - began}

    async def long(self, kind: str, steps: int) -> Answer:
        """One workflow with so many steps one after the other."""
        began = time.perf_counter()
        require(await self._api.execute("chain", fresh()(0), [kind, steps, VALUE]), VALUE)
        return {"seconds": time.perf_counter() - began}

    async def sleepers(self, workflows_max: int, seconds_max: float) -> Answer:
        """Starts workflows that wait for a signal, until there are enough or the time is over; then until all wait."""
        names, began, counter = fresh(), time.perf_counter(), of_environment()
        counter.zero()
        handles: list[Any] = []
        numbers = iter(range(workflows_max))

        async def starter() -> None:
            for number in numbers:
                handles.append(await self._api.start("sleeper", names(number), []))
                if time.perf_counter() - began > seconds_max:
                    return

        await asyncio.gather(*(starter() for _ in range(min(CALLS_MAX, workflows_max))))
        accepted = time.perf_counter() - began
        while counter.read(WAITING) < len(handles):
            if time.perf_counter() - began > WAIT_SECONDS_MAX:
                raise TimeoutError(f"{counter.read(WAITING)} of {len(handles)} sleepers came to their wait")
            await asyncio.sleep(0.01)
        self._sleepers = handles
        return {
            "workflows": len(handles),
            "accepted_seconds": accepted,
            "seconds": time.perf_counter() - began,
        }

    async def signals(self) -> Answer:
        """One to each sleeper; until all have ended with the word that they were told."""
        began = time.perf_counter()

        async def tell(handle: Any) -> None:
            await self._api.signal(handle, "go")

        async def hear(handle: Any) -> None:
            require(await self._api.result(handle), "go")

        await bounded(self._sleepers, tell)
        sent = time.perf_counter() - began
        await bounded(self._sleepers, hear)
        return {"workflows": len(self._sleepers), "accepted_seconds": sent, "seconds": time.perf_counter() - began}

    async def begin(self, kind: str, workflows: int) -> Answer:
        """Like ``chain``, but whatever fails is tried again; answers at once, and ``finish`` waits for the end."""
        self._running = asyncio.create_task(self._persistent_chain(kind, workflows))
        await asyncio.sleep(0)
        return {}

    async def finish(self) -> Answer:
        assert self._running is not None
        return await asyncio.wait_for(self._running, WAIT_SECONDS_MAX)

    async def _persistent_chain(self, kind: str, workflows: int) -> Answer:
        names, began = fresh(), time.perf_counter()

        async def one(number: int) -> None:
            while True:
                try:
                    handle = await self._api.start("chain", names(number), [kind, STEPS, VALUE])
                except Exception:  # it may have been started all the same
                    handle = self._api.handle("chain", names(number))
                try:
                    return require(await self._api.result(handle), VALUE)
                except Exception:
                    if time.perf_counter() - began > WAIT_SECONDS_MAX:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)

        await asyncio.gather(*(one(number) for number in range(workflows)))
        return {"seconds": time.perf_counter() - began}

    async def _one(self, kind: str, name: str) -> None:
        require(await self._api.execute("chain", name, [kind, STEPS, VALUE]), VALUE)

    async def _start_and_collect(self, kind: str, workflows: int, names: Callable[[Any], str]) -> None:
        loop = asyncio.get_running_loop()
        handles: list[asyncio.Future[Any]] = [loop.create_future() for _ in range(workflows)]

        async def start(number: int) -> None:
            handles[number].set_result(await self._api.start("chain", names(number), [kind, STEPS, VALUE]))

        async def collect(number: int) -> None:
            require(await self._api.result(await handles[number]), VALUE)

        await asyncio.gather(bounded(range(workflows), start), bounded(range(workflows), collect))


async def bounded(items: Sequence[Any], function: Callable[[Any], Awaitable[None]]) -> None:
    """Of all items in order, at most ``CALLS_MAX`` at a time."""
    rest = iter(items)

    async def lane() -> None:
        for item in rest:
            await function(item)

    await asyncio.gather(*(lane() for _ in range(min(CALLS_MAX, len(items)))))


def fresh() -> Callable[[Any], str]:
    """Makes IDs that no other command has made."""
    mark = uuid.uuid4().hex[:12]
    return lambda part: f"w-{mark}-{part}"


def require(got: Any, wanted: Any) -> None:
    if got != wanted:
        raise ValueError(f"a workflow ended with {got!r} instead of {wanted!r}")


async def serve(api: Api, load: Load | None = None) -> None:
    """Answer commands from standard input until it ends."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    load = load or Load(api)
    await api.open()
    print(json.dumps({"ready": True}), file=answers)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            try:
                found = await getattr(load, command.pop("do"))(**command)
            except Exception as error:  # the harness shows it, and goes on with the next measurement
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), file=answers)
    finally:
        await api.close()
