"""One orchestrator, one worker and one client on real brokers: what a step takes of each of them."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import psutil

from benchmarks.app import Child
from benchmarks.capacity.figures import APPENDS, PASSES, STEPS, Figures, Line, Load, Topic, Turn, quantile, quantiles
from benchmarks.capacity.threads import python_seconds
from benchmarks.capacity.volume import Ends, Written, disk_factor, ends, segment_bytes, written
from benchmarks.cost import Bench
from benchmarks.machine import WarmUp
from benchmarks.stage import QUEUE, Stage, resident_mib
from odradek.cli.collector import collect_rarely
from odradek.client import Client
from odradek.schemas.topics import Topics

VALUE = "x" * 98  # with its quotes 100 bytes of JSON
LONG = 25
CROWD = 300
PARTITIONS = 8
PATIENCE = timedelta(minutes=2)
IDLE_SECONDS = 4
APPENDED_BYTES = 300
READ_AGAIN_MAX = 3
SETTLING_SECONDS = 2
"""After a burst its summaries are written."""


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    steps: int = 40_000
    """Of a burst."""
    bursts: int = 3
    open_workflows: int = 500
    alone: int = 200
    random_seconds: float = 15.0
    appends: int = 1000
    warm_seconds: float = 15.0
    """A broker's compiler needs them, again and again until a step costs no less."""
    warm_seconds_max: float = 120.0
    counted: int = 2000
    """Steps whose records are read."""

    @classmethod
    def quick(cls) -> Plan:
        return cls(steps=5_000, bursts=1, alone=60, random_seconds=6, appends=300, counted=1_000)


@dataclass
class Burst:
    """What some workflows took."""

    workflows: int
    seconds: float
    cpu: dict[str, float]
    """By role, all threads."""
    python: dict[str, float]
    cores: float
    latencies_ms: list[float] = field(default_factory=list)
    """Of a step."""
    ends: tuple[Ends, Ends] = ({}, {})
    segment_bytes: int = 0
    """By which the brokers' files grew."""

    def load(self, open_workflows: int) -> Load:
        rate = self.workflows * STEPS / self.seconds
        p50, p99 = (quantile(self.latencies_ms, share) for share in (0.5, 0.99))
        return Load(rate, p50, p99, self.cores, open_workflows)


class Watch:
    """CPU time from now on: of our roles, and of what others leave us."""

    def __init__(self, where: Stage) -> None:
        self._meter, self._pids = where.meter(), dict(where.pids)
        self._python = {name: python_seconds(pid) for name, pid in self._pids.items()}
        self._machine, self._began = psutil.cpu_times(), time.perf_counter()

    def read(self) -> tuple[float, dict[str, float], dict[str, float], float]:
        """Seconds; CPU by role; that of Python threads; cores that were ours to use."""
        seconds, machine = time.perf_counter() - self._began, psutil.cpu_times()
        cpu: dict[str, float] = {}
        for name, used in self._meter.read().items():
            role = name.partition("-")[0]
            cpu[role] = cpu.get(role, 0.0) + used
        python = {name: python_seconds(pid) - self._python[name] for name, pid in self._pids.items()}
        idle = sum(getattr(machine, name, 0.0) - getattr(self._machine, name, 0.0) for name in ("idle", "iowait"))
        cores = (idle + sum(cpu.values())) / seconds
        return seconds, cpu, python, min(float(os.cpu_count() or 1), max(0.1, cores))


class Measuring:
    """On a stage whose fleet runs."""

    def __init__(self, where: Stage, topics: Topics, client: Client, plan: Plan) -> None:
        self._where, self._topics, self._client, self.plan = where, topics, client, plan
        self._made = 0

    async def one(self, steps: int) -> float:
        self._made += 1
        began = time.perf_counter()
        ran = await self._client.execute_workflow(
            Child.run, args=[steps, VALUE], id=f"c{self._made}", task_queue=QUEUE, rpc_timeout=PATIENCE
        )
        assert ran == steps
        return (time.perf_counter() - began) * 1000 / steps

    async def burst(self, count: int, steps: int, open_workflows: int) -> Burst:
        """So many workflows, so many of them open at a time."""
        before, size = ends(self._where, self._topics), segment_bytes(self._where, self._topics)
        watch = Watch(self._where)
        left = iter(range(count))

        async def caller() -> list[float]:
            return [await self.one(steps) for _ in left]

        callers = await asyncio.gather(*(caller() for _ in range(min(count, open_workflows))))
        seconds, cpu, python, cores = watch.read()
        after, grown = ends(self._where, self._topics), segment_bytes(self._where, self._topics) - size
        latencies = [each for one in callers for each in one]
        return Burst(count, seconds, cpu, python, cores, latencies, (before, after), grown)

    async def warm_up(self) -> None:
        warm_up, is_over = WarmUp(self.plan.warm_seconds_max), False
        while not is_over:
            watch, count, began = Watch(self._where), 0, time.monotonic()
            while time.monotonic() < began + self.plan.warm_seconds:
                await self.burst(self.plan.open_workflows, STEPS, self.plan.open_workflows)
                count += 1
            is_over = warm_up.is_over(watch.read()[1]["broker"] / count)

    async def at_random(self, rate: float, seconds: float) -> Burst:
        """Workflows that come at random, so many per second."""
        dice, watch, calls = random.Random(0), Watch(self._where), list[asyncio.Task[float]]()
        began = due = time.perf_counter()
        while due < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.append(asyncio.create_task(self.one(STEPS)))
            due += dice.expovariate(rate)
        latencies = await asyncio.gather(*calls)
        _, cpu, python, cores = watch.read()
        return Burst(len(calls), seconds, cpu, python, cores, latencies)

    async def written(self, count: int, steps: int) -> tuple[dict[str, Written], float]:
        """By so many workflows; once more where the inbox was deleted before it could be read."""
        for _ in range(READ_AGAIN_MAX):
            made = await self.burst(count, steps, count)
            await asyncio.sleep(SETTLING_SECONDS)
            found = written(self._where, self._topics, made.ends[0], ends(self._where, self._topics))
            if all(one.bytes for one in found[0].values()):
                return found
        raise RuntimeError(f"topics of {self._topics.namespace} were empty {READ_AGAIN_MAX} times: measure fewer steps")

    async def idle(self) -> dict[str, float]:
        """Cores that each role takes while nothing happens."""
        await asyncio.sleep(2)
        watch = Watch(self._where)
        await asyncio.sleep(IDLE_SECONDS)
        seconds, cpu, _, _ = watch.read()
        return {role: used / seconds for role, used in cpu.items()}


def measure(where: Stage, brokers: int, plan: Plan) -> Figures:
    found = Figures(brokers, PARTITIONS)
    topics = where.namespace("capacity", PARTITIONS)
    asyncio.run(_measure_fleet(where, topics, found, plan))
    found.turns["orchestrator"] = orchestrator_turn(where)
    return found


async def _measure_fleet(where: Stage, topics: Topics, found: Figures, plan: Plan) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await Client.connect(where.address, namespace=topics.namespace))
        for serving in (where.orchestrating(topics), where.working(topics)):
            stack.enter_context(serving)
        measuring = Measuring(where, topics, client, plan)
        await measuring.warm_up()
        _say("warm")
        found.idle_cores = await measuring.idle()
        found.resident = {name: mib * 2**20 for name, mib in resident_mib(where.pids).items()}
        alone = await measuring.burst(plan.alone, STEPS, 1)
        found.one = alone.load(1)
        found.append_ms = quantiles(append_ms(where, plan.appends))
        bursts: dict[int, list[Burst]] = {STEPS: [], LONG: []}
        for _ in range(plan.bursts):
            for steps, made in bursts.items():
                made.append(await measuring.burst(plan.steps // steps, steps, plan.open_workflows))
        _costs(found, alone, bursts)
        # Not one of those that the costs are from: what is predicted from them is compared with it.
        most = await measuring.burst(plan.steps // STEPS, STEPS, plan.open_workflows)
        found.limit = most.load(plan.open_workflows)
        _say(f"limit {found.limit.steps_per_second:,.0f} steps/s")
        rate = found.limit.steps_per_second / STEPS
        found.quarter = (await measuring.at_random(rate / 4, plan.random_seconds)).load(0)
        found.half = (await measuring.at_random(rate / 2, plan.random_seconds)).load(0)
        found.topics, found.live_bytes = await _volume(measuring)
        fullest = max(bursts[STEPS], key=lambda burst: burst.segment_bytes)
        values = STEPS * found.copy_bytes(STEPS) * fullest.workflows
        found.disk_factor = disk_factor(fullest.segment_bytes, values, found.brokers)


def _costs(found: Figures, alone: Burst, bursts: dict[int, list[Burst]]) -> None:
    def line(role: str) -> Line:
        short, long = (
            (steps, statistics.median(burst.cpu[role] / burst.workflows for burst in made))
            for steps, made in bursts.items()
        )
        return Line.through(short, long)

    found.cpu = {role: line(role) for role in alone.cpu}
    crowded = min(bursts[STEPS], key=lambda burst: sum(burst.cpu.values()))

    def worker(burst: Burst) -> float:
        idle = found.idle_cores["worker"] * burst.seconds if burst is alone else 0.0
        return max(0.0, burst.python["worker"] - idle) / burst.workflows / STEPS

    def log(burst: Burst) -> float:
        idle = (found.idle_cores["broker"] + found.idle_cores["client"]) * burst.seconds if burst is alone else 0.0
        spent = sum(burst.cpu.values()) - burst.python["orchestrator"] - burst.python["worker"] - idle
        return max(0.0, spent) / burst.workflows / APPENDS

    found.turns = {
        "worker": Turn.through(worker(alone), worker(crowded), CROWD),
        "log": Turn.through(log(alone), log(crowded), CROWD),
    }


async def _volume(measuring: Measuring) -> tuple[dict[str, Topic], Line]:
    """By topic; and what compaction leaves in the history."""
    of_topics: dict[str, list[tuple[int, Written]]] = {}
    lives = []
    for steps in (STEPS, LONG):
        count = measuring.plan.counted // steps
        found, live = await measuring.written(count, steps)
        lives.append((steps, live / count))
        for name, one in found.items():
            of_topics.setdefault(name, []).append((steps, Written(one.records / count, one.bytes / count)))
    topics = {
        name: Topic(
            Line.through(*((steps, one.records) for steps, one in both)),
            Line.through(*((steps, one.bytes) for steps, one in both)),
        )
        for name, both in of_topics.items()
    }
    return topics, Line.through(*lives)


def append_ms(where: Stage, count: int) -> list[float]:
    """Of appends of one record at a time to a topic that is not used for anything else."""
    topics, appender = where.namespace("appends", PARTITIONS), where.log.appender()
    found = []
    for number in range(count + 50):
        began = time.perf_counter()
        appender.append(topics.archive, number % PARTITIONS, b"key", b"x" * APPENDED_BYTES)
        while appender.in_flight:
            appender.poll(1)
        found.append((time.perf_counter() - began) * 1000)
    appender.close()
    return found[50:]


def orchestrator_turn(where: Stage) -> Turn:
    """One that is turned by hand, on the same brokers: chains that come alone, and in crowds that go in step."""
    bench = Bench(where.log, where.folder / "by-hand", PARTITIONS)
    bench.run(CROWD, STEPS)
    collect_rarely()
    alone = statistics.median(bench.run(1, STEPS) for _ in range(10))
    crowd = statistics.median(bench.run(CROWD, STEPS) for _ in range(5)) / CROWD
    bench.close()
    return Turn.through(alone / PASSES, crowd / PASSES, CROWD)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
