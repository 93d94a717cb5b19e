"""The processes of the demo: one orchestrator and one worker, started, killed and stopped. Knows nothing of orders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

REPOSITORY: Final = Path(__file__).parents[2]
STOP_SECONDS_MAX: Final = 10
OUTPUT_CHARACTERS_SHOWN: Final = 2000


class ProcessEnded(Exception):
    """A process that should be running is not."""

    def __init__(self, name: str, status: int, output: str) -> None:
        super().__init__(name, status, output)
        self.name, self.status, self.output = name, status, output

    def __str__(self) -> str:
        return f"the {self.name} ended with status {self.status}. Its last words:\n{self.output}"


class Fleet:
    """Processes by name. A context manager: at its end nothing that it started is left.

    ``commands``: name → arguments of this Python interpreter. What a process prints goes to ``<folder>/<name>.log``.
    """

    def __init__(self, folder: Path, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._commands = commands
        self._environment = {**os.environ, **environment}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start each process that does not run."""
        for name in self._commands.keys() - self._processes.keys():
            command = [sys.executable, *self._commands[name]]
            with self._output(name).open("ab") as output:
                self._processes[name] = subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Ctrl-C is for the demo, which then ends them in order.
                    start_new_session=True,
                )

    def kill(self) -> list[int]:
        """SIGKILL to all: no handler runs, nothing is flushed. Returns their process IDs."""
        killed = [process.pid for process in self._processes.values()]
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        return killed

    def check(self) -> None:
        """Raises ``ProcessEnded`` when one ended by itself."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                output = self._output(name).read_text(errors="replace")[-OUTPUT_CHARACTERS_SHOWN:]
                raise ProcessEnded(name, process.returncode, output)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whatever has not ended ten seconds later."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """In order; at once after an error or Ctrl-C."""
        if kind is None:
            self.stop()
        else:
            self.kill()

    def _output(self, name: str) -> Path:
        return self._folder / f"{name}.log"
