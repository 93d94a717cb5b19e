"""Facts about the machine that a figure means nothing without."""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil


def facts(folder: Path) -> dict[str, Any]:
    """``folder`` is where the contestants keep their data."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "python_loop_ms": round(loop_ms(), 1),
        "file_system": _file_system(folder),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


class _Item:
    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def put(self, into: dict[int, bytes]) -> int:
        into[self.number & 63] = b"-".join((b"a", b"b"))
        return len(into)


def loop_ms(rounds: int = 100_000, repeats: int = 5) -> float:
    """CPU time of a small loop of calls, the least of some: interpreters of one version differ by half in it.

    One that was built without profile-guided optimization (pyenv's default) takes half as long again as a
    distribution's, and so does everything in Python that is measured with it.
    """
    took = []
    for _ in range(repeats):
        began, into = time.thread_time(), dict[int, bytes]()
        for number in range(rounds):
            _Item(number).put(into)
        took.append(time.thread_time() - began)
    return min(took) * 1000


class WarmUp:
    """Of brokers that have just started and still compile themselves: over once a step costs hardly less, twice."""

    def __init__(self, seconds_max: float) -> None:
        self._until, self._best, self._no_better = time.monotonic() + seconds_max, math.inf, 0

    def is_over(self, cost: float) -> bool:
        """To be told what a step has cost since the last call."""
        self._no_better = 0 if cost < 0.9 * self._best else self._no_better + 1
        self._best = min(cost, self._best)
        return self._no_better == 2 or time.monotonic() >= self._until


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _file_system(folder: Path) -> str:
    at = str(folder.resolve())
    mounts = [part for part in psutil.disk_partitions(all=True) if at.startswith(part.mountpoint)]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
