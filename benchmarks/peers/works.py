"""What is measured, and how much of it: everything is bounded by time, so slow contestants do less of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

WORKS: Final = {
    "chain": "five steps one after the other, as many workflows as take some seconds, started at once",
    "latency": "the same workflow, one at a time",
    "half_load": "the same workflow, starts as they come (Poisson) at half the rate of chain",
    "equal_load": "the same workflow, 20 starts per second as they come, for whoever can do more in chain",
    "fan_out": "one workflow with 1,000 steps at once",
    "load": "the same workflow, a growing number of callers",
    "history": "one workflow with a growing number of steps",
    "sleepers": "workflows that wait for a signal: start rate, memory of each, and a signal to each",
    "recovery": "SIGKILL of the worker, and of the engine, at 40 % of the steps; restarted at once",
    "crowd": "chain from 200 client processes (ours only)",
}

RESERVE_SECONDS: Final = 40.0


@dataclass
class Plan:
    """How long each work takes, at most about; ``quick`` is a smoke test with figures."""

    warm_seconds: float = 3
    broker_warm_seconds: float = 8
    """A broker that has just started is still compiling itself: so long again and again, until a step costs no less."""
    broker_warm_seconds_max: float = 100
    repeats: int = 3
    chain_seconds: float = 3.5
    chains_max: int = 20_000
    latency_count: int = 200
    latency_seconds: float = 8
    half_load_seconds: float = 6
    equal_per_second: float = 20
    fan_out: int = 1_000
    callers: tuple[int, ...] = (1, 8, 64, 256)
    callers_seconds: float = 2
    histories: tuple[int, ...] = (10, 100, 1_000)
    history_seconds: float = 4
    """A length that would take longer is left out."""
    sleepers_max: int = 5_000
    sleepers_seconds: float = 5
    settle_seconds: float = 2
    """Before memory is read."""
    recovered: int = 300
    crowd_processes: int = 200
    minutes: float = 27
    """What has not begun then is left out, loudly."""
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def quick(cls) -> Plan:
        return cls(
            warm_seconds=1.5,
            broker_warm_seconds=4,
            broker_warm_seconds_max=8,
            repeats=2,
            chain_seconds=1.2,
            latency_count=50,
            latency_seconds=3,
            half_load_seconds=2,
            callers=(1, 16, 128),
            callers_seconds=1,
            histories=(10, 100),
            history_seconds=2,
            sleepers_max=1_000,
            sleepers_seconds=2,
            settle_seconds=1,
            recovered=100,
            crowd_processes=50,
            minutes=8,
        )

    def over(self) -> bool:
        """Nothing may begin any more: what runs has to end within the minutes, too."""
        return time.monotonic() - self.began > self.minutes * 60 - min(RESERVE_SECONDS, self.minutes * 6)
