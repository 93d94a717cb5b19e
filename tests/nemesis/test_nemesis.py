"""Two minutes in which everything goes wrong: the promises hold. Longer: ``make nemesis MINUTES=10 SEED=7``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.nemesis.scenario import Scenario

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.usefixtures("jars")]
SECONDS = 100
SEED = int(os.environ.get("NEMESIS_SEED", "1"))


@pytest.mark.timeout(420)
async def test_nothing_is_lost_doubled_or_early(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Three brokers and a fleet are killed, stopped, cut off, filled up and rolled, under load; then all is counted."""
    with Scenario(tmp_path, SEED) as scenario:
        outcome = await scenario.run(SECONDS)
    request.node.user_properties.append(("nemesis", str(outcome)))
    assert outcome.problems == [], str(outcome)
    assert outcome.faults.total() >= 15
    assert outcome.acknowledged >= 200, "hardly anything got through: this test showed little"
