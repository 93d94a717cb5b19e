"""What a run found, as the JSON in ``benchmarks/results`` has it. Tables, plots and pages are made from this alone."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1
KEPT_MAX = 500
"""Latencies of a sample, about."""


@dataclass
class Sample:
    """One repeat of a measurement, or one point of a curve."""

    seconds: float
    count: int
    """Of what the work counts: steps; sleepers started; signals taken in."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """User and system, by process."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of whole workflows."""
    facts: dict[str, float] = field(default_factory=dict)
    """What only this work has: "callers", "steps", "bytes worker", …"""

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def accepted_per_second(self) -> float:
        return self.count / self.facts["accepted_seconds"]

    def cpu_per_1000(self, process: str | None = None) -> float:
        total = sum(self.cpu_seconds.values()) if process is None else self.cpu_seconds.get(process, 0.0)
        return total / self.count * 1000


@dataclass
class Measurement:
    contestant: str
    work: str
    kind: str
    """"remote", "local", or "" where there are no steps."""
    samples: list[Sample] = field(default_factory=list)
    error: str = ""
    """Why there are none, or not all."""
    loop_ms: float = 0
    """How quick the machine was just before: CPU time of ``machine.loop_ms``; 0: not measured."""

    def values(self, name: str) -> list[float]:
        """A property of ``Sample``, or one of its facts, of each sample."""
        found = []
        for sample in self.samples:
            value = sample.facts[name] if name in sample.facts else getattr(sample, name)
            found.append(value() if callable(value) else value)
        return found

    def latency_ms(self, percent: float) -> float:
        return percentile([ms for sample in self.samples for ms in sample.latencies_ms], percent)


@dataclass
class Entrant:
    """A contestant as it took part."""

    name: str
    title: str
    durability: str
    kinds: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    left_out: str = ""
    """Why it did not take part."""


@dataclass
class Run:
    made_at: str
    quick: bool
    seconds: float
    machine: dict[str, Any]
    entrants: list[Entrant]
    measurements: list[Measurement]
    settings: dict[str, Any] = field(default_factory=dict)

    def find(self, contestant: str, work: str, kind: str) -> Measurement | None:
        """With samples; None when it has none."""
        for found in self.measurements:
            if (found.contestant, found.work, found.kind) == (contestant, work, kind) and found.samples:
                return found
        return None

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **_rounded(asdict(self))}, indent=1)
        path.write_text(re.sub(r"\[[-\d.,\s]+\]", lambda numbers: " ".join(numbers[0].split()), text) + "\n")

    @classmethod
    def load(cls, path: Path) -> Run:
        """Raises ``ValueError`` for what no run has written."""
        data = json.loads(path.read_text())
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise ValueError(f"{path} holds no results of format {FORMAT}; make some with: make compare")
        entrants = [Entrant(**item) for item in data.pop("entrants")]
        measurements = [
            Measurement(**{**item, "samples": [Sample(**sample) for sample in item["samples"]]})
            for item in data.pop("measurements")
        ]
        return cls(entrants=entrants, measurements=measurements, **data)


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]


def thinned(values: Iterable[float]) -> list[float]:
    """In order; of many so many, evenly, that percentiles stay what they were."""
    ordered = sorted(values)
    step = max(1, len(ordered) // KEPT_MAX)
    return ordered[::-step][::-1]


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Minimum, median, maximum."""
    return min(values), statistics.median(values), max(values)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
