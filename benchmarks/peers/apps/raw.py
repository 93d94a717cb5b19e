"""The raw loop's client under the same commands: the same messages without workflow code."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Any

from benchmarks.peers.load import VALUE, Answer, Load, serve
from benchmarks.raw_loop import RawClient
from odradek.log import open_log
from odradek.schemas.topics import Topics

ROUND = 25
"""Loops for each caller: a round is short otherwise, and its ends count for much."""


class Raw:
    starts_all_at_once = True

    def __init__(self, address: str, namespace: str) -> None:
        self._address, self._namespace = address, namespace

    async def open(self) -> None:
        self.log = open_log(self._address)
        self.client = RawClient(self.log, Topics(self._namespace), VALUE.encode() * 2)

    async def close(self) -> None:
        self.log.close()

    async def execute(self, *_: object) -> Any:
        raise NotImplementedError("the raw loop runs no workflows")

    start = result = signal = execute
    handle = execute


class RawLoad(Load):
    def __init__(self, api: Raw) -> None:
        super().__init__(api)
        self._raw = api

    async def chain(self, kind: str, workflows: int) -> Answer:
        return {"seconds": self._raw.client.run(workflows)}

    async def closed(self, kind: str, open: int, seconds: float) -> Answer:
        """In rounds of ``open`` loops: enough to warm up with, and to estimate a rate."""
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            self._raw.client.run(ROUND * open)
            done += ROUND * open
        return {"seconds": time.perf_counter() - began, "workflows": done, "latencies_ms": []}

    async def latency(self, kind: str, workflows: int, seconds_max: float) -> Answer:
        began = time.perf_counter()
        latencies = [self._raw.client.run(1) * 1000 for _ in range(workflows)]
        return {"seconds": time.perf_counter() - began, "workflows": workflows, "latencies_ms": latencies}


if __name__ == "__main__":
    made = Raw(*sys.argv[1:])
    asyncio.run(serve(made, RawLoad(made)))
    os._exit(0)
