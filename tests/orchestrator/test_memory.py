"""What a shard holds in memory, what it drops, and what its store knows instead; the end of a run."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys, state
from odradek.orchestrator.core.closing import HistoryIncomplete
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import HORIZON_MS, Room
from odradek.orchestrator.core.store import MemoryStore
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Napping:
    @workflow.run
    async def run(self, seconds: float, how: str = "") -> str:
        await asyncio.sleep(seconds)
        if how == "fails":
            raise ApplicationError("no")
        return how


@activity.defn
async def anything(number: int) -> int:
    return number


@workflow.defn
class Pending:
    """Waits for something in each of the ways there are."""

    @workflow.run
    async def run(self, how: str) -> None:
        await getattr(self, how)()

    async def sleep(self) -> None:
        await asyncio.sleep(100)

    async def condition(self) -> None:
        await workflow.wait_condition(lambda: False, timeout=100)

    async def activity(self) -> None:
        await _begun(1)

    async def activities(self) -> None:
        await asyncio.gather(*map(_begun, range(3)))

    async def first_of_some(self) -> None:
        await workflow.wait([_begun(1), _begun(2)], return_when=asyncio.FIRST_COMPLETED)

    async def child(self) -> None:
        await workflow.execute_child_workflow(Napping.run, 1.0, id="napping")

    async def group(self) -> None:
        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(100))
            group.create_task(self.activity())

    async def shield(self) -> None:
        await asyncio.shield(asyncio.create_task(asyncio.sleep(100)))

    async def lock(self) -> None:
        lock = asyncio.Lock()
        async with lock:
            await lock.acquire()

    async def queue(self) -> None:
        await asyncio.Queue[int]().get()

    async def futures(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.create_future() for _ in range(3)))


def _begun(number: int) -> workflow.ActivityHandle[int]:
    return workflow.start_activity(anything, number, start_to_close_timeout=timedelta(seconds=9))


WAYS = [name for name in vars(Pending) if not name.startswith("_") and name != "run"]


@pytest.mark.parametrize("how", WAYS)
def test_the_code_of_a_dropped_run_leaves_the_memory_without_the_collector(how: str) -> None:
    """It comes rarely, and more rarely still to what is old."""
    owner = Owner(Partition([Pending, Napping]), activities=False)
    owner.partition.start("pending", "Pending", how)
    owner.run()
    live = owner.shard.workflow("pending").live
    assert live is not None
    assert live.instance is not None
    instance, code = weakref.ref(live.instance), weakref.ref(live.instance.instance)
    gc.disable()
    try:
        owner.shard.drop_instance(live)
        assert (instance(), code()) == (None, None)
    finally:
        gc.enable()


def opened(**limits: Any) -> tuple[Partition, Owner]:
    partition = Partition([Listening, Napping], **limits)
    return partition, Owner(partition)


def checkpoint(owner: Owner) -> None:
    for _ in range(2):
        owner.shard.checkpoint(owner.partition.now_ms)
        owner.run()


# ------------------------------------------------------------------------------------------------ undecided inputs


def test_x_stays_below_the_oldest_input_that_is_not_decided() -> None:
    shard = Shard(Partition().config(), MemoryStore())
    shard.taken = 9
    assert shard.decided_x() == 9
    later, first, twin = shard.hold_x(7), shard.hold_x(3), shard.hold_x(3)
    assert shard.decided_x() == 2
    shard.release_x(first)
    assert shard.decided_x() == 2
    shard.release_x(twin)
    assert shard.decided_x() == 6
    shard.release_x(later)
    assert shard.decided_x() == 9


# ------------------------------------------------------------------------------------------------------- eviction


def test_those_that_were_not_used_for_longest_leave_memory() -> None:
    partition, owner = opened(room=Room(2, 10))
    for name in "abcd":
        partition.start(name, "Listening", 1)
    owner.run()
    checkpoint(owner)
    owner.shard.workflow("a")
    owner.shard.evict_workflows()
    assert sorted(owner.shard.workflows) == ["a", "d"]
    assert len(owner.shard.instances) == 2
    owner.shard.evict_workflows()
    assert sorted(owner.shard.workflows) == ["a", "d"]
    for name in "abcd":
        say(partition, name, name)
    waiting = [partition.request() for _ in "abcd"]
    for name, request in zip("abcd", waiting, strict=True):
        partition.send(name, r.AwaitResult(request))
    owner.run()
    assert [partition.result(request) for request in waiting] == [[name] for name in "abcd"]


def test_what_is_not_in_the_log_yet_stays_in_memory() -> None:
    partition, owner = opened(room=Room(0, 0))
    partition.start("written", "Listening", 1)
    owner.run()
    partition.start("in flight", "Listening", 1)
    partition.start("closing", "Listening", 0)
    owner.read()
    owner.land_all()
    partition.start("just asked", "Listening", 1)
    owner.read()
    owner.send()
    owner.shard.evict_workflows()
    assert "written" not in owner.shard.workflows
    assert {"just asked", "closing"} <= set(owner.shard.workflows)


def test_memory_stays_within_its_room_in_service_and_in_a_takeover() -> None:
    """Up to twice as many workflows as there is room for: those that are put aside leave together."""
    partition, owner = opened(room=Room(3, 2))
    for number in range(20):
        partition.start(f"w{number}", "Listening", 1)
    owner.run()
    assert len(owner.shard.workflows) <= 6
    assert len(owner.shard.instances) <= 2
    checkpoint(owner)
    heir = Owner(partition)
    assert len(heir.shard.workflows) <= 6


def test_a_workflow_with_inputs_that_wait_for_their_turn_stays_in_memory() -> None:
    partition, owner = opened(room=Room(0, 0), inputs_per_turn=3)
    request = partition.start("w", "Listening", 10)
    owner.run()
    for number in range(10):
        say(partition, "w", f"{number}")
    owner.read()
    owner.land_all()
    owner.emit_all()
    owner.shard.evict_workflows()
    owner.run()
    assert partition.result(request) == [f"{number}" for number in range(10)]


def test_what_waits_for_an_x_counts_as_read_ahead_like_what_is_held() -> None:
    partition, owner = opened()
    owner.run()
    partition.start("w", "Listening", 1)
    say(partition, "unknown", "word")
    owner.read()
    assert owner.shard.ahead == 1
    hold = owner.shard.hold_x(1000)
    assert owner.shard.ahead == 2
    owner.shard.release_x(hold)
    owner.run()
    assert owner.shard.ahead == 0


def test_a_closed_run_leaves_memory_when_its_tombstones_are_written() -> None:
    partition, owner = opened(room=Room(0, 0))
    partition.start("w", "Listening", 0)
    owner.read()
    while not any(b"\0s0\0" in entry.key for entry in owner.shard.writer.in_flight):
        owner.land_all()
        owner.emit_all()
    assert owner.shard.workflow("w").leftovers
    owner.shard.evict_workflows()
    assert list(owner.shard.workflows) == ["w"]
    owner.run()
    owner.shard.evict_workflows()
    assert list(owner.shard.workflows) == []
    checkpoint(owner)
    partition.compact()
    left = [record[0] for record in partition.history if record and record[1] is not None and record[0][0]]
    assert [keys.parse(key).kind for key in left] == ["s"]  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------ due times


def stored_dues(store: MemoryStore) -> list[tuple[int, str]]:
    return [(int.from_bytes(key[1:9], "big"), key[9:].decode()) for key, _ in store.scan(b"t", b"u")]


def test_the_store_knows_when_each_workflow_is_due_and_nothing_else() -> None:
    partition = Partition([Listening, Napping], summary_retention_ms=50_000_000)
    store = MemoryStore()
    owner = Owner(partition, store)
    now_ms = partition.now_ms
    partition.start("near", "Napping", 5.0)
    partition.start("far", "Napping", 4000.0)
    partition.start("never", "Listening", 1)
    owner.run()
    checkpoint(owner)
    assert stored_dues(store) == [(now_ms + 5000, "near"), (now_ms + 4_000_000, "far")]
    owner.pass_time(6)
    checkpoint(owner)
    assert stored_dues(store) == [(now_ms + 4_000_000, "far"), (now_ms + 50_006_000, "near")]
    stop = partition.request()
    partition.send("far", r.TerminateWorkflow(stop, ""))
    owner.run()
    checkpoint(owner)
    assert stored_dues(store) == [(now_ms + 50_006_000, "far"), (now_ms + 50_006_000, "near")]
    owner.pass_time(50_001)
    checkpoint(owner)
    assert stored_dues(store) == []
    assert list(store.scan(b"hfar", b"hfas")) == []


def test_what_the_store_says_of_time_comes_true_after_a_restart() -> None:
    """Of workflows that nothing else brings into memory."""
    partition = Partition([Napping])
    store = MemoryStore()
    owner = Owner(partition, store)
    for seconds in (10, 70, 500):
        partition.start(f"after {seconds}", "Napping", float(seconds))
    owner.run()
    checkpoint(owner)
    checkpoint(owner)
    heir = Owner(partition, store)
    heir.run()
    assert heir.shard.restore_from > 3
    assert not [wf for wf in heir.shard.workflows.values() if wf.live]
    closed: dict[float, list[str]] = {}
    for _ in range(60):
        heir.pass_time(10)
        said = [e.record for e in partition.emitted if isinstance(e, fx.Show) and e.record and e.record.closed_ms]
        closed[heir.shard.now_ms] = sorted({record.workflow_id for record in said})
    began = partition.now_ms - 600_000
    assert closed[began + 10_000] == ["after 10"]
    assert closed[began + 60_000] == ["after 10"]
    assert closed[began + 70_000] == ["after 10", "after 70"]
    assert closed[began + 490_000] == ["after 10", "after 70"]
    assert closed[began + 500_000] == ["after 10", "after 500", "after 70"]


def test_the_next_tick_is_due_when_something_is() -> None:
    partition, owner = opened()
    partition.start("w", "Napping", 5.0)
    partition.start("v", "Napping", 3.0)
    owner.run()
    assert owner.shard.next_tick_ms() == partition.now_ms + 3000
    owner.pass_time(6)
    assert partition.now_ms < owner.shard.next_tick_ms() <= partition.now_ms + HORIZON_MS


def test_the_heap_of_due_times_stays_as_small_as_what_is_due() -> None:
    """A workflow that is due sooner again and again leaves its older entries behind; nobody else's is lost."""
    partition, owner = opened(room=Room(2, 2))
    names = {"evicted": 22.0, "other": 25.0, "w": 30.0}
    for name, seconds in names.items():
        partition.start(name, "Napping", seconds)
    owner.run()
    checkpoint(owner)
    owner.shard.evict_workflows()
    assert sorted(owner.shard.workflows) == ["other", "w"]
    wf = owner.shard.workflow("w")
    assert wf.live is not None
    for n in range(3000):
        wf.live.push_due(partition.now_ms + 20_000 - n, "l", 0)
        owner.shard.reschedule(wf)
    assert len(owner.shard.due_heap) <= 1100
    assert owner.shard.next_tick_ms() == partition.now_ms + 20_000 - 2999
    wf.live.due = [entry for entry in wf.live.due if entry[1] == "t"]
    waiting = [partition.request() for _ in names]
    for _ in range(26):
        owner.pass_time(1)
    for name, request in zip(names, waiting, strict=True):
        partition.send(name, r.AwaitResult(request))
    owner.run()
    assert [len(partition.replies(request)) for request in waiting] == [1, 1, 0]


def test_what_sleeps_in_the_store_is_brought_into_the_heap_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many do: neither are they looked through for each of them, nor found again with every look."""
    partition, store = Partition([Napping]), MemoryStore()
    owner = Owner(partition, store)
    owner.run()
    for n in range(1500):
        partition.start(f"w{n}", "Napping", 80.0)
    owner.run()
    checkpoint(owner)
    checkpoint(owner)
    heir = Owner(partition, store)
    heir.run()
    tidied: list[int] = []
    monkeypatch.setattr(state, "heapify", lambda heap: tidied.append(len(heap)))
    for _ in range(7):
        heir.pass_time(10)
        assert len(heir.shard.due_heap) in (0, 1500)
    assert len(heir.shard.due_heap) == 1500
    heir.pass_time(10)
    assert len(heir.shard.due_heap) < 1500
    for _ in range(20):
        heir.pass_time(1)
    assert not heir.shard.due_heap
    assert len(tidied) == 1


def test_a_clock_that_goes_back_does_not_take_time_back() -> None:
    partition, owner = opened()
    partition.start("w", "Napping", 5.0)
    owner.run()
    began = partition.now_ms
    for act in (owner.shard.tick, owner.shard.checkpoint, owner.shard.go_on, lambda now: owner.shard.take([], now)):
        began += 1000
        act(began)
        assert owner.shard.now_ms == began
        act(began - 500)
        assert owner.shard.now_ms == began


@workflow.defn
class Stepping:
    @workflow.run
    async def run(self) -> int:
        number: int = await workflow.step(_seven)
        return number


def _seven() -> int:
    return 7


def test_steps_begin_again_after_a_restart_from_the_store() -> None:
    """Nothing is sent to their workflow, and it is not in memory."""
    partition = Partition([Stepping])
    store = MemoryStore()
    owner = Owner(partition, store)
    owner.hold_steps = True
    partition.start("w", "Stepping")
    owner.run()
    for _ in range(2):
        checkpoint(owner)
        owner = Owner(partition, store)
        owner.hold_steps = True
        owner.run()
        assert owner.held_steps == []
        owner.pass_time(1)
        assert len(owner.held_steps) == 1
    owner.end_step(owner.held_steps[0])
    owner.run()
    waiting = partition.request()
    partition.send("w", r.AwaitResult(waiting))
    owner.run()
    assert partition.result(waiting) == 7


def test_who_waits_is_forgotten_when_the_request_expires_and_not_before() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 1)
    now_ms = partition.now_ms
    waiting = {seconds: r.Request(f"for {seconds}", now_ms + seconds * 1000, "client", 0) for seconds in (60, 61, 600)}
    for request in waiting.values():
        partition.send("w", r.AwaitResult(request))
    owner.run()
    owner.pass_time(60)
    say(partition, "w", "word")
    owner.run()
    assert [len(partition.replies(request)) for request in waiting.values()] == [0, 1, 1]


def test_what_the_store_has_is_not_kept_for_it() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 1)
    owner.run()
    assert owner.shard.dirty
    owner.shard.flush_store()
    assert owner.shard.dirty == {}


# -------------------------------------------------------------------------------------------------------- damaged


def test_a_damaged_record_is_told_of_once_and_hides_no_other_run() -> None:
    partition, owner = opened()
    partition.start("w", "Listening", 0)
    owner.run()
    partition.start("w", "Listening", 1)
    owner.run()
    place = next(n for n, record in enumerate(partition.history) if record and b"\0s0\0" in record[0])
    key = partition.history[place][0]  # type: ignore[index]
    partition.history[place] = key, b"garbage"
    heir = Owner(partition, workflows := MemoryStore())
    heir.run()
    assert workflows is heir.store
    (lost,) = heir.shard.lost_records
    assert (lost.workflow_id, lost.offset, lost.key, lost.value) == ("w", place, key, b"garbage")
    assert heir.shard.workflow("w").live is not None
    heir.shard.flush_store()
    heir.shard.workflows.clear()
    heir.shard.workflow("w")
    assert len(heir.shard.lost_records) == 1


def test_a_history_with_a_hole_is_not_archived_as_if_it_were_whole() -> None:
    partition, owner = opened(chunk_bytes=1)
    partition.start("w", "Listening", 9)
    owner.run()
    checkpoint(owner)
    live = owner.shard.workflow("w").live
    assert live is not None
    lost = keys.chunk("w", live.run.run_id, 1, live.chain[0])
    assert len(owner.shard.chunks(live)) == 1
    owner.store.write({b"h" + lost: None})
    with pytest.raises(HistoryIncomplete, match=r"ODR-078: chunk 1 of run .* is not in the local store"):
        owner.shard.chunks(live)


# ------------------------------------------------------------------------------------------------- metrics counted


def test_starts_and_ends_are_counted_by_type() -> None:
    partition, owner = opened()
    for name in ("a", "b"):
        partition.start(name, "Listening", 0)
    partition.start("c", "Napping", 1.0)
    owner.run()
    assert owner.shard.counts == {("started", "Listening"): 2, ("started", "Napping"): 1, ("completed", "Listening"): 2}


# ----------------------------------------------------------------------------------------------- the end of a run


def test_an_archive_is_cut_into_parts_that_fit_a_record() -> None:
    partition, owner = opened(chunk_bytes=300, record_bytes_max=4000)
    partition.start("w", "Listening", 60)
    for n in range(60):
        say(partition, "w", f"{n:040}")
        owner.run()
    owner.run()
    parts = partition.archive
    limit = 4000 * 3 // 4
    assert len(parts) > 2
    assert all(len(blocks) <= limit for _, blocks in parts)
    assert all(len(blocks) > limit - 1000 for _, blocks in parts[:-1])
    assert [(record.part, record.parts) for record, _ in parts] == [(n, len(parts)) for n in range(1, len(parts) + 1)]
    events = [list(Codec().decode_events(blocks)) for _, blocks in parts]
    assert [record.first_event for record, _ in parts] == [sum(map(len, events[:n])) for n in range(len(parts))]
    assert sum(map(len, events)) == 62
    summary = owner.shard.workflow("w").closed.popitem()[1]
    assert list(summary.archive) == [r.ArchivePart(0, n) for n in range(len(parts))]


@pytest.mark.parametrize(("reason", "message"), [("", "Workflow terminated"), ("enough", "enough")])
def test_the_outcome_of_a_terminated_run_says_why(reason: str, message: str) -> None:
    partition, owner = opened()
    request = partition.start("w", "Listening", 1)
    details = [partition.payload("details")]
    partition.send("w", r.TerminateWorkflow(partition.request(), reason, details=details))
    owner.run()
    outcome = partition.replies(request)[-1]
    assert (outcome.status, outcome.failure.message, outcome.failure.details) == ("terminated", message, details)


def test_what_was_taken_in_by_many_requests_is_in_the_log_and_not_in_memory() -> None:
    partition, owner = opened()
    partition.start("long", "Listening", 30)
    partition.start("short", "Listening", 3)
    for n in range(30):
        say(partition, "long", str(n))
    said = [say(partition, "short", str(n)) for n in range(3)]
    owner.run()
    checkpoint(owner)
    (long,) = owner.shard.workflow("long").closed.values()
    (short,) = owner.shard.workflow("short").closed.values()
    assert (list(long.requests), len(short.requests)) == ([], 4)
    raw = next(
        record[1] for record in partition.history if record and record[1] and record[0].startswith(b"long\0")
        and b"\0s0\0" in record[0]
    )  # fmt: skip
    body = Codec().decode(r.HistoryRecord, raw).body
    assert isinstance(body, r.Summary)
    assert len(body.requests) == 31
    partition.send("short", r.SignalWorkflow("say", [partition.payload("x")], request=said[0]))
    owner.run()
    assert [type(answer) for answer in partition.replies(said[0])] == [r.Accepted, r.Accepted]


def test_nothing_of_a_run_is_left_when_its_summary_has_expired() -> None:
    partition, owner = opened(summary_retention_ms=1000)
    partition.start("w", "Listening", 0)
    owner.run()
    checkpoint(owner)
    owner.pass_time(2)
    checkpoint(owner)
    partition.compact()
    left = [record[0] for record in partition.history if record and record[1] is not None and record[0][0]]
    assert left == []
    assert owner.shard.workflow("w").closed == {}


def test_a_parked_run_that_is_terminated_is_parked_no_more() -> None:
    partition, owner = opened()
    partition.start("w", "Unknown")
    owner.run()
    assert list(owner.shard.parked) == ["w"]
    partition.send("w", r.TerminateWorkflow(partition.request(), ""))
    owner.run()
    assert owner.shard.parked == {}
