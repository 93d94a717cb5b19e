"""Restate's part: its services behind hypercorn (``worker PORT``), and a client of its ingress (``load URL``)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import restate

from benchmarks.peers.counter import STEPS, WAITING, of_environment
from benchmarks.peers.load import serve

COUNTER = of_environment()
IDLE = timedelta(seconds=60)
"""How long an invocation that waits stays connected to the worker before it is suspended; the server's default."""

echo_service = restate.Service("Echo")
chain = restate.Workflow("chain", inactivity_timeout=IDLE)
fan_out = restate.Workflow("fan_out", inactivity_timeout=IDLE)
sleeper = restate.Workflow("sleeper", inactivity_timeout=IDLE)


async def echo_here(value: str) -> str:
    COUNTER.add(STEPS)
    return value


@echo_service.handler()
async def echo(ctx: restate.Context, value: str) -> str:
    COUNTER.add(STEPS)
    return value


def call(ctx: restate.WorkflowContext, kind: str, value: str) -> Any:
    if kind == "local":
        return ctx.run_typed("echo", echo_here, value=value)
    return ctx.service_call(echo, arg=value)


@chain.main(name="run")
async def run_chain(ctx: restate.WorkflowContext, arguments: list[Any]) -> str:
    kind, steps, value = arguments
    for _ in range(steps):
        value = await call(ctx, kind, value)
    return str(value)


@fan_out.main(name="run")
async def run_fan_out(ctx: restate.WorkflowContext, arguments: list[Any]) -> int:
    kind, width, value = arguments
    calls = [call(ctx, kind, value) for _ in range(width)]
    await restate.gather(*calls)
    return sum([await one == value for one in calls])


@sleeper.main(name="run")
async def run_sleeper(ctx: restate.WorkflowContext, arguments: list[Any]) -> str:
    promise = ctx.promise("word", type_hint=str)
    if await promise.peek() is None:
        COUNTER.add(WAITING)
    return await promise.value()


@sleeper.handler()
async def say(ctx: restate.WorkflowSharedContext, word: str) -> None:
    await ctx.promise("word", type_hint=str).resolve(word)


class Restate:
    starts_all_at_once = False

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> None:
        import aiohttp

        # The client inside the SDK uses many times the CPU of this one.
        connector, patient = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(self._url, connector=connector, timeout=patient)

    async def close(self) -> None:
        await self._session.close()

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> tuple[str, str]:
        await self._ask("POST", f"/{workflow}/{id}/run/send", list(arguments))
        return workflow, id

    async def result(self, handle: tuple[str, str]) -> Any:
        workflow, id = handle
        return await self._ask("GET", f"/restate/workflow/{workflow}/{id}/attach")

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self._ask("POST", f"/{workflow}/{id}/run", list(arguments))

    async def signal(self, handle: tuple[str, str], word: str) -> None:
        workflow, id = handle
        await self._ask("POST", f"/{workflow}/{id}/say", word)

    def handle(self, workflow: str, id: str) -> tuple[str, str]:
        return workflow, id

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"content-type": "application/json"} if data else {}
        async with self._session.request(method, path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{answer.status} from {path}: {text[:300]}")
            return json.loads(text) if text else None


def work(port: int) -> None:
    import hypercorn.asyncio
    import uvloop

    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = config.keep_alive_timeout = 2**31 - 1
    uvloop.run(hypercorn.asyncio.serve(restate.app([echo_service, chain, fan_out, sleeper]), config))


if __name__ == "__main__":
    role, where = sys.argv[1:]
    if role == "worker":
        work(int(where))
    else:
        asyncio.run(serve(Restate(where)))
