"""More than a fleet can do: a real broker, one orchestrator, one worker, and everything on two cores or so.

Parts, each in a namespace of its own:

  storm   workflows of one activity are started at ten times the rate that was measured before, whether or not the
          earlier ones are done; whoever is refused is told so by a code and when to come back, everything accepted is
          completed once, memory stops growing, and the fleet is as fast as before when it is over
  flood   so many signals for one workflow at once; another workflow of the same partition is signalled and asked all
          the while
  alarms  so many timers come due while no orchestrator is there; when one is back, another workflow is signalled and
          asked while they fire, and none fires early

Memory of each process is read twice a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.app import Alarm, Customer
from benchmarks.stage import QUEUE, Curves, Served, Stage, machine, positive, print_json, resident_mib, sparkline, stage
from benchmarks.storm import Fate, Storm, growing, lost_or_twice, start_one
from odradek.cli.collector import collect_rarely
from odradek.client import Client, WorkflowHandle
from odradek.converter import DataConverter
from odradek.log.namespace import open_namespace
from odradek.log.partitioning import partition_of
from odradek.schemas.records import InboxRecord, Request, SignalWorkflow
from odradek.schemas.topics import Topics

PARTITIONS = 8
CLOSED_LOOP = 200
CAPACITY_SECONDS = 10.0
ASK_SECONDS = 0.05
OUTAGE_SECONDS = 5.0
COUNTERS_SECONDS = 3.0
"""After this an idle orchestrator's counters, brought up to date once a second, say all that it has done."""
WATCHED = 200
PRACTICE = 2000
"""Timers that are set to see how quickly that goes."""
DRAIN_SECONDS_MAX = 900.0
LONG = timedelta(seconds=DRAIN_SECONDS_MAX)


@dataclass
class Measured:
    """One part."""

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    asked_ms: list[float] = field(default_factory=list)
    """From a signal of the innocent workflow to the answer of a query after it."""
    refusals: dict[str, int] = field(default_factory=dict)
    resident_mib: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def share(values: list[float], of: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * of))] if values else 0.0


async def capacity(client: Client, seconds: float) -> float:
    """Workflows per second with so many callers that each wait for theirs."""
    done, until = 0, time.perf_counter() + seconds

    async def caller(number: int) -> None:
        nonlocal done
        turn = 0
        while time.perf_counter() < until:
            await start_one(client, f"warm-{number}-{turn}")
            turn, done = turn + 1, done + 1

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(CLOSED_LOOP)))
    return done / (time.perf_counter() - began)


@asynccontextmanager
async def asking(client: Client, id: str, asked_ms: list[float]) -> AsyncIterator[None]:
    """While the block runs: signal this workflow, then ask it whether it has had the signal, again and again."""
    over = asyncio.Event()
    handle = client.get_workflow_handle_for(Customer.run, id)

    async def one() -> None:
        began = time.perf_counter()
        await handle.signal(Customer.order, "innocent", rpc_timeout=LONG)
        await handle.query(Customer.orders, rpc_timeout=LONG)
        asked_ms.append((time.perf_counter() - began) * 1000)

    async def ask() -> None:
        waiting: set[asyncio.Task[None]] = set()
        while not over.is_set():
            waiting.add(asyncio.create_task(one()))
            await asyncio.sleep(ASK_SECONDS)
        await asyncio.gather(*waiting)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        over.set()
        await task


@asynccontextmanager
async def served(where: Stage, topics: Topics) -> AsyncIterator[Client]:
    """A client, and an orchestrator for it."""
    with where.orchestrating(topics):
        async with await Client.connect(where.address, namespace=topics.namespace) as client:
            yield client


async def storm(where: Stage, topics: Topics, options: argparse.Namespace) -> Measured:
    found = Measured("storm")
    seconds = options.minutes * 60
    with where.orchestrating(topics) as orchestrator:
        async with await Client.connect(where.address, namespace=topics.namespace) as client:
            await capacity(client, 3)
            before = await capacity(client, CAPACITY_SECONDS)
            crowd = Storm(client, before * options.times)
            with Curves(partial(resident_mib, {**where.pids, "client": os.getpid()}), 0.5) as curves:
                began = time.perf_counter()
                await crowd.rage(seconds)
                raged_points = max(map(len, curves.points.values()))
                raged, calls = time.perf_counter() - began, crowd.calls
                await crowd.pass_over()
                await lag_is_gone(where, topics)
                drained = time.perf_counter() - began - raged
            await asyncio.sleep(COUNTERS_SECONDS)
            started = orchestrator.metric("odradek_workflow_events_total", 'what="started"')
            completed = sum(closed_workflows(orchestrator).values())
            after = await capacity(client, CAPACITY_SECONDS)
    found.figures = {
        "capacity before, workflows/s": before, "lasted, s": raged, "callers": crowd.offered,
        "calls": calls, "calls/s, of the capacity": calls / raged / before, "completed": crowd.count(Fate.RESULT),
        "never sent": crowd.count(Fate.NOT_SENT), "of unknown outcome": crowd.count(Fate.UNKNOWN),
        "most callers at once": crowd.callers_max, "drained after, s": drained,
        "capacity after, workflows/s": after,
    }  # fmt: skip
    found.refusals, found.resident_mib = dict(crowd.told), curves.points
    found.wrong += growing(curves.points, raged_points)
    found.wrong += await asyncio.to_thread(lambda: list(lost_or_twice(where, topics, crowd.fates)))
    if started != completed:
        found.wrong.append(f"storm: {started:g} workflows were started, and {completed:g} completed")
    if crowd.without_advice:
        found.wrong.append(f"storm: {crowd.without_advice} refused callers were not told when to come back")
    if after < before / 2:
        found.wrong.append(f"storm: {after:g} workflows/s afterwards, {before:g} before")
    return found


async def flood(where: Stage, topics: Topics, options: argparse.Namespace) -> Measured:
    found = Measured("flood")
    async with served(where, topics) as client:
        greedy, innocent = await two_of_one_partition(client)
        async with asking(client, innocent, []):
            await asyncio.sleep(2)
        handle = client.get_workflow_handle_for(Customer.run, greedy)
        signals = encoded_signals(where, topics, options.signals)
        calm: list[float] = []
        async with asking(client, innocent, calm):
            await asyncio.sleep(3)
        with Curves(partial(resident_mib, {**where.pids, "client": os.getpid()}), 0.5) as curves:
            began = time.perf_counter()
            async with asking(client, innocent, found.asked_ms):
                await asyncio.to_thread(append_all, where, topics, greedy, signals)
                sent = time.perf_counter() - began
                while (had := await handle.query(Customer.orders, rpc_timeout=LONG)) < options.signals:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                taken_in = time.perf_counter() - began
        found.figures = {
            "signals": options.signals, "sent after, s": sent, "taken in after, s": taken_in,
            "signals/s": had / taken_in, "asked: median before, ms": share(calm, 0.5),
            "asked: p99 before, ms": share(calm, 0.99),
        }  # fmt: skip
        if had != options.signals:
            found.wrong.append(f"flood: {had} signals were seen, {options.signals} sent")
    found.resident_mib = curves.points
    return found


async def alarms(where: Stage, topics: Topics, options: argparse.Namespace) -> Measured:
    found = Measured("alarms")
    async with await Client.connect(where.address, namespace=topics.namespace) as client:
        with where.orchestrating(topics) as orchestrator:
            began = time.time()
            await fall_asleep(client, PRACTICE, int((began + 86_400) * 1000), "practice")
            seconds = (time.time() - began) * options.timers / PRACTICE
            due_ms = int((time.time() + 1.5 * seconds + 10) * 1000)
            watched = await fall_asleep(client, options.timers, due_ms, "alarm")
            _, innocent = await two_of_one_partition(client)
            calm: list[float] = []
            async with asking(client, innocent, calm):
                await asyncio.sleep(3)
            if (woken := sum(closed_workflows(orchestrator).values())) > 0:
                found.wrong.append(f"alarms: {woken:g} fired before all slept: the machine has other work, repeat it")
                return found
            orchestrator.kill()
            found.figures["asleep before they were due, s"] = due_ms / 1000 - time.time()
        await asyncio.sleep(max(0.0, due_ms / 1000 - time.time()) + OUTAGE_SECONDS)
        results = [asyncio.create_task(handle.result()) for handle in watched]
        pids = {**where.pids, "client": os.getpid()}
        with Curves(partial(resident_mib, pids), 0.5) as curves, where.orchestrating(topics) as orchestrator:
            pids["orchestrator"] = orchestrator.process.pid
            began = time.perf_counter()
            fired = Curves(partial(closed_workflows, orchestrator), 1)
            async with asking(client, innocent, found.asked_ms):
                with fired:
                    late = list(await asyncio.gather(*results))
                    while sum(closed_workflows(orchestrator).values()) < options.timers:
                        await asyncio.sleep(0.25)
                        if time.perf_counter() - began > DRAIN_SECONDS_MAX:
                            found.wrong.append(f"alarms: not all have fired within {DRAIN_SECONDS_MAX:g} s")
                            break
                over = time.perf_counter() - began
    counts = fired.points["closed"]
    found.figures |= {
        "timers": options.timers, "all fired and closed after, s": over, "timers/s": options.timers / over,
        "in the busiest second": max((b - a for a, b in pairwise(counts)), default=0.0),
        "earliest, ms after due": min(late), "asked: median before, ms": share(calm, 0.5),
        "asked: p99 before, ms": share(calm, 0.99),
    }  # fmt: skip
    found.resident_mib = curves.points
    if min(late) < 0:
        found.wrong.append(f"alarms: one fired {-min(late):g} ms early")
    return found


async def fall_asleep(client: Client, timers: int, due_ms: int, name: str) -> list[WorkflowHandle[Any, float]]:
    """Start so many that sleep until then; some of them, to be asked how late they woke."""
    numbers = iter(range(timers))
    every = max(1, timers // WATCHED)
    watched: list[WorkflowHandle[Any, float]] = []

    async def starter() -> None:
        for n in numbers:
            handle = await client.start_workflow(
                Alarm.run, due_ms, id=f"{name}-{n}", task_queue=QUEUE, rpc_timeout=LONG
            )
            if n % every == 0:
                watched.append(handle)

    await asyncio.gather(*(starter() for _ in range(CLOSED_LOOP)))
    return watched


def closed_workflows(orchestrator: Served) -> dict[str, float]:
    return {"closed": orchestrator.metric("odradek_workflow_events_total", 'what="completed"')}


def encoded_signals(where: Stage, topics: Topics, count: int) -> list[bytes]:
    """Signals as a client sends them that wants no answer: the client's own time is not measured here."""
    codec = open_namespace(where.log, topics.namespace).codec
    now_ms = int(time.time() * 1000)
    payload = tuple(DataConverter.default.payload_converter.to_payloads(["x" * 100]))
    requests = (Request(f"flood-{n:012x}", now_ms + 600_000, "nobody", -1, "flood") for n in range(count))
    bodies = (SignalWorkflow("order", payload, request=request) for request in requests)
    return [codec.encode(InboxRecord(now_ms, body)) for body in bodies]


def append_all(where: Stage, topics: Topics, workflow_id: str, values: list[bytes]) -> None:
    appender, key = where.log.appender(), workflow_id.encode()
    for value in values:
        appender.append(topics.inbox, 0, key, value)
    appender.flush(60)
    appender.close()


async def two_of_one_partition(client: Client) -> tuple[str, str]:
    """IDs of two workflows that have been started, both on partition 0."""
    ids = [f"customer-{n}" for n in range(1000) if partition_of(f"customer-{n}".encode(), PARTITIONS) == 0][:2]
    for id in ids:
        await client.start_workflow(Customer.run, 0, id=id, task_queue=QUEUE)
    return ids[0], ids[1]


async def lag_is_gone(where: Stage, topics: Topics) -> None:
    """Until everything in the inbox has been taken in, and is committed."""
    until = time.monotonic() + DRAIN_SECONDS_MAX
    while time.monotonic() < until:
        standing = await asyncio.to_thread(where.log.standing, topics.orchestrators, topics.inbox)
        lag = sum(s.end - (s.committed.offset if s.committed else s.begin) for s in standing.values())
        if not lag:
            return
        await asyncio.sleep(0.25)
    raise TimeoutError(f"the inbox was not taken in within {DRAIN_SECONDS_MAX:g} s")


def report(found: Measured) -> None:
    table = Table("", "", title=found.name)
    for name, value in found.figures.items():
        table.add_row(name, f"{value:,.1f}")
    if found.asked_ms:
        shares = ", ".join(f"{share(found.asked_ms, of):,.1f}" for of in (0.5, 0.99, 1.0))
        table.add_row("asked meanwhile, ms: median, p99, longest", f"{shares} of {len(found.asked_ms):,}")
    for code, count in sorted(found.refusals.items()):
        table.add_row(f"refused with {code}", f"{count:,}")
    for name, points in found.resident_mib.items():
        table.add_row(f"MiB: {name}", f"{sparkline(points)} {min(points):,.0f} to {max(points):,.0f}")
    Console(width=140).print(table)


PARTS = {"storm": storm, "flood": flood, "alarms": alarms}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default="kafka", help="kafka (starts a broker), or the address of one")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the storm lasts")
    parser.add_argument("--times", type=float, default=10.0, help="of the capacity that is offered in the storm")
    parser.add_argument("--signals", type=positive, default=100_000, help="of the flood")
    parser.add_argument("--timers", type=positive, default=100_000, help="that come due in an outage")
    options = parser.parse_args()
    collect_rarely()  # the callers share a process that is not measured
    measured = []
    with stage(options.log) as where:
        for name in options.parts:
            topics = where.namespace(name, PARTITIONS)
            with where.working(topics):
                measured.append(asyncio.run(PARTS[name](where, topics, options)))
            report(measured[-1])
    print(machine())
    print_json({"overload": [asdict(found) for found in measured]})
    wrong = [text for found in measured for text in found.wrong]
    print(*wrong, sep="\n", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
