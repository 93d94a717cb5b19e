"""The processes under test: orchestrators and workers, each with a route of its own to the brokers."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.chaos.shop import Process
from tests.nemesis.bank import BOOKS_VARIABLE, BUILD_VARIABLE, QUEUE

SESSION_SECONDS: Final = 3.0
MODULES: Final = ("tests.nemesis.bank", "tests.nemesis.entities")
ORCHESTRATORS: Final = ("orchestrator-1", "orchestrator-2")
WORKERS: Final = ("worker-1", "worker-2")
LAST_WORDS: Final = 1500
LOG_UNAVAILABLE: Final = 6
"""The exit status of a process that could not reach the log when it was started, and leaves it to others to try on."""


class Member(Process):
    """One process of the fleet, that may be killed, frozen and started again, as another build if need be."""

    def __init__(self, name: str, folder: Path, address: str, namespace: str, store: Path | None) -> None:
        self.name, self.store = name, store
        role = name.partition("-")[0]
        own = ["--store", str(store)] if store else []
        if role == "worker":
            own += ["--queue", QUEUE, "--max-concurrent", "20"]
        command = ["-m", "odradek.cli", role, *(MODULES if role == "orchestrator" else MODULES[:1]), *own]
        command += ["--log", address, "--namespace", namespace, "--session-timeout", str(SESSION_SECONDS)]
        command += ["--health-port", "0", "--identity", name]
        super().__init__(folder, {name: command}, {BOOKS_VARIABLE: str(folder / "books.db"), "PYTHONFAULTHANDLER": "1"})
        self.build = 1
        self.leaving = False
        """It was told to end."""

    @property
    def build(self) -> int:
        """What it is when it is started next."""
        return int(self._environment[BUILD_VARIABLE])

    @build.setter
    def build(self, number: int) -> None:
        self._environment[BUILD_VARIABLE] = str(number)

    @property
    def runs(self) -> bool:
        """It may be frozen."""
        return bool(self._processes) and self.ended() is None

    def delete_store(self) -> None:
        """What is in it, whether it is in use or not."""
        assert self.store is not None
        for entry in self.store.iterdir():
            shutil.rmtree(entry, ignore_errors=True)

    def last_words(self) -> str:
        return self.output()[-LAST_WORDS:]

    def has_served(self) -> bool:
        """Since it was started last."""
        return " serves " in self.latest_life()

    def claims(self) -> int:
        """How many partitions it has taken over, over all its lives."""
        return len(re.findall(r"partition \d+: live", self.output()))


class NemesisFleet:
    """All of them. ``supervise`` starts those again that ended by themselves, as what runs in production does it."""

    def __init__(self, members: list[Member]) -> None:
        self.members = members
        self.ended: list[tuple[str, int, str]] = []
        """Who ended by itself, with which status and last words."""
        self.gave_up = 0
        """How often one found no log to begin with."""

    def __getitem__(self, name: str) -> Member:
        return next(member for member in self.members if member.name == name)

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def start(self) -> None:
        for member in self:
            member.start()

    def supervise(self) -> None:
        for member in self:
            if not member.leaving and member._processes and (status := member.ended()) is not None:
                if status == LOG_UNAVAILABLE and not member.has_served():
                    self.gave_up += 1
                else:
                    self.ended.append((member.name, status, member.last_words()))
                member.start()

    def unexpected(self) -> Iterator[str]:
        """Ends that nobody wanted."""
        for name, status, words in self.ended:
            yield f"{name} ended by itself with status {status}; its last words: {words}"

    def kill(self) -> None:
        for member in self:
            member.kill()
