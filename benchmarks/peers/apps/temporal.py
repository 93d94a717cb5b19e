"""Temporal's part: a worker (``worker ADDRESS``) and a client (``load ADDRESS``)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, UnsandboxedWorkflowRunner, Worker

from benchmarks.peers.counter import STEPS, WAITING, of_environment
from benchmarks.peers.load import serve

QUEUE = "bench"
LIMIT = timedelta(seconds=10)
POLLERS = 10
CACHED_MAX = 6_000
COUNTER = of_environment()


@activity.defn
async def echo(value: str) -> str:
    COUNTER.add(STEPS)
    return value


def call(kind: str, value: str) -> Any:
    execute = workflow.execute_local_activity if kind == "local" else workflow.execute_activity
    return execute(echo, value, start_to_close_timeout=LIMIT)


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
        await workflow.wait_condition(lambda: bool(self._word))
        return self._word

    @workflow.signal
    def say(self, word: str) -> None:
        self._word = word


class Temporal:
    starts_all_at_once = False

    def __init__(self, address: str) -> None:
        self._address = address

    async def open(self) -> None:
        self._client = await Client.connect(self._address)

    async def close(self) -> None:
        pass

    async def start(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self._client.start_workflow(workflow, args=list(arguments), id=id, task_queue=QUEUE)

    async def result(self, handle: Any) -> Any:
        return await handle.result()

    async def execute(self, workflow: str, id: str, arguments: Sequence[Any]) -> Any:
        return await self.result(await self.start(workflow, id, arguments))

    async def signal(self, handle: Any, word: str) -> None:
        await handle.signal("say", word)

    def handle(self, workflow: str, id: str) -> Any:
        return self._client.get_workflow_handle(id)


async def work(address: str) -> None:
    pollers = PollerBehaviorSimpleMaximum(maximum=POLLERS)
    worker = Worker(
        await Client.connect(address),
        task_queue=QUEUE,
        workflows=[Chain, FanOut, Sleeper],
        activities=[echo],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=CACHED_MAX,
        max_concurrent_workflow_tasks=200,
        max_concurrent_activities=400,
        max_concurrent_local_activities=400,
        workflow_task_poller_behavior=pollers,
        activity_task_poller_behavior=pollers,
    )
    print("ready", flush=True)
    await worker.run()


async def make_namespace(address: str) -> None:
    """As the server of production wants it; the development server has one from the start."""
    client = await Client.connect(address)
    kept = Duration(seconds=24 * 3600)
    made = RegisterNamespaceRequest(namespace="default", workflow_execution_retention_period=kept)
    await client.workflow_service.register_namespace(made)
    for _ in range(150):
        try:
            await client.count_workflows()
            return
        except Exception:  # it takes a while until all of the server's parts have heard of it
            await asyncio.sleep(0.2)
    raise TimeoutError("the namespace cannot be used")


if __name__ == "__main__":
    role, server = sys.argv[1:]
    if role == "worker":
        asyncio.run(work(server))
    elif role == "namespace":
        asyncio.run(make_namespace(server))
    else:
        asyncio.run(serve(Temporal(server)))
    sys.stdout.flush()
    os._exit(0)  # threads of the library may crash an interpreter that ends
