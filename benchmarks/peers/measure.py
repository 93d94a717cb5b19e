"""Each work, done by one contestant. A work that fails leaves its reason, and the next one goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import machine
from benchmarks.peers.client import WorkFailed
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.load import CALLS_MAX, STEPS
from benchmarks.peers.results import Measurement, Sample, percentile, thinned
from benchmarks.peers.works import Plan

RECOVERY_SECONDS_MAX = 60.0
KILL_AT = 0.4
"""Of the steps."""
FAN_OUT_SECONDS_MAX = 20.0
"""Slower ones are not repeated."""
CHAINS_MIN = 40
OF_STEPS = ("chain", "latency", "half_load", "equal_load", "fan_out", "load", "history")
"""In this order, for each kind of step."""
OF_THE_FIRST_KIND = ("crowd",)
"""What shows the same with the other kind, and takes long to prepare."""
FAILURES = (WorkFailed, TimeoutError, RuntimeError, subprocess.SubprocessError)


class Measuring:
    """All works of one contestant that runs, in their order."""

    def __init__(self, contestant: Contestant, plan: Plan, works: frozenset[str]) -> None:
        self._contestant, self._plan = contestant, plan
        self._works = works & contestant.works
        self._rates: dict[str, float] = {}
        """Workflows per second, by kind of step."""
        self.found: list[Measurement] = []

    def all(self) -> list[Measurement]:
        if self._contestant.is_cold():
            self._warm_broker_up()
        # First: memory that closed workflows leave behind would hide what open ones take.
        self._do("sleepers", "", self._sleepers)
        first = next(iter(self._contestant.kinds))
        for kind in self._contestant.kinds:
            works = (*OF_STEPS, *OF_THE_FIRST_KIND) if kind == first else OF_STEPS
            trouble = self._warm_up(kind) if self._works.intersection(works) else ""
            for work in works:
                self._do(work, kind, getattr(self, f"_{work}"), trouble)
        if "recovery" in self._works:
            self._recoveries()
        return self.found

    def _do(self, work: str, kind: str, samples: Callable[[str], Iterator[Sample]], trouble: str = "") -> None:
        """``trouble`` is why it cannot be done."""
        if work not in self._works:
            return
        measurement = Measurement(self._contestant.name, work, kind, loop_ms=machine.loop_ms())
        self.found.append(measurement)
        say(f"  {work} {kind}")
        measurement.error = f"the {self._plan.minutes:g} minutes were over" if self._plan.over() else trouble
        if measurement.error:
            say(f"  NOT MEASURED: {measurement.error}")
            return
        try:
            for sample in samples(kind):
                measurement.samples.append(sample)
        except FAILURES as error:
            measurement.error = str(error)
            say(f"  FAILED: {error}")

    def _ask(self, do: str, count: Callable[[dict[str, Any]], int], **arguments: Any) -> Sample:
        """A command with the CPU time that all processes of the contestant took meanwhile."""
        processes = self._contestant.processes
        before = processes.cpu_seconds()
        answer = self._contestant.client.ask(do, **arguments)
        after = processes.cpu_seconds()
        cpu = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
        facts = {name: value for name, value in answer.items() if name not in {"seconds", "latencies_ms"}}
        return Sample(answer["seconds"], count(answer), cpu, thinned(answer.get("latencies_ms", [])), facts)

    def _warm_broker_up(self) -> None:
        kind, plan = next(iter(self._contestant.kinds)), self._plan
        warm_up, is_over = machine.WarmUp(plan.broker_warm_seconds_max), False
        while not is_over:
            sample = self._ask("closed", steps_done, kind=kind, open=CALLS_MAX, seconds=plan.broker_warm_seconds)
            cpu = sum(seconds for name, seconds in sample.cpu_seconds.items() if name.startswith("broker"))
            is_over = warm_up.is_over(cpu / sample.count)
        if "sleepers" in self._works:
            # Among processes that are new: closed workflows stay in the memory of the old ones.
            self._contestant.stop()
            self._contestant.start()

    def _warm_up(self, kind: str) -> str:
        """Not measured but for the rate, from which the number of workflows to measure follows; or why it failed."""
        if self._plan.over():
            return ""
        ask = self._contestant.client.ask
        try:
            found = ask("closed", kind=kind, open=CALLS_MAX, seconds=self._plan.warm_seconds)
            count = self._chains(found["workflows"] / found["seconds"])
            self._rates[kind] = count / ask("chain", kind=kind, workflows=count)["seconds"]
        except WorkFailed as error:
            return str(error)
        return ""

    def _chains(self, rate: float) -> int:
        return max(CHAINS_MIN, min(self._plan.chains_max, int(rate * self._plan.chain_seconds)))

    def _chain(self, kind: str) -> Iterator[Sample]:
        count = self._chains(self._rates[kind])
        for _ in range(self._plan.repeats):
            sample = self._ask("chain", exactly(count * STEPS), kind=kind, workflows=count)
            self._rates[kind] = count / sample.seconds
            yield sample

    def _latency(self, kind: str) -> Iterator[Sample]:
        arguments = {"workflows": self._plan.latency_count, "seconds_max": self._plan.latency_seconds}
        yield self._ask("latency", steps_done, kind=kind, **arguments)

    def _half_load(self, kind: str) -> Iterator[Sample]:
        yield self._paced(kind, self._rates[kind] / 2)

    def _equal_load(self, kind: str) -> Iterator[Sample]:
        if self._rates[kind] < self._plan.equal_per_second:
            raise WorkFailed(f"it can do no more than {self._rates[kind]:.0f} workflows per second")
        yield self._paced(kind, self._plan.equal_per_second)

    def _paced(self, kind: str, rate: float) -> Sample:
        sample = self._ask("paced", steps_done, kind=kind, per_second=rate, seconds=self._plan.half_load_seconds)
        sample.facts["offered_per_second"] = rate
        return sample

    def _fan_out(self, kind: str) -> Iterator[Sample]:
        width = self._plan.fan_out
        for _ in range(self._plan.repeats):
            sample = self._ask("fan_out", exactly(width), kind=kind, width=width)
            yield sample
            if sample.seconds > FAN_OUT_SECONDS_MAX:
                return

    def _load(self, kind: str) -> Iterator[Sample]:
        for callers in self._plan.callers:
            sample = self._ask("closed", steps_done, kind=kind, open=callers, seconds=self._plan.callers_seconds)
            sample.facts |= {"callers": callers, "p50_ms": percentile(sample.latencies_ms, 50) / STEPS}
            sample.latencies_ms.clear()
            yield sample

    def _history(self, kind: str) -> Iterator[Sample]:
        step_seconds = 0.0
        for steps in self._plan.histories:
            if step_seconds * steps > self._plan.history_seconds:
                say(f"    {steps} steps would take {step_seconds * steps:.0f} s: left out")
                return
            tries = [self._ask("long", exactly(steps), kind=kind, steps=steps) for _ in range(self._plan.repeats)]
            middle = sorted(tries, key=lambda sample: sample.seconds)[len(tries) // 2]
            middle.facts["steps"] = steps
            step_seconds = middle.seconds / steps
            yield middle

    def _crowd(self, kind: str) -> Iterator[Sample]:
        client, processes = self._contestant.client, self._plan.crowd_processes
        client.ask("gather", processes=processes)
        try:
            each = max(1, self._chains(self._rates[kind]) // processes)
            client.ask("crowd", kind=kind, each=each)
            for _ in range(self._plan.repeats):
                sample = self._ask("crowd", exactly(processes * each * STEPS), kind=kind, each=each)
                sample.facts["processes"] = processes
                yield sample
        finally:
            client.ask("disperse")

    def _sleepers(self, _: str) -> Iterator[Sample]:
        plan, processes = self._plan, self._contestant.processes
        for kind in self._contestant.kinds:
            self._contestant.client.ask("chain", kind=kind, workflows=CHAINS_MIN)
        self._contestant.client.ask("sleepers", workflows_max=CHAINS_MIN, seconds_max=plan.sleepers_seconds)
        self._contestant.client.ask("signals")
        time.sleep(plan.settle_seconds)
        before = processes.memory_bytes()
        arguments = {"workflows_max": plan.sleepers_max, "seconds_max": plan.sleepers_seconds}
        sample = self._ask("sleepers", workflows_done, **arguments)
        time.sleep(plan.settle_seconds)
        after = processes.memory_bytes()
        for name, held in after.items():
            sample.facts[f"bytes {name}"] = (held - before.get(name, 0)) / sample.count
        yield sample
        self._do_signals()

    def _do_signals(self) -> None:
        """To the sleepers that there are now."""
        found = Measurement(self._contestant.name, "signals", "")
        self.found.append(found)
        try:
            found.samples.append(self._ask("signals", workflows_done))
        except FAILURES as error:
            found.error = str(error)
            say(f"  FAILED: {error}")

    def _recoveries(self) -> None:
        try:
            self._contestant.prepare_recovery()
        except FAILURES as error:
            self.found.append(Measurement(self._contestant.name, "recovery", "worker", error=str(error)))
            return
        kind = next(iter(self._contestant.kinds))
        for victim in self._contestant.victims:
            self._do("recovery", victim, lambda victim: self._recovery(victim, kind))

    def _recovery(self, victim: str, kind: str) -> Iterator[Sample]:
        contestant, workflows = self._contestant, self._plan.recovered
        client, steps = contestant.client, workflows * STEPS
        contestant.counter.zero()
        began = time.perf_counter()
        client.ask("begin", kind=kind, workflows=workflows)
        contestant.until_steps(int(steps * KILL_AT), RECOVERY_SECONDS_MAX)
        contestant.kill(victim)
        ran = contestant.counter.read(0)
        killed = time.perf_counter()
        contestant.revive(victim)
        client.ask("finish", RECOVERY_SECONDS_MAX)
        ended = time.perf_counter()
        facts = {
            "workflows": workflows,
            "before_seconds": killed - began,
            "steps_at_kill": ran,
            "extra_steps": contestant.counter.read(0) - steps,
        }
        yield Sample(ended - killed, steps, facts=facts)


def exactly(number: int) -> Callable[[dict[str, Any]], int]:
    return lambda _: number


def steps_done(answer: dict[str, Any]) -> int:
    return max(1, int(answer["workflows"])) * STEPS


def workflows_done(answer: dict[str, Any]) -> int:
    return max(1, int(answer["workflows"]))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
