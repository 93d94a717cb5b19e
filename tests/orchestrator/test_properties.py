"""Whatever a workflow does and however its inputs interleave: live run = replay = replay after eviction, everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.orchestrator.random_workflows import World, check_seed, command

SEEDS = int(os.environ.get("ODRADEK_PROPERTY_SEEDS", "300"))
ELSEWHERE = range(20)
"""Seeds that are run in another process, too."""


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_a_random_workflow_replays_to_what_it_did(first: int) -> None:
    for seed in range(first, min(first + 50, SEEDS)):
        try:
            check_seed(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}\nrepeat it with: {command(seed)}")


def test_a_process_with_other_hashes_does_the_same() -> None:
    script = (
        "import json, sys\n"
        "from tests.orchestrator.random_workflows import World\n"
        "print(json.dumps([World(seed).run().digest() for seed in json.load(sys.stdin)]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONHASHSEED": "4711"},
        input=json.dumps(list(ELSEWHERE)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(told.stdout) == [World(seed).run().digest() for seed in ELSEWHERE]
