"""One parent with P children of S steps each, all children at once; a step is a no-op activity with a 100-byte payload.

    python -m benchmarks.children --log kafka --children 1000 --steps 1000

Prints time and CPU seconds, those of the broker included. The defaults are small enough to run while others work.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.app import Parent
from benchmarks.chain import QUEUE, VALUE, broker
from benchmarks.processes import Meter, await_ready, running
from odradek.client import Client
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.testing.broker import free_port


@dataclass
class Measured:
    seconds: float
    cpu: dict[str, float]


async def measure(address: str, namespace: str, options: argparse.Namespace, pids: dict[str, int]) -> Measured:
    client = await Client.connect(address, namespace=namespace)
    try:
        await run(client, "warm", options.warm_up, 5)
        meter = Meter({**pids, "client": os.getpid()})
        began = time.perf_counter()
        await run(client, "parent", options.children, options.steps)
        return Measured(time.perf_counter() - began, meter.read())
    finally:
        await client.close()


async def run(client: Client, workflow_id: str, children: int, steps: int) -> None:
    arguments = [children, steps, VALUE]
    taken = await client.execute_workflow(Parent.run, args=arguments, id=workflow_id, task_queue=QUEUE)
    assert taken == children * steps, taken


def measure_on(address: str, broker_pid: int | None, options: argparse.Namespace, logs: Path) -> Measured:
    namespace = f"bench{time.time_ns()}"
    log = open_log(address)
    create_namespace(log, namespace, partitions=options.partitions, queues=(QUEUE,))
    log.close()
    common = ["-m", "odradek.cli", "--log", address, "--namespace", namespace]
    roles = {
        "orchestrator": (["benchmarks.app", "--store", str(logs / "store")], free_port()),
        "worker": (["benchmarks.app", "--queue", QUEUE, "--max-concurrent", "1000"], free_port()),
    }
    pids = {"broker": broker_pid} if broker_pid else {}
    with ExitStack() as stack:
        for role, (arguments, port) in roles.items():
            command = [*common, role, *arguments, "--health-port", str(port)]
            process = stack.enter_context(running(role, command, logs))
            await_ready(port, process)
            pids[role] = process.pid
        return asyncio.run(measure(address, namespace, options, pids))


def report(found: Measured, options: argparse.Namespace) -> None:
    children, steps = options.children, options.children * options.steps
    table = Table("", "all", "a child", "1,000 steps", title=f"{children:,} children of {options.steps:,} steps each")

    def row(name: str, seconds: float) -> None:
        a_step = f"{seconds / steps * 1000:.3f} s" if steps else ""
        table.add_row(name, f"{seconds:,.2f} s", f"{seconds / children * 1000:,.2f} ms", a_step)

    row("time", found.seconds)
    row("CPU", sum(found.cpu.values()))
    for process, seconds in found.cpu.items():
        row(f"  {process}", seconds)
    table.add_row("children/s", f"{children / found.seconds:,.0f}")
    table.add_row("steps/s", f"{steps / found.seconds:,.0f}")
    Console().print(table)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; the log on the same cores")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="sqlite", help="kafka (starts a broker), sqlite, or an address")
    parser.add_argument("--children", type=positive, default=100)
    parser.add_argument("--steps", type=int, default=10, help="of each child; 0 measures the children alone")
    parser.add_argument("--warm-up", type=positive, default=20, help="children of 5 steps before the measured ones")
    parser.add_argument("--partitions", type=positive, default=8)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="odradek-bench-") as scratch,
        broker(options.log, Path(scratch)) as (address, pid),
    ):
        folder = Path(scratch)
        try:
            found = measure_on(address, pid, options, folder)
        except (RuntimeError, TimeoutError, subprocess.SubprocessError):
            for path in folder.glob("*.log"):
                print(f"--- {path.name}", path.read_text()[-3000:], sep="\n", file=sys.stderr)
            raise
    report(found, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
