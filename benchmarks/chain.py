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
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.app import STEPS, Chain
from benchmarks.processes import Meter, await_ready, running
from benchmarks.raw_loop import RawClient
from odradek.client import Client
from odradek.log import Log, open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics
from odradek.testing.broker import LocalBroker, free_port

QUEUE = "bench"
VALUE = "x" * 98  # with its quotes 100 bytes of JSON
PATIENCE = timedelta(minutes=2)  # more calls than have room begin at once


@dataclass
class Burst:
    seconds: float
    steps: int
    cpu: dict[str, float]

    def cpu_per_1000(self, process: str | None = None) -> float:
        total = sum(self.cpu.values()) if process is None else self.cpu.get(process, 0.0)
        return total / self.steps * 1000


@dataclass
class Measured:
    """One side of the comparison."""

    bursts: list[Burst] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def middle(self) -> Burst:
        """Half of the bursts cost no more."""
        return sorted(self.bursts, key=Burst.cpu_per_1000)[len(self.bursts) // 2]

    @property
    def steps_per_second(self) -> float:
        return statistics.median(burst.steps / burst.seconds for burst in self.bursts)

    def cpu_per_1000(self, process: str | None = None) -> float:
        return self.middle.cpu_per_1000(process)


Sides = tuple[Measured, Measured]
"""The engine, and the raw loop."""


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


async def burst(client: Client, count: int, prefix: str) -> float:
    began = time.perf_counter()
    runs = [
        client.execute_workflow(Chain.run, VALUE, id=f"{prefix}-{n}", task_queue=QUEUE, rpc_timeout=PATIENCE)
        for n in range(count)
    ]
    results = await asyncio.gather(*runs)
    assert all(result == VALUE for result in results)
    return time.perf_counter() - began


@contextmanager
def engine(log: Log, options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Its namespace, and its processes."""
    namespace = f"bench{time.time_ns()}"
    create_namespace(log, namespace, partitions=options.partitions, queues=(QUEUE,))
    common = ["-m", "odradek.cli", "--log", log.address, "--namespace", namespace]
    roles = {
        "orchestrator": (["benchmarks.app", "--store", str(folder / "store")], free_port()),
        "worker": (["benchmarks.app", "--queue", QUEUE, "--max-concurrent", "1000"], free_port()),
    }
    pids = {}
    with ExitStack() as stack:
        for role, (arguments, port) in roles.items():
            command = [*common, role, *arguments, "--health-port", str(port)]
            process = stack.enter_context(running(role, command, folder))
            await_ready(port, process)
            pids[role] = process.pid
        yield namespace, pids


@contextmanager
def raw_loop(log: Log, options: argparse.Namespace, folder: Path) -> Iterator[tuple[RawClient, dict[str, int]]]:
    """Its client, and its processes."""
    namespace = f"raw{time.time_ns()}"
    create_namespace(log, namespace, partitions=options.partitions, queues=(QUEUE,))
    pids = {}
    with ExitStack() as stack:
        for role in ("orchestrator", "worker"):
            command = ["-m", "benchmarks.raw_loop", role, "--log", log.address, "--namespace", namespace,
                       "--queue", QUEUE, "--steps", str(STEPS)]  # fmt: skip
            pids[role] = stack.enter_context(running(f"raw-{role}", command, folder)).pid
            await_line(folder / f"raw-{role}.log")
        yield RawClient(log, Topics(namespace), VALUE.encode() * 2), pids


async def compared(log: Log, broker_pid: int | None, options: argparse.Namespace, folder: Path) -> Sides:
    """Burst by burst in turn: the speed of a machine changes from one minute to the next."""
    found, limit, common = Measured(), Measured(), {"client": os.getpid()}
    if broker_pid:
        common["broker"] = broker_pid
    with raw_loop(log, options, folder) as (raw, raw_pids), engine(log, options, folder) as (namespace, pids):
        warm_until = time.monotonic() + options.warm_seconds
        while time.monotonic() < warm_until:
            raw.run(5_000)
        async with await Client.connect(log.address, namespace=namespace) as client:
            await burst(client, options.warm_up, "warm")
            for number in range(options.bursts):
                count, meter = options.workflows * 4, Meter({**common, **raw_pids})
                limit.bursts.append(Burst(raw.run(count), count * STEPS, meter.read()))
                count, meter = options.workflows, Meter({**common, **pids})
                found.bursts.append(Burst(await burst(client, count, f"burst-{number}"), count * STEPS, meter.read()))
            for number in range(options.latency):
                limit.latencies_ms.append(raw.run(1) * 1000)
                found.latencies_ms.append(await burst(client, 1, f"one-{number}") * 1000)
    return found, limit


def times_raw(found: Measured, raw: Measured) -> float:
    """The CPU time of a step over that of the raw loop right before it; the median over the bursts."""
    pairs = zip(found.bursts, raw.bursts, strict=True)
    return statistics.median(mine.cpu_per_1000() / limit.cpu_per_1000() for mine, limit in pairs)


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
    table.add_row("  of each pair of bursts, the median", "", "", f"{times_raw(found, raw):.2f}")
    for process in ("broker", "orchestrator", "worker", "client"):
        row(f"  {process}", found.cpu_per_1000(process), raw.cpu_per_1000(process), "{:.3f}")
    for name, at in (("p50", 50), ("p99", 99)):
        mine, limit = (statistics.quantiles(m.latencies_ms, n=100)[at - 1] for m in (found, raw))
        row(f"one at a time, {name}, ms a step", mine / STEPS, limit / STEPS, "{:.2f}")
    Console().print(table)
    memory = psutil.virtual_memory().total >> 30
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {memory} GiB; the broker on the same cores")


def measure(options: argparse.Namespace) -> Sides:
    """The engine and the raw loop, on the same broker. Shows the processes' last words on failure."""
    with (
        tempfile.TemporaryDirectory(prefix="odradek-bench-") as scratch,
        broker(options.log, Path(scratch)) as (address, pid),
        closing(open_log(address)) as log,
    ):
        try:
            return asyncio.run(compared(log, pid, options, Path(scratch)))
        except (RuntimeError, TimeoutError, subprocess.SubprocessError):
            for path in Path(scratch).glob("*.log"):
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
