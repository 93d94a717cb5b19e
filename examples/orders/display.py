"""What the demo shows while it runs and at its end: on a terminal a progress bar, elsewhere plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from examples.orders.customers import Customers
from examples.orders.ledger import Audit
from examples.orders.models import Status

LINE_SECONDS: Final = 2.0
"""Between two plain lines."""
PROBLEMS_SHOWN: Final = 20


class Bar:
    """How far the orders are; below it what a query said last, above it what happened."""

    def __init__(self, console: Console, customers: Customers) -> None:
        self._console = console
        self._customers = customers
        self._note = Text(style="dim")
        self._next_line = 0.0
        self._progress = Progress(BarColumn(24), TextColumn("{task.description}"), TimeElapsedColumn(), console=console)
        self._task = self._progress.add_task("", total=customers.total)
        self._live = Live(Group(self._progress, self._note), console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.update()
        if self._live is not None:
            self._note.plain = ""
            self._live.stop()

    def say(self, event: str) -> None:
        """Something happened: a line of its own."""
        self.update()
        self._console.print(f"  {event}")

    def set_note(self, note: str) -> None:
        self._note.plain = f"  query: {note}"

    def update(self) -> None:
        counts = self._customers.by_status
        text = (
            f"[green]{counts[Status.COMPLETED]} completed[/] · [yellow]{counts[Status.COMPENSATED]} compensated[/] · "
            f"{len(self._customers.running)} running"
        )
        self._progress.update(self._task, completed=len(self._customers.answered), description=text)
        if self._live is None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(f"  {text}{self._note.plain and ' ·'}{self._note.plain}")


def audit_table(audit: Audit, durations: Sequence[tuple[str, str]]) -> Table:
    """The summary: what was asked, how it ended, what went wrong, and how long it took."""
    table = Table("", "", title="Orders, according to the ledger", show_header=False, title_justify="left")
    table.add_row("asked for", str(audit.asked))
    table.add_row("completed", str(audit.completed))
    table.add_row("compensated", str(audit.compensated))
    table.add_section()
    for name, problems in (
        ("lost", audit.lost),
        ("decided twice", audit.decided_twice),
        ("unexpected", audit.unexpected),
        ("out of order", audit.out_of_order),
    ):
        table.add_row(name, str(len(problems)), style="bold red" if problems else "bold green")
    table.add_section()
    for name, value in durations:
        table.add_row(name, value)
    return table


def effects_table(audit: Audit) -> Table:
    """Each kind of side effect: applied once per idempotency key, however often it was executed."""
    table = Table(title="Side effects", title_justify="left")
    table.add_column("effect")
    for column in ("keys", "applied", "executed again\nby a retry", "executed again\nsame attempt"):
        table.add_column(column, justify="right")
    for effect, count in audit.effects.items():
        style = "" if count.applied == count.keys else "bold red"
        figures = (count.keys, count.applied, count.repeated_by_retry, count.repeated_by_delivery)
        table.add_row(effect, *map(str, figures), style=style)
    return table


def print_problems(console: Console, problems: Sequence[str]) -> None:
    for problem in problems[:PROBLEMS_SHOWN]:
        console.print(f"  [red]✗[/] {escape(problem)}")
    if len(problems) > PROBLEMS_SHOWN:
        console.print(f"  … and {len(problems) - PROBLEMS_SHOWN} more")
