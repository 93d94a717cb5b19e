"""What docker-compose.yml starts, with its commands and variables, as processes of this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from odradek.testing.broker import free_ports

REPOSITORY: Final = Path(__file__).parents[2]
SERVICES: Final[dict[str, Any]] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
DOCKERFILE: Final = (REPOSITORY / "Dockerfile").read_text()
PORT: Final = "8080"
READY_SECONDS_MAX: Final = 60.0
STOP_SECONDS_MAX: Final = float(SERVICES["orchestrator"]["stop_grace_period"].removesuffix("s"))


def words_of(keyword: str) -> list[str]:
    """What the Dockerfile says in brackets."""
    found = re.search(rf"^{keyword}\b[^\[]*(\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found is not None
    words: list[str] = json.loads(found[1])
    return words


class Containers:
    """``elsewhere``: what is at another place here than in the containers' variables."""

    def __init__(self, folder: Path, elsewhere: dict[str, str]) -> None:
        self._folder, self._elsewhere = folder, elsewhere
        self._suffix = f"-{uuid.uuid4().hex[:8]}"
        self.running: list[tuple[str, int, subprocess.Popen[bytes]]] = []

    def run(self, name: str, *more: str) -> str:
        """To its end, which must be a good one; what it has said."""
        done = subprocess.run(
            [*self._command(name), *more], cwd=REPOSITORY, env=self._environment(name, 0), capture_output=True,
            text=True, check=False, timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str) -> None:
        [port] = free_ports(1)
        with (self._folder / f"{name}-{len(self.running)}.log").open("wb") as output:
            process = subprocess.Popen(
                self._command(name), cwd=REPOSITORY, env=self._environment(name, port), stdout=output, stderr=output
            )
        self.running.append((name, port, process))

    def stop(self) -> dict[str, set[int]]:
        """The statuses of each service's processes, told to stop as an engine does it."""
        for _, _, process in self.running:
            process.terminate()
        ended: dict[str, set[int]] = {}
        for name, _, process in self.running:
            ended.setdefault(name, set()).add(process.wait(STOP_SECONDS_MAX))
        return ended

    def _command(self, name: str) -> list[str]:
        entrypoint = SERVICES[name].get("entrypoint", words_of("ENTRYPOINT"))
        programs = {"odradek": [sys.executable, "-m", "odradek.cli"], "python": [sys.executable]}
        command = SERVICES[name]["command"]
        return [*programs[entrypoint[0]], *entrypoint[1:], *command]

    def _environment(self, name: str, port: int) -> dict[str, str]:
        said = {**dict(re.findall(r"(ODRADEK_\w+)=(\S+)", DOCKERFILE)), **SERVICES[name]["environment"]}
        assert said["ODRADEK_HEALTH_PORT"] == PORT
        said |= {"ODRADEK_HEALTH_PORT": str(port), "ODRADEK_STORE": str(self._folder / f"store-{port}")}
        said["ODRADEK_NAMESPACE"] += self._suffix
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ODRADEK_")}
        for there, here in self._elsewhere.items():
            said = {key: value.replace(there, here) for key, value in said.items()}
        return {**kept, **said}


@contextmanager
def containers(folder: Path, elsewhere: dict[str, str]) -> Iterator[Containers]:
    made = Containers(folder, elsewhere)
    try:
        yield made
    finally:
        for _, _, process in made.running:
            process.kill()
            process.wait()


def is_healthy(port: int) -> bool:
    """By the image's own check."""
    check = [sys.executable, *(word.replace(PORT, str(port)) for word in words_of("HEALTHCHECK")[1:])]
    return subprocess.run(check, check=False, capture_output=True).returncode == 0


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_orders_are_sold_by_what_compose_starts(kafka_broker: str, redis_url: str, tmp_path: Path) -> None:
    elsewhere = {
        "kafka://kafka:9092": f"kafka://{kafka_broker}",
        "redis://redis:6379": redis_url,
        "/var/lib/odradek": str(tmp_path),
    }
    with containers(tmp_path, elsewhere) as started:
        assert "was there" not in started.run("namespace")
        assert "was there" in started.run("namespace"), "the service runs again whenever the others are started"
        for name in ("orchestrator", "orchestrator", "worker", "worker"):
            started.start(name)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not all(is_healthy(port) for _, port, _ in started.running) and time.monotonic() < deadline:
            time.sleep(0.5)
        sold = started.run("customers", "--rate", "20", "--rounds", "1", "--metrics-port", "0")
        assert sum(int(line.split()[0]) for line in sold.splitlines()) == 20
        for name, port, _ in started.running:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                scraped = answer.read().decode()
            assert f'odradek_build_info{{role="{name}"' in scraped, name
        assert started.stop() == {"orchestrator": {0}, "worker": {0}}
