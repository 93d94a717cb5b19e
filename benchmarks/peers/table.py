"""A run as a table: a row for each figure, a column for each contestant, and ours against the best peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.table import Table

from benchmarks.peers.contestants import LIMIT, OURS
from benchmarks.peers.load import STEPS
from benchmarks.peers.results import Entrant, Measurement, Run, spread

KINDS = {"remote": "remote", "local": "in process"}
PROCESSES = ("broker", "database", "engine", "worker", "client")
HOW_TO_READ = (
    "Minimum / median / maximum of repeats, after a warm-up. The best peer is bold; "
    "in brackets stands our median against its, above 1 where ours is better."
)
DASH = "–"  # noqa: RUF001 - a dash


@dataclass
class Row:
    """One figure of every contestant that has it."""

    name: str
    values: dict[str, Sequence[float]] = field(default_factory=dict)
    more_is_better: bool = False
    form: str = "{:,.0f}"
    compared: bool = True
    """A best and a ratio make sense."""

    def cell(self, contestant: str) -> str:
        """Minimum / median / maximum of repeats, or the one value there is."""
        values = self.values.get(contestant)
        if not values:
            return DASH
        if len(values) == 1:
            return self.form.format(values[0])
        return " / ".join(self.form.format(value) for value in spread(values))

    def cell_with_ratio(self, contestant: str) -> str:
        """Of ours also how good it is against the best peer."""
        ratio = self.ratio(contestant) if contestant in OURS else None
        return self.cell(contestant) if ratio is None else f"{self.cell(contestant)} ({ratio:.2f}x)"

    def middle(self, contestant: str) -> float | None:
        values = self.values.get(contestant)
        return spread(values)[1] if values else None

    def best_peer(self) -> str | None:
        """The name of the peer with the best median."""
        peers = {name: spread(values)[1] for name, values in self.values.items() if values and not_ours(name)}
        if not peers or not self.compared:
            return None
        return (max if self.more_is_better else min)(peers, key=lambda name: peers[name])

    def ratio(self, contestant: str) -> float | None:
        """To the best peer; above 1 the contestant is better."""
        best = self.best_peer()
        mine = self.middle(contestant)
        if best is None or not mine:
            return None
        theirs = self.middle(best)
        assert theirs is not None
        return mine / theirs if self.more_is_better else theirs / mine if mine > 0 else None


@dataclass
class Section:
    title: str
    rows: list[Row]

    def contestants(self) -> set[str]:
        return {name for row in self.rows for name in row.values}


def not_ours(name: str) -> bool:
    return name not in OURS and name != LIMIT


def sections(run: Run) -> list[Section]:
    """All that was measured, in rows; what nobody has is left out."""
    made = [section for kind in KINDS for section in of_steps(run, kind)]
    made += [growing(run, kind) for kind in KINDS]
    made += [waiting(run), recovered(run)]
    found = []
    for section in made:
        section.rows = [row for row in section.rows if any(row.values.values())]
        if section.rows:
            found.append(section)
    return found


def of_steps(run: Run, kind: str) -> Iterator[Section]:
    where = KINDS[kind]
    chain = Rows(run, "chain", kind)
    yield Section(
        f"Chain of {STEPS} steps, {where}",
        [
            chain.row("steps/s", lambda m: m.values("per_second"), more_is_better=True),
            chain.row("workflows/s", lambda m: [v / STEPS for v in m.values("per_second")], more_is_better=True),
            chain.row("CPU s per 1,000 steps", lambda m: m.values("cpu_per_1000"), form="{:.3f}"),
            *chain.cpu_by_process(),
            chain.row("reference loop before, ms", lambda m: [m.loop_ms] if m.loop_ms else [], compared=False),
        ],
    )
    alone, half, equal = (Rows(run, work, kind) for work in ("latency", "half_load", "equal_load"))
    paces = ((alone, "one at a time"), (half, "at half its load"), (equal, "at the same load"))
    yield Section(
        f"Latency of a step, {where}, ms",
        [row for rows, name in paces for row in latencies(rows, name)],
    )
    fan_out = Rows(run, "fan_out", kind)
    yield Section(
        f"Fan-out of {run.settings.get('fan_out', 1000):,} steps, {where}",
        [
            fan_out.row("seconds", lambda m: m.values("seconds"), form="{:.2f}"),
            fan_out.row("CPU s per 1,000 steps", lambda m: m.values("cpu_per_1000"), form="{:.3f}"),
        ],
    )
    crowd = Rows(run, "crowd", kind)
    yield Section(
        f"Chain from many client processes, {where}",
        [
            crowd.row("client processes", lambda m: m.values("processes")[:1], compared=False),
            crowd.row("steps/s", lambda m: m.values("per_second"), more_is_better=True),
            crowd.row("CPU s per 1,000 steps", lambda m: m.values("cpu_per_1000"), form="{:.3f}"),
            *crowd.cpu_by_process(),
        ],
    )


def latencies(rows: Rows, name: str) -> list[Row]:
    return [
        rows.row(f"{name}, p{percent}", partial(latency_of_step, percent=percent), form="{:.2f}")
        for percent in (50, 99)
    ]


def latency_of_step(found: Measurement, percent: float) -> list[float]:
    return [found.latency_ms(percent) / STEPS]


def growing(run: Run, kind: str) -> Section:
    """A row for each number of callers and for each length of history that anybody had."""
    load, history = Rows(run, "load", kind), Rows(run, "history", kind)
    rows = []
    for callers in load.points("callers"):
        at = partial(one_point, name="callers", value=callers)
        rows += [
            load.row(f"{callers:,.0f} callers: steps/s", partial(at, "per_second"), more_is_better=True),
            load.row("  CPU s per 1,000 steps", partial(at, "cpu_per_1000"), form="{:.3f}"),
            load.row("  ms a step, p50", partial(at, "p50_ms"), form="{:.2f}"),
        ]
    for steps in history.points("steps"):
        at = partial(one_point, name="steps", value=steps)
        rows.append(
            history.row(f"one workflow of {steps:,.0f} steps: ms a step", partial(ms_a_step, at), form="{:.2f}")
        )
    return Section(f"As load and history grow, {KINDS[kind]}", rows)


def one_point(read: str, found: Measurement, name: str, value: float) -> list[float]:
    """What ``read`` is where the fact ``name`` has this value."""
    points = zip(found.values(name), found.values(read), strict=True)
    return [there for at, there in points if at == value]


def ms_a_step(at: Callable[[str, Measurement], list[float]], found: Measurement) -> list[float]:
    return [1000 / rate for rate in at("per_second", found)]


def waiting(run: Run) -> Section:
    sleepers, signals = Rows(run, "sleepers", ""), Rows(run, "signals", "")
    return Section(
        "Workflows that wait for a signal",
        [
            sleepers.row("started/s, until all wait", lambda m: m.values("per_second"), more_is_better=True),
            sleepers.row("accepted/s", lambda m: m.values("accepted_per_second"), more_is_better=True),
            sleepers.row("CPU s per 1,000 starts", lambda m: m.values("cpu_per_1000"), form="{:.2f}"),
            sleepers.row("bytes each, of engine, worker, database", memory_bytes),
            *(
                sleepers.row(f"  {name}, bytes each", partial(memory_of, process=name), compared=False)
                for name in PROCESSES
            ),
            signals.row("signals/s, to the end of each", lambda m: m.values("per_second"), more_is_better=True),
            signals.row("CPU s per 1,000 signals", lambda m: m.values("cpu_per_1000"), form="{:.2f}"),
        ],
    )


def memory_of(found: Measurement, process: str) -> list[float]:
    return [sample.facts[f"bytes {process}"] for sample in found.samples if f"bytes {process}" in sample.facts]


def memory_bytes(found: Measurement) -> list[float]:
    """Of what runs workflows. A library's client is its engine; a broker's heap says nothing of a workflow."""
    embedded = not any("bytes engine" in sample.facts for sample in found.samples)
    counted = ("engine", "worker", "database", *(("client",) if embedded else ()))
    return [sum(sample.facts.get(f"bytes {name}", 0.0) for name in counted) for sample in found.samples]


def recovered(run: Run) -> Section:
    rows = []
    for victim in ("worker", "engine"):
        recovery = Rows(run, "recovery", victim)
        rows += [
            recovery.row(f"{victim} killed: s until all complete", lambda m: m.values("seconds"), form="{:.2f}"),
            recovery.row("  steps that ran again", lambda m: m.values("extra_steps"), compared=False),
        ]
    return Section(f"SIGKILL with {run.settings.get('recovered', 0)} workflows open, restarted at once", rows)


class Rows:
    """Makes rows of one work."""

    def __init__(self, run: Run, work: str, kind: str) -> None:
        self._found = {entrant.name: found for entrant in run.entrants if (found := run.find(entrant.name, work, kind))}

    def points(self, fact: str) -> list[float]:
        """All values of a fact, of all contestants."""
        return sorted({value for found in self._found.values() for value in found.values(fact)})

    def row(
        self,
        name: str,
        read: Callable[[Measurement], Sequence[float]],
        *,
        more_is_better: bool = False,
        form: str = "{:,.0f}",
        compared: bool = True,
    ) -> Row:
        values = {contestant: read(found) for contestant, found in self._found.items()}
        return Row(name, values, more_is_better, form, compared)

    def cpu_by_process(self) -> list[Row]:
        """The medians of what each process took. Brokers of one cluster count together."""
        return [
            self.row(f"  {name}", partial(cpu_of, process=name), form="{:.3f}", compared=False) for name in PROCESSES
        ]


def cpu_of(found: Measurement, process: str) -> list[float]:
    totals = [
        [sample.cpu_per_1000(name) for name in sample.cpu_seconds if name.partition("-")[0] == process]
        for sample in found.samples
    ]
    return [spread([sum(values) for values in totals])[1]] if all(totals) else []


def show(run: Run, console: Console | None = None) -> None:
    console = console or Console(width=None if Console().is_terminal else 200)
    titles = {entrant.name: entrant.title for entrant in run.entrants}
    for section in sections(run):
        present = [name for name in titles if name in section.contestants()]
        table = Table("", *(titles[name] for name in present), title=section.title, title_justify="left")
        for row in section.rows:
            cells = ((name, row.cell_with_ratio(name)) for name in present)
            table.add_row(row.name, *(f"[bold]{cell}[/]" if name == row.best_peer() else cell for name, cell in cells))
        console.print(table)
    console.print(*notes(run), sep="\n", markup=False, highlight=False)


def notes(run: Run) -> list[str]:
    """What a reader of the table must know."""
    lines = [HOW_TO_READ]
    lines += [
        f"{entrant.title}: {versions(entrant)}; {entrant.durability}"
        for entrant in run.entrants
        if not entrant.left_out
    ]
    lines += [
        f"LEFT OUT: {entrant.title}: {first_line(entrant.left_out)}" for entrant in run.entrants if entrant.left_out
    ]
    lines += [f"NOT MEASURED: {text}" for text in unmeasured(run)]
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in run.machine.items())
    return [*lines, f"{run.made_at}, {run.seconds:.0f} s{', quick' if run.quick else ''}; {facts}"]


def versions(entrant: Entrant) -> str:
    return ", ".join(f"{name} {version}" for name, version in entrant.versions.items())


def unmeasured(run: Run) -> Iterator[str]:
    """What of whom, and why; works of one contestant with the same reason together."""
    titles = {entrant.name: entrant.title for entrant in run.entrants}
    works: dict[tuple[str, str], list[str]] = {}
    for found in run.measurements:
        if found.error:
            works.setdefault((found.contestant, first_line(found.error)), []).append(
                f"{found.work} {found.kind}".strip()
            )
    for (contestant, reason), names in works.items():
        yield f"{titles[contestant]}: {', '.join(names)}: {reason}"


def first_line(reason: str) -> str:
    return reason.splitlines()[0]
