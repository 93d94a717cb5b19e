"""SIGTERM in a container, before a command has begun to serve."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = """\
import time
print("loading", flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="NO RIGHT to make a PID namespace: needs root and unshare",
)
def test_the_first_process_of_a_container_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """The kernel would keep the signal from it, and Kubernetes kill it half a minute later."""
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "odradek.cli", "--log", "sqlite:///slow.db", "orchestrator", "slow.py"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", *command],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as outside:
        try:
            assert outside.stdout is not None
            assert outside.stdout.readline() == "loading\n"
            (first,) = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
            os.kill(int(first), signal.SIGTERM)
            assert outside.wait(20) == 128 + signal.SIGTERM
        finally:
            outside.kill()
