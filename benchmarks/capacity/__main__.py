"""``python -m benchmarks.capacity``: what a step costs on this machine, and what fleets that leads to."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.capacity.figures import Run
from benchmarks.capacity.model import Assumptions
from benchmarks.capacity.page import write
from benchmarks.capacity.predict import checked, curve
from benchmarks.capacity.rows import Result, Shown, failures, sized, tables
from benchmarks.machine import facts
from benchmarks.processes import ROOT
from benchmarks.stage import print_json

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "how-to" / "capacity.md"
HELP = {
    "steps": "of a workflow",
    "open_seconds": "how long a workflow is open",
    "load": "of what a process can do when all its turns are full",
    "growth": "by which the load may grow before partitions are too few",
    "partitions_per_process": "at least, after that growth",
    "copies": "of each record",
    "broker_cores": "of each broker",
    "broker_load": "of the brokers' CPU",
    "broker_mb_in": "MB/s that a broker takes in, copies included",
    "broker_mb_out": "MB/s that a broker gives out",
    "broker_disk_tb": "of each broker",
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='make capacity ARGS="…"', description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, and coarser")
    parser.add_argument("--output", type=Path, help="the JSON; default: benchmarks/results/capacity-DATE.json")
    parser.add_argument(
        "--page", action="store_true", help=f"write {PAGE.relative_to(ROOT)}; a complete run always does"
    )
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing: go on from this result")
    for name, default in asdict(Assumptions()).items():
        text = f"{HELP[name]}; default: %(default)s"
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_positive(default), default=default, metavar="N", help=text)
    return parser.parse_args(given)


def assumptions(options: argparse.Namespace) -> Assumptions:
    return Assumptions(**{name: getattr(options, name) for name in HELP})


def is_complete(options: argparse.Namespace) -> bool:
    """It is what the page shows: measured whole, for the assumptions that the page states."""
    return not options.quick and options.show is None and assumptions(options) == Assumptions()


def measured(quick: bool) -> Run:
    from benchmarks.capacity.measure import Plan, measure
    from benchmarks.stage import stage

    plan, began = Plan.quick() if quick else Plan(), time.monotonic()
    machine, made_at = facts(Path(tempfile.gettempdir())), f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    found = []
    for address, brokers in (("kafka", 1), ("kafka-3", 3)):
        with stage(address) as where:
            found.append(measure(where, brokers, plan))
    return Run(made_at, time.monotonic() - began, machine, found[0], found[1], quick)


def show(shown: Shown, console: Console) -> None:
    made = Table(*shown.columns, title=shown.title)
    for row in shown.rows:
        made.add_row(*(cell.replace("*", "").replace("`", "") for cell in row))
    console.print(made)


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # or it would leave brokers behind
    if options.show:
        run = Run.load(options.show)
    else:
        run = measured(options.quick)
        path = options.output or RESULTS / f"capacity-{datetime.now(UTC):%Y-%m-%d-%H%M}.json"
        run.save(path)
        print(path, file=sys.stderr)
    given = assumptions(options)
    found = sized(run, given)
    result = Result(run, given, found, [curve(need, run.three) for need in found], checked(run.one))
    console = Console(width=150)
    for shown in tables(result):
        show(shown, console)
    print_json({"capacity": [asdict(need) for need in result.needs], "checks": [asdict(one) for one in result.checks]})
    if options.page or is_complete(options):
        write(result, PAGE)
    wrong = list(failures(result.checks))
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


def _positive(default: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = int(text) if isinstance(default, int) else float(text)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return number


if __name__ == "__main__":
    sys.exit(main())
