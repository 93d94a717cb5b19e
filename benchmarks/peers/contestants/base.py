"""What every contestant is to the harness."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.client import LoadClient
from benchmarks.peers.counter import VARIABLE, Counter
from benchmarks.peers.install import Cache
from benchmarks.peers.processes import Processes
from benchmarks.peers.works import WORKS


class Contestant(ABC):
    """An engine with one worker and one client. ``install`` once, then ``start``, work, ``stop``."""

    name: ClassVar[str]
    title: ClassVar[str]
    durability: ClassVar[str]
    """What is true of a result that the engine has acknowledged."""
    kinds: ClassVar[Mapping[str, str]]
    """"remote" and "local", and what such a step is here."""
    works: ClassVar[frozenset[str]] = frozenset(WORKS) - {"crowd"}
    victims: ClassVar[tuple[str, ...]] = ("worker", "engine")
    """What a recovery can kill."""
    by_default: ClassVar[bool] = True

    def __init__(self, cache: Cache, folder: Path) -> None:
        self.cache, self.folder = cache, folder
        folder.mkdir(parents=True)
        self.processes = Processes(folder)
        self.counter = Counter(folder / "counter")
        self.env = {VARIABLE: str(folder / "counter")}
        self.client: LoadClient

    @abstractmethod
    def install(self) -> dict[str, str]:
        """Versions of its parts, once all are there. Raises ``Unavailable``."""

    def is_cold(self) -> bool:
        """It has just started a Java virtual machine, which is still compiling itself."""
        return False

    @abstractmethod
    def start(self) -> None:
        """Server, worker and client; returns when they can work."""

    def stop(self) -> None:
        self.processes.stop_all()

    def prepare_recovery(self) -> None:  # noqa: B027 - most need nothing
        """Bring about that there are victims, where that takes another arrangement."""

    @abstractmethod
    def revive(self, victim: str) -> None:
        """Start what was killed again."""

    def kill(self, victim: str) -> None:
        self.processes.kill(victim)

    def version_of(self, package: str, python: Path) -> str:
        """Of a Python package in the environment of ``python``."""
        found = list(python.parent.parent.glob(f"lib/python*/site-packages/{package.replace('-', '_')}-*.dist-info"))
        return found[0].name.removesuffix(".dist-info").rpartition("-")[2] if found else "unknown"

    def until_steps(self, number: int, seconds_max: float) -> float:
        """Wait for so many steps to have run; when that was (``perf_counter``). Raises ``TimeoutError``."""
        deadline = time.perf_counter() + seconds_max
        while self.counter.read(0) < number:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{self.counter.read(0)} of {number} steps ran in {seconds_max:g} s")
            time.sleep(0.001)
        return time.perf_counter()
