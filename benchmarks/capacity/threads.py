"""CPU time of a process by its threads: those of Python, which share one lock, and those of libraries in C."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.processes import cpu_seconds

FOREIGN = ("rdk:", "rocksdb", "tokio")
"""What names of threads begin with that hold no lock of Python's while they work."""


def python_seconds(pid: int) -> float:
    """User and system time of a process's Python threads; where the system does not name threads: of all."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.is_dir():
        return cpu_seconds(pid)
    tick, found = os.sysconf("SC_CLK_TCK"), 0.0
    for task in tasks.iterdir():
        try:
            name, stat = (task / "comm").read_text(), (task / "stat").read_text()
        except OSError:  # it has just ended
            continue
        if not name.startswith(FOREIGN):
            user, system = stat.rpartition(")")[2].split()[11:13]
            found += (int(user) + int(system)) / tick
    return found
