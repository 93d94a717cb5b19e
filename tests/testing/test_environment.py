"""Environments that skip time: what is skipped, what is not, and what they cost."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, exceptions, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError, TimeoutType
from odradek.service import RPCError
from odradek.testing import WorkflowEnvironment
from odradek.testing.plugin import WorkerFactory
from odradek.worker import Worker

DAY = timedelta(days=1)
SOON = timedelta(seconds=20)
QUICKLY = timedelta(seconds=10)
"""Far less than what is skipped, far more than what a loaded machine needs."""


@activity.defn
async def add_one(value: int) -> int:
    return value + 1


@activity.defn
async def at_fifth_attempt() -> int:
    if activity.info().attempt < 5:
        raise ApplicationError("not yet")
    return activity.info().attempt


@activity.defn
async def dies() -> None:
    await asyncio.sleep(3600)


@activity.defn
async def takes_a_while(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@workflow.defn
class TwoWeeks:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self) -> float:
        began = workflow.time()
        for _ in range(14):
            await workflow.sleep(DAY)
            await workflow.execute_activity(add_one, 1, start_to_close_timeout=SOON)
        return workflow.time() - began

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(f"{text} at {workflow.now():%Y-%m-%d}")

    @workflow.query
    def noted(self) -> list[str]:
        return self.notes


@workflow.defn
class Retrying:
    @workflow.run
    async def run(self) -> tuple[int, float]:
        began = workflow.time()
        policy = RetryPolicy(initial_interval=timedelta(hours=1))
        attempts = await workflow.execute_activity(at_fifth_attempt, start_to_close_timeout=SOON, retry_policy=policy)
        return attempts, workflow.time() - began


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, limit_days: int) -> str:
        try:
            await workflow.wait_condition(lambda: self.go, timeout=timedelta(days=limit_days))
        except TimeoutError:
            return "timed out"
        return "signalled"

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@workflow.defn
class Racing:
    """A slow activity against a timer that is due long after it."""

    @workflow.run
    async def run(self) -> str:
        slow = workflow.start_activity(takes_a_while, 0.3, start_to_close_timeout=timedelta(minutes=5))
        timer = asyncio.create_task(asyncio.sleep(3600))
        done, _ = await workflow.wait([slow, timer], return_when=asyncio.FIRST_COMPLETED)
        return "activity" if slow in done else "timer"


@workflow.defn
class Silent:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            dies,
            start_to_close_timeout=timedelta(hours=2),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@workflow.defn
class Buggy:
    @workflow.run
    async def run(self) -> float:
        await workflow.sleep(1)
        return 1 / 0


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, child: str) -> str:
        result: str = await workflow.execute_child_workflow(child, 30, id=f"{workflow.info().workflow_id}-child")
        return result


@workflow.defn
class BuggyChild:
    @workflow.run
    async def run(self, days: int) -> str:
        raise LookupError(days)


ALL: list[type] = [TwoWeeks, Retrying, Waiting, Racing, Silent, Buggy, Parent, BuggyChild]


async def test_two_weeks_take_milliseconds(odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory) -> None:
    async with odradek_worker(workflows=ALL, activities=[add_one]) as worker:
        before, began = await odradek_env.get_current_time(), time.monotonic()
        seconds = await odradek_env.client.execute_workflow(TwoWeeks.run, id="w", task_queue=worker.task_queue)
        assert 14 * 86_400 <= seconds < 14 * 86_400 + 60
        assert time.monotonic() - began < QUICKLY.total_seconds()
        assert await odradek_env.get_current_time() - before >= timedelta(days=14)


async def test_backoffs_between_attempts_are_skipped(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL, activities=[at_fifth_attempt]) as worker:
        attempts, seconds = await odradek_env.client.execute_workflow(
            Retrying.run, id="w", task_queue=worker.task_queue
        )
    assert attempts == 5
    assert seconds >= (1 + 2 + 4 + 8) * 3600


@pytest.mark.parametrize("inline", [True, False])
async def test_backoffs_of_steps_are_skipped(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory, inline: bool
) -> None:
    tries: list[int] = []

    def third_time() -> int:
        tries.append(len(tries))
        if len(tries) < 3:
            raise ApplicationError("not yet")
        return len(tries)

    async def third_time_async() -> int:
        return third_time()

    @workflow.defn(name="Stepping")
    class Stepping:
        @workflow.run
        async def run(self) -> tuple[int, float]:
            began = workflow.time()
            policy = RetryPolicy(initial_interval=timedelta(days=1), backoff_coefficient=1.0)
            function = third_time if inline else third_time_async
            return await workflow.step(function, retry_policy=policy), workflow.time() - began

    async with odradek_worker(workflows=[Stepping]) as worker:
        result = await odradek_env.client.execute_workflow("Stepping", id="w", task_queue=worker.task_queue)
    assert result[0] == 3
    assert 2 * 86_400 <= result[1] < 3 * 86_400


async def test_no_time_is_skipped_while_an_activity_runs(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL, activities=[takes_a_while]) as worker:
        assert await odradek_env.client.execute_workflow(Racing.run, id="w", task_queue=worker.task_queue) == "activity"


async def test_time_stands_at_the_hosts_pace_until_a_result_is_awaited(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        handle = await odradek_env.client.start_workflow(Waiting.run, 30, id="w", task_queue=worker.task_queue)
        before = await odradek_env.get_current_time()
        await handle.describe()
        assert await odradek_env.get_current_time() - before < timedelta(hours=1)
        await handle.signal(Waiting.proceed)
        assert await handle.result() == "signalled"
        assert await odradek_env.get_current_time() - before < timedelta(hours=1)


async def test_a_limit_that_passes_is_skipped_to(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        assert (
            await odradek_env.client.execute_workflow(Waiting.run, 30, id="w", task_queue=worker.task_queue)
            == "timed out"
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await odradek_env.client.execute_workflow(
                Waiting.run, 30, id="w2", task_queue=worker.task_queue, run_timeout=timedelta(days=3)
            )
        assert isinstance(failed.value.cause, exceptions.TimeoutError)


async def test_sleep_lets_due_timers_fire_on_its_way(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL, activities=[add_one]) as worker:
        handle = await odradek_env.client.start_workflow(TwoWeeks.run, id="w", task_queue=worker.task_queue)
        first = await odradek_env.get_current_time()
        await odradek_env.sleep(timedelta(days=3.5))
        assert timedelta(days=3.5) <= await odradek_env.get_current_time() - first < timedelta(days=3.6)
        await handle.signal(TwoWeeks.note, "half a week")
        assert await handle.query(TwoWeeks.noted) == [f"half a week at {first + timedelta(days=3.5):%Y-%m-%d}"]
        await odradek_env.sleep(86_400)
        await handle.signal(TwoWeeks.note, "and a day")
        assert len(await handle.query(TwoWeeks.noted)) == 2
        history = await handle.fetch_history()
        fired = [event for event in history.events if type(event.body).__name__ == "TimerFired"]
        assert len(fired) == 4
        assert await handle.result() >= 14 * 86_400


async def test_sleep_works_before_any_worker_is_there(odradek_env: WorkflowEnvironment) -> None:
    before = await odradek_env.get_current_time()
    await odradek_env.sleep(DAY)
    assert await odradek_env.get_current_time() - before >= DAY


async def test_automatic_skipping_can_be_switched_off(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        handle = await odradek_env.client.start_workflow(Waiting.run, 1, id="w", task_queue=worker.task_queue)
        with odradek_env.auto_time_skipping_disabled():
            before = await odradek_env.get_current_time()
            result = asyncio.create_task(handle.result())
            await handle.describe()
            await asyncio.sleep(0.05)
            assert not result.done()
            assert await odradek_env.get_current_time() - before < timedelta(hours=1)
            await odradek_env.sleep(DAY)
            assert await result == "timed out"


async def test_two_environments_have_clocks_of_their_own() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping() as one,
        await WorkflowEnvironment.start_time_skipping() as other,
        Worker(one.client, task_queue="q", workflows=ALL),
        Worker(other.client, task_queue="q", workflows=ALL),
    ):
        handle = await other.client.start_workflow(Waiting.run, 300, id="w", task_queue="q")
        assert await one.client.execute_workflow(Waiting.run, 300, id="w", task_queue="q") == "timed out"
        assert await one.get_current_time() - await other.get_current_time() > timedelta(days=299)
        assert (await handle.describe()).status is not None
        assert await handle.result() == "timed out"


async def test_heartbeat_timeouts_come_at_the_hosts_pace(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    """A running attempt holds the clock, and is still found silent."""
    async with odradek_worker(workflows=ALL, activities=[dies]) as worker:
        before = await odradek_env.get_current_time()
        with pytest.raises(WorkflowFailureError) as failed:
            await odradek_env.client.execute_workflow(Silent.run, id="w", task_queue=worker.task_queue)
        assert isinstance(failed.value.cause, ActivityError)
        timeout = failed.value.cause.cause
        assert isinstance(timeout, exceptions.TimeoutError)
        assert timeout.type is TimeoutType.HEARTBEAT
        assert await odradek_env.get_current_time() - before < timedelta(hours=1)


async def test_a_bug_ends_the_wait_for_a_result_and_shows_itself(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        with pytest.raises(RPCError, match="ODR-160") as raised:
            await odradek_env.client.execute_workflow(Buggy.run, id="w", task_queue=worker.task_queue)
        assert "ZeroDivisionError" in str(raised.value)
        assert "return 1 / 0" in str(raised.value)
        assert "test_environment.py" in str(raised.value)
        with pytest.raises(RPCError, match="ODR-160"):
            await odradek_env.client.get_workflow_handle("w").result()
        await odradek_env.client.get_workflow_handle("w").terminate()


async def test_a_bug_in_a_child_ends_the_wait_for_its_parents(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        queue = worker.task_queue
        with pytest.raises(RPCError, match="LookupError: 30"):
            await odradek_env.client.execute_workflow(Parent.run, "BuggyChild", id="w", task_queue=queue)
        with pytest.raises(RPCError, match="LookupError: 30"):
            await odradek_env.client.get_workflow_handle("w").result()
        assert (
            await odradek_env.client.execute_workflow(Parent.run, "Waiting", id="w2", task_queue=queue) == "timed out"
        )


async def test_an_unknown_type_ends_the_wait_and_says_which_are_hosted(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=[Waiting]) as worker:
        with pytest.raises(RPCError, match="hosted: Waiting"):
            await odradek_env.client.execute_workflow("Other", id="w", task_queue=worker.task_queue)


async def test_a_parked_run_does_not_drive_the_clock(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    """Its retries are no reason to skip: nothing would come of them."""
    async with odradek_worker(workflows=ALL) as worker:
        queue = worker.task_queue
        bug = await odradek_env.client.start_workflow(Buggy.run, id="bug", task_queue=queue)
        with pytest.raises(RPCError):
            await bug.result()
        handle = await odradek_env.client.start_workflow(Waiting.run, 2, id="w", task_queue=queue)
        before = await odradek_env.get_current_time()
        assert await handle.result() == "timed out"
        assert await odradek_env.get_current_time() - before < timedelta(days=2, hours=1)


async def test_workers_of_one_environment_share_its_workflows(odradek_env: WorkflowEnvironment) -> None:
    """One of them owns the log's only partition; the other's types run nevertheless, until it is gone."""
    client = odradek_env.client
    async with (
        Worker(client, task_queue="a", workflows=[Waiting]),
        Worker(client, task_queue="b", workflows=[Retrying], activities=[at_fifth_attempt]),
    ):
        assert await client.execute_workflow(Waiting.run, 1, id="w", task_queue="a") == "timed out"
        assert (await client.execute_workflow(Retrying.run, id="r", task_queue="b"))[0] == 5


async def test_a_run_goes_on_when_its_worker_is_replaced(odradek_env: WorkflowEnvironment) -> None:
    client = odradek_env.client
    async with Worker(client, task_queue="q", workflows=[Waiting]):
        handle = await client.start_workflow(Waiting.run, 400, id="w", task_queue="q")
    async with Worker(client, task_queue="q", workflows=[Waiting]):
        assert await handle.result() == "timed out"


async def test_a_closed_run_is_known_years_later(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    async with odradek_worker(workflows=ALL) as worker:
        handle = await odradek_env.client.start_workflow(Waiting.run, 1, id="w", task_queue=worker.task_queue)
        assert await handle.result() == "timed out"
        await odradek_env.sleep(timedelta(days=3650))
        assert await handle.result() == "timed out"
        assert (await odradek_env.get_current_time()).year >= datetime.now(UTC).year + 9


def test_hundreds_of_environments_leave_nothing_behind() -> None:
    async def once() -> None:
        async with (
            await WorkflowEnvironment.start_time_skipping() as env,
            Worker(env.client, task_queue="q", workflows=ALL, activities=[add_one]),
        ):
            await env.client.execute_workflow(Waiting.run, 1, id="w", task_queue="q")

    async def main() -> None:
        await once()
        began = time.monotonic()
        before = threading.active_count()
        for _ in range(200):
            await once()
        assert threading.active_count() <= before + 2  # a pool of the event loop may have grown
        assert time.monotonic() - began < 60

    asyncio.run(main())


async def test_an_environment_around_a_client_skips_nothing_and_leaves_it_open() -> None:
    async with await Client.connect("memory://around-a-client") as client:
        async with WorkflowEnvironment.from_client(client) as env:
            assert not env.supports_time_skipping
            assert env.client is client
            before = await env.get_current_time()
            await env.sleep(0.01)
            assert timedelta() < await env.get_current_time() - before < QUICKLY
            with env.auto_time_skipping_disabled():
                pass
        assert not client.connection.is_closed


async def test_a_local_environment_is_durable(tmp_path: Path) -> None:
    filename = str(tmp_path / "kept.db")
    async with (
        await WorkflowEnvironment.start_local(db_filename=filename, ui=True) as env,
        Worker(env.client, task_queue="q", workflows=ALL, activities=[add_one]),
    ):
        assert not env.supports_time_skipping
        handle = await env.client.start_workflow(Waiting.run, 1, id="w", task_queue="q")
        await handle.signal(Waiting.proceed)
        assert await handle.result() == "signalled"
    async with (
        await WorkflowEnvironment.start_local(dev_server_database_filename=filename) as again,
        Worker(again.client, task_queue="q", workflows=ALL),
    ):
        assert await again.client.get_workflow_handle("w").result() == "signalled"


async def test_a_local_environment_without_a_name_leaves_no_file() -> None:
    env = await WorkflowEnvironment.start_local()
    folder = Path(env.client.connection.log.address.removeprefix("sqlite:///")).parent
    assert folder.is_dir()
    await env.shutdown()
    assert not folder.exists()


@pytest.mark.parametrize("make", [WorkflowEnvironment.start_time_skipping, WorkflowEnvironment.start_local])
async def test_an_option_that_nobody_knows_is_an_error(make: Any) -> None:
    with pytest.raises(TypeError, match="moon_phase"):
        await make(moon_phase=1)
