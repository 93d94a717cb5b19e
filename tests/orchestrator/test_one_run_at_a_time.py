"""A workflow ID has at most one open run, wherever an owner stops between the end of one and the start of the next."""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Answering:
    """Ends with as many words as it is asked for, at the first signal."""

    def __init__(self) -> None:
        self.asked = 0

    @workflow.signal
    def answer(self, count: int) -> None:
        self.asked = count

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.asked > 0)
        return ["word"] * self.asked


def open_runs(owner: Owner) -> list[str]:
    """The runs of "w" in the log that have no closing record and no summary."""
    shard = owner.shard
    shard.flush_store()
    shard.workflows.clear()
    wf = shard.workflow("w")
    runs = {key.split(b"\0")[1].decode() for key, _ in shard.image("w")}
    return sorted(runs - set(wf.closed))


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("landing", range(6))
@pytest.mark.parametrize("failing", [None, 0, 1])
def test_a_run_begins_when_the_one_before_has_closed_for_good(
    *, replaces: bool, landing: int, failing: int | None
) -> None:
    """The end in several records, some of which never land: the next run's start is not in the log before the end."""
    partition = Partition([Answering], record_bytes_max=1500)
    owner = Owner(partition)
    partition.start("w", "Answering")
    owner.run()
    if not replaces:
        body = r.SignalWorkflow("answer", [partition.payload(200)], request=partition.request())
        partition.send("w", body)
    options: dict[str, Any] = {"id_conflict_policy": "terminate-existing"} if replaces else {}
    second = partition.start("w", "Answering", **options)
    owner.read()
    owner.send()
    for number in range(landing):  # and then this process is gone
        if not owner.in_flight:
            break
        entry = owner.in_flight.pop(0)
        if number == failing:
            owner.in_flight, rest = [], owner.in_flight
            for later in rest:
                partition.land(later.key, later.value)
            break
        owner.shard.acked(entry, partition.land(entry.key, entry.value))
        owner.emit_all()
        owner.send()
    successor = Owner(partition)
    assert len(open_runs(successor)) <= 1
    successor = Owner(partition)
    successor.run()
    assert [type(reply) for reply in partition.replies(second)] == [r.Accepted]
    assert len(open_runs(Owner(partition))) == 1
