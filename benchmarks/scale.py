"""``odradek orchestrator --processes N``: the same chains with one process, and with more of them on the same machine.

The broker, the worker and this client are pinned to the last core, the orchestrators may use all of them. Where the
machine is full no more can be had: cores over the CPU time that a step takes of all processes is what it allows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Meter
from benchmarks.stage import QUEUE, Stage, machine, positive, print_json, stage
from benchmarks.steps import VALUE, Steps
from odradek.client import Client

STEPS = 5
OPEN_MAX = 1_000
PATIENCE = timedelta(minutes=2)


@dataclass
class Burst:
    steps_per_second: float
    own: float
    """CPU seconds of the orchestrators for 1,000 steps."""
    others: float
    """The same of the broker, the worker and the client."""

    @property
    def allowed(self) -> float:
        return 1000 * (os.cpu_count() or 1) / (self.own + self.others)


@dataclass
class Fleet:
    processes: int
    bursts: list[Burst] = field(default_factory=list)

    def middle(self, of: Callable[[Burst], float]) -> float:
        return statistics.median(of(burst) for burst in self.bursts)


def measure(where: Stage, fleet: Fleet, options: argparse.Namespace) -> None:
    """One burst, by processes that are new but have worked for a while."""
    topics = where.namespace("scale", options.partitions)
    store = str(where.folder / f"store-{topics.namespace}")
    command = ["benchmarks.steps", "--store", store]
    with ExitStack() as stack:
        stack.enter_context(where.serving("orchestrator", topics, command, processes=fleet.processes))
        if options.kind == "activity":
            worker = ["benchmarks.steps", "--queue", QUEUE, "--max-concurrent", str(OPEN_MAX)]
            stack.enter_context(where.serving("worker", topics, worker))
        all_pids = {**where.pids, "client": os.getpid()}
        own = {name: pid for name, pid in all_pids.items() if name.startswith("orchestrator")}
        others = {name: pid for name, pid in all_pids.items() if name not in own}
        cores = range(os.cpu_count() or 1)
        for pid in others.values():
            pin(pid, cores[-1:])
        try:
            fleet.bursts.append(asyncio.run(burst(where.address, topics.namespace, own, others, options)))
        finally:
            pin(os.getpid(), cores)  # the processes that it starts next are where it is


async def burst(
    address: str, namespace: str, own: dict[str, int], others: dict[str, int], options: argparse.Namespace
) -> Burst:
    async with await Client.connect(address, namespace=namespace) as client:

        async def chains(count: int) -> float:
            names = iter(range(count))

            async def caller() -> None:
                for _ in names:
                    arguments = [options.kind, STEPS, VALUE]
                    id = f"chain-{uuid.uuid4().hex}"
                    done = await client.execute_workflow(
                        Steps.run, args=arguments, id=id, task_queue=QUEUE, rpc_timeout=PATIENCE
                    )
                    assert done == VALUE

            began = time.perf_counter()
            await asyncio.gather(*(caller() for _ in range(OPEN_MAX)))
            return time.perf_counter() - began

        await chains(options.workflows // 2)
        ours, theirs = Meter(own), Meter(others)
        seconds, thousands = await chains(options.workflows), options.workflows * STEPS / 1000
        return Burst(
            1000 * thousands / seconds,
            sum(ours.read().values()) / thousands,
            sum(theirs.read().values()) / thousands,
        )


def pin(pid: int, cores: Iterable[int]) -> None:
    """All threads that a process has now, and those that they will start. Does nothing where systems cannot."""
    if hasattr(os, "sched_setaffinity"):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has just ended
                os.sched_setaffinity(int(thread.name), cores)


def show(fleets: list[Fleet]) -> None:
    table = Table(title=f"chains of {STEPS} steps; medians")
    costs = ("CPU s per 1,000 steps: orchestrators", "the others")
    for name in ("orchestrator processes", "steps/s", "", *costs, "allowed"):
        table.add_column(name, justify="right")
    first = fleets[0].middle(lambda burst: burst.steps_per_second)
    for fleet in fleets:
        rate = fleet.middle(lambda burst: burst.steps_per_second)
        table.add_row(
            str(fleet.processes),
            f"{rate:,.0f}",
            f"{rate / first:.2f}x",
            f"{fleet.middle(lambda burst: burst.own):.3f}",
            f"{fleet.middle(lambda burst: burst.others):.3f}",
            f"{fleet.middle(lambda burst: burst.allowed):,.0f}",
        )
    console = Console()
    console.print(table)
    console.print(machine())


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--processes", type=positive, nargs="+", default=[1, 2])
    parser.add_argument("--kind", choices=("loop", "activity"), default="loop", help="steps in process, or by a worker")
    parser.add_argument("--workflows", type=positive, default=6_000, help="of a burst; half as many warm it up")
    parser.add_argument("--bursts", type=positive, default=5, help="of each, in turn; the first one is not counted")
    parser.add_argument("--partitions", type=positive, default=8)
    return parser


def main() -> int:
    options = arguments().parse_args()
    fleets = [Fleet(processes) for processes in options.processes]
    with stage(options.log) as where:
        for round in range(options.bursts + 1):
            for fleet in fleets:
                measure(where, fleet, options)
                if not round:
                    fleet.bursts.clear()
                print(f"{fleet.processes}: {fleet.bursts[-1:]}", file=sys.stderr)
    show(fleets)
    print_json({"scale": [asdict(fleet) for fleet in fleets]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
