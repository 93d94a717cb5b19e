"""The processes of a benchmark.

Started with the `odradek` command as anyone would, their CPU time read from the system.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, without its children."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Meter:
    """CPU seconds of named processes between two moments."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def read(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}


@contextmanager
def running(name: str, arguments: Sequence[str], logs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this Python; its output goes to a file, and it is ended with the block."""
    with (logs / f"{name}.log").open("wb") as out:
        process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_ready(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait until the process says on ``/readyz`` that it serves."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{process.args!r} is not ready after {seconds:g} s")
