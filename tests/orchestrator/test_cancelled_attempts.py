"""A worker hears of a cancellation whatever it says first, and whenever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from odradek import workflow
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Patient:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "endless",
            start_to_close_timeout=timedelta(hours=1),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@pytest.mark.parametrize("first", ["heartbeat", "started"])
@pytest.mark.parametrize("known_before", [True, False])
def test_a_worker_that_is_heard_of_after_the_cancellation_is_told(first: str, known_before: bool) -> None:
    """Its first words may be a heartbeat: an attempt is handed over after a second only."""
    partition = Partition((Patient,))
    owner = Owner(partition)
    owner.activities = None
    partition.start("a", "Patient")
    owner.run()
    task = next(e.task for e in partition.emitted if isinstance(e, fx.SendTask))
    assert task is not None
    owner.shard.worker_partition = lambda worker: 3 if known_before else None
    partition.send("a", r.CancelWorkflow("enough", None, None))
    owner.run()
    started = r.ActivityStarted(task.run_id, task.seq, 1, "w", partition.now_ms)
    heartbeat = r.ActivityHeartbeat(task.run_id, task.seq, 1, "w", partition.now_ms)
    partition.send("a", heartbeat if first == "heartbeat" else started)
    owner.run()
    owner.shard.worker_partition = lambda worker: 3
    partition.send("a", heartbeat)
    owner.run()
    notices = [e for e in partition.emitted if isinstance(e, fx.Reply) and isinstance(e.body, r.AttemptRevoked)]
    assert {(n.partition, n.recipient, n.body.reason) for n in notices} == {(3, "w", "cancelled")}
