"""What the simulation says: of the small fleet, beside what was measured of it; and of fleets as they are sized."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.capacity.figures import STEPS, Figures, Load, Turn
from benchmarks.capacity.model import Needs, orchestrator_steps_max
from benchmarks.capacity.simulate import Fleet, Outcome, Simulation

LOADS = (0.3, 0.5, 0.7, 0.85, 0.95)
DEVIATION_MAX = 2.0
SEED = 1
WINDOW_STEPS = 150_000
"""Simulated for each load of a fleet …"""
WINDOW_SECONDS_MIN, WINDOW_SECONDS_MAX = 0.5, 5.0
"""… within these bounds."""


@dataclass(frozen=True)
class Compared:
    what: str
    simulated: float
    measured: float
    judged: bool = True
    """Otherwise it is shown only."""

    @property
    def factor(self) -> float:
        """How far apart the two are, 1 or more."""
        low, high = sorted((self.simulated, self.measured))
        return high / low if low > 0 else float("inf")

    @property
    def is_close(self) -> bool:
        return not self.judged or self.factor <= DEVIATION_MAX


@dataclass(frozen=True)
class Point:
    """A fleet under one load."""

    load: float
    steps_per_second: float
    busy_mean: float
    busy_most: float
    """Of the busiest orchestrator's thread."""
    records_per_turn: float
    p50_ms: float
    """Of a step."""
    p99_ms: float


def small_fleet(figures: Figures, cores: float) -> Fleet:
    """One orchestrator, one worker, all on so many cores, as it was measured."""
    seconds = [ms / 1000 for ms in figures.append_ms]
    return Fleet(1, 1, figures.partitions, figures.partitions, figures.turns, seconds, cores=cores)


def checked(figures: Figures) -> list[Compared]:
    """The simulation of what was measured beside it."""
    one, limit = figures.one, figures.limit
    alone = Simulation(small_fleet(figures, one.cores), SEED, open_workflows=1).run(5, 0.1)
    full = Simulation(small_fleet(figures, limit.cores), SEED, open_workflows=limit.open_workflows).run(4, 2)
    return [
        Compared("limit, steps/s", full.steps_per_second, limit.steps_per_second),
        *_at_random("a quarter of it", figures, figures.quarter, judged=True),
        *_at_random("half of it", figures, figures.half, judged=False),
        Compared("one workflow at a time: p50 of a step, ms", alone.p(0.5), one.p50_ms, judged=False),
    ]


def _at_random(name: str, figures: Figures, measured: Load, *, judged: bool) -> list[Compared]:
    rate = measured.steps_per_second / STEPS
    found = Simulation(small_fleet(figures, measured.cores), SEED, rate=rate).run(max(3.0, 1_000 / rate), 1)
    return [
        Compared(f"{name}: p50 of a step, ms", found.p(0.5), measured.p50_ms, judged),
        Compared(f"{name}: p99 of a step, ms", found.p(0.99), measured.p99_ms, judged=False),
    ]


def large_fleet(need: Needs, figures: Figures) -> Fleet:
    """As the model sizes it; each process has cores of its own, and the brokers keep up."""
    turns: dict[str, Turn] = {role: figures.turns[role] for role in ("orchestrator", "worker")}
    seconds = [ms / 1000 for ms in figures.append_ms]
    return Fleet(need.orchestrators, need.workers, need.partitions, need.task_partitions, turns, seconds)


def curve(need: Needs, figures: Figures, window_steps: int = WINDOW_STEPS) -> list[Point]:
    """Over the loads of ``LOADS``: shares of what its orchestrators do when all their turns are full."""
    fleet, most = large_fleet(need, figures), need.orchestrators * orchestrator_steps_max(figures, STEPS)
    points = []
    for load in LOADS:
        seconds = max(WINDOW_SECONDS_MIN, min(WINDOW_SECONDS_MAX, window_steps / load / most))
        points.append(_point(load, Simulation(fleet, SEED, rate=load * most / STEPS).run(seconds, 0.3)))
    return points


def _point(load: float, found: Outcome) -> Point:
    busy = found.busy["orchestrator"]
    return Point(
        load,
        found.steps_per_second,
        sum(busy) / len(busy),
        max(busy),
        found.records_per_turn["orchestrator"],
        found.p(0.5),
        found.p(0.99),
    )
