"""Whether a step costs more than it did: CPU of the engine as a multiple of the raw loop's, both measured in this run.

The figure of each commit is kept in ``benchmarks/history.jsonl``; more than 15 % above the median of the last ones
fails. Bursts of both take turns, and the median of their ratios moves far less than seconds do.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.chain import arguments, measure, times_raw

HISTORY: Final = Path(__file__).with_name("history.jsonl")
COMPARED: Final = 5
"""With so many of the last commits."""
WORSE_MAX: Final = 1.15


def verdict(ratio: float, before: list[float]) -> str | None:
    """Why this ratio is too high beside those of the commits before, the newest last; None if it is not."""
    if not before:
        return None
    usual = statistics.median(before[-COMPARED:])
    if ratio <= usual * WORSE_MAX:
        return None
    return (
        f"a step costs {ratio:.2f} times the raw loop, {ratio / usual - 1:.0%} more than the {usual:.2f} of the last "
        f"{len(before[-COMPARED:])} commits (allowed: {WORSE_MAX - 1:.0%}). Profile it, or explain it and record it "
        "with --accept"
    )


def recorded(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def record(path: Path, entry: dict[str, Any]) -> None:
    """One line per commit: a commit that is measured again has its newest figure."""
    kept = [line for line in recorded(path) if line["commit"] != entry["commit"]]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*kept, entry]))


def commit() -> str:
    """The one that is checked out; with "+" behind it where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
                          capture_output=True, text=True, check=True, cwd=HISTORY.parent)  # fmt: skip
    return said.stdout.strip()


def main() -> int:
    parser = arguments(__doc__)
    parser.set_defaults(latency=20)
    parser.add_argument("--accept", action="store_true", help="record the figure even if it is too high")
    options = parser.parse_args()
    found, raw = measure(options)
    ratio, now = times_raw(found, raw), commit()
    before = [line["times_raw"] for line in recorded(HISTORY) if line["commit"] != now]
    wrong = verdict(ratio, before)
    split = {name: round(found.cpu_per_1000(name), 4) for name in found.middle.cpu}
    print(f"{now}: {ratio:.2f} times the raw loop; CPU s per 1,000 steps {found.cpu_per_1000():.3f}, {split}")
    if wrong is None or options.accept:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
        entry = {"commit": now, "times_raw": round(ratio, 3), "raw_cpu_per_1000": round(raw.cpu_per_1000(), 4)}
        record(HISTORY, {**entry, "cpu_per_1000": split, "steps_per_s": round(found.steps_per_second), "on": machine})
    if wrong is not None:
        print(wrong, file=sys.stderr)
    return 0 if wrong is None or options.accept else 1


if __name__ == "__main__":
    sys.exit(main())
