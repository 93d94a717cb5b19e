"""The processes of one contestant: started, killed, and looked at with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import ROOT

READY_SECONDS_MAX = 90
STOP_SECONDS_MAX = 15


class Processes:
    """Named trees of processes. Output goes to ``NAME.log`` in the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pids: dict[str, int] = {}
        self._own: dict[str, subprocess.Popen[Any]] = {}

    def spawn(
        self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None, **more: Any
    ) -> subprocess.Popen[Any]:
        """In a session of its own: Ctrl-C is for the harness, which stops it."""
        more = {"cwd": ROOT, "stdin": subprocess.DEVNULL, **more}
        with (self.folder / f"{name}.log").open("ab") as log:
            more.setdefault("stdout", log)
            environment = {**os.environ, **(env or {})}
            process = subprocess.Popen(
                [str(part) for part in command], stderr=log, env=environment, start_new_session=True, **more
            )
        self._own[name] = process
        self._pids[name] = process.pid
        return process

    def adopt(self, name: str, pid: int) -> None:
        """Look at a process that somebody else starts and stops."""
        self._pids[name] = pid

    def process(self, name: str) -> subprocess.Popen[Any]:
        return self._own[name]

    def kill(self, name: str) -> None:
        """SIGKILL, its children included."""
        process = self._own[name]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._forget(name)

    def stop(self, name: str, with_signal: signal.Signals = signal.SIGTERM) -> None:
        process = self._own.get(name)
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill(name)
            return
        self._forget(name)

    def _forget(self, name: str) -> None:
        del self._pids[name]
        process = self._own.pop(name)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def stop_all(self) -> None:
        for name in reversed(list(self._own)):
            self.stop(name)

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time since each began, of its children too, also of those that have ended."""
        return {name: sum(map(_cpu, _tree(pid))) for name, pid in self._pids.items()}

    def memory_bytes(self) -> dict[str, int]:
        """Proportional set size, in which shared memory counts once."""
        return {name: sum(map(_memory, _tree(pid))) for name, pid in self._pids.items()}

    def wait_for(self, name: str, ready: Callable[[], bool]) -> None:
        """Until ``ready`` holds. Raises ``RuntimeError`` when the process ends before, or after 90 s."""
        process, deadline = self._own[name], time.monotonic() + READY_SECONDS_MAX
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{name} did not become ready:\n{said}")
            time.sleep(0.02)

    def wait_for_port(self, name: str, port: int) -> None:
        self.wait_for(name, lambda: listens(port))

    def wait_for_line(self, name: str, line: bytes = b"ready") -> None:
        log = self.folder / f"{name}.log"
        self.wait_for(name, lambda: line in log.read_bytes())


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
