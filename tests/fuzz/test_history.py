"""Damage to a history costs the workflows that it is done to, and nobody else. The seeds found something once."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from odradek.orchestrator.core import keys
from odradek.schemas import records as r
from tests.fuzz.history import DamagedWorld, check_seed
from tests.fuzz.inbox import CODEC
from tests.fuzz.test_inbox import FUZZED


@FUZZED
@given(seed=st.integers(0, 10**9))
@example(seed=1259)
@example(seed=5534)
def test_the_healthy_complete_whatever_is_damaged_beside_them(seed: int) -> None:
    check_seed(seed)


def damaged_world() -> DamagedWorld:
    return DamagedWorld(0)


def chunk_of(world: DamagedWorld, name: str) -> tuple[int, r.HistoryRecord]:
    """The last chunk of a workflow, with its offset."""
    for at, record in reversed(list(enumerate(world.partition.history))):
        if record is not None and record[1] is not None and record[0].startswith(name.encode()):
            decoded = CODEC.decode(r.HistoryRecord, record[1])
            if isinstance(decoded.body, r.Chunk):
                return at, decoded
    raise AssertionError(name)


def put(world: DamagedWorld, at: int, record: r.HistoryRecord, **changes: Any) -> None:
    found = world.partition.history[at]
    assert found is not None
    body = dataclasses.replace(record.body, **changes)
    world.partition.history[at] = (found[0], CODEC.encode(dataclasses.replace(record, body=body)))


def test_a_run_that_has_taken_in_what_does_not_exist() -> None:
    """It would skip whatever is sent to it, without a word."""
    world = damaged_world()
    at, record = chunk_of(world, "victim-0")
    put(world, at, record, inbox_offset=1 << 60)
    world.check()


def test_a_chunk_that_does_not_begin_with_the_start() -> None:
    world = damaged_world()
    at, record = chunk_of(world, "victim-0")
    assert isinstance(record.body, r.Chunk)
    put(world, at, record, events=(r.Event(1, 1, r.RunTerminated("forged")), *record.body.events[1:]))
    world.check()


def test_a_timer_before_all_time() -> None:
    world = damaged_world()
    at, record = chunk_of(world, "victim-0")
    assert isinstance(record.body, r.Chunk)
    timer = r.Event(record.body.n, 1, r.TimerStarted(99, -(2**63)))
    put(world, at, record, events=(*record.body.events, timer))
    world.check()


def test_watermarks_of_an_inbox_that_is_not_so_long() -> None:
    """A flipped bit in a checkpoint must not make the partition pass over its inbox."""
    world = damaged_world()
    claim = world.owner.shard.writer.claim
    checkpoint = r.HistoryRecord(claim, 0, 1 << 60, 0, r.Checkpoint(1))
    world.partition.land(keys.checkpoint(claim), CODEC.encode(checkpoint))
    world.check()


def test_keys_that_are_none() -> None:
    world = damaged_world()
    ended = CODEC.encode(r.HistoryRecord(0, -1, -1, -1, r.Mark(0)))
    foreign = (
        b"",
        b"\0mark\0",
        b"\0mark\0\xff",
        b"\0mark\0-1",
        b"\0checkpoint\0x",
        b"a\0b\0\0" + b"1",
        b"a\0b\0c-1\0" + b"1",
    )
    for key in (*foreign, b"\xff\0b\0c1\0" + b"1", b"a\0b\0z1\0" + b"1", b"a\0b\0c1\0" + b"9" * 30, b"\0\0c1\0" + b"1"):
        world.partition.land(key, ended)
    world.check()


def test_a_suspicion_that_cannot_be_read() -> None:
    """What says only that some code may be dangerous must not take its workflow away."""
    world = damaged_world()
    world.partition.land(keys.suspect("healthy-0", 0), b"garbage")
    world.check()
