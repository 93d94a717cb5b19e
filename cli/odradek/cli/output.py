"""Data on stdout: JSON, or tables that are plain text when nobody looks at a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH: Final = 220
"""Of tables in a pipe or a file, where no line should be cut."""


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--json`` to a command, which gets it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def values_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--values``: without it no payload is shown, since screens and CI logs are read by many."""
    return click.option("--values", is_flag=True, help="Show what payloads hold, not only their sizes.")(function)


def console() -> Console:
    from rich.console import Console

    terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if terminal else PLAIN_WIDTH, highlight=False, emoji=False)


def print_table(columns: list[str], rows: list[list[str]], *, title: str = "") -> None:
    """A table of texts; ``[`` in them is no markup."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    print_rich(table)


def print_rich(*things: Any) -> None:
    out = console()
    for thing in things:
        if out.is_terminal:
            out.print(thing)
        else:
            with out.capture() as captured:
                out.print(thing)
            for line in captured.get().splitlines():
                click.echo(line.rstrip())


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


@contextmanager
def reading(records: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal: what is yielded takes how many more of the records have been read."""
    if not sys.stderr.isatty():
        yield lambda more: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=records)
        yield lambda more: bar.advance(task, more)


def time_text(moment: datetime | None) -> str | None:
    """A moment in UTC, as JSON has it."""
    if moment is None:
        return None
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03}Z"


def local_text(moment: datetime | None) -> str:
    """A moment in local time, as people have it."""
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _plain(value: Any) -> Any:
    return time_text(value) if isinstance(value, datetime) else str(value)
