"""Temporal: the development server on SQLite, and the server of production on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any, ClassVar

from benchmarks.peers.client import LoadClient
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.contestants.postgres import Postgres
from benchmarks.peers.install import TEMPORAL_CLI, TEMPORAL_SERVER
from benchmarks.processes import ROOT
from odradek.testing.broker import free_ports

APP = "benchmarks.peers.apps.temporal"
PLUGIN = "postgres12"
HISTORY_SHARDS = 4
SERVICES = ("frontend", "matching", "history", "worker")
LIMITS = {
    "frontend.persistenceMaxQPS": 20_000,
    "history.persistenceMaxQPS": 45_000,
    "matching.persistenceMaxQPS": 20_000,
    "frontend.namespaceRPS": 20_000,
    "frontend.rps": 20_000,
    "frontend.namespaceCount": 10_000,
}
"""Raised so that none of them is what is measured."""


class Temporal(Contestant):
    name = "temporal-dev"
    title = "Temporal, development server"
    durability = "one SQLite file, WAL, synchronous=NORMAL: NOT flushed to the disk at every commit"
    kinds: ClassVar[Mapping[str, str]] = {
        "remote": "activity: through the server to a worker process and back",
        "local": "local activity: in the worker, its marker recorded with the workflow task (several share a commit)",
    }

    def install(self) -> dict[str, str]:
        self._program, self._python = self.cache.temporal_dev_server(), self.cache.python("temporal")
        said = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True).stdout
        server = said.partition("Server ")[2].partition(",")[0].strip(") \n") or "unknown"
        return {"Temporal": server, "its command": TEMPORAL_CLI, "temporalio": self.sdk_version()}

    def sdk_version(self) -> str:
        return self.version_of("temporalio", self._python)

    def start(self) -> None:
        self.prepare_server()
        self.revive("engine")
        self.processes.wait_for_port("engine", self.port)
        self.make_namespace()
        self.revive("worker")
        self.processes.wait_for_line("worker")
        self.client = LoadClient(self.processes, [self._python, "-m", APP, "load", self.address], self.env)

    def prepare_server(self) -> None:
        self.port = free_ports(1)[0]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def make_namespace(self) -> None:
        """The development server makes its own, and the worker waits for it."""

    def revive(self, victim: str) -> None:
        if victim == "worker":
            self.processes.spawn("worker", [self._python, "-m", APP, "worker", self.address], self.env)
        else:
            self.processes.spawn("engine", self.server_command(), {"TEMPORAL_VERSION_CHECK_DISABLED": "1"})

    def server_command(self) -> list[str]:
        command = [str(self._program), "server", "start-dev", "--headless", "--log-level", "error"]
        pragmas = ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"]
        return [*command, "--port", str(self.port), "--db-filename", str(self.folder / "temporal.db"), *pragmas]


class TemporalOnPostgres(Temporal):
    name = "temporal-pg"
    title = "Temporal on PostgreSQL"
    durability = "one PostgreSQL, default settings: flushed to the disk at every commit"
    works = frozenset({"chain", "latency", "half_load", "equal_load"})

    def install(self) -> dict[str, str]:
        self._program, self._schema_tool = self.cache.temporal_server()
        self._python = self.cache.python("temporal")
        self._postgres = Postgres(self.cache.postgres(), self.folder, self.processes)
        return {
            "Temporal": TEMPORAL_SERVER.removeprefix("v"),
            "temporalio": self.sdk_version(),
            "PostgreSQL": self._postgres.version(),
        }

    def prepare_server(self) -> None:
        self._postgres.start("temporal", "temporal_visibility")
        self._make_tables("temporal", "temporal")
        self._make_tables("temporal_visibility", "visibility")
        ports = free_ports(2 * len(SERVICES))
        self._services = dict(zip(SERVICES, ports[: len(SERVICES)], strict=True))
        self._members = dict(zip(SERVICES, ports[len(SERVICES) :], strict=True))
        self.port = self._services["frontend"]
        self._write_settings()

    def stop(self) -> None:
        for name in ("client", "worker", "engine"):
            self.processes.stop(name)
        self._postgres.stop()

    def make_namespace(self) -> None:
        """Returns when the server knows it, and has its tables."""
        subprocess.run(
            [self._python, "-m", APP, "namespace", self.address],
            check=True,
            cwd=ROOT,
            timeout=60,
            env={**os.environ, **self.env},
        )

    def server_command(self) -> list[str]:
        arguments = ["--root", str(self.folder), "--config", ".", "--env", "bench", "--allow-no-auth", "start"]
        return [str(self._program), *arguments]

    def _make_tables(self, database: str, schema: str) -> None:
        where = ["--plugin", PLUGIN, "--ep", "127.0.0.1", "-p", str(self._postgres.port), "-u", "postgres"]
        tool = [str(self._schema_tool), *where, "--pw", "-", "--db", database]
        for step in (["setup-schema", "-v", "0.0"], ["update-schema", "--schema-name", f"postgresql/v12/{schema}"]):
            subprocess.run([*tool, *step], check=True, capture_output=True)

    def _write_settings(self) -> None:
        """JSON, which is YAML."""
        dynamic = {name: [{"value": value, "constraints": {}}] for name, value in LIMITS.items()}
        (self.folder / "dynamic.yaml").write_text(json.dumps(dynamic))
        (self.folder / "bench.yaml").write_text(json.dumps(self._settings()))

    def _settings(self) -> dict[str, Any]:
        off = {"state": "disabled"}
        cluster = {
            "enabled": True,
            "initialFailoverVersion": 1,
            "rpcName": "frontend",
            "rpcAddress": f"127.0.0.1:{self._services['frontend']}",
        }
        return {
            "log": {"stdout": True, "level": "error"},
            "persistence": {
                "defaultStore": "default",
                "visibilityStore": "visibility",
                "numHistoryShards": HISTORY_SHARDS,
                "datastores": {
                    "default": self._store("temporal", 20),
                    "visibility": self._store("temporal_visibility", 5),
                },
            },
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
            "services": {name: self._service(name) for name in self._services},
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {"active": cluster},
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "archival": {"history": off, "visibility": off},
            "namespaceDefaults": {"archival": {"history": off, "visibility": off}},
            "dynamicConfigClient": {"filepath": str(self.folder / "dynamic.yaml"), "pollInterval": "60s"},
        }

    def _store(self, database: str, connections: int) -> dict[str, Any]:
        return {
            "sql": {
                "pluginName": PLUGIN,
                "databaseName": database,
                "connectAddr": f"127.0.0.1:{self._postgres.port}",
                "connectProtocol": "tcp",
                "user": "postgres",
                "password": "-",
                "maxConns": connections,
                "maxIdleConns": connections,
                "maxConnLifetime": "1h",
            }
        }

    def _service(self, name: str) -> dict[str, Any]:
        ports = {"grpcPort": self._services[name], "membershipPort": self._members[name]}
        return {"rpc": {**ports, "bindOnLocalHost": True}}
