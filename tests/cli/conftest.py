"""Runs the command in this process and in others."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from odradek.cli import main
from odradek.log import Log, Offsets

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("schemas", "log", "sdk", "orchestrator", "workers", "cli")
WITHIN_SECONDS = 20.0

Run = Callable[..., Result]


def run_command(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="odradek", **options)


@pytest.fixture(autouse=True)
def _own_messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither the environment nor a command's logging set-up reaches other tests."""
    for name in os.environ:
        if name.startswith("ODRADEK_") and "KAFKA" not in name:
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


class Process:
    """The command in a process of its own; its messages are JSON lines in a file."""

    def __init__(self, folder: Path, *arguments: str, cwd: Path = REPOSITORY) -> None:
        self.out, self.err = folder / f"out-{time.time_ns()}", folder / f"err-{time.time_ns()}"
        paths = [str(REPOSITORY / root) for root in ROOTS]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ODRADEK_")}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "ODRADEK_LOG_FORMAT": "json"}
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [sys.executable, "-m", "odradek.cli", *arguments]
            self.popen = subprocess.Popen(command, stdout=out, stderr=err, cwd=cwd, env=environment)

    def messages(self) -> list[dict[str, Any]]:
        lines = self.err.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def urls(self) -> list[str]:
        return [message["url"] for message in self.messages() if "url" in message]

    def await_ready(self, count: int = 1) -> list[str]:
        """The URLs of its health servers, once all of them say that they are ready."""
        self.wait_for(lambda: len(self.urls()) == count and all(get(f"{url}/readyz")[0] == 200 for url in self.urls()))
        return self.urls()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WITHIN_SECONDS
        while not holds():
            assert self.popen.poll() is None, self.err.read_text()
            assert time.monotonic() < deadline, self.err.read_text()
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(WITHIN_SECONDS)


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def everything(log: Log, name: str) -> dict[tuple[str, int], Offsets]:
    """Where each partition of each topic begins and ends."""
    found = {topic: log.topic(topic) for topic in log.topics(f"{name}.")}
    return {
        (topic, partition): log.offsets(topic, partition)
        for topic, info in found.items()
        for partition in range(info.partitions if info else 0)
    }


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def start(*arguments: str, cwd: Path = REPOSITORY) -> Process:
        processes.append(Process(tmp_path, *arguments, cwd=cwd))
        return processes[-1]

    yield start
    for process in processes:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


class Fleet:
    """An orchestrator and a worker in processes of their own, for all tests of a module."""

    def __init__(self, folder: Path) -> None:
        self.address = f"sqlite:///{folder}/log.db"
        where = ("--log", self.address, "--namespace", "shop")
        health = ("--health-port", "0", "--health-host", "127.0.0.1")
        self.orchestrator = Process(folder, *where, "orchestrator", "tests/cli/shop.py", *health)
        self.orchestrator.await_ready()
        self.worker = Process(folder, *where, "worker", "tests.cli.shop", "--queue", "orders", *health)
        self.worker.await_ready()

    def run(self, *arguments: str, **options: Any) -> Result:
        return run_command("--log", self.address, "--namespace", "shop", *arguments, **options)

    def start(self, type: str, workflow_id: str, *arguments: str) -> Result:
        result = self.run("workflow", "start", type, "--id", workflow_id, "--queue", "orders", *arguments)
        assert result.exit_code == 0, result.output
        return result

    def until(self, holds: Callable[[str], bool], *arguments: str) -> str:
        """The command's output, once it is as wanted."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while True:
            result = self.run(*arguments)
            if result.exit_code == 0 and holds(result.stdout):
                return result.stdout
            assert time.monotonic() < deadline, result.output
            time.sleep(0.05)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    yield made
    assert made.worker.stop() == 0, made.worker.err.read_text()
    assert made.orchestrator.stop() == 0, made.orchestrator.err.read_text()
