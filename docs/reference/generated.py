"""Puts generated text between the two marks of a page; whatever stands around them is written by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

BEGIN = "<!-- generated: run `make reference` -->"
END = "<!-- end -->"


def spliced(page: Path, text: str) -> str:
    """The page with ``text`` in its generated part."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f'{page} lacks "{BEGIN}" or "{END}"')
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def write(page: Path, text: str) -> None:
    page.write_text(spliced(page, text))
    print(page, file=sys.stderr)  # noqa: T201 - it is a command


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of texts, with ``|`` in them escaped."""
    heads = list(columns)
    lines = [heads, ["---"] * len(heads), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
