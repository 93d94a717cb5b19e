"""The figures as rows of text, for terminal and page alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.capacity.figures import Figures, Run
from benchmarks.capacity.model import Assumptions, Needs, needs, orchestrator_steps_max, settings, steps_max
from benchmarks.capacity.predict import DEVIATION_MAX, Compared, Point

RATES = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Shown:
    """A table, and what to say before it."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Result:
    """All that a run leads to."""

    run: Run
    given: Assumptions
    needs: Sequence[Needs]
    curves: Sequence[Sequence[Point]]
    checks: Sequence[Compared]


def tables(result: Result) -> list[Shown]:
    return [fleets(result), changes(result), latencies(result), costs(result), volumes(result), check(result)]


def fleets(result: Result) -> Shown:
    given, found = result.given, result.needs
    rows: list[tuple[str, ...]] = [
        ("**orchestrator processes**", *(f"**{n.orchestrators:,}**" for n in found)),
        ("worker processes, for odradek's part", *(f"{n.workers:,}" for n in found)),
        ("**partitions of the namespace**, for ever", *(f"**{n.partitions:,}**" for n in found)),
        ("partitions of a queue that gets it all", *(f"{n.task_partitions:,}" for n in found)),
        (f"**brokers** of {given.broker_cores:g} cores", *(f"**{n.brokers:,}**" for n in found)),
        *((f"  asked for by {name}", *(f"{n.brokers_by[name]:.1f}" for n in found)) for name in found[0].brokers_by),
        ("what decides that", *(n.first if n.brokers_by[n.first] > given.copies else "copies" for n in found)),
        *((f"cores: {role}", *(_count(n.cores[role]) for n in found)) for role in found[0].cores),
        ("most cores go to", *(n.most_cores for n in found)),
        ("MB/s into all brokers; out", *(f"{n.mb_in:,.0f}; {n.mb_out:,.0f}" for n in found)),
        ("retention chosen, days", *(f"{n.retention_days:g}" for n in found)),
        ("TB of disk, all copies", *(_count(sum(n.disk_tb.values())) for n in found)),
        ("  with seven days", *(_count(n.disk_tb_default) for n in found)),
        ("  visibility, for each day of --retention", *(f"{n.visibility_tb_a_day:.3g}" for n in found)),
        ("open workflows", *(f"{n.open_workflows:,.0f}" for n in found)),
        ("GiB of memory: orchestrators; workers", *(_memory(n) for n in found)),
    ]
    text = (
        f"Workflows of {given.steps:g} steps with 100 bytes there and back, open for {given.open_seconds:g} s; "
        "processes at "
        f"{given.load:.0%} of what they can do, brokers at {given.broker_load:.0%} of their CPU; {given.copies} "
        "copies; a broker takes "
        f"{given.broker_mb_in:g} MB/s in and {given.broker_mb_out:g} MB/s out, and has {given.broker_disk_tb:g} TB. "
        f"Partitions: {given.partitions_per_process} for each process once the load has grown {given.growth:g}-fold. "
        "What your activities do themselves comes on top, and so does your margin for the loss of a broker."
    )
    return Shown("What it takes", text, ("", *(f"{n.rate:,.0f} steps/s" for n in found)), rows)


def changes(result: Result) -> Shown:
    sizes: dict[tuple[str, str, str], list[str]] = {}
    for need in result.needs:
        for change in settings(need, result.given):
            sizes.setdefault(change, []).append(f"{need.rate:,.0f}")
    rows = [("; ".join(rates), *change) for change, rates in sizes.items()]
    text = "Everything else stays as it is by default."
    return Shown("Settings to change", text, ("steps/s", "where", "setting", "why"), rows)


def latencies(result: Result) -> Shown:
    rows = [
        (
            f"{need.rate:,.0f}",
            f"{point.load:.0%}",
            f"{point.steps_per_second:,.0f}",
            f"{point.busy_mean:.0%}",
            f"{point.busy_most:.0%}",
            f"{point.records_per_turn:.1f}",
            f"{point.p50_ms:.1f}",
            f"{point.p99_ms:.1f}",
        )
        for need, curve in zip(result.needs, result.curves, strict=True)
        for point in curve
    ]
    text = (
        "Simulated: workflows come at random, their IDs are hashed to partitions, and those shared out as a "
        "consumer group does. The load is the share of "
        "what the orchestrators do when all their turns are full. Processes have cores of their own and brokers "
        "keep up, with the append times of three brokers."
    )
    columns = (
        "fleet for",
        "load",
        "steps/s",
        "threads busy",
        "the busiest",
        "records a turn",
        "p50 of a step, ms",
        "p99",
    )
    return Shown("Load and latency", text, columns, rows)


def costs(result: Result) -> Shown:
    both, given = (result.run.one, result.run.three), result.given

    def row(name: str, *values: float, form: str = "{:.1f}") -> tuple[str, ...]:
        return name, *(form.format(value) for value in values)

    rows: list[tuple[str, ...]] = []
    for role in both[0].cpu:
        lines = [figures.cpu[role] for figures in both]
        rows.append(row(f"CPU µs of a step: {role}", *(line.per_step * 1e6 for line in lines)))
        rows.append(row("  and of a workflow", *(line.per_workflow * 1e6 for line in lines)))
    for role, unit in UNITS.items():
        turns = [figures.turns[role] for figures in both]
        rows.append(row(f"CPU µs of a turn of Python: {role}", *(turn.fixed * 1e6 for turn in turns)))
        rows.append(row(f"  and of each {unit} in it", *(turn.per_record * 1e6 for turn in turns)))
    most = [orchestrator_steps_max(figures, given.steps) for figures in both]
    rows.append(row("steps/s of an orchestrator, all turns full", *most, form="{:,.0f}"))
    most = [steps_max(figures.turns["worker"], 1) for figures in both]
    rows.append(row("steps/s of a worker that does nothing else", *most, form="{:,.0f}"))
    for name, place in (("p50", 0.5), ("p99", 0.99)):
        at = [figures.append_ms[int(len(figures.append_ms) * place)] for figures in both]
        rows.append(row(f"one append at a time, ms: {name}", *at, form="{:.2f}"))
    idle = {role: [figures.idle_cores[role] * 100 for figures in both] for role in both[0].idle_cores}
    rows += [row(f"idle, % of a core: {role}", *values) for role, values in idle.items()]
    text = (
        "One orchestrator, one worker, one client; those of three brokers are together. A workflow's own part is "
        "the rest of a line through chains of 5 and 25 steps. A record passes an orchestrator twice: as it is taken "
        "in, and as its transition is acknowledged."
    )
    return Shown("What was measured", text, ("", "one broker", "three brokers, three copies"), rows)


UNITS = {"orchestrator": "record", "worker": "task"}


def volumes(result: Result) -> Shown:
    figures: Figures = result.run.three
    rows = [
        (
            name,
            *(f"{value:.1f}" for value in (topic.records.per_step, topic.records.per_workflow)),
            *(f"{value:,.0f}" for value in (topic.bytes.per_step, topic.bytes.per_workflow)),
        )
        for name, topic in figures.topics.items()
    ]
    rows.append(
        ("history, compacted", "", "", f"{figures.live_bytes.per_step:,.0f}", f"{figures.live_bytes.per_workflow:,.0f}")
    )
    text = (
        f"Keys and values, before copies. Segments on disk are {figures.disk_factor:.2f} times as large; "
        "nothing is compressed unless you say so."
    )
    columns = ("topic", "records of a step", "of a workflow", "bytes of a step", "of a workflow")
    return Shown("What is written", text, columns, rows)


def check(result: Result) -> Shown:
    rows = [
        (one.what, f"{one.simulated:,.1f}", f"{one.measured:,.1f}", f"{one.factor:.2f}", _verdict(one))
        for one in result.checks
    ]
    text = (
        "The simulation of the very fleet that was measured: one broker, and all processes on the cores that "
        "others left. "
        f"`make capacity` fails when one that is judged is off by a factor of more than {DEVIATION_MAX:g}."
    )
    return Shown("Simulated and measured", text, ("", "simulated", "measured", "factor", ""), rows)


def failures(checks: Sequence[Compared]) -> Iterator[str]:
    for one in checks:
        if not one.is_close:
            said = f"simulated {one.simulated:,.1f}, measured {one.measured:,.1f}"
            yield f"{one.what}: {said}, a factor of {one.factor:.2f}"


def sized(run: Run, given: Assumptions) -> list[Needs]:
    return [needs(rate, run.three, given) for rate in RATES]


def _verdict(one: Compared) -> str:
    if not one.judged:
        return "shown only"
    return "close" if one.is_close else "**too far**"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _memory(need: Needs) -> str:
    return "; ".join(_count(gib) for gib in need.memory_gib.values())
