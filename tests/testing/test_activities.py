"""Activities alone, in an ``ActivityEnvironment``; and activities put in the place of others, by name."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.exceptions import CancelledError
from odradek.testing import ActivityEnvironment, WorkflowEnvironment
from odradek.testing.plugin import WorkerFactory


@activity.defn
async def counts(upto: int) -> list[int]:
    for number in range(upto):
        activity.heartbeat("at", number)
    return list(range(upto))


@activity.defn
def counts_in_thread(upto: int, factor: int = 1) -> list[int]:
    for number in range(upto):
        activity.heartbeat("at", number)
    return [number * factor for number in range(upto)]


@activity.defn
async def facts() -> tuple[int, str | None, bool]:
    return activity.info().attempt, activity.info().workflow_id, activity.in_activity()


class Calling:
    @activity.defn(name="calling")
    async def __call__(self, word: str) -> str:
        return word * activity.info().attempt

    @activity.defn
    def method(self, word: str) -> str:
        return f"{word} of {activity.info().activity_id}"


async def test_coroutines_and_threads_heartbeat_and_return() -> None:
    env = ActivityEnvironment()
    beats: list[tuple[Any, ...]] = []
    env.on_heartbeat = lambda *details: beats.append(details)
    assert await env.run(counts, 2) == [0, 1]
    assert env.run(counts_in_thread, 2, factor=3) == [0, 3]
    assert beats == [("at", 0), ("at", 1)] * 2
    assert not activity.in_activity()


async def test_facts_can_be_chosen() -> None:
    env = ActivityEnvironment()
    assert await env.run(facts) == (1, "test", True)
    env.info = dataclasses.replace(env.info, attempt=3, workflow_id="order-77")
    assert await env.run(facts) == (3, "order-77", True)
    assert await env.run(Calling(), "ab") == "ababab"
    assert env.run(Calling().method, "word") == "word of test"


async def test_a_plain_function_runs_too() -> None:
    assert ActivityEnvironment().run(lambda: activity.info().attempt) == 1


async def test_a_coroutine_is_cancelled_and_says_why() -> None:
    seen: list[object] = []

    @activity.defn
    async def waits() -> str:
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            seen.append(activity.is_cancelled())
            seen.append(activity.cancellation_details())
            raise
        return "never"

    env = ActivityEnvironment()
    running = asyncio.create_task(env.run(waits))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert seen == [True, activity.ActivityCancellationDetails(cancel_requested=True)]


async def test_a_coroutine_may_go_on_when_it_is_cancelled() -> None:
    @activity.defn
    async def tidies_up() -> str:
        await activity.wait_for_cancelled()
        return "tidy"

    @activity.defn
    async def swallows() -> str:
        try:
            await asyncio.Future()
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    env = ActivityEnvironment()
    running = asyncio.create_task(env.run(swallows))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.cancel(activity.ActivityCancellationDetails(timed_out=True))
    assert await running == "swallowed"
    assert await env.run(tidies_up) == "tidy"


@pytest.mark.parametrize("shielded", [False, True])
def test_a_thread_is_cancelled_by_an_exception_unless_it_is_shielded(shielded: bool) -> None:
    began, go_on, seen = threading.Event(), threading.Event(), list[str]()

    @activity.defn
    def waits() -> None:
        try:
            if shielded:
                with activity.shield_thread_cancel_exception():
                    began.set()
                    go_on.wait(20)
                    seen.append("shielded")
                seen.append("not reached")
            began.set()
            while not go_on.wait(0.01):
                pass
            threading.Event().wait(20)
        except CancelledError:
            seen.append("cancelled")
            raise

    env = ActivityEnvironment()
    raised: list[BaseException] = []

    def run() -> None:
        try:
            env.run(waits)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(20)
    env.cancel()
    if shielded:
        go_on.set()
    thread.join(20)
    assert len(raised) == 1
    assert seen == (["shielded", "cancelled"] if shielded else ["cancelled"])


def test_a_thread_that_wants_no_exception_sees_the_flag() -> None:
    began = threading.Event()

    @activity.defn(no_thread_cancel_exception=True)
    def waits() -> bool:
        began.set()
        activity.wait_for_cancelled_sync(20)
        return activity.is_cancelled()

    env = ActivityEnvironment()
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(env.run(waits)))
    thread.start()
    assert began.wait(20)
    env.cancel()
    thread.join(20)
    assert found == [True]


async def test_the_workers_shutdown_is_heard_of() -> None:
    @activity.defn
    async def leaves() -> bool:
        before = activity.is_worker_shutdown()
        await activity.wait_for_worker_shutdown()
        return not before and activity.is_worker_shutdown() and not activity.is_cancelled()

    env = ActivityEnvironment()
    running = asyncio.create_task(env.run(leaves))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    env.worker_shutdown()
    assert await running


async def test_the_client_is_the_one_that_was_given() -> None:
    @activity.defn
    async def client_of() -> Any:
        return activity.client()

    async with await Client.connect("memory://activity-environment", lazy=True) as client:
        assert await ActivityEnvironment(client=client).run(client_of) is client
    with pytest.raises(RuntimeError, match="ODR-127"):
        await ActivityEnvironment().run(client_of)


# --------------------------------------------------------------------------------------------------- others by name


@dataclass
class Order:
    item: str
    cents: int


@dataclass
class Receipt:
    order: Order
    number: str


@activity.defn(name="charge_card")
async def charge_card(order: Order) -> Receipt:
    raise AssertionError("a real card")


@workflow.defn
class Buy:
    @workflow.run
    async def run(self, order: Order) -> Receipt:
        receipt: Receipt = await workflow.execute_activity(
            charge_card, order, start_to_close_timeout=timedelta(seconds=20)
        )
        assert isinstance(receipt, Receipt)
        return receipt


async def test_an_activity_of_the_same_name_takes_its_place_with_its_types(
    odradek_env: WorkflowEnvironment, odradek_worker: WorkerFactory
) -> None:
    charged: list[Order] = []

    @activity.defn(name="charge_card")
    def charge_nobody(order: Order) -> Receipt:
        charged.append(order)
        return Receipt(order, "r-1")

    order = Order("chair", 9900)
    async with odradek_worker(workflows=[Buy], activities=[charge_nobody]) as worker:
        receipt = await odradek_env.client.execute_workflow(Buy.run, order, id="w", task_queue=worker.task_queue)
    assert receipt == Receipt(order, "r-1")
    assert charged == [order]
