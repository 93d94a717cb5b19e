"""Faults that users of other Kafka consumers with out-of-order completion have reported: what must not happen here.

Also there: commits with gaps (``test_tracker``), work lost or doubled when a partition moves, a slow record at the head
(``test_delivery``), answers that pile up while the log is away (``test_appending``), workers that come and go
(``test_chaos``, ``tests/chaos/test_blocking``).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from odradek.log import Record
from odradek.log.memory import MemoryMembership
from odradek.log.progress import METADATA_CHARS_MAX, encode_metadata
from odradek.schemas.codec import Codec
from odradek.workers.attempts import Assignment, Attempt
from odradek.workers.intake import Intake
from odradek.workers.metrics import QueueStats
from odradek.workers.tracker import OffsetTracker
from tests.workers.fake import QUICK, Orchestrator, holds, until
from tests.workers.site import Site


async def test_a_partition_that_left_while_the_queue_was_full_is_read_on_when_it_comes_back() -> None:
    """Symptom: after rebalances a partition stays paused until the process is restarted."""
    orchestrator, site = Orchestrator(partitions=2), Site()
    first = orchestrator.worker(site.hold, site.quick, max_concurrent_activities=1)
    async with first:
        await holds(first, 2)
        tasks = [orchestrator.start("hold", f"{n}", partition=n % 2) for n in range(40)]
        await until(lambda: len(site.calls) == 1)
        for _ in range(3):
            guest = orchestrator.worker(site.hold, site.quick, max_concurrent_activities=1)
            async with guest:
                await holds(guest, 1)
                await holds(first, 1)
            await holds(first, 2)
        site.release.set()
        for task in tasks:
            await orchestrator.result(task)
        for partition in range(2):
            await orchestrator.value(orchestrator.start("quick", "after", partition=partition))


async def test_what_was_read_and_not_begun_is_no_progress_when_the_partition_goes() -> None:
    """Symptom: records that were fetched but not yet processed at a close or a revocation are skipped for ever."""
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.hold, site.quick, max_concurrent_activities=1) as worker:
        await holds(worker)
        held = orchestrator.start("hold", "held")
        await until(lambda: site.calls["held"])
        waiting = [orchestrator.start("quick", f"{n}") for n in range(5)]
        await until(lambda: worker._parts and len(worker._parts.execution._waiting) == 5)
    progress = orchestrator.committed()
    assert (progress.offset, progress.finished) == (1, ())
    assert await orchestrator.failure(held)
    async with orchestrator.worker(site.quick):
        for task in waiting:
            await orchestrator.value(task)
    assert all(site.calls[f"{n}"] == 1 for n in range(5))


async def test_rebalances_without_traffic_leave_the_committed_position_where_it_is() -> None:
    """Symptom: with frequent rebalances and hardly any records a wrong offset is committed, even one beyond the end."""
    orchestrator, site = Orchestrator(partitions=2), Site()
    async with orchestrator.worker(site.quick) as first:
        await holds(first, 2)
        for partition in range(2):
            await orchestrator.value(orchestrator.start("quick", f"p{partition}", partition=partition))
        await until(lambda: all(orchestrator.committed(p).offset == 1 for p in range(2)))
        for _ in range(6):
            async with orchestrator.worker(site.quick) as guest:
                await holds(guest, 1)
                assert [orchestrator.committed(p).offset for p in range(2)] == [1, 1]
            await holds(first, 2)
            assert [(orchestrator.committed(p).offset, orchestrator.committed(p).finished) for p in range(2)] == [
                (1, ()),
                (1, ()),
            ]
        await orchestrator.value(orchestrator.start("quick", "next"))
        await until(lambda: orchestrator.committed(0).offset == 2)
    assert site.calls == {"p0": 1, "p1": 1, "next": 1}


async def test_commits_go_on_after_a_partition_went_and_came_back() -> None:
    """Symptom: a partition that returns after two rebalances is worked on, and its offset is never committed again."""
    orchestrator, site = Orchestrator(partitions=2), Site()
    async with orchestrator.worker(site.quick) as first:
        for turn in range(1, 4):
            await holds(first, 2)
            for partition in range(2):
                orchestrator.start("quick", f"{turn}", partition=partition)
            await until(partial(all_committed, orchestrator, turn))
            async with orchestrator.worker(site.quick) as guest:
                await holds(guest, 1)
    assert site.calls == {"1": 2, "2": 2, "3": 2}


def all_committed(orchestrator: Orchestrator, offset: int) -> bool:
    return all(orchestrator.committed(p).offset == offset for p in range(2))


def an_intake() -> tuple[Intake, Codec]:
    codec = Codec()
    stats = cast("QueueStats", SimpleNamespace(duplicates=0))
    return Intake(codec, stats, lambda _: None, repeats_remembered=10), codec


def taken(intake: Intake, assignment: Assignment, record: Record) -> Attempt | None:
    return intake.take(assignment, record)


def test_a_late_end_of_the_earlier_assignment_finishes_nothing_of_the_later_one() -> None:
    """Symptom: after a rebalance an offset is in work again, and the stale copy's end marks the fresh one."""
    intake, codec = an_intake()
    record = Record("t", 0, 7, 0, b"k", codec.encode(Orchestrator().task("quick", "x")))
    earlier, later = (Assignment(0, OffsetTracker(7), careful_below=0) for _ in range(2))
    stale = taken(intake, earlier, record)
    assert stale is not None
    earlier.is_open = False
    fresh = taken(intake, later, record)
    assert fresh is not None, "the stale one never began, and will be dropped"
    stale.refused = stale.closed = True
    intake.settle(stale)
    assert later.tracker.progress().offset == 7
    assert intake.open == {fresh.key: fresh}
    fresh.durable = fresh.closed = True
    intake.settle(fresh)
    assert later.tracker.progress().offset == 8
    assert intake.open == {}


def test_an_attempt_that_runs_when_its_partition_comes_back_finishes_the_new_place_too() -> None:
    """Symptom: the end of a record that outlived its assignment is ignored, and the record is processed twice."""
    intake, codec = an_intake()
    record = Record("t", 0, 7, 0, b"k", codec.encode(Orchestrator().task("quick", "x")))
    earlier, later = (Assignment(0, OffsetTracker(7), careful_below=0) for _ in range(2))
    running = taken(intake, earlier, record)
    assert running is not None
    running.began = True
    earlier.is_open = False
    assert taken(intake, later, record) is None
    assert later.tracker.progress().offset == 7
    running.durable = running.closed = True
    intake.settle(running)
    assert later.tracker.progress().offset == 8


async def test_more_gaps_than_fit_beside_a_commit_stop_nothing() -> None:
    """Symptom: offset map data too large (limit 4096); consumption of the partition stops until the gaps close."""
    orchestrator, site = Orchestrator(), Site()
    count = 6_000  # every other one stays open: two bytes each, in base64
    worker = orchestrator.worker(site.hold, site.quick, max_concurrent_activities=count)
    async with worker:
        await holds(worker)
        for n in range(count):
            orchestrator.start("hold" if n % 2 == 0 else "quick", f"{n}")
        await until(lambda: sum(site.calls.values()) == count, seconds=20)
        await until(lambda: len(encode_metadata(orchestrator.committed())) >= METADATA_CHARS_MAX - 8)
        committed = orchestrator.committed()
        assert committed.offset == 0
        assert len(encode_metadata(committed)) <= METADATA_CHARS_MAX
        assert await orchestrator.value(orchestrator.start("quick", "behind")) == "behind"
        site.release.set()
        await until(lambda: orchestrator.committed().offset == count + 1, seconds=20)
    assert set(site.calls.values()) == {1}


async def test_failing_tasks_leave_nothing_behind_in_the_worker() -> None:
    """Symptom: a queue of retries that grows with every failure until memory ends. Here the orchestrator retries."""
    orchestrator, site = Orchestrator(), Site()
    settings = replace(QUICK, repeats_remembered=50)
    async with orchestrator.worker(site.failing, settings=settings) as worker:
        task = orchestrator.task("failing")
        for attempt in range(1, 2_001):
            orchestrator.send(replace(task, attempt=attempt))
        await until(lambda: orchestrator.committed().offset == 2_000, seconds=20)
        parts = worker._parts
        assert parts is not None
        intake, sender = parts.fetcher._intake, parts.sender
        assert (len(intake.open), len(intake._done)) == (0, 50)
        assert (len(sender._later), len(sender._outstanding), len(parts.execution._waiting)) == (0, 0, 0)
        (assignment,) = parts.fetcher._assignments.values()
        assert assignment.tracker.open_count == 0
    assert site.calls["failing"] == 2_000


async def test_failing_tasks_do_not_keep_good_ones_from_being_read() -> None:
    """Symptom: enough records that fail again and again fill the buffer, and good ones are not polled any more."""
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.failing, site.quick, max_concurrent_activities=2):
        for n in range(300):
            orchestrator.start("failing")
            orchestrator.start("quick", f"{n}")
        await until(lambda: orchestrator.committed().offset == 600)
    assert site.calls["failing"] == 300
    assert sum(site.calls.values()) == 600


async def test_a_position_that_retention_has_passed_goes_on_with_the_oldest_record() -> None:
    """Symptom: the committed offset is gone, the position is reset to the end, and what was written then is lost."""
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick):
        await orchestrator.value(orchestrator.start("quick", "before"))
    for n in range(10):
        orchestrator.start("quick", f"deleted-{n}")
    orchestrator.log.delete_records(orchestrator.topic, {0: 11})
    written = orchestrator.start("quick", "written while nobody was here")
    async with orchestrator.worker(site.quick):
        assert await orchestrator.value(written) == "written while nobody was here"
        await until(lambda: orchestrator.committed().offset == 12)


async def test_a_commit_that_fails_at_the_end_does_not_keep_the_worker_in_its_group(monkeypatch: Any) -> None:
    """Symptom: closing stops at a failed commit; the member stays in the group, and its partitions wait for minutes."""
    orchestrator, site = Orchestrator(), Site()
    commit, failures = MemoryMembership.commit, deque([True])
    async with orchestrator.worker(site.quick) as worker:
        await orchestrator.value(orchestrator.start("quick", "before"))
        await until(lambda: orchestrator.committed().offset == 1)

        def failing(self: MemoryMembership, positions: Any) -> None:
            if failures and worker._stop.is_set():
                failures.popleft()
                raise_log_error()
            commit(self, positions)

        monkeypatch.setattr(MemoryMembership, "commit", failing)
        left = worker._parts
    assert not failures
    assert left is not None
    after = orchestrator.worker(site.quick, settings=replace(QUICK, session_timeout_seconds=3600))
    async with after:
        await holds(after)
        assert await orchestrator.value(orchestrator.start("quick", "after")) == "after"


def raise_log_error() -> None:
    from odradek.log import LogUnavailable

    raise LogUnavailable("memory://", "by the test")
