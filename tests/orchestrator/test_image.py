"""What a reader who owns nothing makes of a history is what an owner would make of it."""

from __future__ import annotations

import pytest

from odradek.log import Record
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.orchestrator.image import PartitionImage, SeenWorkflow
from odradek.schemas import records as r
from tests.orchestrator.simulation import World


def image_of(world: World, *, closed: bool) -> dict[str, SeenWorkflow]:
    image = PartitionImage(world.partition.codec, closed=closed)
    for offset, record in enumerate(world.partition.history):
        if record is not None:
            image.take(Record("history", 0, offset, 0, *record))
    return {seen.workflow.id: seen for seen in image.workflows()}


def next_owner(world: World) -> Shard:
    shard = Shard(world.partition.config(), MemoryStore())
    for offset, record in enumerate(world.partition.history):
        if record is not None:
            shard.restore(offset, *record)
    shard.flush_store()
    return shard


def standing(live: LiveRun | None) -> tuple[object, ...] | None:
    if live is None:
        return None
    run = live.run
    return run.run_id, run.n, run.event_count, run.inbox_offset, sorted(run.activities), sorted(run.timers), run.status


@pytest.mark.parametrize("seed", range(20))
def test_it_is_what_the_next_owner_restores(seed: int) -> None:
    """Whatever owners, zombies and the cleaner have left behind, at any moment."""
    world = World(seed)
    opened = 0
    for _ in range(12):
        for _ in range(60):
            world.step()
        shard = next_owner(world)
        whole, lean = image_of(world, closed=True), image_of(world, closed=False)
        for workflow_id in {*world.started, *world.households}:
            wanted: Workflow = shard.workflow(workflow_id)
            for images in (whole, lean):
                seen = images.get(workflow_id)
                assert standing(seen.workflow.live if seen else None) == standing(wanted.live)
            if workflow_id in whole:
                summarised = {run_id: s for run_id, s in wanted.closed.items() if run_id not in wanted.ending}
                assert whole[workflow_id].workflow.closed == summarised
            if wanted.live is not None and wanted.live.run.started is not None:
                opened += 1
                events = list(shard.events(wanted.live))
                assert [e.body for e in lean[workflow_id].events(lean_live(lean, workflow_id))] == [
                    e.body for e in events
                ]
                assert len(events) == wanted.live.run.event_count
    assert opened


def lean_live(images: dict[str, SeenWorkflow], workflow_id: str) -> LiveRun:
    live = images[workflow_id].workflow.live
    assert live is not None
    return live


def test_closed_runs_take_no_room() -> None:
    """Of a million of them nothing is kept but which run followed."""
    world = World(3)
    world.run(steps=300)
    image = PartitionImage(world.partition.codec, closed=False)
    held = 0
    for offset, record in enumerate(world.partition.history):
        if record is not None:
            image.take(Record("history", 0, offset, 0, *record))
    for records in image._workflows.values():
        held += sum(len(value) for _, value in records.values())
        bodies = [world.partition.codec.decode(r.HistoryRecord, value).body for _, value in records.values()]
        assert all(isinstance(body, r.Summary) for body in bodies)
    assert held < 120 * sum(len(records) for records in image._workflows.values())


def test_a_damaged_record_is_named() -> None:
    world = World(5)
    for _ in range(80):
        world.step()
    open_before = {wid for wid, seen in image_of(world, closed=False).items() if seen.workflow.live is not None}
    at, (key, value) = max(
        (offset, record)
        for offset, record in enumerate(world.partition.history)
        if record is not None and b"\0c1\0" in record[0] and record[1]
    )
    assert value is not None
    world.partition.history[at] = (key, value[:20])
    damaged = {wid: seen.workflow.damaged for wid, seen in image_of(world, closed=False).items()}
    name = key.partition(b"\0")[0].decode()
    assert name in open_before
    assert f"(offset {at})" in next(iter(damaged[name].values()))


def test_foreign_keys_are_passed_over_and_the_oldest_comes_first() -> None:
    world = World(7)
    for _ in range(200):
        world.step()
    image = PartitionImage(world.partition.codec)
    for offset, key in enumerate((b"\xff\0\xff", b"text", b"a\0b\0c", b"\0x")):
        image.take(Record("history", 0, offset, 0, key, b"?"))
    order: list[str] = []
    for offset, record in enumerate(world.partition.history, 10):
        if record is not None:
            image.take(Record("history", 0, offset, 0, *record))
            name = record[0].partition(b"\0")[0].decode()
            order += [name] if name and name not in order else []
    found = [seen.workflow.id for seen in image.workflows() if seen.workflow.live or seen.workflow.closed]
    assert found
    assert found == [name for name in order if name in found]
