"""The part of docs/benchmarks.md that compares, and its plots: written from a run, never by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.plots import draw
from benchmarks.peers.results import Entrant, Run
from benchmarks.peers.table import DASH, HOW_TO_READ, KINDS, Section, first_line, sections, unmeasured, versions
from benchmarks.peers.works import WORKS

BEGIN, END = "<!-- generated: run `make compare` -->", "<!-- end -->"
CAPTIONS = {
    "throughput": "Steps per second of chains; the line goes from the slowest repeat to the quickest.",
    "cpu": "CPU time of a step in chains, split by process.",
    "latency": "Latency of a step: how many workflows are as quick as that.",
    "load": "What a step costs as load grows: CPU time over the number of callers.",
    "callers": "Steps per second over the number of callers.",
    "history": "What a step costs as history grows: time of a step over the number of steps of one workflow.",
}


def write(run: Run, page: Path) -> None:
    """Splices the run into the page, and draws the plots beside it."""
    plots = draw(run, page.with_suffix(""))
    page.write_text(spliced(page.read_text(), text(run, page, plots)))
    for path in (page, *plots.values()):
        print(path, file=sys.stderr)


def spliced(page: str, made: str, mark: str = BEGIN) -> str:
    """The page with what was made behind this mark."""
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'the page lacks "{mark}" or "{END}" after it')
    return f"{before}{mark}\n\n{made.strip()}\n\n{END}{after}"


def text(run: Run, page: Path, plots: dict[str, Path]) -> str:
    parts = [
        *heading(run),
        *contestants(run),
        *(part for name, path in plots.items() for part in picture(name, path.relative_to(page.parent))),
        *(part for section in sections(run) for part in figures(run, section)),
        *missing(run),
    ]
    return "\n\n".join(parts)


def heading(run: Run) -> Iterator[str]:
    yield f"{how_measured(run.made_at, run.seconds, run.machine, quick=run.quick)} {HOW_TO_READ}"


def how_measured(made_at: str, seconds: float, machine: Mapping[str, Any], *, quick: bool) -> str:
    load = ", ".join(str(load) for load in machine["load_before"])
    loop = f" ({machine['python_loop_ms']} ms for a reference loop)" if "python_loop_ms" in machine else ""
    coarse = " This was a quick run, so the figures are coarse." if quick else ""
    return (
        f"Measured at {made_at} in {seconds / 60:.0f} minutes on {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, {machine['kernel']}, Python {machine['python']}{loop}, "
        f"data on {machine['file_system']}; load before the run {load}.{coarse}"
    )


def contestants(run: Run) -> Iterator[str]:
    present = [entrant for entrant in run.entrants if not entrant.left_out]
    yield "### Contestants, and what a step is"
    yield table(
        ("", "versions", "an acknowledged result is", *(f"a step, {where}" for where in KINDS.values())),
        (
            (entrant.title, versions(entrant), entrant.durability, *(entrant.kinds.get(kind, DASH) for kind in KINDS))
            for entrant in present
        ),
    )
    yield "\n".join(f"- {name}: {what}." for name, what in WORKS.items())


def picture(name: str, path: Path) -> Iterator[str]:
    yield f"![{CAPTIONS[name]}]({path.as_posix()})"
    yield f"*{CAPTIONS[name]}*"


def figures(run: Run, section: Section) -> Iterator[str]:
    present = [entrant for entrant in run.entrants if entrant.name in section.contestants()]
    yield f"### {section.title}"
    rows = []
    for row in section.rows:
        best = row.best_peer()
        cells = ((one.name, row.cell_with_ratio(one.name)) for one in present)
        rows.append((row.name, *(f"**{cell}**" if name == best else cell for name, cell in cells)))
    yield table(("", *(one.title for one in present)), rows)


def missing(run: Run) -> Iterator[str]:
    left_out: list[Entrant] = [entrant for entrant in run.entrants if entrant.left_out]
    lines = [f"- {entrant.title} did not take part: {first_line(entrant.left_out)}" for entrant in left_out]
    lines += [f"- {text}" for text in unmeasured(run)]
    if lines:
        yield "### Not measured"
        yield "\n".join(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(columns), ["---"] * len(columns), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").strip() for cell in line) + " |" for line in lines)
