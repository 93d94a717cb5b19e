"""A million workflows that sleep: what starting one takes, what they cost while others work, how quickly they wake.

One namespace, one orchestrator command of one process or several, one worker process. In this order:

  cost    chains of activities, while hardly anything sleeps
  sleep   so many workflows fall asleep for a year: starts per second from first to last, memory
  cost    the same chains beside them; and a run that grows long: its first steps and its last
  wake    100,000 more sleep until the same second; nobody may wake early
  kill    SIGKILL; the next orchestrator takes over with the store, and another one without

Starts are written straight into the inbox, so that no client's time is in them.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.app import STEPS, Alarm, Chain, Child, Patient
from benchmarks.stage import QUEUE, Curves, Served, Stage, machine, positive, print_json, resident_mib, sparkline, stage
from benchmarks.starts import Starts
from benchmarks.takeover import Case, ask, measured
from odradek.client import Client, WorkflowHandle
from odradek.schemas.topics import Topics

VALUE = "x" * 98  # with its quotes 100 bytes of JSON
CHAINS = 1_000
LONG_RUNS = 10
PRACTICE = 2_000
PROBES = 20
SETTLING_SECONDS = 25
"""For the stores to be brought up, which happens every 20 s."""
PATIENCE = timedelta(minutes=2)
WAKING_SECONDS_MAX = 600


@dataclass
class Measured:
    figures: dict[str, float] = field(default_factory=dict)
    starts_per_second: list[float] = field(default_factory=list)
    """By tenths of them all."""
    resident_mib: dict[str, list[float]] = field(default_factory=dict)
    takeovers: list[Case] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Bench:
    def __init__(self, where: Stage, topics: Topics, client: Client, options: argparse.Namespace) -> None:
        self.where, self.client, self.options = where, client, options
        self.starts = Starts(where, topics)
        self.found = Measured()

    async def chains(self, when: str) -> None:
        """CPU time for 1,000 steps of short chains: the burst that took least."""
        costs = []
        for burst in range(self.options.bursts):
            meter = self.where.meter()
            calls = (
                self.client.execute_workflow(
                    Chain.run, VALUE, id=f"chain-{when}-{burst}-{n}", task_queue=QUEUE, rpc_timeout=PATIENCE
                )
                for n in range(CHAINS)
            )
            await asyncio.gather(*calls)
            cpu = {name: seconds / CHAINS / STEPS * 1000 for name, seconds in meter.read().items()}
            costs.append((sum(cpu.values()), of_orchestrators(cpu)))
        total, own = min(costs)
        self.found.figures |= {f"CPU s for 1,000 steps, {when}": total, f"  of the orchestrator, {when}": own}

    async def long_runs(self, orchestrator: Served) -> None:
        """CPU time of the orchestrator for 1,000 steps of runs that grow: of their first tenth, and of their last."""
        steps = self.options.long_steps
        handles: list[WorkflowHandle[Any, int]] = [
            await self.client.start_workflow(Child.run, args=[steps, VALUE], id=f"long-{n}", task_queue=QUEUE)
            for n in range(LONG_RUNS)
        ]
        marks = [(0, orchestrator.cpu_seconds())]
        while marks[-1][0] < LONG_RUNS * steps:
            done = sum([(await handle.describe()).history_length // 2 for handle in handles])
            if done >= len(marks) * LONG_RUNS * steps / 10:
                marks.append((done, orchestrator.cpu_seconds()))
            await asyncio.sleep(0.05)
        costs = [(after - before) / (last - first) * 1000 for (first, before), (last, after) in pairwise(marks)]
        self.found.figures[f"orchestrator, CPU s for 1,000 steps of runs of {2 * steps:,} events: first tenth"] = costs[
            0
        ]
        self.found.figures["  last tenth"] = costs[-1]

    async def sleep(self) -> None:
        count, marks = self.options.workflows, [(0, time.perf_counter())]

        def reached(taken: int) -> None:
            if taken >= len(marks) * count / 10:
                marks.append((taken, time.perf_counter()))

        ids, meter = [f"w{n}" for n in range(count)], self.where.meter()
        with Curves(partial(resident_mib, self.where.pids), 1) as curves:
            seconds = await asyncio.to_thread(self.starts.make, Patient.__name__, ids, reached=reached)
            await asyncio.sleep(SETTLING_SECONDS)
        cpu = meter.read()
        self.found.resident_mib = curves.points
        one = await self.client.get_workflow_handle(ids[0]).describe()
        self.found.starts_per_second = [(b - a) / (till - since) for (a, since), (b, till) in pairwise(marks)]
        self.found.figures |= {
            "asleep": count, "events of each": one.history_length, "starts/s": count / seconds,
            "starts/s, the slowest tenth": min(self.found.starts_per_second),
            "CPU ms for a start: orchestrator": of_orchestrators(cpu) / count * 1000,
            "CPU ms for a start: broker": cpu.get("broker", 0.0) / count * 1000,
            "MiB of the orchestrator": of_orchestrators({name: points[-1] for name, points in curves.points.items()}),
        }  # fmt: skip

    async def wake(self, orchestrator: Served) -> None:
        count = self.options.woken
        began = time.time()
        later_ms = int((began + 86_400) * 1000)
        await asyncio.to_thread(self.starts.make, Alarm.__name__, [f"later-{n}" for n in range(PRACTICE)], later_ms)
        due = time.time() + 2 * (time.time() - began) * count / PRACTICE + 10
        ids = [f"alarm-{n}" for n in range(count)]
        await asyncio.to_thread(self.starts.make, Alarm.__name__, ids, int(due * 1000))
        before, asleep_seconds = _completed(orchestrator), due - time.time()
        if asleep_seconds < 0:
            self.found.wrong.append("some woke before all slept: the machine has other work, repeat it")
        handles = [self.client.get_workflow_handle_for(Alarm.run, id) for id in ids[:: max(1, count // 200)]]
        results = [asyncio.create_task(handle.result()) for handle in handles]
        await asyncio.sleep(max(0.0, asleep_seconds))
        while (woken := _completed(orchestrator) - before) < count and time.time() < due + WAKING_SECONDS_MAX:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        seconds = time.time() - due
        late_ms = await asyncio.gather(*results)
        self.found.figures |= {
            "woken in the same second": woken, "asleep before that, s": asleep_seconds, "all closed after, s": seconds,
            "woken and closed/s": woken / seconds, "the earliest, ms after it was due": min(late_ms),
            "the latest, ms after it was due": max(late_ms),
        }  # fmt: skip
        if min(late_ms) < 0 or woken != count:
            self.found.wrong.append(f"{woken:g} of {count} woke, the earliest {min(late_ms):g} ms after it was due")

    async def take_over(self, served: Served, cpu: float) -> None:
        """Every one of some workflows that are asked to goes on."""
        first = PROBES * len(self.found.takeovers)
        answered = await ask(self.client, list(range(first, first + PROBES)), served.name)
        self.found.takeovers.append(measured(self.where, served, cpu, answered))
        if answered != PROBES:
            self.found.wrong.append(f"{served.name}: {answered} of {PROBES} workflows went on")


def of_orchestrators(figures: Mapping[str, float]) -> float:
    """Of all processes of that command."""
    return sum(figure for name, figure in figures.items() if name.startswith("orchestrator"))


def _completed(orchestrator: Served) -> float:
    return orchestrator.metric("odradek_workflow_events_total", 'what="completed"')


async def run(where: Stage, topics: Topics, options: argparse.Namespace) -> Measured:
    store = str(where.folder / "store")
    memory = ["--max-workflows", str(options.max_workflows)] if options.max_workflows else []

    def orchestrator(store: str, name: str = "") -> AbstractContextManager[Served]:
        return where.serving(
            "orchestrator", topics, ["benchmarks.app", "--store", store, *memory], name, options.processes
        )

    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        bench = Bench(where, topics, client, options)
        with where.working(topics):
            with orchestrator(store) as served:
                await bench.chains("warming up")
                await bench.chains("nothing asleep")
                await bench.sleep()
                await bench.chains("beside all that sleep")
                await bench.long_runs(served)
                await bench.wake(served)
                await asyncio.sleep(SETTLING_SECONDS)
                served.kill()
            for name, folder in (("its store", store), ("an empty store", f"{store}-2")):
                with orchestrator(folder, name) as served:
                    await bench.take_over(served, served.cpu_seconds())
                    served.kill()
    return bench.found


def report(found: Measured) -> None:
    table = Table("", "", title="a million sleepers")
    for name, value in found.figures.items():
        table.add_row(name, f"{value:,.3f}" if abs(value) < 10 else f"{value:,.0f}")
    table.add_row("starts/s, by tenths", ", ".join(f"{rate:,.0f}" for rate in found.starts_per_second))
    for name, points in found.resident_mib.items():
        table.add_row(f"MiB: {name}", f"{sparkline(points)} {points[0]:.0f} to {max(points):.0f}")
    for case in found.takeovers:
        rate = case.records_read / case.live_seconds
        events = rate * found.figures["events of each"]
        table.add_row(
            f"takeover with {case.name}",
            f"{case.live_seconds:.2f} s, {case.cpu_seconds:.2f} CPU s, {case.records_read:,} records ({rate:,.0f}/s, "
            f"or {events:,.0f} events/s)",
        )
    Console(width=150).print(table)
    print(machine())
    print_json({"sleepers": asdict(found)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--workflows", type=positive, default=1_000_000)
    parser.add_argument("--woken", type=positive, default=100_000)
    parser.add_argument("--long-steps", type=positive, default=5_000, help="of each run that grows long")
    parser.add_argument("--bursts", type=positive, default=5, help="of 1,000 chains each")
    parser.add_argument("--partitions", type=positive, default=8)
    parser.add_argument("--processes", type=positive, default=1, help="of the orchestrator")
    parser.add_argument("--max-workflows", type=positive, help="that each of them keeps in memory")
    options = parser.parse_args()
    with stage(options.log) as where:
        found = asyncio.run(run(where, where.namespace("sleepers", options.partitions), options))
    report(found)
    for wrong in found.wrong:
        print(wrong, file=sys.stderr)
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
