"""The processes of a namespace as a chart has them, each of some build, rolled one after the other behind the gate."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.chaos.shop import Process, _fetch
from tests.rollout.customers import CLOSE
from tests.rollout.parcels import BUILD_VARIABLE, QUEUE
from tests.rollout.releases import REPOSITORY, with_library

MODULE: Final = "tests.rollout.parcels"
WITHIN_SECONDS: Final = 60.0
_SESSION_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Build:
    """What is rolled out: a state of the users' code, and the library that it stands on."""

    number: int
    library: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {**with_library(self.library), BUILD_VARIABLE: str(self.number)}


class Member(Process):
    """One orchestrator or worker."""

    def __init__(self, folder: Path, name: str, build: Build, where: tuple[str, ...]) -> None:
        role = name.partition("-")[0]
        own = ["--queue", QUEUE] if role == "worker" else []
        command = ["-m", "odradek.cli", role, MODULE, *own, *where, "--health-port", "0"]
        command += ["--session-timeout", str(_SESSION_SECONDS)]
        super().__init__(folder, {name: command}, build.environment)
        self.build = build

    def is_ready(self) -> bool:
        """As a chart's readiness probe asks it."""
        self.check()
        ports = re.findall(r"http://127\.0\.0\.1:(\d+) has /healthz", self.latest_life())
        try:
            return bool(ports) and bool(_fetch(f"http://127.0.0.1:{ports[-1]}/readyz"))
        except OSError:
            return False


class Namespace:
    """Everything that runs for one namespace."""

    def __init__(self, folder: Path, address: str, name: str) -> None:
        self._folder, self._address, self._name = folder, address, name
        self._where = ("--log", address, "--namespace", name)
        self.members: dict[str, Member] = {}
        self.customers: dict[str, subprocess.Popen[str]] = {}

    def command(self, build: Build, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "odradek.cli", *self._where, *arguments],
            cwd=REPOSITORY,
            env=build.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_SECONDS,
            check=False,
        )

    # ------------------------------------------------------------------------------------------ rolling

    def install(self, build: Build, *names: str) -> None:
        for name in names:
            self._replace(name, build)
        for name in names:
            until(self.members[name].is_ready, f"{name} to be ready")

    def gate(self, build: Build) -> subprocess.CompletedProcess[str]:
        """What the hook before a rollout runs."""
        return self.command(build, "replay", "--open", MODULE)

    def roll(self, build: Build) -> subprocess.CompletedProcess[str]:
        """Each process after the one before it is ready, if the gate lets the build pass."""
        passed = self.gate(build)
        if passed.returncode == 0:
            for name in self.members:
                self.install(build, name)
        return passed

    def _replace(self, name: str, build: Build) -> None:
        if name in self.members:
            self.members[name].stop()
        self.members[name] = Member(self._folder, name, build, self._where)
        self.members[name].start()

    # ------------------------------------------------------------------------------------------ customers

    def open_customers(self, name: str, build: Build) -> None:
        with (self._folder / f"{name}.out").open("w") as out, (self._folder / f"{name}.err").open("w") as err:
            self.customers[name] = self._customers(name, build, out, err)
        until(lambda: self._said(name, "ready"), f"{name} to be ready")

    def _customers(self, name: str, build: Build, out: Any, err: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.rollout.customers", self._address, self._name, name]
        return subprocess.Popen(command, cwd=REPOSITORY, env=build.environment, stdout=out, stderr=err, text=True)

    def close_customers(self, name: str) -> None:
        """They end what they have begun, and no more."""
        self.customers[name].terminate()
        status = self.customers.pop(name).wait(WITHIN_SECONDS)
        assert status == 0, (self._folder / f"{name}.err").read_text()
        assert self._said(name, "done")

    def told(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self._folder / f"{name}.out").read_text().splitlines()]

    def _said(self, name: str, what: str) -> bool:
        return any(fact["what"] == what for fact in self.told(name))

    def count(self, name: str) -> int:
        return sum(fact["what"] == "result" for fact in self.told(name))

    def close_depots(self, build: Build) -> list[list[str]]:
        self.open_depots_of(build)
        return [fact["pieces"] for fact in self.told(CLOSE)]

    def open_depots_of(self, build: Build) -> None:
        with (self._folder / f"{CLOSE}.out").open("w") as out:
            assert self._customers(CLOSE, build, out, None).wait(WITHIN_SECONDS) == 0

    def kill(self) -> None:
        for member in self.members.values():
            member.kill()
        for process in self.customers.values():
            process.kill()
            process.wait()


def until(holds: Callable[[], object], what: str, seconds: float = WITHIN_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
