"""Whole systems in trouble, seed by seed: nothing acknowledged is lost, nothing is decided twice, everything ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulation.world import World

SEEDS = int(os.environ.get("ODRADEK_SEEDS", "500"))
FOUND_BY = (50067, 50629, 51572)
"""Seeds beyond those that have found something."""
ENOUGH = 200
"""So many seeds have every kind of trouble."""
KINDS = (
    "chunk sealed", "clock_jumps", "compaction", "customer_dies",
    "disk_is_lost", "duplicate message refused", "duplicate request refused", "gap read", "hand-over",
    "innocent suspect parked", "innocent suspect tried again",
    "late or duplicate result refused", "late record", "late record answered", "leader_changes", "lose_track",
    "lost tail", "old_disk_comes_back", "orchestrator_dies", "orchestrator_leaves", "outputs emitted again", "parked",
    "pause", "reassertion", "repeated task refused", "resend", "retention", "run followed by another", "slow_down",
    "store resumed", "task lost unread",
    "tasks' partition lost", "worker lost", "worker_dies", "worker_leaves", "zombie refused",
)  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def happened() -> Counter[str]:
    return Counter()


@pytest.mark.parametrize("seed", [*range(SEEDS), *FOUND_BY])
def test_everything_holds_whatever_happens(seed: int, happened: Counter[str]) -> None:
    happened.update(World(seed).run().hosts.happened)
    happened["seeds"] += 1


def test_without_trouble() -> None:
    assert World(1, calm=True).run().witness.archive


def test_every_kind_of_trouble_has_happened(happened: Counter[str]) -> None:
    for seed in range(happened["seeds"], ENOUGH):
        happened.update(World(seed).run().hosts.happened)
    assert {kind for kind in KINDS if not happened[kind]} == set()


def test_a_seed_is_the_same_in_every_process() -> None:
    """Whatever the interpreter's hashes are: a seed that failed fails again."""
    script = (
        "import sys; from tests.simulation.world import World\n"
        "for seed in range(5): print('\\n'.join(World(seed).run().hosts.trace.lines(5000)))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    }
    assert len(told) == 1
