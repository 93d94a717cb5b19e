"""A namespace on a broker of its own with the processes that serve it, and curves of what changes while they work."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, Self

import psutil

from benchmarks.machine import loop_ms
from benchmarks.processes import Meter, await_ready, cpu_seconds, running
from odradek.log import Log, open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics
from odradek.testing.broker import LocalBroker, free_port
from odradek.testing.cluster import LocalCluster

QUEUE: Final = "bench"
TICKS: Final = "▁▂▃▄▅▆▇█"


class Stage:
    """Where a benchmark takes place; what it starts ends with it."""

    def __init__(self, address: str, pids: dict[str, int], folder: Path) -> None:
        """``pids`` are those of its brokers."""
        self.address, self.folder, self.pids = address, folder, pids
        self.log: Log = open_log(address)

    def meter(self) -> Meter:
        """CPU seconds of all that runs now, and of this process."""
        return Meter({**self.pids, "client": os.getpid()})

    def namespace(self, name: str, partitions: int) -> Topics:
        topics = Topics(f"{name}{time.time_ns()}")
        create_namespace(self.log, topics.namespace, partitions=partitions, queues=(QUEUE,))
        return topics

    @contextmanager
    def orchestrating(self, topics: Topics) -> Iterator[Served]:
        store = str(self.folder / f"store-{topics.namespace}")
        with self.serving("orchestrator", topics, ["benchmarks.app", "--store", store]) as served:
            yield served

    @contextmanager
    def working(self, topics: Topics, name: str = "worker", concurrent_max: int = 1000) -> Iterator[Served]:
        """A worker process for as long as the block runs; then it leaves in order."""
        arguments = ["benchmarks.app", "--queue", QUEUE, "--max-concurrent", str(concurrent_max)]
        with self.serving("worker", topics, arguments, name) as served:
            yield served

    @contextmanager
    def serving(
        self, role: str, topics: Topics, arguments: Sequence[str], name: str = "", processes: int = 1
    ) -> Iterator[Served]:
        """Several ``processes`` are those of one command, and in ``pids`` without that, which only waits for them."""
        name, port = name or role, free_port()
        command = ["-m", "odradek.cli", "--log", self.address, "--namespace", topics.namespace, role, *arguments]
        command += ["--processes", str(processes)] if processes > 1 else []
        with running(name, [*command, "--health-port", str(port)], self.folder) as process:
            ports = range(port, port + processes)
            for each in ports:
                await_ready(each, process)
            own = [child.pid for child in psutil.Process(process.pid).children()] if processes > 1 else [process.pid]
            names = [f"{name} {number}" for number in range(processes)] if processes > 1 else [name]
            self.pids.update(zip(names, own, strict=True))
            try:
                yield Served(name, ports, process, own)
            finally:
                for each_name in names:
                    del self.pids[each_name]

    @contextmanager
    def raw(self, role: str, topics: Topics) -> Iterator[None]:
        """A process of the raw loop: the same messages without odradek."""
        command = ["-m", "benchmarks.raw_loop", role, "--log", self.address, "--namespace", topics.namespace]
        with running(f"raw-{role}", [*command, "--queue", QUEUE, "--steps", "1"], self.folder) as process:
            deadline = time.monotonic() + 60
            while b"ready" not in (self.folder / f"raw-{role}.log").read_bytes():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the raw {role} is not ready after 60 s")
                time.sleep(0.05)
            self.pids[f"raw-{role}"] = process.pid
            try:
                yield
            finally:
                del self.pids[f"raw-{role}"]


class Served:
    """A command that serves, with one process or several, and its metrics."""

    def __init__(self, name: str, ports: Sequence[int], process: Popen[bytes], pids: Sequence[int]) -> None:
        self.name, self.ports, self.process, self.pids = name, ports, process, pids

    def metric(self, name: str, label: str = "") -> float:
        """The sum of a metric over all its labels, or over those that say this."""
        found: list[str] = []
        for port in self.ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            found += re.findall(rf"^{name}(?:{{.*{label}.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, self.pids))

    def kill(self) -> None:
        """SIGKILL to all of them."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.process.kill()


@contextmanager
def stage(address: str) -> Iterator[Stage]:
    """On the broker at ``address``, or on those that are started: "kafka" is one, "kafka-3" a cluster of three.

    Shows the processes' last words on failure.
    """
    with tempfile.TemporaryDirectory(prefix="odradek-bench-") as scratch, ExitStack() as stack:
        folder, pids = Path(scratch), dict[str, int]()
        if address == "kafka":
            broker = LocalBroker(folder / "broker", quick_start=False, eager_cleaning=False, heap_mb=1024)
            stack.enter_context(broker)
            address, pids = f"kafka://{broker.bootstrap}", {"broker": broker.pid}
        elif address == "kafka-3":
            cluster = stack.enter_context(LocalCluster(folder / "broker", heap_mb=512, quick_start=False))
            pids = {f"broker-{one.number}": one.pid for one in cluster.brokers}
            address = f"kafka://{cluster.bootstrap}"
        made = Stage(address, pids, folder)
        try:
            yield made
        except Exception:
            for path in folder.glob("*.log"):
                print(f"--- {path.name}", path.read_text()[-3000:], sep="\n", file=sys.stderr)
            raise


class Curves(threading.Thread):
    """Reads some numbers every ``seconds`` until its block ends. ``points``: by name, in order."""

    def __init__(self, read: Callable[[], Mapping[str, float]], seconds: float) -> None:
        super().__init__(daemon=True)
        self._read, self._seconds, self._over = read, seconds, threading.Event()
        self.points: dict[str, list[float]] = {}

    def run(self) -> None:
        while not self._over.wait(self._seconds):
            for name, value in self._read().items():
                self.points.setdefault(name, []).append(value)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def resident_mib(pids: Mapping[str, int]) -> dict[str, float]:
    """Resident memory of processes, in MiB; one that has just ended is left out."""
    found = {}
    for name, pid in dict(pids).items():
        try:
            found[name] = round(psutil.Process(pid).memory_info().rss / 2**20, 1)
        except psutil.NoSuchProcess:
            continue
    return found


def sparkline(points: Sequence[float], width: int = 60) -> str:
    """The points as a line of blocks, the lowest at the bottom, averaged into at most ``width`` of them."""
    if not points:
        return ""
    count = min(width, len(points))
    edges = [n * len(points) // count for n in range(count + 1)]
    means = [sum(points[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(TICKS[min(len(TICKS) - 1, int((mean - low) / span * len(TICKS)))] for mean in means)


def machine() -> str:
    memory = psutil.virtual_memory().total >> 30
    return (
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {memory} GiB; the broker on the same cores; "
        f"Python {platform.python_version()}, {loop_ms():.0f} ms for its reference loop"
    )


def print_json(found: Mapping[str, Any]) -> None:
    """The figures on one line, for programs."""
    print(json.dumps({**found, "machine": machine()}))


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number
