"""All contestants, one after the other: installed, started, measured, stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.peers.contestants import make
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.contestants.kafka import OnBroker, SharedBroker
from benchmarks.peers.install import Cache, Unavailable
from benchmarks.peers.measure import Measuring, say
from benchmarks.peers.results import Entrant, Measurement, Run
from benchmarks.peers.works import Plan


def compare(names: Sequence[str], works: frozenset[str], plan: Plan, cache: Cache, scratch: Path, quick: bool) -> Run:
    """Everything about the run. A contestant that cannot take part is in it with its reason."""
    broker = SharedBroker(scratch / "broker")
    entrants, able = [], []
    for name in names:
        contestant = make(name, cache, scratch / name, broker)
        entrants.append(enter(contestant))
        if not entrants[-1].left_out:
            able.append((contestant, entrants[-1]))
    facts, began = machine.facts(scratch), time.monotonic()
    plan.began = began
    measurements: list[Measurement] = []
    try:
        for contestant, entrant in able:
            if not isinstance(contestant, OnBroker):
                broker.stop()
            measurements += measured(contestant, entrant, plan, works)
    finally:
        broker.stop()
    return Run(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        quick=quick,
        seconds=time.monotonic() - began,
        machine=facts,
        entrants=entrants,
        measurements=measurements,
        settings={"fan_out": plan.fan_out, "repeats": plan.repeats, "recovered": plan.recovered},
    )


def enter(contestant: Contestant) -> Entrant:
    entrant = Entrant(contestant.name, contestant.title, contestant.durability, dict(contestant.kinds))
    try:
        entrant.versions = contestant.install()
    except Unavailable as error:
        leave_out(entrant, str(error))
    return entrant


def leave_out(entrant: Entrant, reason: str) -> None:
    entrant.left_out = reason
    say(f"!!! {entrant.title} is LEFT OUT: {reason}")


def measured(contestant: Contestant, entrant: Entrant, plan: Plan, works: frozenset[str]) -> list[Measurement]:
    if plan.over():
        leave_out(entrant, f"the {plan.minutes:g} minutes were over")
        return []
    say(f"== {contestant.title}")
    measuring = Measuring(contestant, plan, works)
    try:
        contestant.start()
        measuring.all()
    except Exception as error:  # whatever it is, what the others did counts
        if measuring.found:
            say(f"  FAILED: {error}")
            measuring.found.append(Measurement(contestant.name, "the rest", "", error=str(error) or repr(error)))
        else:
            leave_out(entrant, f"it did not start: {error}")
    finally:
        contestant.stop()
    return measuring.found
