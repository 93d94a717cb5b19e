"""The generated part of docs/how-to/capacity.md: written from a run, never by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.capacity.figures import Run
from benchmarks.capacity.rows import Result, Shown, tables
from benchmarks.peers.page import table

BEGIN, END = "<!-- generated: run `make capacity` -->", "<!-- end -->"


def write(result: Result, page: Path) -> None:
    page.write_text(spliced(page.read_text(), text(result)))
    print(page, file=sys.stderr)


def spliced(page: str, made: str) -> str:
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'the page lacks "{BEGIN}" or "{END}" after it')
    return f"{before}{BEGIN}\n\n{made.strip()}\n\n{END}{after}"


def text(result: Result) -> str:
    return "\n\n".join([heading(result.run), *(part for shown in tables(result) for part in _parts(shown))])


def heading(run: Run) -> str:
    machine = run.machine
    quick = " It was a quick run, so the figures are coarse." if run.quick else ""
    load = ", ".join(str(load) for load in machine["load_before"])
    return (
        f"Measured at {run.made_at} in {run.seconds / 60:.0f} minutes on {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, {machine['kernel']}, Python {machine['python']} "
        f"({machine['python_loop_ms']} ms for a reference loop), data on {machine['file_system']}; "
        f"load before the run {load}.{quick}"
    )


def _parts(shown: Shown) -> Iterator[str]:
    yield f"### {shown.title}"
    yield shown.text
    yield table(shown.columns, shown.rows)
