"""Restate: its server from npm, its Python SDK behind hypercorn."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import ClassVar

from benchmarks.peers.client import LoadClient
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.install import RESTATE_SERVER
from odradek.testing.broker import free_ports

APP = "benchmarks.peers.apps.restate"
PARTITIONS = 4
"""Its default is 24, with which it was slower on two cores."""
REGISTER_SECONDS_MAX = 30


class Restate(Contestant):
    name = "restate"
    title = "Restate"
    durability = "one node, default settings: its write-ahead log is flushed before it acknowledges"
    kinds: ClassVar[Mapping[str, str]] = {
        "remote": "a call of another service's handler, through the server",
        "local": "ctx.run: an async function in the worker, its result journalled by the server",
    }

    def install(self) -> dict[str, str]:
        self._server, self._python = self.cache.restate_server(), self.cache.python("restate")
        return {"Restate": RESTATE_SERVER, "restate-sdk": self.version_of("restate-sdk", self._python)}

    def start(self) -> None:
        names = ("ingress", "admin", "fabric", "worker")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.revive("engine")
        self.revive("worker")
        for role, port in (("engine", "admin"), ("engine", "ingress"), ("worker", "worker")):
            self.processes.wait_for_port(role, self._ports[port])
        self._register()
        url = f"http://127.0.0.1:{self._ports['ingress']}"
        self.client = LoadClient(self.processes, [self._python, "-m", APP, "load", url], self.env)

    def revive(self, victim: str) -> None:
        if victim == "worker":
            self.processes.spawn("worker", [self._python, "-m", APP, "worker", str(self._ports["worker"])], self.env)
            return
        settings = {
            "BASE_DIR": self.folder / "data",
            "DISABLE_TELEMETRY": "true",
            "LOG_FILTER": "warn",
            "LISTEN_MODE": "tcp",
            "BIND_IP": "127.0.0.1",
            "ADVERTISED_HOST": "127.0.0.1",
            "BIND_PORT": self._ports["fabric"],
            "INGRESS__BIND_PORT": self._ports["ingress"],
            "ADMIN__BIND_PORT": self._ports["admin"],
            "NODE_NAME": "bench",
            "DEFAULT_NUM_PARTITIONS": PARTITIONS,
            "WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": 10_000,
        }
        env = {f"RESTATE_{name}": str(value) for name, value in settings.items()}
        self.processes.spawn("engine", [self._server, "--no-logo"], env, cwd=self.folder)

    def _register(self) -> None:
        """Tell the server where the worker is; it asks the worker what it has."""
        body = json.dumps({"uri": f"http://127.0.0.1:{self._ports['worker']}"}).encode()
        url = f"http://127.0.0.1:{self._ports['admin']}/deployments"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        deadline = time.monotonic() + REGISTER_SECONDS_MAX
        while True:
            try:
                urllib.request.urlopen(request, timeout=REGISTER_SECONDS_MAX).close()
                return
            except (urllib.error.URLError, OSError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
