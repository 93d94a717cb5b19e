"""Asks again and again where consumer groups stand: ``python -m tests.nemesis.asking <log> <topic>``.

In a process of its own, since what it is for took the process down. Prints a line for each answer, until it is killed.
"""

from __future__ import annotations

import itertools
import os
import sys
from threading import Thread

from odradek.log import LogUnavailable, open_log

GROUPS = 20
"""So many that each broker is the coordinator of some."""
THREADS = 4


def ask(address: str, topic: str, first: int) -> None:
    log = open_log(address)
    for number in itertools.count(first):
        try:
            standing = log.standing(f"group-{number % GROUPS}", topic)
        except LogUnavailable:
            continue
        wrong = [each for each in standing.values() if (each.begin, each.end) != (0, 0)]
        os.write(sys.stdout.fileno(), f"{wrong or len(standing)} partitions\n".encode())


if __name__ == "__main__":
    for first in range(0, GROUPS, GROUPS // THREADS):
        Thread(target=ask, args=(*sys.argv[1:], first)).start()
