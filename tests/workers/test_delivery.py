"""Tasks are neither lost nor run more often than they must be: hand-over, takeovers, repeats, expiry, shutdown."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from odradek import activity
from odradek.log.namespace import FACTS_KEY, create_namespace, open_namespace, read_to_end
from odradek.log.progress import Run
from odradek.schemas.records import (
    SCHEMA_VERSION,
    DeadLetterRecord,
    InboxRecord,
    NamespaceFacts,
    WorkersRecord,
)
from tests.workers.fake import QUEUE, QUICK, Orchestrator, holds, kill, until
from tests.workers.site import Site

HANDING_OVER = replace(QUICK, hand_over_seconds=0.03)


async def test_a_long_attempt_is_handed_over_and_its_offset_is_finished() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.hold, settings=HANDING_OVER) as worker:
        task = orchestrator.start("hold", "a")
        await until(lambda: orchestrator.committed().offset == 1)
        (started,) = orchestrator.started(task)
        assert started.worker == worker.worker_id
        assert orchestrator.answers() == []
        site.release.set()
        assert await orchestrator.value(task) == "a"
    assert len(orchestrator.started()) == 1


async def test_one_long_task_does_not_hold_back_ten_thousand_short_ones() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.hold, site.quick, settings=HANDING_OVER):
        long = orchestrator.start("hold", "long")
        orchestrator.send(*(orchestrator.task("quick", "q") for _ in range(10_000)))
        await until(lambda: orchestrator.committed().offset == 10_001, seconds=20)
        assert site.calls == {"long": 1, "q": 10_000}
        assert orchestrator.answers(long) == []
        site.release.set()
        assert await orchestrator.value(long) == "long"
    assert len(orchestrator.answers()) == 10_001


async def test_partitions_move_without_running_anything_twice() -> None:
    """A second worker joins: what runs stays and is handed over, what waits runs once, somewhere."""
    orchestrator, site = Orchestrator(partitions=4), Site()
    first = orchestrator.worker(site.hold, max_concurrent_activities=4)
    async with first:
        await holds(first, 4)
        names = [f"{partition}-{n}" for n in range(3) for partition in range(4)]
        tasks = [orchestrator.start("hold", name, partition=int(name[0])) for name in names[:4]]
        await until(lambda: len(site.calls) == 4)
        tasks += [orchestrator.start("hold", name, partition=int(name[0])) for name in names[4:]]
        async with orchestrator.worker(site.hold):
            await until(lambda: len(orchestrator.started()) == 2)
            await until(lambda: len(site.calls) == 8)
            site.release.set()
            for task, name in zip(tasks, names, strict=True):
                assert await orchestrator.value(task) == name
    assert site.calls == dict.fromkeys(names, 1)
    assert len(orchestrator.answers()) == len(names)


async def test_after_a_crash_only_unfinished_tasks_run_again() -> None:
    """Finished ones above the lowest open offset are known from the commit's metadata."""
    orchestrator, site = Orchestrator(), Site()
    dead = orchestrator.worker(site.hold, site.quick)
    run = asyncio.create_task(dead.run())
    await holds(dead)
    orchestrator.start("hold", "a")
    orchestrator.send(*(orchestrator.task("quick", f"q{n}") for n in range(5)))
    open_too = orchestrator.start("hold", "b")
    await until(lambda: orchestrator.committed().finished == (Run(1, 6),))
    assert not orchestrator.committed().clean
    await asyncio.to_thread(kill, dead)
    await asyncio.sleep(0)
    async with orchestrator.worker(site.hold, site.quick):
        await until(lambda: site.calls["a"] == 2 and site.calls["b"] == 2)
        site.release.set()
        assert await orchestrator.value(open_too) == "b"
        await until(lambda: orchestrator.committed().offset == 7)
    assert [site.calls[f"q{n}"] for n in range(5)] == [1] * 5
    await dead.shutdown()
    await asyncio.wait((run,))


async def test_after_a_crash_attempts_are_announced_before_they_run() -> None:
    """A task that kills every process that runs it is counted by the orchestrator, and given up by the queue."""
    orchestrator, site = Orchestrator(), Site()
    seen: list[tuple[int, int]] = []

    @activity.defn
    async def deadly() -> None:
        seen.append((len(orchestrator.started()), orchestrator.committed().offset))

    before = orchestrator.start("deadly")
    async with orchestrator.worker(deadly, site.quick):
        await orchestrator.result(before)
        after = orchestrator.start("quick", "later")
        await orchestrator.result(after)
    assert seen == [(1, 1)]
    assert len(orchestrator.started()) == 1  # what comes after the assignment needs no notice


async def test_after_an_orderly_end_nothing_is_announced() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick) as worker:
        await holds(worker)
        await orchestrator.result(orchestrator.start("quick", "a"))
    task = orchestrator.start("quick", "b")
    async with orchestrator.worker(site.quick):
        await until(lambda: orchestrator.answers(task) or orchestrator.committed().offset == 1)
        assert await orchestrator.value(task) == "b"
        assert not orchestrator.committed().clean
    assert orchestrator.started() == []


async def test_repeated_tasks_are_dropped() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick, site.hold) as worker:
        await holds(worker)
        done = orchestrator.start("quick", "done")
        await orchestrator.result(done)
        running = orchestrator.start("hold", "running")
        await until(lambda: site.calls["running"])
        orchestrator.send(done, running, running)
        second_attempt = replace(done, attempt=2)
        orchestrator.send(second_attempt)
        await orchestrator.result(second_attempt)
        await until(lambda: orchestrator.committed().finished == (Run(2, 3), Run(5, 6)))
        site.release.set()
        await orchestrator.result(running)
        await until(lambda: orchestrator.committed().offset == 6)
    assert site.calls == {"done": 2, "running": 1}
    assert len(orchestrator.answers()) == 3


async def test_an_expired_task_is_refused_and_may_come_again() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick):
        task = orchestrator.task("quick", "late")
        orchestrator.send(replace(task, expires_ms=task.scheduled_ms - 1))
        await until(lambda: orchestrator.committed().offset == 1)
        assert site.calls == {}
        orchestrator.send(task)
        assert await orchestrator.value(task) == "late"
    assert len(orchestrator.inbox()) == 1


async def test_an_unreadable_record_is_set_aside_and_the_partition_goes_on() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick):
        orchestrator.send_bytes(b"\x02not a task")
        task = orchestrator.start("quick", "next")
        await orchestrator.value(task)
        await until(lambda: orchestrator.committed().offset == 2)
    namespace = orchestrator.namespace
    (record,) = read_to_end(orchestrator.log, namespace.topics.dead_letter, 0)
    assert record.value is not None
    letter = namespace.codec.decode(DeadLetterRecord, record.value)
    assert (letter.code, letter.topic, letter.partition, letter.offset) == ("ODR-002", orchestrator.topic, 0, 0)
    assert (letter.key, letter.value) == (b"k", b"\x02not a task")


async def test_a_record_of_a_newer_schema_stops_its_partition_only() -> None:
    orchestrator, site = Orchestrator(partitions=2), Site()
    newer = bytes([2 * (SCHEMA_VERSION + 1)])
    facts = orchestrator.namespace.codec.encode(WorkersRecord(NamespaceFacts(2, SCHEMA_VERSION + 1)))
    appender = orchestrator.log.appender()
    appender.append(orchestrator.namespace.topics.workers, 0, FACTS_KEY, newer + facts[1:])  # the level was raised
    async with orchestrator.worker(site.quick):
        first = orchestrator.start("quick", "before")
        await orchestrator.value(first)
        orchestrator.send_bytes(newer + b"whatever")
        behind = orchestrator.start("quick", "behind")
        other = orchestrator.start("quick", "other", partition=1)
        assert await orchestrator.value(other) == "other"
        await until(lambda: orchestrator.committed(1).offset == 1)
    assert orchestrator.committed(0).offset == 1
    assert orchestrator.answers(behind) == []


async def test_shutdown_waits_for_what_runs_and_leaves_what_waits() -> None:
    orchestrator, site = Orchestrator(), Site()
    grace = timedelta(seconds=5)
    worker = orchestrator.worker(site.hold, max_concurrent_activities=1, graceful_shutdown_timeout=grace)
    async with worker:
        running, waiting = orchestrator.start("hold", "running"), orchestrator.start("hold", "waiting")
        await until(lambda: site.calls["running"])
        stopping = asyncio.create_task(worker.shutdown())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        site.release.set()
        await stopping
    assert await orchestrator.value(running) == "running"
    assert orchestrator.answers(waiting) == []
    assert orchestrator.committed().offset == 1
    async with orchestrator.worker(site.hold):
        assert await orchestrator.value(waiting) == "waiting"
    assert site.calls == {"running": 1, "waiting": 1}


async def test_shutdown_cancels_what_does_not_end_and_answers_for_it() -> None:
    seen: list[object] = []

    @activity.defn
    async def wait() -> None:
        try:
            await activity.wait_for_worker_shutdown()
            assert activity.is_worker_shutdown()
            await asyncio.sleep(60)
        finally:
            seen.append(activity.cancellation_details())

    @activity.defn
    def wait_in_thread() -> None:
        activity.wait_for_worker_shutdown_sync(5)
        while True:
            time.sleep(0.001)

    orchestrator = Orchestrator()
    async with orchestrator.worker(wait, wait_in_thread) as worker:
        tasks = [orchestrator.start("wait"), orchestrator.start("wait_in_thread")]
        await until(lambda: len(worker._running) == 2)
    for task in tasks:
        failure = await orchestrator.failure(task)
        assert (failure.type, failure.non_retryable) == ("WorkerShutdown", False)
    assert seen == [activity.ActivityCancellationDetails(worker_shutdown=True)]
    assert orchestrator.committed().offset == 2


async def test_leases_say_that_the_worker_lives_and_when_it_leaves() -> None:
    orchestrator, site = Orchestrator(), Site()
    async with orchestrator.worker(site.quick, identity="me") as worker:
        await until(lambda: len(orchestrator.leases()) >= 3)
    *alive, goodbye, tombstone = orchestrator.leases()
    assert all(lease and not lease.ended and lease.identity == "me" for lease in alive)
    assert goodbye is not None
    assert (goodbye.ended, goodbye.worker, goodbye.task_queue) == (True, worker.worker_id, QUEUE)
    assert tombstone is None


async def test_leases_go_on_while_user_code_blocks_the_event_loop() -> None:
    orchestrator = Orchestrator()
    counts: list[int] = []

    @activity.defn
    async def block() -> None:
        counts.append(len(orchestrator.leases()))
        time.sleep(0.3)  # noqa: ASYNC251 the mistake that this is about
        counts.append(len(orchestrator.leases()))

    async with orchestrator.worker(block, settings=HANDING_OVER):
        await orchestrator.result(orchestrator.start("block"))
    assert counts[1] > counts[0]
    assert len(orchestrator.started()) == 1


async def test_a_task_of_another_namespace_is_answered_there() -> None:
    orchestrator, site = Orchestrator(), Site()
    create_namespace(orchestrator.log, "other", partitions=2)
    other = open_namespace(orchestrator.log, "other")
    async with orchestrator.worker(site.quick) as worker:
        await holds(worker)
        orchestrator.start("quick", "x", namespace="nowhere")
        orchestrator.start("quick", "there", namespace="other", inbox_partition=1)
        await until(lambda: read_to_end(orchestrator.log, other.topics.inbox, 1))
        (record,) = read_to_end(orchestrator.log, other.topics.inbox, 1)
        assert record.value is not None
        body = other.codec.decode(InboxRecord, record.value).body
        assert body.worker == worker.worker_id  # type: ignore[union-attr]
        await until(lambda: len(read_to_end(orchestrator.log, other.topics.workers, 0)) > 1)
        await until(lambda: orchestrator.committed().offset == 2)
    assert orchestrator.inbox() == []


async def test_memory_stays_flat_while_tasks_pile_up() -> None:
    orchestrator, site = Orchestrator(partitions=2), Site()
    settings = replace(QUICK, prefetch_bytes_max=20_000)
    async with orchestrator.worker(site.hold, site.quick, max_concurrent_activities=2, settings=settings) as worker:
        for partition in range(2):
            orchestrator.start("hold", "h", partition=partition)
        orchestrator.send(*(orchestrator.task("quick", "x" * 2_000) for _ in range(200)))
        await until(lambda: worker._parts and worker._parts.execution._waiting)
        await asyncio.sleep(0.05)
        assert worker._parts is not None
        assert len(worker._parts.execution._waiting) <= 20
        site.release.set()
        await until(lambda: orchestrator.committed().offset + orchestrator.committed(1).offset == 202)


async def test_a_worker_that_cannot_go_on_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    orchestrator, site = Orchestrator(), Site()
    worker = orchestrator.worker(site.quick)
    run = asyncio.create_task(worker.run())
    await until(lambda: worker._parts)
    assert worker._parts is not None

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker._parts.fetcher, "_read_notices", broken)
    with pytest.raises(ZeroDivisionError):
        await run
    assert not worker.is_running
