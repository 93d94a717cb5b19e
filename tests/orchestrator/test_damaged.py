"""Records that make no sense together, workflows that a partition failed over, and what it was at when it failed."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from odradek import workflow
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import Room
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.schemas.limits import NUMBER_MAX
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Napping:
    @workflow.run
    async def run(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"


def opened(**limits: Any) -> tuple[Partition, Owner]:
    """Workflow "w" has one run that is closed, and one that is open; "other" is well."""
    partition = Partition([Listening, Napping], **limits)
    owner = Owner(partition)
    for workflow_id, enough in (("w", 0), ("w", 1), ("other", 1)):
        partition.start(workflow_id, "Listening", enough)
        owner.run()
    return partition, owner


def runs(owner: Owner) -> tuple[str, str]:
    """The closed run, and the open one."""
    wf = owner.shard.workflow("w")
    assert wf.live is not None
    return next(iter(wf.closed)), wf.live.run.run_id


def change_chunk(partition: Partition, run_id: str, **changes: Any) -> tuple[int, bytes, bytes]:
    """Forge the newest chunk of a run: its offset, key and value."""
    for at, found in reversed(list(enumerate(partition.history))):
        if found is not None and found[1] is not None and run_id.encode() in found[0]:
            record = Codec().decode(r.HistoryRecord, found[1])
            body = dataclasses.replace(record.body, **changes)
            value = Codec().encode(dataclasses.replace(record, body=body))
            partition.history[at] = found[0], value
            return at, found[0], value
    raise AssertionError(run_id)


@pytest.mark.parametrize(
    "changes",
    [
        {"inbox_offset": 1 << 60},
        {"events": (r.Event(NUMBER_MAX + 1, 1, r.RunStarted("Listening", "queue", "first")),), "n": NUMBER_MAX + 1},
        {"events": (r.Event(1, 1, r.RunTerminated("forged")),)},
    ],
    ids=["inbox", "number", "begin"],
)
def test_records_that_contradict_one_another_cost_one_run_only(changes: dict[str, Any]) -> None:
    partition, owner = opened()
    closed, live = runs(owner)
    forged = change_chunk(partition, live, **changes)
    heir = Owner(partition)
    wf = heir.shard.workflow("w")
    assert (wf.live, set(wf.closed), set(wf.damaged)) == (None, {closed}, {live})
    assert "its records contradict one another (ValueError: " in wf.damaged[live]
    (lost,) = heir.shard.lost_records
    assert (lost.workflow_id, lost.offset, lost.key, lost.value) == ("w", *forged)
    request = partition.request()
    partition.send("w", r.DescribeWorkflow(request))
    say(partition, "other", "word")
    heir.run()
    (description,) = partition.replies(request)
    assert description.parked.code == "ODR-079"
    assert live in description.parked.message
    assert not heir.shard.workflow("other").live
    partition.send("w", r.TerminateWorkflow(origin=r.MessageOrigin("test", "parent", "run", 1, partition.now_ms + 1)))
    heir.run()
    summary = heir.shard.workflow("w").closed[live]
    assert (summary.status, summary.expires_ms > partition.now_ms) == ("terminated", True)


def test_what_cannot_be_read_and_what_contradicts_are_told_apart() -> None:
    partition, owner = opened()
    closed, live = runs(owner)
    change_chunk(partition, live, inbox_offset=1 << 60)
    place = next(n for n, found in enumerate(partition.history) if found and closed.encode() + b"\0s0" in found[0])
    partition.history[place] = partition.history[place][0], b"garbage"  # type: ignore[index]
    wf = Owner(partition).shard.workflow("w")
    assert f"offset {place} of history partition 0" in wf.damaged[closed]
    assert "contradict" in wf.damaged[live]


def test_a_workflow_over_which_its_partition_has_failed_is_not_read_again() -> None:
    partition, owner = opened()
    closed, live = runs(owner)
    partition.limits["set_aside"] = {"w": "RuntimeError: a defect"}
    heir = Owner(partition)
    wf = heir.shard.workflow("w")
    assert (wf.live, set(wf.closed)) == (None, {closed})
    assert wf.damaged == {live: "ODR-167: the partition has failed over it: RuntimeError: a defect"}
    assert heir.shard.workflow("other").live is not None
    partition.land(keys.chunk("w", live, 1, heir.shard.writer.claim), b"garbage")
    wf = Owner(partition).shard.workflow("w")
    assert "offset" in wf.damaged[live]


def test_a_suspicion_that_cannot_be_read_damages_no_run() -> None:
    partition, owner = opened()
    key = keys.suspect("w", owner.shard.writer.claim)
    partition.land(key, b"garbage")
    heir = Owner(partition)
    wf = heir.shard.workflow("w")
    assert wf.live is not None
    assert wf.damaged == {}
    assert [lost.key for lost in heir.shard.lost_records] == [key]


def test_a_run_may_be_as_far_as_what_has_been_taken_in() -> None:
    partition = Partition([Napping], room=Room(workflows=0))
    owner = Owner(partition)
    partition.start("first", "Napping", 20)
    request = partition.start("w", "Napping", 10)
    owner.run()
    assert not owner.shard.workflows
    owner.pass_time(10)
    assert owner.shard.lost_records == []
    assert partition.result(request) == "awake"


def test_watermarks_speak_of_the_inbox_that_there_is_and_marks_of_claims() -> None:
    shard = Shard(Partition().config(), MemoryStore())
    shard.inbox_end = 5
    encode = Codec().encode_history
    shard.restore(10, keys.mark(1), encode(1, 0, 5, 0, r.Mark(1)))
    assert (shard.x0, shard.v0) == (-1, -1)
    shard.restore(11, keys.mark(1), encode(1, 0, 4, 0, r.Mark(1)))
    assert shard.x0 == 4
    shard.restore(12, keys.MARK + b"foreign", encode(1, 0, 4, 0, r.Mark(0)))
    assert shard.position == 12


def test_a_shard_says_what_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds that it has failed must know over what: an inbox record, or a workflow without one."""
    told: list[tuple[str, Any]] = []
    for name in ("_reassert", "_fire_now", "write_transition"):
        real = getattr(Shard, name)

        def note(self: Shard, *arguments: Any, name: str = name, real: Any = real) -> Any:
            told.append((name, self.at))
            return real(self, *arguments)

        monkeypatch.setattr(Shard, name, note)
    partition = Partition([Napping])
    owner = Owner(partition)
    partition.start("long", "Napping", 1000)
    partition.start("w", "Napping", 10)
    owner.run()
    assert told == [("write_transition", ("long", 0)), ("write_transition", ("w", 1))]
    assert owner.shard.at is None
    heir = Owner(partition)
    assert told[2:] == [("_reassert", ("long", -1)), ("_reassert", ("w", -1))]
    assert heir.shard.at is None
    heir.run()
    heir.pass_time(10)
    assert told[4:] == [("_fire_now", ("w", -1)), ("write_transition", ("w", -1))]
    assert heir.shard.at is None
