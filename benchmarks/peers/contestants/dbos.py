"""DBOS on PostgreSQL: a library in the process of its client, as it is meant to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.client import LoadClient
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.contestants.postgres import Postgres

APP = "benchmarks.peers.apps.dbos"


class Dbos(Contestant):
    name = "dbos"
    title = "DBOS on PostgreSQL"
    durability = "one PostgreSQL, default settings: flushed to the disk at every commit"
    kinds: ClassVar[Mapping[str, str]] = {
        "local": "DBOS.step: a function in the application's process, its result committed"
    }
    victims = ("worker",)

    def install(self) -> dict[str, str]:
        self._python = self.cache.python("dbos")
        self._postgres = Postgres(self.cache.postgres(), self.folder, self.processes)
        return {"DBOS": self.version_of("dbos", self._python), "PostgreSQL": self._postgres.version()}

    def start(self) -> None:
        self._postgres.start("dbos")
        self.client = self._client("load")

    def stop(self) -> None:
        for name in ("client", "worker"):
            self.processes.stop(name)
        self._postgres.stop()

    def prepare_recovery(self) -> None:
        """Then the client puts workflows into a queue, and another process runs them."""
        self.processes.stop("client")
        self.revive("worker")
        self.processes.wait_for_line("worker")
        self.client = self._client("queued")

    def revive(self, victim: str) -> None:
        self.processes.spawn(victim, [self._python, "-m", APP, "worker", self._postgres.url("dbos")], self.env)

    def _client(self, role: str) -> LoadClient:
        return LoadClient(self.processes, [self._python, "-m", APP, role, self._postgres.url("dbos")], self.env)
