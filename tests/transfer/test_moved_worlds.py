"""A namespace is moved at any moment of a simulated life, and goes on: each input is decided once, nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from odradek import workflow
from odradek.contrib.encryption import TopicKeyStore
from odradek.converter import KeyErased
from odradek.log import LogError, open_log
from odradek.log.namespace import create_namespace, open_namespace, read_to_end
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.orchestrator.transfer.copying import copy
from odradek.orchestrator.transfer.cut import Cut
from odradek.orchestrator.transfer.entries import Entry, Header
from odradek.schemas import records as r
from odradek.schemas.errors import UnreadableRecord
from tests.orchestrator.partition import Owner, Partition
from tests.orchestrator.simulation import World


class WorldSource:
    """What a cut through a simulated namespace is made of."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition
        self.header = Header("test", 1, 1, {}, partition.now_ms)

    def entries(self) -> Iterator[Entry]:
        partition, x = self._partition, -1
        for place, (archived, blocks) in enumerate(partition.archive):
            key, value = archived.workflow_id.encode(), partition.codec.encode_with_events(archived, blocks)
            yield Entry("archive", 0, place, 0, key, value)
        for offset, record in enumerate(partition.history):
            if record is not None:
                x = max(x, self._taken_in(*record))
                yield Entry("history", 0, offset, 0, *record)
        for item in partition.inbox[x + 1 :]:
            assert isinstance(item.record, r.InboxRecord)
            value = partition.codec.encode(item.record)
            yield Entry("inbox", 0, item.offset, item.time_ms, item.workflow_id.encode(), value)
        yield Entry("end", 0, -1, 0, None, None)

    def _taken_in(self, key: bytes, value: bytes | None) -> int:
        with suppress(UnreadableRecord):
            claim, _, x, _ = self._partition.codec.watermarks(value) if value else (None, 0, -1, 0)
            return x if keys.claim_of(key) == claim else -1
        return -1


def move(world: World) -> None:
    """Everybody is gone; what they left is written anew, and the world goes on there."""
    for owner in list(world.owners):
        owner.die()
    world.orphans.clear()
    world.stores.clear()
    world.tasks.clear()
    carry_over(world.partition)


def carry_over(partition: Partition) -> None:
    """Nobody owns it any more; what it holds is written anew."""
    log = open_log("memory://")
    copy(WorldSource(partition), log, "test")
    target = open_namespace(log, "test")
    topics, codec = target.topics, target.codec
    history = read_to_end(log, topics.history, 0)
    assert [record.offset for record in history] == list(range(len(history)))
    partition.history = [(record.key or b"", record.value) for record in history]
    partition.inbox = [
        InboxItem(
            one.offset, partition.now_ms, (one.key or b"").decode(), codec.decode(r.InboxRecord, one.value or b"")
        )
        for one in read_to_end(log, topics.inbox, 0)
    ]
    archived = [codec.decode(r.ArchiveRecord, record.value or b"") for record in read_to_end(log, topics.archive, 0)]
    partition.archive = [(replace(record, events=()), codec.encode_events(record.events)) for record in archived]
    log.close()


@pytest.mark.parametrize("seed", range(40))
def test_a_moved_namespace_goes_on_as_if_nothing_had_been(seed: int) -> None:
    """Tasks on their way are lost, and issued again; inputs that were not taken in are taken in once."""
    world = World(seed)
    for _ in range(2 + seed % 2):
        for _ in range(30 + (seed * 37) % 400):
            world.step()
        move(world)
    world.run(steps=200)


@workflow.defn
class Idle:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@pytest.mark.parametrize("landing", range(5))
def test_a_start_that_ends_the_run_in_its_way_begins_its_own_all_the_same(landing: int) -> None:
    """Moved between the end of the one, which has taken that start in, and the beginning of the other."""
    partition = Partition([Idle])
    owner = Owner(partition)
    partition.start("w", "Idle")
    owner.run()
    replacing = partition.start("w", "Idle", id_conflict_policy="terminate-existing")
    owner.read()
    owner.send()
    for _ in range(landing):
        if owner.in_flight:
            entry = owner.in_flight.pop(0)
            owner.shard.acked(entry, partition.land(entry.key, entry.value))
            owner.emit_all()
            owner.send()
    carry_over(partition)
    successor = Owner(partition)
    successor.run()
    found = successor.shard.workflow("w")
    assert found.live is not None
    assert found.remembered.requests[replacing.id][1] == found.live.run.run_id
    assert [summary.status for summary in found.closed.values()] == ["terminated"]


def only_open(workflow: Workflow) -> list[LiveRun]:
    return [] if workflow.live is None or workflow.live.run.started is None else [workflow.live]


@pytest.mark.parametrize(
    ("target", "instead"),
    [
        ("copying.message_of", lambda *_: None),
        ("translation.unsummarised", only_open),
        ("translation._progress", lambda activity: replace(activity.progress, attempt=activity.progress.attempt + 1)),
    ],
)
def test_what_a_move_loses_is_noticed(target: str, instead: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking away what a move must do makes it fail: the test above is no empty one."""
    monkeypatch.setattr(f"odradek.orchestrator.transfer.{target}", instead)
    with pytest.raises((AssertionError, LogError)):
        move_many()


def move_many() -> None:
    for seed in range(30):
        test_a_moved_namespace_goes_on_as_if_nothing_had_been(seed)


def test_keys_of_payloads_go_with_it_and_erased_ones_do_not() -> None:
    """What could be read in the old namespace can be in the new one, and nothing else."""
    log, masters = open_log("memory://"), {"m": b"m" * 32}
    create_namespace(log, "old", partitions=2)
    store = TopicKeyStore(log, "old", masters, "m")
    (kept, key), (erased, _) = store.current("wf-1"), store.current("wf-2")
    store.erase("wf-2")
    copy(Cut(open_namespace(log, "old"), watch_seconds=0), log, "new", partitions=3)
    moved = TopicKeyStore(log, "new", masters, "m")
    assert moved.find(kept) == key
    assert moved.current("wf-1") == (kept, key)
    with pytest.raises(KeyErased):
        moved.find(erased)
    log.close()
