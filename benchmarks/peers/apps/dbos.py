"""DBOS's part. It is a library, so client and engine are one process (``load URL``).

For recovery there must be a process to kill: ``queued URL`` is a client that puts workflows into a queue, and
``worker URL`` a process that takes them out.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dbos import DBOS, DBOSClient, SetWorkflowID

from benchmarks.peers.counter import STEPS, WAITING, of_environment
from benchmarks.peers.load import CALLS_MAX, serve

COUNTER = of_environment()
QUEUE = "bench"
POLL_SECONDS = 0.05
WAIT_SECONDS_MAX = 3600


@DBOS.step()
def echo(value: str) -> str:
    COUNTER.add(STEPS)
    return value


@DBOS.step()
async def echo_async(value: str) -> str:
    COUNTER.add(STEPS)
    return value


@DBOS.workflow()
def chain(kind: str, steps: int, value: str) -> str:
    for _ in range(steps):
        value = echo(value)
    return value


@DBOS.workflow()
async def fan_out(kind: str, width: int, value: str) -> int:
    got = await asyncio.gather(*(echo_async(value) for _ in range(width)))
    return sum(item == value for item in got)


@DBOS.workflow()
async def sleeper() -> Any:
    COUNTER.add(WAITING)
    return await DBOS.recv_async("word", timeout_seconds=WAIT_SECONDS_MAX)


def launch(url: str) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "log_level": "ERROR",
            "application_version": "v1",
            "executor_id": "local",
            "sys_db_pool_size": 20,
            "max_executor_threads": 16,
        }
    )
    DBOS.launch()


class Embedded:
    starts_all_at_once = False

    def __init__(self, url: str) -> None:
        self._url = url
        # The synchronous workflow, which is the quicker one, is started from one thread and waited for in others.
        self._starting, self._waiting = ThreadPoolExecutor(1), ThreadPoolExecutor(CALLS_MAX)

    async def open(self) -> None:
        launch(self._url)

    async def close(self) -> None:
        DBOS.destroy()

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        if workflow == "chain":
            return await asyncio.get_running_loop().run_in_executor(self._starting, self._start_chain, id, arguments)
        with SetWorkflowID(id):
            if workflow == "fan_out":
                return await DBOS.start_workflow_async(fan_out, *arguments)
            return await DBOS.start_workflow_async(sleeper)

    def _start_chain(self, id: str, arguments: Sequence[Any]) -> Any:
        with SetWorkflowID(id):
            return DBOS.start_workflow(chain, *arguments)

    async def result(self, handle: Any) -> Any:
        if asyncio.iscoroutinefunction(handle.get_result):
            return await handle.get_result()
        return await asyncio.get_running_loop().run_in_executor(self._waiting, handle.get_result)

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self.result(await self.start(workflow, id, arguments))

    async def signal(self, handle: Any, word: str) -> None:
        await DBOS.send_async(handle.workflow_id, word, "word")

    def handle(self, workflow: str, id: str) -> Any:
        return DBOS.retrieve_workflow(id)


class Queued:
    starts_all_at_once = False

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self) -> None:
        self._client = DBOSClient(system_database_url=self._url)

    async def close(self) -> None:
        self._client.destroy()

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        options = {"workflow_name": workflow, "queue_name": QUEUE, "app_version": "v1", "workflow_id": id}
        return await self._client.enqueue_async(options, *arguments)

    async def result(self, handle: Any) -> Any:
        return await handle.get_result(polling_interval_sec=POLL_SECONDS)

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self.result(await self.start(workflow, id, arguments))

    async def signal(self, handle: Any, word: str) -> None:
        await self._client.send_async(handle.workflow_id, word, "word")

    def handle(self, workflow: str, id: str) -> Any:
        raise NotImplementedError("an enqueued workflow stands in the database")


def work(url: str) -> None:
    launch(url)
    DBOS.register_queue(QUEUE, polling_interval_sec=POLL_SECONDS)
    print("ready", flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    role, database = sys.argv[1:]
    if role == "worker":
        work(database)
    asyncio.run(serve(Embedded(database) if role == "load" else Queued(database)))
    os._exit(0)  # threads of the library would keep it
