"""Foreign garbage in each topic that odradek reads, while workflows go on beside it and complete."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from odradek.log import open_log
from odradek.log.namespace import create_namespace
from tests.fuzz.everywhere import QUEUE, check, check_seed


@pytest.mark.parametrize("seed", [1, 100])
def test_workflows_complete_beside_garbage_in_every_topic(seed: int) -> None:
    check_seed(seed)


async def test_on_an_embedded_log(tmp_path: Path) -> None:
    await check(f"sqlite:///{tmp_path / 'log.db'}", "fuzz", 2)


@pytest.mark.kafka
async def test_on_a_broker(kafka_broker: str) -> None:
    address, name = f"kafka://{kafka_broker}", f"fuzz-{uuid.uuid4().hex[:8]}"
    log = open_log(address)
    create_namespace(log, name, partitions=4, queues=(QUEUE,))
    log.close()
    garbage = await check(address, name, 3, workflows=20, turns=5, throws=40)
    assert len(garbage.sent) == 8
    assert set(garbage.sent.values()) == {40}
