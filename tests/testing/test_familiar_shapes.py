"""Tests in the shapes that people know from elsewhere: only their imports are ours."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError
from odradek.testing import ActivityEnvironment, WorkflowEnvironment
from odradek.worker import Replayer, Worker

with workflow.unsafe.imports_passed_through():
    import json

# ------------------------------------------------------------------------------------------- an activity is replaced


@dataclass
class Greeting:
    salutation: str
    name: str


@activity.defn
def compose(greeting: Greeting) -> str:
    return f"{greeting.salutation}, {greeting.name}!"


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        workflow.logger.info("greeting %s", name)
        greeting: str = await workflow.execute_activity(
            compose, Greeting("Hello", name), start_to_close_timeout=timedelta(seconds=10)
        )
        return greeting


async def test_a_whole_workflow_with_a_thread_pool() -> None:
    queue = str(uuid.uuid4())
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(
            env.client,
            task_queue=queue,
            workflows=[Greet],
            activities=[compose],
            activity_executor=ThreadPoolExecutor(5),
        ),
    ):
        result = await env.client.execute_workflow(Greet.run, "Ada", id=str(uuid.uuid4()), task_queue=queue)
        assert result == "Hello, Ada!"


async def test_the_same_with_a_mock() -> None:
    @activity.defn(name="compose")
    async def compose_mocked(greeting: Greeting) -> str:
        return f"{greeting.salutation}, {greeting.name} from a mock!"

    queue = str(uuid.uuid4())
    async with (
        await WorkflowEnvironment.start_time_skipping() as env,
        Worker(env.client, task_queue=queue, workflows=[Greet], activities=[compose_mocked]),
    ):
        result = await env.client.execute_workflow(Greet.run, "Ada", id=str(uuid.uuid4()), task_queue=queue)
        assert result == "Hello, Ada from a mock!"


def test_the_activity_alone() -> None:
    assert ActivityEnvironment().run(compose, Greeting("Hi", "Ada")) == "Hi, Ada!"


# ------------------------------------------------------------------------------------ fixtures of the project's own


@pytest.fixture
def env() -> Any:
    environment = asyncio.run(WorkflowEnvironment.start_time_skipping())
    yield environment
    asyncio.run(environment.shutdown())


@pytest.fixture
def client(env: WorkflowEnvironment) -> Client:
    return env.client


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            "refuse",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_attempts=2, maximum_interval=timedelta(seconds=2)),
        )


async def test_failures_are_chained(client: Client) -> None:
    @activity.defn(name="refuse")
    async def refuse() -> None:
        raise ApplicationError("no", "with details", type="Refusal")

    async with Worker(client, task_queue="tq", workflows=[Failing], activities=[refuse]):
        with pytest.raises(WorkflowFailureError) as err:
            await client.execute_workflow(Failing.run, id="wf", task_queue="tq")
    assert isinstance(err.value.cause, ActivityError)
    assert isinstance(err.value.cause.cause, ApplicationError)
    assert err.value.cause.cause.type == "Refusal"
    assert list(err.value.cause.cause.details) == ["with details"]


@workflow.defn
class Conversation:
    """Collects messages until it is told to leave."""

    def __init__(self) -> None:
        self._pending: asyncio.Queue[str] = asyncio.Queue()
        self._leave = False

    @workflow.run
    async def run(self) -> list[str]:
        said: list[str] = []
        while True:
            await workflow.wait_condition(lambda: not self._pending.empty() or self._leave)
            while not self._pending.empty():
                said.append(f"Hello, {self._pending.get_nowait()}")
            if self._leave:
                return said

    @workflow.signal
    async def submit(self, name: str) -> None:
        await self._pending.put(name)

    @workflow.signal
    def leave(self) -> None:
        self._leave = True

    @workflow.query
    def waiting(self) -> int:
        return self._pending.qsize()


async def test_signals_and_queries(client: Client) -> None:
    async with Worker(client, task_queue="tq", workflows=[Conversation]):
        handle = await client.start_workflow(Conversation.run, id="wf", task_queue="tq")
        await handle.signal(Conversation.submit, "one")
        await handle.signal("submit", "two")
        assert await handle.query(Conversation.waiting) == 0
        await handle.signal(Conversation.leave)
        assert await handle.result() == ["Hello, one", "Hello, two"]
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED


# ------------------------------------------------------------------------------------------------ time, by the hand


@workflow.defn
class Aging:
    def __init__(self) -> None:
        self.days = 0

    @workflow.run
    async def run(self) -> str:
        for _ in range(100):
            await asyncio.sleep(24 * 3600)
            self.days += 1
        return "done"

    @workflow.query
    def age(self) -> int:
        return self.days


async def test_time_is_skipped_by_hand(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, task_queue="tq", workflows=[Aging]):
        handle = await env.client.start_workflow(Aging.run, id="wf", task_queue="tq")
        assert await handle.query(Aging.age) == 0
        await env.sleep(timedelta(hours=25))
        assert await handle.query(Aging.age) == 1
        await env.sleep(24 * 3600)
        assert await handle.query(Aging.age) == 2
        with env.auto_time_skipping_disabled():
            assert env.supports_time_skipping
        assert await handle.result() == "done"


async def test_an_assertion_in_workflow_code_fails_the_test(env: WorkflowEnvironment) -> None:
    @workflow.defn(name="Asserting")
    class Asserting:
        @workflow.run
        async def run(self) -> None:
            assert json.loads("1") == 2, "not two"

    async with Worker(env.client, task_queue="tq", workflows=[Asserting]):
        with pytest.raises(Exception, match="not two"):
            await env.client.execute_workflow("Asserting", id="wf", task_queue="tq")


# ----------------------------------------------------------------------------------- cancellation, children, chains


@workflow.defn
class Tidying:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_activity(
                "endless",
                start_to_close_timeout=timedelta(hours=1),
                heartbeat_timeout=timedelta(seconds=20),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        finally:
            await workflow.execute_activity("tidy", start_to_close_timeout=timedelta(seconds=10))
        return "never"


async def test_cancellation_reaches_the_activity_and_is_tidied_up_after(client: Client) -> None:
    began, done = asyncio.Event(), list[str]()

    @activity.defn
    async def endless() -> None:
        began.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            done.append("cancelled")
            raise

    @activity.defn
    async def tidy() -> None:
        done.append("tidy")

    async with Worker(client, task_queue="tq", workflows=[Tidying], activities=[endless, tidy]):
        handle = await client.start_workflow(Tidying.run, id="wf", task_queue="tq")
        await asyncio.wait_for(began.wait(), 20)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as err:
            await handle.result()
        assert isinstance(err.value.cause, CancelledError)
        assert done == ["cancelled", "tidy"]
        assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED


@workflow.defn
class Child:
    @workflow.run
    async def run(self, name: str) -> str:
        if name == "nobody":
            raise ApplicationError("nobody is there")
        await asyncio.sleep(3600)
        return f"Hello, {name}!"


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, names: list[str]) -> list[str]:
        started = [
            await workflow.start_child_workflow(Child.run, name, id=f"child-{name}", task_queue="tq") for name in names
        ]
        return list(await asyncio.gather(*started))


async def test_children(client: Client) -> None:
    async with Worker(client, task_queue="tq", workflows=[Parent, Child]):
        result = await client.execute_workflow(Parent.run, ["Ada", "Bob"], id="wf", task_queue="tq")
        assert result == ["Hello, Ada!", "Hello, Bob!"]
        with pytest.raises(WorkflowFailureError) as err:
            await client.execute_workflow(Parent.run, ["nobody"], id="wf2", task_queue="tq")
        assert isinstance(err.value.cause, ChildWorkflowError)
        assert isinstance(err.value.cause.cause, ApplicationError)


@workflow.defn
class Loop:
    @workflow.run
    async def run(self, iteration: int) -> int:
        if iteration < 5:
            await asyncio.sleep(10)
            workflow.continue_as_new(iteration + 1)
        return iteration


async def test_continue_as_new_is_followed(env: WorkflowEnvironment) -> None:
    async with Worker(env.client, task_queue="tq", workflows=[Loop]):
        before = await env.get_current_time()
        assert await env.client.execute_workflow(Loop.run, 0, id="wf", task_queue="tq") == 5
        assert await env.get_current_time() - before >= timedelta(seconds=50)


async def test_start_delay_and_workflow_retries_are_skipped(env: WorkflowEnvironment) -> None:
    @workflow.defn(name="Stubborn")
    class Stubborn:
        @workflow.run
        async def run(self) -> int:
            if workflow.info().attempt < 4:
                raise ApplicationError("again")
            return workflow.info().attempt

    async with Worker(env.client, task_queue="tq", workflows=[Stubborn]):
        before = await env.get_current_time()
        attempts = await env.client.execute_workflow(
            "Stubborn",
            id="wf",
            task_queue="tq",
            start_delay=timedelta(days=2),
            retry_policy=RetryPolicy(initial_interval=timedelta(days=1), backoff_coefficient=1.0),
        )
        assert attempts == 4
        assert await env.get_current_time() - before >= timedelta(days=5)


async def test_local_activities(client: Client) -> None:
    @workflow.defn(name="Locally")
    class Locally:
        @workflow.run
        async def run(self) -> str:
            began = workflow.time()
            word: str = await workflow.execute_local_activity(
                compose, Greeting("Hi", "Ada"), start_to_close_timeout=timedelta(seconds=10)
            )
            await asyncio.sleep(60)
            return f"{word} {workflow.time() - began >= 60}"

    async with Worker(client, task_queue="tq", workflows=[Locally], activities=[compose]):
        assert await client.execute_workflow("Locally", id="wf", task_queue="tq") == "Hi, Ada! True"


async def test_histories_are_replayed(client: Client) -> None:
    async with Worker(client, task_queue="tq", workflows=[Greet, Loop], activities=[compose]):
        handle = await client.start_workflow(Greet.run, "Ada", id="wf", task_queue="tq")
        await handle.result()
        history = await handle.fetch_history()
    await Replayer(workflows=[Greet]).replay_workflow(history)
