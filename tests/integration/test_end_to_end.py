"""The API as users meet it: client, orchestrator and worker together on every log."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeGuard

import pytest
from pydantic import BaseModel

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError, WorkflowQueryFailedError, WorkflowUpdateFailedError
from odradek.common import RetryPolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from odradek.exceptions import ActivityError, ApplicationError, CancelledError, WorkflowAlreadyStartedError
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.records import ActivityCompleted, RunCompleted, RunStarted
from odradek.service import RPCError
from odradek.worker import OrchestratorSettings, Worker

QUEUE = "q"
SOON = {"start_to_close_timeout": timedelta(seconds=20)}
QUICKLY = RetryPolicy(initial_interval=timedelta(milliseconds=20))


class Item(BaseModel):
    name: str
    price: float


@dataclasses.dataclass
class Basket:
    items: list[Item]
    at: datetime


@activity.defn
async def total(basket: Basket) -> float:
    return sum(item.price for item in basket.items)


@activity.defn
def in_a_thread(name: str) -> str:
    time.sleep(0.01)
    return f"hello {name}"


@activity.defn
async def fails_twice(text: str) -> str:
    if activity.info().attempt < 3:
        raise RuntimeError("not yet")
    return f"{text} after {activity.info().attempt} attempts"


@activity.defn
async def declined() -> None:
    raise ApplicationError("declined", {"code": 51}, type="Declined", non_retryable=True)


@activity.defn
async def waits_for_cancellation() -> str:
    await asyncio.sleep(60)
    return "never"


@workflow.defn
class Shopping:
    @workflow.run
    async def run(self, basket: Basket) -> dict[str, Any]:
        price, greeting, third = await asyncio.gather(
            workflow.execute_activity(total, basket, **SOON),
            workflow.execute_activity(in_a_thread, "world", **SOON),
            workflow.execute_activity(fails_twice, "done", retry_policy=QUICKLY, **SOON),
        )
        first = await asyncio.wait_for(workflow.execute_activity(total, basket, **SOON), timeout=30)
        return {"price": price, "greeting": greeting, "third": third, "again": first}


@workflow.defn
class Conversation:
    @workflow.init
    def __init__(self, enough: int) -> None:
        self.enough = enough
        self.heard: list[str] = []

    @workflow.signal
    async def say(self, word: str, times: int) -> None:
        await asyncio.sleep(0)
        self.heard += [word] * times

    @workflow.update
    async def rephrase(self, word: str) -> int:
        return self.heard.count(word)

    @rephrase.validator
    def is_a_word(self, word: str) -> None:
        if not word:
            raise ApplicationError("say something")

    @workflow.query
    def words(self, prefix: str) -> list[str]:
        return [prefix + word for word in self.heard]

    @workflow.query
    def broken(self) -> str:
        raise ValueError("cannot say")

    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.heard) >= self.enough, timeout=timedelta(seconds=30))
        return self.heard


@workflow.defn
class Deterministic:
    """Random numbers, UUIDs and the time are those of the history."""

    @workflow.run
    async def run(self) -> list[Any]:
        facts = [workflow.random().random(), str(workflow.uuid4()), workflow.now().isoformat(), workflow.info().run_id]
        await asyncio.sleep(0.05)
        try:
            await asyncio.wait_for(asyncio.Event().wait(), timeout=0.05)
        except TimeoutError:
            facts.append("timed out")
        try:
            await workflow.wait_condition(lambda: False, timeout=0.05)
        except TimeoutError:
            facts.append("no luck")
        return facts


@workflow.defn
class Refused:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_activity(declined, **SOON)
        except ActivityError as error:
            cause = error.cause
            return f"{cause.type} {cause.details[0]['code']} {error.activity_type}" if _is_application(cause) else "?"
        return "?"


def _is_application(error: BaseException | None) -> TypeGuard[ApplicationError]:
    return isinstance(error, ApplicationError)


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(declined, **SOON)


@workflow.defn
class Cancelling:
    @workflow.run
    async def run(self) -> str:
        cleaned = False
        try:
            await workflow.execute_activity(
                waits_for_cancellation,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(minutes=1),
            )
        except (asyncio.CancelledError, ActivityError):
            cleaned = True
            await asyncio.shield(workflow.execute_activity(in_a_thread, "cleanup", **SOON))
            raise
        finally:
            assert cleaned
        return "never"


@workflow.defn
class Herald:
    @workflow.run
    async def run(self, target: str) -> str:
        await workflow.get_external_workflow_handle(target).signal(Conversation.say, args=["herald", 2])
        return "told"


WORKFLOWS = [Shopping, Conversation, Deterministic, Refused, Failing, Cancelling, Herald]
ACTIVITIES: list[Callable[..., Any]] = [total, in_a_thread, fails_twice, declined, waits_for_cancellation]


@asynccontextmanager
async def serving(address: str, **options: Any) -> AsyncIterator[Client]:
    namespace = f"e2e-{uuid.uuid4().hex[:8]}"
    log = open_log(address)
    await asyncio.to_thread(create_namespace, log, namespace, partitions=4, queues=(QUEUE,))
    settings = OrchestratorSettings(checkpoint_seconds=0.2)
    async with (
        await Client.connect(address, namespace=namespace) as client,
        Worker(
            client,
            task_queue=QUEUE,
            workflows=WORKFLOWS,
            activities=ACTIVITIES,
            orchestrator_settings=settings,
            **options,
        ),
    ):
        yield client
    log.close()


def on(address: str, scenario: Callable[[Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(address) as client:
            await scenario(client)

    asyncio.run(main())


def test_the_slice_from_start_to_result(address: str) -> None:
    """Typed values, both kinds of activities, retries, timers, signals, queries, failures, cancellation, messages."""

    async def scenario(client: Client) -> None:
        await asyncio.gather(
            _shopping(client), _conversation(client), _deterministic(client), _failures(client), _cancelling(client)
        )
        await _policies(client)
        await _looking(client)

    on(address, scenario)


async def _shopping(client: Client) -> None:
    basket = Basket([Item(name="tea", price=2.5), Item(name="cup", price=4)], datetime(2026, 1, 1, tzinfo=UTC))
    result = await client.execute_workflow(Shopping.run, basket, id="shopping", task_queue=QUEUE)
    assert result == {"price": 6.5, "greeting": "hello world", "third": "done after 3 attempts", "again": 6.5}


async def _conversation(client: Client) -> None:
    handle = await client.start_workflow(Conversation.run, 5, id="talk", task_queue=QUEUE)
    await handle.signal(Conversation.say, args=["hi", 3])
    assert await handle.query(Conversation.words, ">") == [">hi"] * 3
    with pytest.raises(Exception, match="cannot say"):
        await handle.query(Conversation.broken)
    assert await handle.execute_update(Conversation.rephrase, "hi") == 3
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(Conversation.rephrase, "")
    with pytest.raises(WorkflowQueryFailedError, match=r"known queries: \[broken, words\]"):
        await handle.query("unknown")
    assert await client.execute_workflow(Herald.run, "talk", id="herald", task_queue=QUEUE) == "told"
    assert await handle.result() == ["hi"] * 3 + ["herald"] * 2
    assert await handle.query(Conversation.words, "<") == ["<hi"] * 3 + ["<herald"] * 2, "closed, from the archive"
    with pytest.raises(RPCError, match="ODR-102"):
        await handle.signal(Conversation.say, args=["late", 1])
    with pytest.raises(RPCError, match="ODR-100"):
        await client.get_workflow_handle("nobody").signal(Conversation.say, args=["hi", 1])


async def _deterministic(client: Client) -> None:
    facts = await client.execute_workflow(Deterministic.run, id="facts", task_queue=QUEUE)
    assert facts[4:] == ["timed out", "no luck"]
    assert uuid.UUID(facts[1]).version == 4


async def _failures(client: Client) -> None:
    assert await client.execute_workflow(Refused.run, id="refused", task_queue=QUEUE) == "Declined 51 declined"
    with pytest.raises(WorkflowFailureError) as failed:
        await client.execute_workflow(Failing.run, id="failing", task_queue=QUEUE)
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, ApplicationError)
    assert failed.value.cause.cause.type == "Declined"


async def _cancelling(client: Client) -> None:
    handle = await client.start_workflow(Cancelling.run, id="cancelling", task_queue=QUEUE)
    description = await handle.describe()
    assert description.status is not None
    await handle.cancel(reason="changed my mind")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    events = (await handle.fetch_history()).events
    assert [e for e in events if isinstance(e.body, ActivityCompleted)], "the clean-up ran"


async def _policies(client: Client) -> None:
    options: dict[str, Any] = {"id": "policies", "task_queue": QUEUE}
    handle = await client.start_workflow(Conversation.run, 1, **options)
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.start_workflow(Conversation.run, 1, **options)
    joined = await client.start_workflow(
        Conversation.run, 1, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING, **options
    )
    assert joined.result_run_id == handle.result_run_id
    await handle.terminate(reason="enough")
    with pytest.raises(WorkflowFailureError, match=r".*"):
        await handle.result()
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.start_workflow(
            Conversation.run, 1, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE, **options
        )


async def _looking(client: Client) -> None:
    found = {w.id: w async for w in client.list_workflows("WorkflowType = 'Conversation'")}
    assert set(found) == {"talk", "policies"}
    history = await client.get_workflow_handle("shopping").fetch_history()
    assert isinstance(history.events[0].body, RunStarted)
    assert isinstance(history.events[-1].body, RunCompleted)


def test_values_up_to_two_megabytes_pass_and_larger_ones_are_refused(address: str) -> None:
    async def scenario(client: Client) -> None:
        text = "x" * 2_000_000
        handle = await client.start_workflow(Conversation.run, 1, id="large", task_queue=QUEUE)
        await handle.signal(Conversation.say, args=[text, 1])
        assert await handle.result() == [text]
        assert len((await handle.fetch_history()).to_json()) > 4_000_000
        with pytest.raises(RPCError, match="ODR-105"):
            await client.start_workflow("Conversation", "x" * 2_200_000, id="too-large", task_queue=QUEUE)

    on(address, scenario)


def test_the_limit_follows_a_cluster_that_allows_less() -> None:
    """Where topics take 1 MB records, larger values are refused before they are sent, and the rest still works."""

    async def main() -> None:
        address, namespace = f"memory://{uuid.uuid4().hex}", "small"
        log = open_log(address)
        from odradek.schemas.topics import Topics

        specs = [dataclasses.replace(spec, record_bytes_max=1_000_000) for spec in Topics(namespace).specs(4)]
        log.create_topics(specs)
        async with (
            await Client.connect(address, namespace=namespace) as client,
            Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES),
        ):
            handle = await client.start_workflow(Conversation.run, 2, id="large", task_queue=QUEUE)
            await handle.signal(Conversation.say, args=["x" * 400_000, 1])
            with pytest.raises(RPCError, match="ODR-105"):
                await handle.signal(Conversation.say, args=["x" * 1_100_000, 1])
            await handle.signal(Conversation.say, args=["y" * 400_000, 1])
            assert len("".join(await handle.result())) == 800_000
            assert len((await handle.fetch_history()).events) >= 4
            failing = await client.start_workflow(Conversation.run, 3, id="too-large", task_queue=QUEUE)
            for _ in range(3):
                await failing.signal(Conversation.say, args=["z" * 400_000, 1])
            with pytest.raises(WorkflowFailureError) as failed:
                await failing.result()
            assert "ODR-105" in str(failed.value.cause)
        log.close()

    asyncio.run(main())
