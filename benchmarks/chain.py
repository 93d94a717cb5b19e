"""N workflows of 5 sequential no-op activities with 100-byte payloads, all started at once from one client process.

Beside it, in the same run on the same broker: the raw loop (the same messages without workflow code), and the ratio.
CPU seconds are those of every process, the broker included.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.app import STEPS, Chain
from benchmarks.processes import Meter, await_ready, running
from benchmarks.raw_loop import RawClient
from odradek.client import Client
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics
from odradek.testing.broker import LocalBroker, free_port

QUEUE = "bench"
VALUE = "x" * 98  # with its quotes 100 bytes of JSON
PATIENCE = timedelta(minutes=2)  # more calls than have room begin at once


@dataclass
class Measured:
    """One side of the comparison."""

    seconds: float
    steps: int
    cpu: dict[str, float]
    latencies_ms: list[float]

    @property
    def steps_per_second(self) -> float:
        return self.steps / self.seconds

    def cpu_per_1000(self, process: str | None = None) -> float:
        total = sum(self.cpu.values()) if process is None else self.cpu.get(process, 0.0)
        return total / self.steps * 1000


@contextmanager
def broker(address: str, folder: Path) -> Iterator[tuple[str, int | None]]:
    """The log's address, and the broker's process if it is ours to look at."""
    if address == "kafka":
        with LocalBroker(folder / "broker", quick_start=False, eager_cleaning=False, heap_mb=1024) as local:
            yield f"kafka://{local.bootstrap}", local.pid
    elif address == "sqlite":
        yield f"sqlite:///{folder}/bench.db", None
    else:
        pid = os.environ.get("ODRADEK_BROKER_PID")
        yield address, int(pid) if pid else None


async def engine(address: str, namespace: str, options: argparse.Namespace, pids: dict[str, int]) -> Measured:
    client = await Client.connect(address, namespace=namespace)
    try:
        await burst(client, options.warm_up, "warm")
        found = []
        for number in range(options.bursts):
            meter = Meter({**pids, "client": os.getpid()})
            seconds = await burst(client, options.workflows, f"burst-{number}")
            found.append((seconds, meter.read()))
        found.sort(key=lambda item: sum(item[1].values()))
        per_1000 = [sum(cpu.values()) / options.workflows / STEPS * 1000 for _, cpu in found]
        print("CPU s per 1,000 steps of each burst, sorted:", ", ".join(f"{value:.3f}" for value in per_1000))
        seconds, cpu = found[len(found) // 2]
        latencies = []
        for number in range(options.latency):
            began = time.perf_counter()
            await client.execute_workflow(Chain.run, VALUE, id=f"one-{number}", task_queue=QUEUE)
            latencies.append((time.perf_counter() - began) * 1000)
        return Measured(seconds, options.workflows * STEPS, cpu, latencies)
    finally:
        await client.close()


async def burst(client: Client, count: int, prefix: str) -> float:
    began = time.perf_counter()
    runs = [
        client.execute_workflow(Chain.run, VALUE, id=f"{prefix}-{n}", task_queue=QUEUE, rpc_timeout=PATIENCE)
        for n in range(count)
    ]
    results = await asyncio.gather(*runs)
    assert all(result == VALUE for result in results)
    return time.perf_counter() - began


def measure_engine(address: str, broker_pid: int | None, options: argparse.Namespace, logs: Path) -> Measured:
    namespace = f"bench{time.time_ns()}"
    with ExitStack() as stack:
        log = open_log(address)
        create_namespace(log, namespace, partitions=options.partitions, queues=(QUEUE,))
        log.close()
        common = ["-m", "odradek.cli", "--log", address, "--namespace", namespace]
        roles = {
            "orchestrator": (["benchmarks.app", "--store", str(logs / "store")], free_port()),
            "worker": (["benchmarks.app", "--queue", QUEUE, "--max-concurrent", "1000"], free_port()),
        }
        pids = {"broker": broker_pid} if broker_pid else {}
        for role, (arguments, port) in roles.items():
            command = [*common, role, *arguments, "--health-port", str(port)]
            process = stack.enter_context(running(role, command, logs))
            await_ready(port, process)
            pids[role] = process.pid
        return asyncio.run(engine(address, namespace, options, pids))


def measure_raw(address: str, broker_pid: int | None, options: argparse.Namespace, logs: Path) -> Measured:
    namespace = f"raw{time.time_ns()}"
    log = open_log(address)
    create_namespace(log, namespace, partitions=options.partitions, queues=(QUEUE,))
    pids = {"broker": broker_pid} if broker_pid else {}
    with ExitStack() as stack:
        for role in ("orchestrator", "worker"):
            command = ["-m", "benchmarks.raw_loop", role, "--log", address, "--namespace", namespace, "--queue", QUEUE,
                       "--steps", str(STEPS)]  # fmt: skip
            pids[role] = stack.enter_context(running(f"raw-{role}", command, logs)).pid
            await_line(logs / f"raw-{role}.log")
        client = RawClient(log, Topics(namespace), VALUE.encode() * 2)
        warm_until = time.monotonic() + options.warm_seconds
        while time.monotonic() < warm_until:
            client.run(5_000)
        meter = Meter({**pids, "client": os.getpid()})
        count = options.workflows * 4
        seconds = client.run(count)
        cpu = meter.read()
        latencies = [client.run(1) * 1000 for _ in range(options.latency)]
    log.close()
    return Measured(seconds, count * STEPS, cpu, latencies)


def await_line(path: Path) -> None:
    deadline = time.monotonic() + 60
    while b"ready" not in path.read_bytes():
        if time.monotonic() > deadline:
            raise TimeoutError(path.read_text())
        time.sleep(0.05)


def report(found: Measured, raw: Measured, options: argparse.Namespace) -> None:
    table = Table(
        "",
        "odradek",
        "raw loop",
        "ratio",
        title=f"Chain of {STEPS} remote activities, {options.workflows} workflows at once",
    )

    def row(name: str, value: float, limit: float, form: str = "{:,.0f}") -> None:
        ratio = value / limit if limit else 0.0
        table.add_row(name, form.format(value), form.format(limit), f"{ratio:.2f}")

    row("workflows/s", found.steps_per_second / STEPS, raw.steps_per_second / STEPS)
    row("steps/s", found.steps_per_second, raw.steps_per_second)
    row("CPU s per 1,000 steps", found.cpu_per_1000(), raw.cpu_per_1000(), "{:.3f}")
    for process in ("broker", "orchestrator", "worker", "client"):
        row(f"  {process}", found.cpu_per_1000(process), raw.cpu_per_1000(process), "{:.3f}")
    for name, at in (("p50", 50), ("p99", 99)):
        mine, limit = (statistics.quantiles(m.latencies_ms, n=100)[at - 1] for m in (found, raw))
        row(f"one at a time, {name}, ms a step", mine / STEPS, limit / STEPS, "{:.2f}")
    Console().print(table)
    memory = psutil.virtual_memory().total >> 30
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {memory} GiB; the broker on the same cores")


def measure(options: argparse.Namespace) -> tuple[Measured, Measured]:
    """The engine and the raw loop, on the same broker. Shows the processes' last words on failure."""
    with (
        tempfile.TemporaryDirectory(prefix="odradek-bench-") as scratch,
        broker(options.log, Path(scratch)) as (address, pid),
    ):
        folder = Path(scratch)
        try:
            raw = measure_raw(address, pid, options, folder)
            return measure_engine(address, pid, options, folder), raw
        except (RuntimeError, TimeoutError, subprocess.SubprocessError):
            for path in folder.glob("*.log"):
                print(f"--- {path.name}", path.read_text()[-3000:], sep="\n", file=sys.stderr)
            raise


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), sqlite, or an address")
    parser.add_argument("--workflows", type=int, default=2000)
    parser.add_argument("--bursts", type=int, default=7, help="the median of this many is shown")
    parser.add_argument("--warm-up", type=int, default=3000, help="workflows before the measured ones")
    why = "of raw load first: a broker that has just started is still compiling itself"
    parser.add_argument("--warm-seconds", type=float, default=25, help=why)
    parser.add_argument("--latency", type=int, default=200, help="workflows one at a time")
    parser.add_argument("--partitions", type=int, default=8)
    return parser


def main() -> int:
    options = arguments(__doc__).parse_args()
    report(*measure(options), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
