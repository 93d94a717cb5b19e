"""The simulation notices each device that is taken away: what it does not notice it does not test."""

from __future__ import annotations

import pytest

from tests.simulation import world
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import World

SEEDS_MAX = 150
"""Within so many seeds, from the first on."""
FIRST = {
    "suspects_parked_for_ever": 50,
    "tasks_issued_once": 100,
    "worker_commits_before_it_answers": 80,
    "x_passes_what_waits": 50,
    "y_passes_what_is_not_out": 100,
}
"""Where to begin with what takes rare trouble to notice."""
END_SECONDS_MAX = 200
pytestmark = pytest.mark.filterwarnings("ignore")


def caught_by(mutant: str) -> int | None:
    """The first seed that does not hold."""
    first = FIRST.get(mutant, 0)
    for seed in range(first, first + SEEDS_MAX):
        with MUTANTS[mutant]():
            try:
                World(seed).run()
            except Exception:
                return seed
    return None


@pytest.mark.parametrize("mutant", MUTANTS)
def test_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "END_SECONDS_MAX", END_SECONDS_MAX)
    assert caught_by(mutant) is not None
