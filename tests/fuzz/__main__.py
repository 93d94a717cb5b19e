"""python -m tests.fuzz TARGET SEED [COUNT]       so many seeds from this one on
python -m tests.fuzz all [SEED] --seconds 900   every target in turn, with seeds that nobody has tried
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from tests.fuzz.targets import TARGETS, command

SECONDS_MAX = 30
"""A seed that takes longer hangs."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=["all", *TARGETS])
    parser.add_argument("first", type=int, nargs="?")
    parser.add_argument("count", type=int, nargs="?", default=1)
    parser.add_argument("--seconds", type=float, default=0.0)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what the product says of bad input is much, and not what is looked for
    first = random.SystemRandom().randrange(10**9) if given.first is None else given.first
    print(f"seeds from {first} on", file=sys.stderr)
    targets = list(TARGETS) if given.target == "all" else [given.target]
    ends = time.monotonic() + given.seconds
    failures = tried = 0
    for seed in count(first):
        if (time.monotonic() >= ends) if given.seconds else (seed >= first + given.count):
            break
        for target in targets:
            tried += 1
            try:
                with within(SECONDS_MAX):
                    TARGETS[target](seed)
            except Exception:
                failures += 1
                traceback.print_exc()
                print(f"repeat it with: {command(target, seed)}", file=sys.stderr, flush=True)
    print(f"{tried} seeds of {', '.join(targets)} from {first} on: {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
