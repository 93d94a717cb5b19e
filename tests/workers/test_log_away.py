"""A log that does not answer while a worker begins: it waits, and misses nothing."""

from __future__ import annotations

from typing import Any

import pytest

from odradek import activity
from odradek.log import LogUnavailable
from odradek.log.memory import MemoryLog
from tests.workers.fake import Orchestrator


@activity.defn
async def quick() -> str:
    return "done"


async def test_worker_that_begins_while_the_log_is_away_serves_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator = Orchestrator()
    offsets, refused = MemoryLog.offsets, 0

    def away(log: MemoryLog, topic: str, partition: int) -> Any:
        nonlocal refused
        if refused < 4 and (topic.endswith((".replies", ".workers"))):
            refused += 1
            raise LogUnavailable("memory://", "by the test")
        return offsets(log, topic, partition)

    monkeypatch.setattr(MemoryLog, "offsets", away)
    async with orchestrator.worker(quick):
        assert await orchestrator.value(orchestrator.start("quick")) is not None
    assert refused == 4
