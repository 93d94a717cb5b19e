"""What a run measured. The model, the simulation and the page are made from this alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FORMAT = 2
STEPS = 5
"""Of the chains in which loads, latencies and turns are measured."""
PASSES = 2 * (STEPS + 1)
"""Of such a chain through its orchestrator: its start and each result are taken in, and acknowledged."""
APPENDS = 1 + (STEPS + 1) + 2 * STEPS + 1
"""That such a chain waits for: its start, a transition for each input, tasks and results, its answer."""


@dataclass(frozen=True)
class Line:
    """What a workflow costs: so much by itself, and so much for each step."""

    per_workflow: float
    per_step: float

    @classmethod
    def through(cls, short: tuple[int, float], long: tuple[int, float]) -> Self:
        """From the costs of workflows of two lengths: (steps, cost)."""
        per_step = max(0.0, (long[1] - short[1]) / (long[0] - short[0]))
        return cls(max(0.0, short[1] - short[0] * per_step), per_step)

    def of(self, steps: float) -> float:
        return self.per_workflow + self.per_step * steps

    def a_step(self, steps: float) -> float:
        """Of workflows of so many, their own part shared out to them."""
        return self.of(steps) / steps


@dataclass(frozen=True)
class Turn:
    """CPU seconds of a process that takes in at once all that waits for it."""

    fixed: float
    per_record: float

    @classmethod
    def through(cls, alone: float, crowded: float, crowd: float) -> Self:
        """From the cost of a record that comes alone, and of one among ``crowd`` of them."""
        fixed = max(0.0, (alone - crowded) / (1 - 1 / crowd))
        return cls(fixed, max(alone - fixed, 1e-9))

    def seconds(self, records: float) -> float:
        return self.fixed + self.per_record * records


@dataclass(frozen=True)
class Topic:
    """Of one workflow, by its steps."""

    records: Line
    bytes: Line


@dataclass(frozen=True)
class Load:
    """The small fleet under some load: chains of ``STEPS``."""

    steps_per_second: float
    p50_ms: float
    """From a start to its result, over the number of steps."""
    p99_ms: float
    cores: float
    """What others left of the machine meanwhile."""
    open_workflows: int = 0
    """So many at a time; 0: they came at random."""


@dataclass
class Figures:
    """On one number of brokers, each topic with a copy on all of them."""

    brokers: int
    partitions: int
    cpu: dict[str, Line] = field(default_factory=dict)
    """CPU seconds by role, all threads, while much waits."""
    idle_cores: dict[str, float] = field(default_factory=dict)
    resident: dict[str, float] = field(default_factory=dict)
    """Bytes of a process of each role that has done some work and holds next to nothing."""
    turns: dict[str, Turn] = field(default_factory=dict)
    """orchestrator: of its Python thread; worker; log: brokers and clients' I/O, for an append."""
    topics: dict[str, Topic] = field(default_factory=dict)
    live_bytes: Line = field(default_factory=lambda: Line(0, 0))
    """Of closed workflows in the history, once it is compacted."""
    disk_factor: float = 1.0
    """Bytes of log segments for a byte of keys and values."""
    append_ms: list[float] = field(default_factory=list)
    """Quantiles of one append at a time, evenly spaced."""
    one: Load = field(default_factory=lambda: Load(0, 0, 0, 0, 1))
    limit: Load = field(default_factory=lambda: Load(0, 0, 0, 0))
    half: Load = field(default_factory=lambda: Load(0, 0, 0, 0))
    quarter: Load = field(default_factory=lambda: Load(0, 0, 0, 0))

    def copy_bytes(self, steps: float) -> float:
        """What is appended for a step of workflows of so many, keys and values, one copy."""
        return sum(topic.bytes.a_step(steps) for topic in self.topics.values())


@dataclass
class Run:
    made_at: str
    seconds: float
    machine: dict[str, Any]
    one: Figures
    three: Figures
    quick: bool = False

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises ``ValueError`` for any other file."""
        found = json.loads(path.read_text())
        if found.pop("format", None) != FORMAT or "three" not in found:
            raise ValueError(f"{path} holds no capacity figures of format {FORMAT}: make some with `make capacity`")
        return cls(**{**found, "one": _figures(found["one"]), "three": _figures(found["three"])})


def _figures(found: Mapping[str, Any]) -> Figures:
    return Figures(
        **{
            **found,
            "cpu": {name: Line(**line) for name, line in found["cpu"].items()},
            "turns": {name: Turn(**turn) for name, turn in found["turns"].items()},
            "topics": {
                name: Topic(Line(**topic["records"]), Line(**topic["bytes"])) for name, topic in found["topics"].items()
            },
            "live_bytes": Line(**found["live_bytes"]),
            **{name: Load(**found[name]) for name in ("one", "limit", "half", "quarter")},
        }
    )


def quantile(values: Sequence[float], share: float) -> float:
    """A value that was measured: so many of the others are at or below it."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def quantiles(values: Sequence[float], count: int = 200) -> list[float]:
    return [round(quantile(values, (n + 0.5) / count), 4) for n in range(count)]
