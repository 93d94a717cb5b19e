"""The demo itself, as a reader would start it: processes are killed half-way, and the ledger finds nothing wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ORDERS = 60


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.orders.demo", "--orders", str(ORDERS), *options],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def figure(name: str, output: str) -> int:
    """The first figure in the named row of a table."""
    found = re.search(rf"│ {name} +│ +(\d+) ", output)
    assert found is not None, f'no row "{name}" in:\n{output}'
    return int(found[1])


def check(done: subprocess.CompletedProcess[str], *, killed: bool = True) -> None:
    output = done.stdout
    assert done.returncode == 0, output + done.stderr
    assert figure("asked for", output) == ORDERS
    assert figure("completed", output) == 54
    assert figure("compensated", output) == 6
    for problem in ("lost", "decided twice", "unexpected", "out of order"):
        assert figure(problem, output) == 0
    applied = {"reserve stock": 60, "charge card": 57, "ship parcel": 54, "notify customer": 54}
    for effect, count in {**applied, "refund card": 3, "release stock": 6}.items():
        assert figure(effect, output) == count
    assert ("SIGKILL" in output) is killed
    assert "refund_card" in output
    assert "cool-off" in output


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_on_the_embedded_log() -> None:
    check(demo("--log", "sqlite"))


@pytest.mark.slow
def test_the_demo_runs_without_the_kill() -> None:
    check(demo("--no-kill"), killed=False)


@pytest.mark.slow
@pytest.mark.kafka
def test_nothing_is_lost_or_doubled_on_kafka(kafka_broker: str) -> None:
    check(demo("--log", f"kafka://{kafka_broker}"))


def test_an_unknown_log_is_refused() -> None:
    done = demo("--log", "postgres")
    assert done.returncode == 2
    assert '"postgres" is neither sqlite nor kafka' in done.stderr
