"""The generated part of docs/how-to/capacity.md: written from a run, never by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.capacity.figures import Run
from benchmarks.capacity.rows import Result, Shown, tables
from benchmarks.peers import page as comparison

BEGIN, END = "<!-- generated: run `make capacity` -->", comparison.END


def write(result: Result, page: Path) -> None:
    page.write_text(spliced(page.read_text(), text(result)))
    print(page, file=sys.stderr)


def spliced(page: str, made: str) -> str:
    return comparison.spliced(page, made, BEGIN)


def text(result: Result) -> str:
    return "\n\n".join([heading(result.run), *(part for shown in tables(result) for part in _parts(shown))])


def heading(run: Run) -> str:
    return comparison.how_measured(run.made_at, run.seconds, run.machine, quick=run.quick)


def _parts(shown: Shown) -> Iterator[str]:
    yield f"### {shown.title}"
    yield shown.text
    yield comparison.table(shown.columns, shown.rows)
