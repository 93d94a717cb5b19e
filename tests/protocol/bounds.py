"""The state spaces that are explored: small ones by the tests, larger ones by ``make models``.

python -m tests.protocol.bounds [NAME …]
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.protocol.checker import Model, explore
from tests.protocol.chunks import Chunks
from tests.protocol.closing import Closing
from tests.protocol.messages import Messages
from tests.protocol.ownership import Ownership
from tests.protocol.stores import Stores

SMALL: dict[str, Model[Any]] = {
    "ownership": Ownership(inputs="aa", history_max=6, checkpoints=0),
    "ownership, two workflows": Ownership(inputs="ab", history_max=6, cleanings=0),
    "ownership, failed appends": Ownership(inputs="ab", resends=0, failures=1, history_max=6, checkpoints=0),
    "ownership, checkpoints": Ownership(inputs="a", resends=0, history_max=8),
    "ownership, three owners": Ownership(claims=3, inputs="a", resends=0, cleanings=0, history_max=6),
    "chunks": Chunks(inputs="..", chunk_events=2, history_max=7),
    "chunks, runs that follow": Chunks(inputs="n.", history_max=8),
    "chunks, failed appends": Chunks(inputs="n.", resends=0, failures=1, history_max=8),
    "chunks, three owners": Chunks(claims=3, inputs=".", resends=0, history_max=8),
    "messages": Messages(),
    "messages, children": Messages(child=True),
    "closing": Closing(history_max=6),
    "closing, failed appends": Closing(resends=0, failures=1, cleanings=0, history_max=9),
    "closing, undecided ends": Closing(inputs=3, resends=0, cleanings=0, history_max=8),
    "stores": Stores(),
}
"""Those of the test suite."""

LARGE: dict[str, Model[Any]] = {
    "ownership": Ownership(inputs="aab", history_max=7, checkpoints=1),
    "ownership, failed appends": Ownership(inputs="aa", failures=1, history_max=7, checkpoints=1),
    "ownership, three owners": Ownership(claims=3, inputs="aa", cleanings=1, history_max=7, checkpoints=1),
    "chunks": Chunks(inputs="...", chunk_events=2, failures=1, history_max=9),
    "chunks, runs that follow": Chunks(inputs="n.n", failures=1, history_max=9),
    "chunks, three owners": Chunks(claims=3, inputs="n.", failures=1, history_max=9),
    "messages": Messages(sends=5, crashes=4),
    "messages, children": Messages(child=True, sends=5, crashes=4),
    "closing": Closing(inputs=3, failures=1, history_max=9),
    "closing, three owners": Closing(claims=3, inputs=2, history_max=9),
    "stores": Stores(history_max=5, time_max=2),
}

STATES_MAX = 4_000_000


def measure(name: str) -> tuple[str, bool]:
    began = time.process_time()
    result = explore(LARGE[name], STATES_MAX)
    return f"{name}: {result} ({time.process_time() - began:.0f} s)", result.broken is None


def main(names: list[str]) -> int:
    """Explore the large state spaces, one process for each; two at a time."""
    failed = 0
    with ProcessPoolExecutor(2, max_tasks_per_child=1) as pool:
        for text, holds in pool.map(measure, names or LARGE):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
            failed += not holds
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
