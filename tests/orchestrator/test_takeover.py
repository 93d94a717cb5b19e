"""What a new owner reads, writes again and sends again; what it leaves as it is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.keys import Key
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Trying:
    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=timedelta(seconds=10))
        await workflow.execute_activity("charge", start_to_close_timeout=timedelta(seconds=60), retry_policy=policy)


@workflow.defn
class Napping:
    @workflow.run
    async def run(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def opened(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition([Listening, Trying, Napping], **limits)
    return partition, Owner(partition)


def settle(owner: Owner) -> None:
    """Checkpoints until the watermarks say that everything before is in order."""
    for _ in range(3):
        owner.shard.checkpoint(owner.partition.now_ms)
        owner.run()


def written(owner: Owner, since: int) -> list[tuple[Key, bool]]:
    """Keys of runs that have been written from an offset on; False: a tombstone."""
    found = [(keys.parse(record[0]), record[1] is not None) for record in owner.partition.history[since:] if record]
    return [(key, lives) for key, lives in found if key is not None]


def said_again(owner: Owner) -> list[tuple[str, str, int]]:
    """Of which workflows a new owner has written what under its own claim."""
    claim = owner.shard.writer.claim
    return sorted(
        (key.workflow_id, key.kind, key.number) for key, lives in written(owner, claim) if lives and key.claim == claim
    )


def last_watermarks(partition: Partition) -> tuple[int, int, int]:
    value = next(record[1] for record in reversed(partition.history) if record and record[1])
    return Codec().watermarks(value)[1:]


# --------------------------------------------------------------------------------------------------- assert again


def test_what_is_settled_is_not_written_again() -> None:
    partition, owner = opened()
    partition.start("settled", "Listening", 1)
    partition.start("closed", "Listening", 0)
    owner.run()
    settle(owner)
    partition.start("open", "Listening", 1)
    owner.run()
    heir = Owner(partition)
    heir.run()
    assert said_again(heir) == [("open", "c", 1)]
    removed = [key for key, lives in written(heir, heir.shard.writer.claim) if not lives]
    assert [(key.workflow_id, key.claim) for key in removed] == [("open", owner.shard.writer.claim)]


def test_nothing_is_written_again_after_an_orderly_end() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 1)
    partition.start("trying", "Trying")
    owner.activities = {"charge": fails}
    owner.run()
    settle(owner)
    heir = Owner(partition)
    assert heir.shard.writer.settled
    heir.run()
    assert said_again(heir) == []


def fails() -> None:
    raise RuntimeError("no")


def test_the_last_record_that_v_and_y_speak_of_is_settled() -> None:
    partition, owner = opened()
    owner.activities = None
    partition.start("trying", "Trying")
    owner.run()
    owner.shard.checkpoint(partition.now_ms)
    owner.run()
    at = next(n for n, record in enumerate(partition.history) if record and record[0].startswith(b"trying\0"))
    assert last_watermarks(partition) == (at, 0, at)
    heir = Owner(partition)
    heir.activities = None
    heir.run()
    assert said_again(heir) == []
    assert emitted_tasks(partition, 0) == ["trying"]


def test_a_takeover_is_settled_when_everything_is_loaded_and_acknowledged_and_not_before() -> None:
    """Older claims go then, and v rises: whatever is not said again yet would be lost."""
    partition, owner = opened()
    for name in "abc":
        partition.start(name, "Listening", 1)
    owner.run()
    shard = Shard(partition.config(), MemoryStore())
    claim = r.HistoryRecord(0, -1, -1, -1, r.Claim("heir", partition.now_ms))
    offset = partition.land(keys.claim("heir"), Codec().encode(claim))
    for at, record in enumerate(partition.history):
        if record is not None:
            shard.restore(at, *record)
    shard.begin(offset, partition.now_ms)

    def land_one() -> None:
        entry = shard.writer.to_send.pop(0)
        shard.acked(entry, partition.land(entry.key, entry.value))

    assert not shard.load(1)
    land_one()
    assert not shard.writer.settled
    assert shard.load(3)
    last = [entry for entry in shard.writer.to_send if entry.value is not None][-1]
    while shard.writer.to_send[0] is not last:
        land_one()
        assert not shard.writer.settled
    land_one()
    assert shard.writer.settled


def test_copies_under_all_older_claims_are_taken_away() -> None:
    """The second owner died before it could take the first one's away."""
    partition, first = opened()
    partition.start("w", "Listening", 9)
    first.run()
    second = Owner(partition)
    second.send()
    for entry in second.in_flight:
        partition.land(entry.key, entry.value)
    heir = Owner(partition)
    heir.run()
    removed = [key.claim for key, lives in written(heir, heir.shard.writer.claim) if not lives]
    assert sorted(removed) == [first.shard.writer.claim, second.shard.writer.claim]
    say(partition, "w", "one")
    heir.run()
    assert sorted(key.claim for key, lives in written(heir, heir.shard.writer.claim) if not lives) == sorted(removed)


def test_an_open_chunk_behind_sealed_ones_is_written_again() -> None:
    partition, owner = opened(chunk_bytes=200)
    partition.start("w", "Listening", 9)
    owner.run()
    say(partition, "w", "x" * 300)
    owner.run()
    settle(owner)
    say(partition, "w", "one")
    owner.run()
    heir = Owner(partition)
    heir.run()
    assert said_again(heir) == [("w", "c", 2)]


def test_the_last_of_several_sealed_chunks_is_written_again() -> None:
    partition, owner = opened(chunk_bytes=1)
    partition.start("w", "Listening", 9)
    owner.run()
    for word in ("one", "two", "three"):
        settle(owner)
        owner = Owner(partition)
        owner.run()
        say(partition, "w", word)
        owner.run()
    assert len(owner.shard.workflow("w").live.chain) == 4  # type: ignore[union-attr]
    heir = Owner(partition)
    heir.run()
    assert said_again(heir) == [("w", "c", 4)]
    removed = [(key.number, key.claim) for key, lives in written(heir, heir.shard.writer.claim) if not lives]
    assert removed == [(4, owner.shard.writer.claim)]


def test_progress_that_is_not_settled_is_written_again() -> None:
    partition, owner = opened()
    owner.activities = {"charge": fails}
    partition.start("settled", "Trying")
    owner.run()
    settle(owner)
    partition.start("trying", "Trying")
    owner.run()
    heir = Owner(partition)
    heir.activities = None
    assert not heir.shard.writer.settled
    heir.run()
    assert heir.shard.writer.settled
    again = [key for key in said_again(heir) if key[1] == "p"]
    assert [workflow_id for workflow_id, _, _ in again] == ["trying"]
    removed = [key for key, lives in written(heir, heir.shard.writer.claim) if key.kind == "p" and not lives]
    assert [key.claim for key in removed] == [owner.shard.writer.claim]


def test_a_summary_that_is_not_settled_is_written_again() -> None:
    partition, owner = opened()
    settle(owner)
    request = partition.start("closed", "Listening", 0)
    owner.run()
    assert partition.result(request) == []
    heir = Owner(partition)
    heir.run()
    assert ("closed", "s", 0) in said_again(heir)
    stale = [key for key, lives in written(heir, heir.shard.writer.claim) if not lives and key.kind == "s"]
    assert [key.claim for key in stale] == [owner.shard.writer.claim]


def test_a_sealed_chunk_that_is_not_settled_is_written_again_and_the_chain_holds() -> None:
    partition, owner = opened(chunk_bytes=1)
    request = partition.start("w", "Listening", 3)
    owner.run()
    say(partition, "w", "one")
    owner.run()
    live = owner.shard.workflow("w").live
    assert live is not None
    assert len(live.chain) == 2
    heir = Owner(partition)
    heir.run()
    assert ("w", "c", 2) in said_again(heir)
    say(partition, "w", "two")
    heir.run()
    last = Owner(partition)
    partition.compact()
    say(partition, "w", "three")
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    last.run()
    assert partition.result(waiting) == ["one", "two", "three"]
    assert isinstance(partition.replies(request)[0], r.Accepted)


def test_older_claims_and_notes_are_taken_away_once_everything_is_said_again() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 1)
    owner.run()
    settle(owner)
    say(partition, "w", "one")
    before = [record[0] for record in partition.history if record and record[0][:1] == b"\0"]
    heir = Owner(partition)
    claim = heir.shard.writer.claim
    assert not [record for record in partition.history[claim:] if record and record[1] is None]
    heir.run()
    settle(heir)
    gone = {record[0] for record in partition.history[claim:] if record and record[1] is None}
    assert set(before) <= gone
    partition.compact()
    kept = [record[0] for record in partition.history if record and record[1] is not None]
    notes = {key for key in kept if key[:1] == b"\0"}
    assert notes == {partition.history[claim][0], keys.checkpoint(claim)}  # type: ignore[index]


# ------------------------------------------------------------------------------------------------------ watermarks


def restored(partition: Partition) -> Shard:
    shard = Shard(partition.config(), MemoryStore())
    for offset, record in enumerate(partition.history):
        if record is not None:
            shard.restore(offset, *record)
    return shard


def test_a_new_owner_goes_on_from_the_highest_watermarks() -> None:
    partition, owner = opened()
    partition.start("a", "Listening", 1)
    owner.run()
    settle(owner)
    shard = restored(partition)
    assert (shard.v0, shard.x0, shard.y0) == last_watermarks(partition) == (3, 0, 3)
    shard.begin(len(partition.history), partition.now_ms)
    assert (shard.taken, shard.writer.x) == (0, 0)


def test_watermarks_of_foreign_bytes_move_nothing() -> None:
    """A record counts whose claim is that of its key, and which speaks of what was before it."""
    partition, owner = opened()
    partition.start("a", "Listening", 1)
    owner.run()
    settle(owner)
    before = restored(partition)
    claim, encode, ahead = owner.shard.writer.claim, Codec().encode_history, len(partition.history) + 9
    partition.land(keys.mark(claim), encode(claim + 7, 5, 99, 5, r.Mark(1)))
    partition.land(keys.mark(claim), encode(claim, ahead, 99, 0, r.Mark(1)))
    partition.land(keys.mark(claim), encode(claim, 0, 99, ahead, r.Mark(1)))
    partition.land(keys.mark(claim), b"garbage")
    after = restored(partition)
    assert (after.v0, after.x0, after.y0) == (before.v0, before.x0, before.y0)
    at = partition.land(keys.mark(claim), b"")
    partition.history[at] = keys.mark(claim), encode(claim, at, 5, at, r.Mark(1))
    last = restored(partition)
    assert (last.v0, last.x0, last.y0) == (at, 5, at)


def test_each_watermark_is_the_highest_of_its_kind() -> None:
    shard = Shard(Partition().config(), MemoryStore())
    encode = Codec().encode_history
    for offset, marks in ((10, (4, 9, 2)), (11, (3, 8, 7)), (12, (1, 20, 1))):
        shard.restore(offset, keys.mark(1), encode(1, *marks, r.Mark(1)))
    assert (shard.v0, shard.x0, shard.y0, shard.position) == (4, 20, 7, 12)
    assert shard.restore_from == 5
    shard.restore(11, keys.mark(1), None)
    assert shard.position == 12


def test_a_key_that_is_no_key_is_reported_and_stops_nothing() -> None:
    partition, owner = opened()
    request = partition.start("w", "Listening", 1)
    owner.run()
    partition.land(b"foreign", b"bytes")
    partition.land(b"foreign\0too", b"bytes")
    heir = Owner(partition)
    lost = heir.shard.lost_records
    assert [(record.offset, record.key, record.value) for record in lost] == [
        (heir.shard.writer.claim - 2, b"foreign", b"bytes"),
        (heir.shard.writer.claim - 1, b"foreign\0too", b"bytes"),
    ]
    say(partition, "w", "one")
    heir.run()
    assert isinstance(partition.replies(request)[0], r.Accepted)


# -------------------------------------------------------------------------------------------------------- the store


def copied(store: MemoryStore) -> MemoryStore:
    twin = MemoryStore()
    twin.write(dict(store.scan(b"", b"\xff")))
    return twin


def test_a_store_remembers_claims_notes_and_how_the_last_one_ended() -> None:
    """An owner that resumes from its store takes away the same as one that has read everything."""
    partition = Partition([Listening])
    store = MemoryStore()
    owner = Owner(partition, store)
    partition.start("w", "Listening", 1)
    owner.run()
    settle(owner)
    owner.shard.flush_store()
    read = Owner(partition)
    partition.history.pop()
    resumed = Owner(partition, copied(store))
    partition.history.pop()
    assert resumed.shard.restore_from > 1
    assert resumed.shard.restore_from <= read.shard.writer.claim
    gone = [
        {entry.key for entry in heir.shard.writer.to_send if entry.value is None and entry.key.startswith(keys.CLAIM)}
        for heir in (read, resumed)
    ]
    assert gone[0] == gone[1] == {keys.claim("owner-0")}


def test_a_claim_that_was_taken_away_is_forgotten() -> None:
    partition, owner = opened()
    settle(owner)
    heir = Owner(partition)
    heir.run()
    settle(heir)
    last = Owner(partition)
    removed = [entry.key for entry in last.shard.writer.to_send if entry.value is None]
    assert keys.claim("owner-0") not in removed
    assert keys.claim("owner-1") in removed


def test_a_store_forgets_the_claims_that_its_owner_has_taken_away() -> None:
    partition, owner = opened()
    settle(owner)
    store = MemoryStore()
    heir = Owner(partition, store)
    heir.run()
    settle(heir)
    last = Owner(partition, copied(store))
    removed = [entry.key for entry in last.shard.writer.to_send if entry.value is None]
    assert keys.claim("owner-0") not in removed
    assert keys.claim("owner-1") in removed


def test_tombstones_that_the_predecessor_did_not_write_are_written() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 0)
    owner.read()
    while not any(record and b"\0s0\0" in record[0] for record in partition.history):
        owner.land_all()
        owner.emit_all()
    heir = Owner(partition)
    heir.run()
    settle(heir)
    partition.compact()
    left = [record[0] for record in partition.history if record and record[1] is not None and record[0][0]]
    assert [(key.kind, key.claim) for raw in left if (key := keys.parse(raw))] == [("s", heir.shard.writer.claim)]


def test_a_store_forgets_a_claim_whose_tombstone_it_reads() -> None:
    partition = Partition([Listening])
    store = MemoryStore()
    first = Owner(partition, store)
    settle(first)
    first.shard.flush_store()
    second = Owner(partition)
    second.run()
    settle(second)
    third = Owner(partition, store)
    removed = [entry.key for entry in third.shard.writer.to_send if entry.value is None]
    assert keys.claim("owner-0") not in removed
    fourth = Owner(partition, copied(store))
    removed = [entry.key for entry in fourth.shard.writer.to_send if entry.value is None]
    assert keys.claim("owner-0") not in removed
    assert keys.claim("owner-1") in removed


# ----------------------------------------------------------------------------------------------------- emit again


def emitted_tasks(partition: Partition, since: int) -> list[str]:
    return [e.task.workflow_id for e in partition.emitted[since:] if isinstance(e, fx.SendTask) and e.task]


def test_outputs_below_y_are_not_sent_again() -> None:
    partition, owner = opened()
    owner.activities = None
    partition.start("sent", "Trying")
    owner.run()
    settle(owner)
    partition.start("unsent", "Trying")
    owner.read()
    owner.land_all()
    assert emitted_tasks(partition, 0) == ["sent"]
    heir = Owner(partition)
    heir.activities = None
    heir.run()
    assert emitted_tasks(partition, 0) == ["sent", "unsent"]


def test_y_does_not_rise_before_the_ends_that_the_predecessor_left_are_out() -> None:
    partition, owner = opened()
    partition.start("other", "Listening", 1)
    owner.run()
    settle(owner)
    partition.start("w", "Listening", 0)
    owner.read()
    owner.land_all()
    y = restored(partition).y0
    heir = Owner(partition)
    heir.read()
    assert heir.shard.writer.y == y
    heir.land_all()
    assert heir.shard.writer.y == y
    heir.run()
    assert heir.shard.writer.y == heir.shard.writer.last


def test_an_input_that_was_taken_in_is_not_taken_in_again() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 3)
    say(partition, "w", "one")
    owner.run()
    again = [partition.inbox[1], partition.inbox[0]]
    n = owner.shard.workflow("w").live.run.n  # type: ignore[union-attr]
    asked = partition.request()
    partition.send("w", r.DescribeWorkflow(asked))
    owner.run()
    say(partition, "w", "two")
    owner.shard.take([*again, partition.inbox[2], partition.inbox[3]], partition.now_ms)
    owner.inbox_at = 4
    owner.run()
    assert len(partition.replies(asked)) == 1
    live = owner.shard.workflow("w").live
    assert live is not None
    assert live.run.n == n + 1


# ----------------------------------------------------------------------------------------------------- late records


def late_entries(partition: Partition, owner: Owner) -> list[Any]:
    """What a process that is paused has handed to its producer, and not yet landed."""
    owner.send()
    entries, owner.in_flight = owner.in_flight, []
    return entries


def test_a_late_record_is_answered_with_what_holds_and_then_taken_away() -> None:
    partition, zombie = opened()
    partition.start("w", "Listening", 3)
    zombie.run()
    settle(zombie)
    say(partition, "w", "one")
    zombie.read()
    (late,) = late_entries(partition, zombie)
    heir = Owner(partition)
    heir.run()
    at = partition.land(late.key, late.value)
    settle(heir)
    assert heir.alive
    after = written(heir, at + 1)
    parsed = keys.parse(late.key)
    assert (parsed, False) in after
    assert heir.shard.writer.v == heir.shard.writer.last
    last = Owner(partition)
    say(partition, "w", "two")
    say(partition, "w", "three")
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    last.run()
    assert partition.result(waiting) == ["one", "two", "three"]


def test_v_and_y_wait_for_the_tombstone_of_a_late_record() -> None:
    partition, zombie = opened()
    partition.start("w", "Listening", 3)
    zombie.run()
    settle(zombie)
    say(partition, "w", "one")
    zombie.read()
    (late,) = late_entries(partition, zombie)
    partition.inbox.pop()
    heir = Owner(partition)
    heir.run()
    at = partition.land(late.key, late.value)
    heir.shard.checkpoint(partition.now_ms)
    heir.land_all()  # lands behind the late record
    heir.emit_all()  # reads the gap
    assert (heir.shard.writer.v, heir.shard.writer.y) == (at - 1, at - 1)
    heir.land_all()  # its own version
    assert (heir.shard.writer.v, heir.shard.writer.y) == (at - 1, at - 1)
    heir.run()
    assert heir.shard.writer.v == heir.shard.writer.y == heir.shard.writer.last
    (own,) = [key for key, lives in written(heir, at + 1) if lives]
    assert (own.kind, own.claim) == ("c", heir.shard.writer.claim)


@pytest.mark.parametrize("kind", ["p", "s"])
def test_late_progress_and_summaries_are_answered_in_kind(kind: str) -> None:
    partition, zombie = opened()
    zombie.activities = {"charge": fails}
    partition.start("trying", "Trying")
    partition.start("closed", "Listening", 0)
    zombie.run()
    settle(zombie)
    source = "trying" if kind == "p" else "closed"
    heir = Owner(partition)
    heir.run()
    raw = next(
        record[0] for record in partition.history
        if record and record[1] and (key := keys.parse(record[0])) and (key.kind, key.workflow_id) == (kind, source)
    )  # fmt: skip
    value = next(record[1] for record in partition.history if record and record[0] == raw)
    at = partition.land(raw, value)
    settle(heir)
    after = written(heir, at + 1)
    assert [(key.kind, key.claim, lives) for key, lives in after if key.workflow_id == source and lives] == [
        (kind, heir.shard.writer.claim, True)
    ]
    assert (keys.parse(raw), False) in after


def test_a_sealed_chunk_that_lands_again_stays() -> None:
    """It is part of the history that holds, word for word."""
    partition, zombie = opened(chunk_bytes=1)
    partition.start("w", "Listening", 3)
    zombie.run()
    say(partition, "w", "one")
    zombie.run()
    settle(zombie)
    heir = Owner(partition)
    heir.run()
    sealed = [record for record in partition.history[: heir.shard.writer.claim] if record and record[0][:2] == b"w\0"]
    assert len(sealed) == 2
    for raw, value in sealed:
        partition.land(raw, value)
    say(partition, "w", "two")
    heir.run()
    settle(heir)
    assert not any((raw, None) in partition.history for raw, _ in sealed)
    assert heir.shard.writer.v == heir.shard.writer.last
    partition.compact()
    last = Owner(partition)
    say(partition, "w", "three")
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    last.run()
    assert partition.result(waiting) == ["one", "two", "three"]


@pytest.mark.parametrize("chunk_bytes", [1, 2048])
def test_a_late_record_of_another_run_is_only_taken_away(chunk_bytes: int) -> None:
    partition, zombie = opened(chunk_bytes=chunk_bytes)
    partition.start("w", "Listening", 3)
    zombie.run()
    settle(zombie)
    heir = Owner(partition)
    heir.run()
    at = len(partition.history)
    late = keys.chunk("w", "another run", 1, zombie.shard.writer.claim)
    value = next(record[1] for record in partition.history if record and record[0].startswith(b"w\0"))
    partition.land(late, value)
    settle(heir)
    assert written(heir, at + 1) == [(keys.parse(late), False)]
    assert heir.shard.writer.v == heir.shard.writer.last


def test_a_late_record_of_a_run_that_this_claim_has_written_is_only_taken_away() -> None:
    partition, zombie = opened()
    zombie.activities = {"charge": fails}
    partition.start("w", "Listening", 3)
    partition.start("trying", "Trying")
    zombie.run()
    old = [
        record for record in partition.history if record and (record[0].startswith(b"w\0") or b"\0p1\0" in record[0])
    ]
    heir = Owner(partition)
    heir.activities = None
    say(partition, "w", "one")
    heir.run()
    settle(heir)
    at = len(partition.history)
    for key, value in old:
        partition.land(key, value)
    settle(heir)
    after = written(heir, at + len(old))
    assert {key.claim for key, _ in after} == {zombie.shard.writer.claim}
    assert {lives for _, lives in after} == {False}
