"""What other people's tests do, and found different here once: only their imports are ours."""

from __future__ import annotations

import asyncio
import typing
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import (
    Client,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from odradek.common import (
    Payload,
    RawValue,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from odradek.converter import DefaultPayloadConverter
from odradek.exceptions import ActivityError, ApplicationError, TimeoutError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker


@pytest.fixture
def client(odradek_env: WorkflowEnvironment) -> Client:
    return odradek_env.client


def one_id() -> str:
    return str(uuid.uuid4())


# --------------------------------------------------------------------------------------- a workflow before its worker


@workflow.defn
class Patient:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        try:
            await workflow.wait_condition(lambda: "end" in self.heard)
        except asyncio.CancelledError:
            self.heard.append("cancelled")
        return self.heard

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard.append(word)


async def test_a_workflow_is_started_signalled_and_cancelled_before_its_worker(client: Client) -> None:
    """What waits in the inbox needs nobody who answers, in an environment that no worker serves yet."""
    queue = one_id()
    signalled = await client.start_workflow(Patient.run, id=one_id(), task_queue=queue)
    await signalled.signal(Patient.hear, "end")
    cancelled = await client.start_workflow(Patient.run, id=one_id(), task_queue=queue)
    await cancelled.cancel()
    async with Worker(client, task_queue=queue, workflows=[Patient]):
        assert await signalled.result() == ["end"]
        assert await cancelled.result() == ["cancelled"]
    later = await client.start_workflow(Patient.run, id=one_id(), task_queue=queue)
    waiting = asyncio.create_task(later.result())
    await later.signal(Patient.hear, "end")
    async with Worker(client, task_queue=queue, workflows=[Patient]):
        assert await waiting == ["end"]


# ----------------------------------------------------------------------------------------------- dynamic handlers

with pytest.warns(DeprecationWarning, match=r"\(name, \*args\) is deprecated"):

    @workflow.defn
    class OldDynamic:
        def __init__(self) -> None:
            self.heard = ""

        @workflow.run
        async def run(self) -> str:
            await workflow.wait_condition(lambda: bool(self.heard))
            return self.heard

        @workflow.signal(dynamic=True)
        def on_signal(self, name: str, *args: Any) -> None:
            self.heard = f"{name} {args}"

        @workflow.query(dynamic=True)
        def on_query(self, name: str, *args: Any) -> str:
            return f"{name} {args}"


async def test_dynamic_handlers_may_take_values_instead_of_payloads(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[OldDynamic]):
        handle = await client.start_workflow(OldDynamic.run, id=one_id(), task_queue="q")
        assert await handle.query("why", args=[1, "two"]) == "why (1, 'two')"
        await handle.signal("come", {"by": "tram"})
        assert await handle.result() == "come ({'by': 'tram'},)"


# ------------------------------------------------------------------------------------------- what activities can be


def test_a_dynamic_activity_may_say_sequence_in_either_way() -> None:
    @activity.defn(dynamic=True)
    async def of_typing(args: typing.Sequence[RawValue]) -> None: ...

    @activity.defn(dynamic=True)
    async def of_abc(args: Sequence[RawValue]) -> None: ...


def test_what_cannot_be_an_activity_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="cannot have keyword-only arguments"):

        @activity.defn
        async def named(*, name: str) -> None: ...


@activity.defn(name="add-to")
class Adder:
    def __init__(self, base: int) -> None:
        self.base = base

    async def __call__(self, number: int) -> int:
        return self.base + number


class Shared:
    """Its parts belong to the event loop on which it was made."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    @activity.defn
    async def touch(self) -> bool:
        self.ended.set()
        return asyncio.get_running_loop() is self.loop


@workflow.defn
class Calls:
    @workflow.run
    async def run(self) -> list[Any]:
        limit = timedelta(seconds=30)
        return [
            await workflow.execute_activity_class(Adder, 2, start_to_close_timeout=limit),
            await workflow.execute_activity_method(Shared.touch, start_to_close_timeout=limit),
            await workflow.execute_local_activity_method(Shared.touch, start_to_close_timeout=limit),
        ]


async def test_instances_with_an_async_call_and_objects_of_the_workers_loop_are_activities(client: Client) -> None:
    """Local ones, too, run on the loop of their worker, so they share what its activities share."""
    shared = Shared()
    async with Worker(client, task_queue="q", workflows=[Calls], activities=[Adder(40), shared.touch]):
        assert await client.execute_workflow(Calls.run, id=one_id(), task_queue="q") == [42, True, True]
        await shared.ended.wait()


def test_a_class_in_place_of_its_instance_is_refused_when_the_worker_is_made(client: Client) -> None:
    with pytest.raises(TypeError, match="is a class instead of an instance"):
        Worker(client, task_queue="q", workflows=[Calls], activities=[Adder])


@activity.defn
async def ignore_the_limit() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "too late"
    return "never"


@workflow.defn
class Limited:
    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            ignore_the_limit,
            start_to_close_timeout=timedelta(milliseconds=10),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
        return result


async def test_what_an_activity_returns_after_its_time_limit_does_not_count(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[Limited], activities=[ignore_the_limit]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(Limited.run, id=one_id(), task_queue="q")
    assert isinstance(failed.value.cause, ActivityError)
    assert isinstance(failed.value.cause.cause, TimeoutError)


# --------------------------------------------------------------------------------------------------- what fails what


class Choosy(DefaultPayloadConverter):
    def from_payloads(self, payloads: Sequence[Payload], type_hints: Any = None) -> list[Any]:
        if any(b"bad" in payload.data for payload in payloads):
            raise ApplicationError("the converter does not want this")
        return super().from_payloads(payloads, type_hints)


@dataclass
class Order:
    id: str


@workflow.defn
class Orders:
    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.wait_condition(lambda: False)
        return order

    @workflow.update
    def take(self, order: str) -> str:
        return order

    @workflow.query
    def act(self) -> None:
        workflow.start_activity("any", start_to_close_timeout=timedelta(seconds=1))


@workflow.defn
class Refusing:
    def __init__(self) -> None:
        raise ApplicationError("not like this")

    @workflow.run
    async def run(self) -> None: ...


async def test_a_failure_of_the_converter_fails_the_run_or_the_update(client: Client) -> None:
    choosy = replace(client.config()["data_converter"], payload_converter_class=Choosy)
    config = client.config()
    config["data_converter"] = choosy
    client = Client(**config)
    async with Worker(client, task_queue="q", workflows=[Orders]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(Orders.run, "bad", id=one_id(), task_queue="q")
        assert str(failed.value.cause) == "the converter does not want this"
        handle = await client.start_workflow(Orders.run, "good", id=one_id(), task_queue="q")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Orders.take, "bad")
        assert str(refused.value.cause) == "the converter does not want this"
        assert await handle.execute_update(Orders.take, "good") == "good"


async def test_a_failure_raised_by_init_fails_the_run(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[Refusing]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(Refusing.run, id=one_id(), task_queue="q")
    assert str(failed.value.cause) == "not like this"


async def test_messages_have_the_words_that_people_look_for(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[Orders]):
        handle = await client.start_workflow(Orders.run, "x", id=one_id(), task_queue="q")
        with pytest.raises(WorkflowQueryFailedError, match="Query handler for 'no' expected but not found"):
            await handle.query("no")
        with pytest.raises(WorkflowQueryFailedError, match="While in read-only function, action attempted"):
            await handle.query(Orders.act)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update("no")
        assert "Update handler for 'no' expected but not found" in str(failed.value.cause)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update("take", 1)
        assert "Failed decoding arguments" in str(failed.value.cause)


# ------------------------------------------------------------------------------------------------------------ values


def test_typed_search_attributes_are_equal_in_any_order() -> None:
    one = SearchAttributePair(SearchAttributeKey.for_int("one"), 1)
    two = SearchAttributePair(SearchAttributeKey.for_keyword("two"), "2")
    assert TypedSearchAttributes([one, two]) == TypedSearchAttributes((two, one))


async def test_requests_take_metadata_that_there_is_no_server_for(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[Patient]):
        handle = await client.start_workflow(Patient.run, id=one_id(), task_queue="q", rpc_metadata={"x": "y"})
        await handle.signal(Patient.hear, "end", rpc_metadata={"x": "y"})
        assert await handle.result(rpc_metadata={"x": "y"}) == ["end"]
        assert (await handle.describe(rpc_metadata={"x": "y"})).id == handle.id
