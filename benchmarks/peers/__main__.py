"""``python -m benchmarks.peers``: measure, or show again what was measured."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers.contestants import CONTESTANTS, LIMIT, OURS
from benchmarks.peers.install import Cache
from benchmarks.peers.results import Run
from benchmarks.peers.works import WORKS, Plan
from benchmarks.processes import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
GROUPS = {
    "ours": OURS,
    "temporal": ("temporal-pg", "temporal-dev"),
    "peers": tuple(name for name in CONTESTANTS if name not in (*OURS, LIMIT)),
}
"""Names that stand for several contestants."""
ALIASES = {
    "fanout": "fan_out",
    "fan-out": "fan_out",
    "half-load": "half_load",
    "equal-load": "equal_load",
    "signals": "sleepers",
}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='make compare ARGS="…"',
        description="odradek and its peers at the same work, on this machine, in one run.",
        epilog="works: " + "; ".join(f"{name}: {text}" for name, text in WORKS.items()),
    )
    parser.add_argument("--only", type=contestants, default=list(CONTESTANTS), metavar="NAME,…", help=NAMES)
    parser.add_argument("--work", type=works, default=frozenset(WORKS), metavar="WORK,…", help=", ".join(WORKS))
    parser.add_argument("--quick", action="store_true", help="less of everything: 8 minutes at most, and coarser")
    parser.add_argument("--minutes", type=float, help="what has not begun then is left out; default: 27, quick: 8")
    parser.add_argument("--fan-out", type=int, metavar="STEPS", help="default: 1,000")
    cache = Path.home() / ".cache" / "odradek" / "peers"
    parser.add_argument("--cache", type=Path, default=cache, help="where the peers are installed; default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="where their data is while they run; default: a temporary folder")
    parser.add_argument("--keep", action="store_true", help="do not delete that data, and the logs of all processes")
    parser.add_argument("--output", type=Path, help="the JSON; default: benchmarks/results/DATE.json")
    parser.add_argument("--page", action="store_true", help=PAGE_HELP)
    parser.add_argument("--show", type=Path, metavar="JSON", help="measure nothing: show this result")
    return parser.parse_args(given)


PAGE_HELP = "write docs/benchmarks.md and its plots from the result; a complete run always does"
NAMES = f"contestants: {', '.join(CONTESTANTS)}; or {', '.join(GROUPS)} for several"


def contestants(text: str) -> list[str]:
    """In the order in which they are measured."""
    wanted = {name for word in text.split(",") for name in GROUPS.get(word, (word,))}
    _known(wanted, CONTESTANTS, "contestant")
    return [name for name in CONTESTANTS if name in wanted]


def works(text: str) -> frozenset[str]:
    wanted = frozenset(ALIASES.get(word, word) for word in text.split(","))
    _known(wanted, WORKS, "work")
    return wanted


def _known(wanted: Iterable[str], known: Iterable[str], what: str) -> None:
    strangers = sorted(set(wanted) - set(known))
    if strangers:
        raise argparse.ArgumentTypeError(f'no {what} is called "{strangers[0]}"; there are {", ".join(known)}')


def plan_of(options: argparse.Namespace) -> Plan:
    plan = Plan.quick() if options.quick else Plan()
    plan.minutes = options.minutes or plan.minutes
    plan.fan_out = options.fan_out or plan.fan_out
    return plan


def is_complete(options: argparse.Namespace) -> bool:
    """It measures all that the page shows."""
    everything = options.only == list(CONTESTANTS) and options.work == frozenset(WORKS)
    return everything and not options.quick and options.show is None


def measure(options: argparse.Namespace) -> Run:
    from benchmarks.peers.compare import compare

    scratch = Path(tempfile.mkdtemp(prefix="odradek-compare-", dir=options.scratch))
    cache = Cache(options.cache.expanduser().absolute())
    try:
        return compare(options.only, options.work, plan_of(options), cache, scratch, options.quick)
    finally:
        if options.keep:
            print(f"data and logs: {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


def main() -> int:
    from benchmarks.peers.table import show

    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # or it would leave servers behind
    if options.show:
        run = Run.load(options.show)
    else:
        run = measure(options)
        path = options.output or RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M}.json"
        run.save(path)
        print(path, file=sys.stderr)
    show(run)
    if options.page or is_complete(options):
        from benchmarks.peers.page import write

        write(run, PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
