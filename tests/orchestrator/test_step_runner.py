"""Steps and local activities in a real process: Client and Worker on a log in memory."""

from __future__ import annotations

import asyncio
import functools
import threading
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, claim_again_seconds=0.05, session_timeout_seconds=1)
SOON = {"start_to_close_timeout": timedelta(seconds=20)}
AT_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=1))
attempts: dict[str, int] = {}
begun, stopped = threading.Event(), threading.Event()


async def on_a_loop(n: int) -> tuple[int, str]:
    await asyncio.sleep(0)
    return n, threading.current_thread().name


def in_a_thread(n: int) -> tuple[int, str]:
    return n, threading.current_thread().name


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity.defn
    async def greet(self, whom: str) -> str:
        info = activity.info()
        activity.heartbeat("no harm")
        activity.logger.debug("greeting")
        return f"{self.name} greets {whom}: {info.activity_type}, {info.is_local}, {info.attempt}"


@activity.defn
def flaky(key: str, until: int) -> int:
    attempts[key] = attempts.get(key, 0) + 1
    assert activity.info().attempt == attempts[key]
    if attempts[key] < until:
        raise ValueError(f"attempt {attempts[key]}")
    return attempts[key]


@activity.defn(name="renamed")
class Counting:
    async def __call__(self, n: int) -> int:
        return n + 1


async def hang() -> None:
    begun.set()
    try:
        await asyncio.sleep(3600)
    finally:
        stopped.set()


def hang_in_a_thread() -> str:
    activity.wait_for_cancelled_sync(30)
    stopped.set()
    return "told"


@workflow.defn
class Kinds:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        return {
            "loop": await workflow.step(on_a_loop, 1),
            "thread": await workflow.step(in_a_thread, 2),
            "inline": await workflow.step(in_a_thread, 3, inline=True),
            "lambda": await workflow.step(lambda: in_a_thread(4), name="four"),
            "lambda of async": await workflow.step(lambda: on_a_loop(5), name="five"),
            "partial": await workflow.step(functools.partial(in_a_thread, n=6)),
            "decorated": await workflow.step(flaky, f"{workflow.info().run_id}-decorated", 1),
        }


@workflow.defn
class Locals:
    @workflow.run
    async def run(self) -> list[Any]:
        handle = workflow.start_local_activity(Counting, 41, **SOON)
        key = workflow.info().run_id
        return [
            await workflow.execute_local_activity_method(Shop.greet, "Gregor", **SOON),
            await workflow.execute_local_activity("greet", "Josef", **SOON),
            await workflow.execute_local_activity(flaky, args=[key, 3], retry_policy=AT_ONCE, **SOON),
            await handle,
        ]


@workflow.defn
class Ends:
    @workflow.run
    async def run(self, which: str) -> str:
        try:
            return str(await getattr(self, which)())
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause}, {error.retry_state}"

    async def refused(self) -> Any:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=1), non_retryable_error_types=["ValueError"])
        return await workflow.step(flaky, f"{workflow.info().run_id}-refused", 99, retry_policy=policy)

    async def exhausted(self) -> Any:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=3)
        return await workflow.step(flaky, f"{workflow.info().run_id}-exhausted", 99, retry_policy=policy, inline=True)

    async def inline_retried(self) -> Any:
        return await workflow.step(flaky, f"{workflow.info().run_id}-inline", 3, retry_policy=AT_ONCE, inline=True)

    async def late(self) -> Any:
        once = RetryPolicy(maximum_attempts=1)
        return await workflow.step(hang, start_to_close_timeout=timedelta(seconds=0.1), retry_policy=once)

    async def late_altogether(self) -> Any:
        return await workflow.step(
            hang_in_a_thread,
            start_to_close_timeout=timedelta(seconds=0.1),
            schedule_to_close_timeout=timedelta(seconds=0.5),
        )

    async def unknown(self) -> Any:
        once = RetryPolicy(maximum_attempts=1)
        return await workflow.execute_local_activity("nowhere", retry_policy=once, **SOON)

    async def large(self) -> Any:
        return await workflow.step(lambda: "x" * 3_000_000, name="large")

    async def given_up(self) -> Any:
        try:
            await asyncio.wait_for(workflow.step(hang), 0.1)
        except TimeoutError:
            return "given up"

    async def told(self) -> Any:
        kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        handle = asyncio.create_task(workflow.step(hang_in_a_thread, cancellation_type=kind))
        await asyncio.sleep(0.1)
        handle.cancel()
        return await handle

    async def cancelled_local(self) -> Any:
        handle = workflow.start_local_activity("greet", "nobody", **SOON)
        handle.cancel()
        other = workflow.start_local_activity(flaky, args=[workflow.info().run_id, 99], **SOON)
        await asyncio.sleep(0.01)
        other.cancel()
        return await other


@workflow.defn
class Forever:
    @workflow.run
    async def run(self) -> None:
        await workflow.step(hang, start_to_close_timeout=None)


def serve(main: Callable[[Client], Awaitable[None]]) -> None:
    async def served() -> None:
        shop = Shop("Samsa")
        async with (
            await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
            Worker(
                client,
                task_queue="q",
                workflows=[Kinds, Locals, Ends, Forever],
                activities=[shop.greet, flaky, Counting()],
                orchestrator_settings=SETTINGS,
            ),
        ):
            await main(client)

    begun.clear()
    stopped.clear()
    asyncio.run(asyncio.wait_for(served(), 60))


def test_functions_run_where_their_kind_belongs() -> None:
    async def main(client: Client) -> None:
        found = await client.execute_workflow(Kinds.run, id="kinds", task_queue="q")
        assert found.pop("decorated") == 1
        assert [number for number, _ in found.values()] == [1, 2, 3, 4, 5, 6]
        where = {name: thread.rsplit("_", 1)[0] for name, (_, thread) in found.items()}
        loop, pool = "MainThread", "odradek-step"
        assert where == {
            "loop": loop, "thread": pool, "inline": "odradek-orchestrator", "lambda": pool, "lambda of async": loop,
            "partial": pool,
        }  # fmt: skip

    serve(main)


def test_local_activities_are_found_by_function_method_class_and_name() -> None:
    async def main(client: Client) -> None:
        assert await client.execute_workflow(Locals.run, id="locals", task_queue="q") == [
            "Samsa greets Gregor: greet, True, 1",
            "Samsa greets Josef: greet, True, 1",
            3,
            42,
        ]

    serve(main)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("refused", "ApplicationError: ValueError: attempt 1, non-retryable-failure"),
        ("exhausted", "ApplicationError: ValueError: attempt 3, maximum-attempts-reached"),
        ("inline_retried", "3"),
        ("late", 'TimeoutError: step "hang" took longer than its start-to-close timeout of 0.1 s, maximum-'),
        ("late_altogether", "timeout"),
        ("unknown", "ODR-142"),
        ("large", "PayloadTooLarge: ODR-105"),
        ("given_up", "given up"),
        ("told", "told"),
        ("cancelled_local", "CancelledError: Cancelled, cancel-requested"),
    ],
)  # fmt: skip
def test_how_steps_end(which: str, expected: str) -> None:
    async def main(client: Client) -> None:
        result = await client.execute_workflow(Ends.run, which, id=which, task_queue="q")
        assert expected in result
        if which in ("late", "given_up", "told"):
            assert await asyncio.to_thread(stopped.wait, 10), "the function has heard of it"

    serve(main)


def test_a_step_that_lasts_holds_up_neither_others_nor_the_end_of_the_process() -> None:
    async def main(client: Client) -> None:
        handle = await client.start_workflow(Forever.run, id="forever", task_queue="q")
        assert (await client.execute_workflow(Kinds.run, id="kinds", task_queue="q"))["decorated"] == 1
        assert begun.is_set()
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING

    serve(main)
    assert stopped.is_set()


def test_cancelling_a_run_stops_its_step() -> None:
    async def main(client: Client) -> None:
        handle = await client.start_workflow(Forever.run, id="forever", task_queue="q")
        assert await asyncio.to_thread(begun.wait, 10)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert await asyncio.to_thread(stopped.wait, 10)

    serve(main)
