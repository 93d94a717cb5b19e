"""Activities in the processes of a pool: results, failures, facts, heartbeats, cancellation, a process that dies."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta

import pytest

from odradek.schemas.records import ActivityTimeouts
from odradek.workers import ActivityWorker, SharedStateManager
from tests.workers import process_activities as activities
from tests.workers.fake import Orchestrator, until

ALL = (
    activities.where,
    activities.facts,
    activities.beat_and_fail,
    activities.fail_badly,
    activities.until_told,
    activities.until_shutdown,
    activities.forever,
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def shared() -> Iterator[SharedStateManager]:
    with multiprocessing.get_context("spawn").Manager() as manager:
        yield SharedStateManager.create_from_multiprocessing(manager, ThreadPoolExecutor(1))


async def test_in_other_processes(pool: Executor) -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(*ALL, activity_executor=pool):
        tasks = [orchestrator.start("where", number) for number in range(20)]
        values = [await orchestrator.value(task) for task in tasks]
        assert [number for _, number in values] == list(range(20))
        assert os.getpid() not in {process for process, _ in values}
        facts = orchestrator.start("facts", attempt=3)
        assert await orchestrator.value(facts) == ["facts", 3, [], True]


async def test_failures_and_heartbeats_come_back(pool: Executor, shared: SharedStateManager) -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(*ALL, activity_executor=pool, shared_state_manager=shared):
        task = orchestrator.start("beat_and_fail")
        failure = await orchestrator.failure(task)
        assert (failure.message, failure.type) == ("half-way", "Half")
        assert orchestrator.converter.payload_converter.from_payloads(failure.details, None) == [{"page": 4}]
        stack = (await orchestrator.result(task)).failure
        assert stack is not None
        assert "in beat_and_fail" in stack.stack_trace
        details = orchestrator.heartbeats(task)[-1].details
        assert orchestrator.converter.payload_converter.from_payloads(details, None) == [4]
        again = orchestrator.start("beat_and_fail", heartbeat_details=details)
        assert await orchestrator.value(again) == "from 4"
        odd = await orchestrator.failure(orchestrator.start("fail_badly"))
        assert (odd.message, odd.type) == ("this and that", "Unpicklable")
        assert (await orchestrator.value(orchestrator.start("where", 1)))[1] == 1, "the pool is whole"


async def test_a_cancellation_is_a_flag_there(pool: Executor, shared: SharedStateManager) -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(*ALL, activity_executor=pool, shared_state_manager=shared) as worker:
        task = orchestrator.start("until_told")
        await until(lambda: orchestrator.heartbeats(task))
        orchestrator.revoke(task, worker, "cancelled")
        assert await orchestrator.value(task) == "cancelled: True, True"


async def test_a_time_limit_does_not_wait_for_the_process(pool: Executor, shared: SharedStateManager) -> None:
    orchestrator = Orchestrator()
    async with orchestrator.worker(*ALL, activity_executor=pool, shared_state_manager=shared):
        task = orchestrator.start("forever", timeouts=ActivityTimeouts(start_to_close_ms=1500))
        failure = await orchestrator.failure(task)
        assert "longer than its start-to-close timeout of 1.5 s" in str(failure)


async def test_the_end_of_the_worker_is_told(pool: Executor, shared: SharedStateManager) -> None:
    orchestrator = Orchestrator()
    grace = timedelta(seconds=10)
    async with orchestrator.worker(
        *ALL, activity_executor=pool, shared_state_manager=shared, graceful_shutdown_timeout=grace
    ):
        task = orchestrator.start("until_shutdown")
        await until(lambda: orchestrator.heartbeats(task))
    assert await orchestrator.value(task) == "shutdown: True"


async def test_a_process_that_dies_fails_the_attempt_and_ends_the_worker() -> None:
    orchestrator = Orchestrator()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        worker: ActivityWorker = orchestrator.worker(activities.die, activity_executor=pool)
        task = orchestrator.start("die")
        with pytest.raises(BrokenProcessPool):
            await worker.run()
        assert (await orchestrator.failure(task)).type == "BrokenProcessPool"


async def test_as_many_at_a_time_as_the_pool_can_run() -> None:
    orchestrator = Orchestrator()
    with ThreadPoolExecutor(3) as pool:
        assert orchestrator.worker(activities.where, activity_executor=pool)._concurrent_max == 3
        assert orchestrator.worker(activities.where)._concurrent_max == 100
        given: ActivityWorker = orchestrator.worker(
            activities.where, activity_executor=pool, max_concurrent_activities=5
        )
        assert given._concurrent_max == 5
