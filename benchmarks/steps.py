"""Chains of durable steps: N workflows of STEPS steps each, all at once, in one process. No worker, no task queue.

Beside them the same chains of activities, when asked for (--kinds activity). CPU seconds are those of this process: the
client, the orchestrator and the log's client (with sqlite and memory the log itself).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from odradek import activity, workflow
from odradek.client import Client
from odradek.testing.broker import LocalBroker
from odradek.worker import Worker

VALUE = "x" * 98  # with its quotes 100 bytes of JSON
KINDS = ("loop", "inline", "thread", "activity")


@activity.defn
async def same(value: str) -> str:
    return value


def plain(value: str) -> str:
    return value


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, kind: str, count: int, value: str) -> str:
        for _ in range(count):
            if kind == "loop":
                value = await workflow.step(same, value)
            elif kind == "activity":
                value = await workflow.execute_activity(same, value, start_to_close_timeout=timedelta(seconds=60))
            else:
                value = await workflow.step(plain, value, inline=kind == "inline")
        return value


@contextmanager
def address_of(log: str, folder: Path) -> Iterator[str]:
    if log == "kafka":
        with LocalBroker(folder / "broker", quick_start=False, eager_cleaning=False, heap_mb=1024) as broker:
            yield f"kafka://{broker.bootstrap}"
    elif log == "sqlite":
        yield f"sqlite:///{folder}/steps.db"
    elif log == "memory":
        yield f"memory://{uuid.uuid4().hex}"
    else:
        yield log


async def measure(address: str, options: argparse.Namespace) -> None:
    namespace = f"steps{time.time_ns()}"
    async with (
        await Client.connect(address, namespace=namespace) as client,
        Worker(client, task_queue="bench", workflows=[Steps], activities=[same]),
    ):
        for kind in options.kinds:
            await burst(client, kind, f"{kind}-warm", options.warm_up, options.steps)
            began, cpu = time.perf_counter(), time.process_time()
            await burst(client, kind, kind, options.workflows, options.steps)
            seconds, used = time.perf_counter() - began, time.process_time() - cpu
            steps = options.workflows * options.steps
            began = time.perf_counter()
            for n in range(options.latency):
                await burst(client, kind, f"{kind}-one-{n}", 1, options.steps)
            one = (time.perf_counter() - began) / (options.latency * options.steps or 1)
            print(
                f"{kind:8} {steps / seconds:8,.0f} steps/s   {used / steps * 1e6:6.1f} µs of CPU a step   "
                f"one at a time: {one * 1000:.2f} ms a step"
            )


async def burst(client: Client, kind: str, prefix: str, workflows: int, steps: int) -> None:
    runs = [
        client.execute_workflow(Steps.run, args=[kind, steps, VALUE], id=f"{prefix}-{n}", task_queue="bench")
        for n in range(workflows)
    ]
    assert set(await asyncio.gather(*runs)) == {VALUE}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", default="memory", help="memory, sqlite, kafka (starts a broker), or an address")
    parser.add_argument("--workflows", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20, help="in each workflow")
    parser.add_argument("--warm-up", type=int, default=100, help="workflows before the measured ones")
    parser.add_argument("--latency", type=int, default=20, help="workflows one at a time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS[:3]), help="activity: to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="odradek-steps-") as folder, address_of(options.log, Path(folder)) as log:
        asyncio.run(measure(log, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
