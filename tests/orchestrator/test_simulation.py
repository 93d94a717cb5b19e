"""Owners, zombies, resends, crashes, compaction: whatever happens, each input is decided once and nothing is lost."""

from __future__ import annotations

import os

import pytest

from tests.orchestrator.simulation import World

SEEDS = int(os.environ.get("ODRADEK_SEEDS", "150"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_input_is_decided_once_whatever_happens(seed: int) -> None:
    World(seed).run(steps=1500)
