"""What a new owner without a store need not read: workflows of which nothing is to be done for now."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import due_key
from odradek.orchestrator.core.store import MemoryStore
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Napping:
    @workflow.run
    async def run(self, seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "awake"


@workflow.defn
class Trying:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("charge", start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow(Listening.run, 1, id="child")


@workflow.defn
class Broken:
    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a bug")


def opened(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition([Listening, Napping, Trying, Parent, Broken], **limits)
    return partition, Owner(partition)


def settle(owner: Owner) -> None:
    for _ in range(3):
        owner.shard.checkpoint(owner.partition.now_ms)
        owner.run()


def closed(partition: Partition) -> set[str]:
    shown = [effect.record for effect in partition.emitted if isinstance(effect, fx.Show) and effect.record]
    return {record.workflow_id for record in shown if record.closed_ms is not None}


def looked_at(partition: Partition) -> tuple[Shard, list[str]]:
    """A new owner's shard when it has loaded, and which workflows it has brought into memory for that."""
    shard = Shard(partition.config(), MemoryStore())
    shard.inbox_end = len(partition.inbox)
    for offset, record in enumerate(partition.history):
        if record is not None:
            shard.restore(offset, *record)
    shard.begin(len(partition.history), partition.now_ms)
    while not shard.load(2):
        pass
    return shard, sorted(shard.workflows)


def test_a_takeover_reads_nothing_of_what_sleeps_waits_or_has_ended() -> None:
    partition, owner = opened()
    owner.activities = None
    partition.start("sleeps", "Napping", 3600.0)
    partition.start("waits", "Listening", 1)
    partition.start("tries", "Trying")
    ended = partition.start("ended", "Listening", 0)
    owner.run()
    settle(owner)
    assert partition.replies(ended)
    shard, memory = looked_at(partition)
    assert memory == []
    due = {key[9:].decode(): int.from_bytes(key[1:9], "big") for key, _ in shard.store.scan(b"t", b"u")}
    assert due["sleeps"] == partition.now_ms + 3_600_000
    assert due["ended"] == partition.now_ms + shard.config.summary_retention_ms
    assert set(due) == {"sleeps", "ended", "tries"}, "one that waits for a signal is never due"


def test_it_goes_on_all_the_same() -> None:
    partition, owner = opened()
    partition.start("sleeps", "Napping", 70.0)
    partition.start("waits", "Listening", 1)
    partition.start("ended", "Listening", 0)
    owner.run()
    settle(owner)
    heir = Owner(partition)
    heir.run()
    assert not heir.shard.workflows
    say(partition, "waits", "hello")
    again = partition.start("ended", "Listening", 0, id_reuse_policy="reject-duplicate")
    heir.run()
    for _ in range(7):
        heir.pass_time(9.999)
    assert closed(partition) == {"ended", "waits"}
    heir.pass_time(0.1)
    assert closed(partition) == {"ended", "waits", "sleeps"}
    assert [body.code for body in partition.replies(again)] == ["ODR-103"]
    for _ in range(3):
        heir.pass_time(heir.shard.config.summary_retention_ms / 1000)
    settle(heir)
    left = heir.shard.workflow("ended").closed.values()
    assert [summary.status for summary in left] == ["refused"], "the summary's retention has ended"


def test_what_is_not_settled_is_read() -> None:
    partition, owner = opened()
    partition.start("settled", "Napping", 100.0)
    owner.run()
    settle(owner)
    partition.start("new", "Napping", 100.0)
    owner.run()
    assert looked_at(partition)[1] == ["new"]


def test_what_a_late_record_speaks_of_is_read() -> None:
    """Somebody else's claim lies between it and its own."""
    partition, owner = opened()
    partition.start("w", "Napping", 100.0)
    owner.run()
    settle(owner)
    at = next(n for n, record in enumerate(partition.history) if record and record[0].startswith(b"w\0"))
    late = partition.history[at]
    heir = Owner(partition)
    heir.run()
    assert late is not None
    partition.land(*late)
    heir.run()
    settle(heir)
    partition.history[at] = None
    partition.history = [record if record is None or record[0] != late[0] else late for record in partition.history]
    assert "w" in looked_at(partition)[1]


@pytest.mark.parametrize("type_name", ["Parent", "Broken"])
def test_what_has_something_to_do_is_read(type_name: str) -> None:
    """What is between workflows may have to be said again, and a parked run is tried again."""
    partition, owner = opened()
    partition.start("w", type_name)
    owner.run()
    settle(owner)
    assert owner.shard.workflow("w").live is not None
    assert looked_at(partition)[1] == ["w"]


def test_what_has_more_than_one_record_is_read() -> None:
    partition, owner = opened(chunk_bytes=100)
    long, _ = partition.start("long", "Listening", 1000), partition.start("again", "Listening", 0)
    for word in "abcdef":
        say(partition, "long", word * 50)
        owner.run()
    partition.start("again", "Listening", 1)
    owner.run()
    settle(owner)
    assert looked_at(partition)[1] == ["again", "long"]
    assert long is not None


def test_a_record_that_cannot_be_read_is_found_at_once() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 1)
    owner.run()
    settle(owner)
    at = next(n for n, record in enumerate(partition.history) if record and record[0].startswith(b"w\0"))
    whole = partition.history[at]
    assert whole is not None
    assert whole[1] is not None
    partition.history[at] = (whole[0], whole[1][:9])
    shard, memory = looked_at(partition)
    assert memory == ["w"]
    assert shard.workflow("w").damaged


def test_a_store_that_knows_something_says_itself_when_what_is_due() -> None:
    partition, _ = opened()
    owner = Owner(partition, MemoryStore())
    partition.start("w", "Napping", 3600.0)
    owner.run()
    settle(owner)
    assert owner.store.get(due_key(partition.now_ms + 3_600_000, b"w")) == b""
    heir = Owner(partition, owner.store)
    heir.run()
    assert not heir.shard.workflows
