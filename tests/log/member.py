"""A group member in a process of its own: prints what it hears, commits what it is given, ends when its input does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

from odradek.log import Committed, open_log


def _say(what: str, partitions: Sequence[int]) -> None:
    sys.stdout.write(" ".join([what, *map(str, partitions)]) + "\n")
    sys.stdout.flush()


class Printer:
    def assigned(self, partitions: Sequence[int]) -> None:
        _say("assigned", partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        _say("revoked", partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        _say("lost", partitions)


def main(address: str, group: str, topic: str, session_seconds: float) -> None:
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    log = open_log(address)
    member = log.membership(group, topic, Printer(), session_timeout_seconds=session_seconds)
    committed: set[int] = set()
    while not ended.wait(0.01):
        member.poll()
        new = member.partitions - committed
        if new:
            committed |= new
            member.commit({partition: Committed(1, "stopped one") for partition in new})
    member.close()
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
