"""Several orchestrator processes on one host: starts them, passes the request to stop on, restarts none."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from odradek.cli.errors import ProcessEnded
from odradek.cli.health import HealthOptions
from odradek.cli.stopping import on_stop_signal

STOP_SECONDS_MAX: Final = 30.0
_POLL_SECONDS: Final = 0.1

_log = logging.getLogger("odradek.cli")


def run_processes(arguments: Sequence[str], count: int, health: HealthOptions) -> int:
    """Run the command line in ``count`` processes until SIGTERM or SIGINT. Raises ``ProcessEnded``."""
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True

    on_stop_signal(stop)
    children = [_start(arguments, number, health) for number in range(count)]
    _log.info("started %d processes: %s", count, ", ".join(str(child.pid) for child in children))
    try:
        while not stopping:
            for number, child in enumerate(children):
                status = child.poll()
                if status is not None and not stopping:
                    raise ProcessEnded(f"orchestrator {number}", child.pid, status)
            time.sleep(_POLL_SECONDS)
    finally:
        statuses = _stop(children)
    return next((abs(status) for status in statuses if status), 0)


def _start(arguments: Sequence[str], number: int, health: HealthOptions) -> subprocess.Popen[bytes]:
    own = ["--processes", "1", "--parent", str(os.getpid())]
    if health.port is not None and health.asked_for:
        own += ["--health-port", str(health.port + number if health.port else 0)]
    command = [sys.executable, "-m", "odradek.cli", *arguments, *own]
    # In a process group of its own, so that Ctrl-C reaches the children through us, once.
    return subprocess.Popen(command, process_group=0)  # noqa: S603


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    for child in children:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS_MAX
    statuses = []
    for child in children:
        try:
            statuses.append(child.wait(max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            _log.warning("process %d did not stop within %g s and is killed", child.pid, STOP_SECONDS_MAX)
            child.kill()
            statuses.append(child.wait())
    return statuses
