"""An owner dies at every point of a conversation between a parent and its children: one child each, no lost result."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from odradek import workflow
from odradek.exceptions import ApplicationError, ChildWorkflowError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.children import child_run_id
from odradek.orchestrator.core.state import Room
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow import ParentClosePolicy
from tests.orchestrator.partition import Owner, Partition

SEEDS = int(os.environ.get("ODRADEK_SEEDS", "150"))


@workflow.defn
class Child:
    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.run
    async def run(self, how: str) -> Any:
        await workflow.wait_condition(lambda: len(self.words) >= 2)
        if how == "fails":
            raise ApplicationError("no", type="No")
        if how == "continues":
            workflow.continue_as_new("continued")
        return [how, workflow.time_ns(), *self.words]


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> Any:
        found: list[Any] = []
        for how in ("returns", "fails"):
            child = await workflow.start_child_workflow(Child.run, how, id=f"child-{how}")
            for word in ("one", "two"):
                await child.signal(Child.say, word)
            try:
                found.append(await child)
            except ChildWorkflowError as error:
                found.append(str(error.cause))
        for policy in ParentClosePolicy:
            await workflow.start_child_workflow(Child.run, "left", id=f"left-{policy}", parent_close_policy=policy)
        return found


class CarefulOwner(Owner):
    """Reads, lands, acknowledges and emits one at a time, in any order that a log allows."""

    def moves(self) -> list[Callable[[], object]]:
        writer = self.shard.writer
        found: list[Callable[[], object]] = []
        if self.inbox_at < len(self.partition.inbox) or not self.live:
            found.append(lambda: self.read(1))
        self.send()
        if self.in_flight:
            found.append(self.land_one)
        self.unsent += writer.outbox
        writer.outbox = []
        if self.unsent:
            found.append(lambda: self.emit(self.unsent.pop(0)))
        return found

    def land_one(self) -> None:
        entry = self.in_flight.pop(0)
        self.shard.acked(entry, self.partition.land(entry.key, entry.value))
        self.shard.flush()

    def crash(self, chance: random.Random) -> None:
        """What was on its way may land, or a part of it."""
        for entry in self.in_flight[: chance.randrange(len(self.in_flight) + 1)]:
            self.partition.land(entry.key, entry.value)
        self.alive = False


def converse(crash_after: list[int], chance: random.Random) -> Partition:
    """One conversation; the owner dies after each of these numbers of moves."""
    partition = Partition([Parent, Child], chunk_bytes=400, room=Room(2, 2))
    partition.start("parent", "Parent")
    store = MemoryStore()
    owner = CarefulOwner(partition, store)
    for moves in crash_after:
        for _ in range(moves):
            possible = owner.moves()
            if not possible:
                break
            chance.choice(possible)()
            if chance.random() < 0.05:
                owner.shard.checkpoint(partition.now_ms)
        owner.crash(chance)
        store = store if chance.random() < 0.5 else MemoryStore()
        owner = CarefulOwner(partition, store)
    for _ in range(4):
        while possible := owner.moves():
            chance.choice(possible)()
        partition.now_ms += 31_000  # what was lost on its way is sent again
        owner.shard.tick(partition.now_ms)
    while possible := owner.moves():
        chance.choice(possible)()
    assert owner.alive
    return partition


def runs(partition: Partition) -> dict[str, list[tuple[str, list[Any]]]]:
    """Closed runs with their events, by workflow."""
    events: dict[tuple[str, str], dict[int, Any]] = {}
    for record, blocks in partition.archive:
        places = events.setdefault((record.workflow_id, record.run_id), {})
        for place, event in enumerate(Codec().decode_events(blocks), record.first_event):
            assert places.setdefault(place, event.body) == event.body, "two histories of one run"
    found: dict[str, list[tuple[str, list[Any]]]] = {}
    for (workflow_id, run_id), places in events.items():
        found.setdefault(workflow_id, []).append((run_id, [places[place] for place in range(len(places))]))
    return found


def check(partition: Partition) -> None:
    closed = runs(partition)
    ((parent_run, parent),) = closed["parent"]
    assert isinstance(parent[-1], r.RunCompleted)
    convert = partition.converter.payload_converter
    assert parent[-1].result is not None
    returned, failed = convert.from_payload(parent[-1].result)
    assert (returned[0], returned[2:], failed) == ("returns", ["one", "two"], "No: no")
    told = Counter((type(b).__name__, b.seq) for b in parent if isinstance(b, r.ChildStarted | r.ChildClosed))
    assert set(told.values()) == {1}
    for scheduled in (b for b in parent if isinstance(b, r.ChildScheduled)):
        if scheduled.workflow_id == "left-abandon":
            assert scheduled.workflow_id not in closed
            continue
        ((run_id, child),) = closed[scheduled.workflow_id]
        assert run_id == child_run_id(parent_run, scheduled.seq)
        ends = {"child-returns": r.RunCompleted, "child-fails": r.RunFailed, "left-terminate": r.RunTerminated}
        assert isinstance(child[-1], ends.get(scheduled.workflow_id, r.RunCancelled))
        words = [convert.from_payload(b.input[0]) for b in child if isinstance(b, r.SignalReceived)]
        assert words == (["one", "two"] if scheduled.workflow_id.startswith("child") else [])
    answers: dict[tuple[str, int], Any] = {}
    for effect in partition.emitted:
        if isinstance(effect, fx.SendMessage) and effect.record and isinstance(effect.record.body, r.MessageAnswer):
            body = effect.record.body
            assert answers.setdefault((body.run_id, body.number), body) == body, "two answers to one message"


@pytest.mark.parametrize("crash_after", range(0, 130, 2))
def test_owner_dies_once_at_any_point(crash_after: int) -> None:
    check(converse([crash_after], random.Random(crash_after)))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_owners_die_again_and_again(seed: int) -> None:
    chance = random.Random(seed)
    check(converse([chance.randrange(60) for _ in range(chance.randrange(1, 8))], chance))
