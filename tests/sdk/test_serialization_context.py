"""What converters know of whom their values belong to, and that both sides of a value know the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import WorkflowFailureError
from odradek.converter import (
    ActivitySerializationContext,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

SOON: Any = {"start_to_close_timeout": timedelta(seconds=20)}


def key(context: SerializationContext | None) -> bytes:
    match context:
        case WorkflowSerializationContext():
            return f"workflow {context.namespace} {context.workflow_id}".encode()
        case ActivitySerializationContext():
            facts = (context.namespace, context.workflow_id, context.workflow_type, context.activity_id)
            where = (context.activity_type, context.activity_task_queue, context.is_local)
            return f"activity {facts} {where}".encode()
        case _:
            return b"nobody"


class SealingCodec(PayloadCodec, WithSerializationContext):
    """What one context has sealed no other can open: each side must name the same."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self.context = context

    def with_context(self, context: SerializationContext) -> SealingCodec:
        return SealingCodec(context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        inner = [payload.encoding.encode() for payload in payloads]
        return [
            Payload("sealed", payload.data, {"for": key(self.context), "inner": encoding})
            for payload, encoding in zip(payloads, inner, strict=True)
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for payload in payloads:
            sealed = payload.metadata["for"]
            assert sealed == key(self.context), f"sealed for {sealed!r}, opened by {key(self.context)!r}"
        return [Payload(payload.metadata["inner"].decode(), payload.data) for payload in payloads]


class SigningConverter(DefaultPayloadConverter, WithSerializationContext):
    def __init__(self) -> None:
        super().__init__()
        self.context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> SigningConverter:
        made = SigningConverter()
        made.context = context
        return made

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [
            Payload(payload.encoding, payload.data, {"by": key(self.context)})
            for payload in super().to_payloads(values)
        ]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        for payload in payloads:
            signed = payload.metadata["by"]
            assert signed == key(self.context), f"signed for {signed!r}, read by {key(self.context)!r}"
        return super().from_payloads(payloads, type_hints)


class TellingFailures(DefaultFailureConverter, WithSerializationContext):
    def __init__(self, context: SerializationContext | None = None) -> None:
        super().__init__()
        self.context = context

    def with_context(self, context: SerializationContext) -> TellingFailures:
        return TellingFailures(context)

    def to_failure(self, exception: BaseException, payload_converter: Any) -> Any:
        if isinstance(exception, ApplicationError) and exception.failure is None:
            told = f"{exception.message} [{key(self.context).decode()}]"
            exception = ApplicationError(told, *exception.details, non_retryable=True)
        return super().to_failure(exception, payload_converter)


@activity.defn
async def shout(text: str) -> str:
    if text == "fail":
        raise ApplicationError("no", "detail", non_retryable=True)
    activity.heartbeat("half", text)
    return text.upper()


async def whisper(text: str) -> str:
    return text.lower()


@workflow.defn
class Child:
    @workflow.run
    async def run(self, text: str) -> str:
        return str(await workflow.execute_activity(shout, text, **SOON))


@workflow.defn
class Parent:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, text: str) -> list[str]:
        local = await workflow.execute_local_activity(shout, text, **SOON)
        step = await workflow.step(whisper, text)
        child = await workflow.execute_child_workflow(Child.run, text, id=f"{workflow.info().workflow_id}-child")
        try:
            await workflow.execute_activity(shout, "fail", activity_id="failing", **SOON)
        except Exception as error:
            self.heard.append(str(error.__cause__))
        me = workflow.get_external_workflow_handle(workflow.info().workflow_id)
        await me.signal("hear", "from myself")
        await workflow.wait_condition(lambda: "from myself" in self.heard and "from outside" in self.heard)
        workflow.upsert_memo({"told": text})
        return [local, step, child, workflow.memo_value("told", type_hint=str), *sorted(self.heard)]

    @workflow.signal
    def hear(self, text: str) -> None:
        self.heard.append(text)

    @workflow.query
    def count(self, more: int) -> int:
        return len(self.heard) + more

    @workflow.update
    async def change(self, text: str) -> str:
        return text + "!"


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("broken", {"why": "so"})


EXPECTED = ["AB", "ab", "AB", "ab", "from myself", "from outside"]


async def through(converter: DataConverter) -> list[str]:
    async with await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env:
        async with Worker(env.client, task_queue="q", workflows=[Parent, Child, Failing], activities=[shout]):
            handle = await env.client.start_workflow(Parent.run, "ab", id="p", task_queue="q", memo={"m": 1})
            assert await handle.execute_update(Parent.change, "x") == "x!"
            assert await handle.query(Parent.count, 40) >= 40
            await handle.signal(Parent.hear, "from outside")
            result = await handle.result()
            assert (await (await handle.describe()).memo())["m"] == 1
            with pytest.raises(WorkflowFailureError) as raised:
                await env.client.execute_workflow(Failing.run, id="f", task_queue="q")
            assert isinstance(raised.value.cause, ApplicationError)
            assert list(raised.value.cause.details) == [{"why": "so"}]
            history = await handle.fetch_history()
        await Replayer(workflows=[Parent], data_converter=converter).replay_workflow(history)
        return result


async def test_a_codec_is_told_the_same_on_both_sides_of_every_value() -> None:
    result = await through(DataConverter(payload_codec=SealingCodec()))
    assert [item for item in result if not item.startswith("no")] == EXPECTED


async def test_so_is_a_payload_converter() -> None:
    result = await through(DataConverter(payload_converter_class=SigningConverter))
    assert [item for item in result if not item.startswith("no")] == EXPECTED


async def test_a_failure_converter_is_told_whose_failure_it_is() -> None:
    result = await through(DataConverter(failure_converter_class=TellingFailures))
    (failure,) = [item for item in result if item.startswith("no")]
    assert "activity ('default', 'p', 'Parent', 'failing') ('shout', 'q', False)" in failure


def test_those_that_take_no_context_are_not_asked() -> None:
    converter = DataConverter.default
    assert not converter.takes_context
    assert converter.with_context(WorkflowSerializationContext("default", "w")) is converter


def test_one_converter_among_several_takes_a_context() -> None:
    class Greeting(EncodingPayloadConverter, WithSerializationContext):
        encoding = "greeting"
        name = ""

        def with_context(self, context: SerializationContext) -> Greeting:
            made = Greeting()
            assert isinstance(context, WorkflowSerializationContext)
            made.name = context.workflow_id
            return made

        def to_payload(self, value: Any) -> Payload | None:
            return Payload(self.encoding, f"{value} {self.name}".encode())

        def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
            return payload.data.decode()

    class Polite(CompositePayloadConverter):
        def __init__(self) -> None:
            super().__init__(Greeting())

    converter = DataConverter(payload_converter_class=Polite)
    told = converter.with_context(WorkflowSerializationContext("default", "w-1"))
    assert told.payload_converter.to_payload("hello").data == b"hello w-1"
    assert converter.payload_converter.to_payload("hello").data == b"hello "


async def test_an_activity_without_a_workflow_has_a_context_too() -> None:
    converter = DataConverter(payload_codec=SealingCodec())
    async with (
        await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env,
        Worker(env.client, task_queue="q", activities=[shout], workflows=[Child]),
    ):
        result = await env.client.execute_activity(shout, "ab", id="alone", task_queue="q", **SOON)
    assert result == "AB"
