"""The harness's end of a contestant's load process (``load.py``)."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.processes import Processes

ANSWER_SECONDS_MAX = 400.0


class WorkFailed(Exception):
    """A contestant did not do what it was asked to; the message says what it said."""


class LoadClient:
    """A process that is asked for one command after another."""

    def __init__(
        self, processes: Processes, command: Sequence[str | Path], env: Mapping[str, str], name: str = "client"
    ) -> None:
        self._name = name
        self._log = processes.folder / f"{name}.log"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = processes.spawn(name, command, env, text=True, bufsize=1, **pipes)
        self._owes = ""
        self._answer("to start", ANSWER_SECONDS_MAX)

    def ask(self, do: str, patience_seconds: float = ANSWER_SECONDS_MAX, **arguments: Any) -> dict[str, Any]:
        """What the command answers. Raises ``WorkFailed``."""
        self.tell(do, **arguments)
        return self._answer(do, patience_seconds)

    def tell(self, do: str, **arguments: Any) -> None:
        if self._owes:
            raise WorkFailed(f"{self._name} still owes the answer to {self._owes}")
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")

    def _answer(self, do: str, seconds_max: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        # One line an answer, and none before it is asked for: what select sees is all there is.
        ready, _, _ = select.select([self._process.stdout], [], [], seconds_max)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self._owes = do
            why = f"no answer in {seconds_max:g} s" if not ready else "it has ended"
            raise WorkFailed(f"{self._name}, asked {do}: {why}\n{self._log.read_text(errors='replace')[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise WorkFailed(f"{do}: {found['error']}")
        return found
