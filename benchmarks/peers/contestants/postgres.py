"""A PostgreSQL of its own for one contestant, with default settings: fsync and synchronous_commit are on."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.peers.install import Unavailable
from benchmarks.peers.processes import Processes
from odradek.testing.broker import free_port

USER = "postgres"


class Postgres:
    """Listens on 127.0.0.1, trusts everybody there, and keeps its data in ``folder``."""

    def __init__(self, programs: Path, folder: Path, processes: Processes) -> None:
        self._programs, self._folder, self._processes = programs, folder, processes
        self.port = free_port()

    def start(self, *databases: str) -> None:
        data = self._folder / "postgres"
        data.mkdir()
        as_user = self._as_user(data)
        initdb = [
            str(self._programs / "initdb"),
            "-D",
            str(data),
            "-A",
            "trust",
            "-U",
            USER,
            "-E",
            "UTF8",
            "--no-locale",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=data, **as_user)
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": data,
            "max_connections": 200,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", str(data), *options]
        self._processes.spawn("database", command, cwd=data, **as_user)
        self._processes.wait_for("database", self._answers)
        for name in databases:
            subprocess.run([*self._psql, "-c", f"create database {name}"], check=True, cwd=data, **as_user)

    def stop(self) -> None:
        """Its fast shutdown: clients that are still connected do not hold it up."""
        self._processes.stop("database", signal.SIGINT)

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def version(self) -> str:
        said = subprocess.run([self._programs / "postgres", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split()[2]

    @property
    def _psql(self) -> list[str | Path]:
        return [self._programs / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER]

    def _answers(self) -> bool:
        asked = subprocess.run([*self._psql, "-c", "select 1"], capture_output=True, check=False, cwd="/")
        return asked.returncode == 0

    def _as_user(self, data: Path) -> dict[str, Any]:
        """PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return {}
        try:
            user = pwd.getpwnam(USER)
        except KeyError:
            raise Unavailable(f'PostgreSQL does not run as root, and there is no user "{USER}"') from None
        for made in (self._folder, self._folder.parent):
            made.chmod(made.stat().st_mode | 0o011)
        shutil.chown(data, USER)
        return {"user": USER, "group": user.pw_gid, "extra_groups": []}
