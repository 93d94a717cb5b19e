"""One run's code and its errors, an input at a time: what it answers with, and what counts as a failure or a bug."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.common import VersioningBehavior
from odradek.converter import (
    ActivitySerializationContext,
    ConverterNotReady,
    DataConverter,
    DefaultPayloadConverter,
    SerializationContext,
    WithSerializationContext,
)
from odradek.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from odradek.orchestrator.core.instance import (
    Deadlocked,
    WorkflowBug,
    WorkflowDeadlock,
    WorkflowInstance,
    instance_of,
)
from odradek.schemas import records as r
from odradek.workflow.definition import Definition

FAILURES = DataConverter.default.failure_converter
PAYLOAD = DataConverter.default.payload_converter.to_payload("a value")


class Unreadable(DefaultPayloadConverter):
    """Reads nothing, for the reason that it is made with."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def from_payloads(self, payloads: Sequence[r.Payload], type_hints: Any = None) -> list[Any]:
        if payloads:
            raise self._error
        return []

    def from_payload(self, payload: r.Payload, type_hint: Any = None) -> Any:
        raise self._error


def made(cls: type, error: Exception | None = None) -> WorkflowInstance:
    converter = DataConverter.default.payload_converter if error is None else Unreadable(error)
    return WorkflowInstance(Definition.of(cls), "w", "r", "n", converter, FAILURES)


def started(**options: Any) -> r.RunStarted:
    return r.RunStarted("T", "q", "r", **options)


async def echo(value: str) -> str:
    return value


@activity.defn
async def local(value: str) -> str:
    return value


@workflow.defn(name="T", failure_exception_types=[KeyError])
class Waiting:
    @workflow.run
    async def run(self, *words: str) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def hear(self, word: str) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def waits(self) -> Any:
        return asyncio.sleep(0)


def test_a_turn_is_given_by_a_sleep_of_no_length() -> None:
    order = []

    @workflow.defn(name="T")
    class Turns:
        @workflow.run
        async def run(self) -> None:
            async def other() -> None:
                order.append("other")

            task = asyncio.create_task(other())
            await workflow.sleep(0)
            order.append("main")
            await task

    made(Turns).apply(started(), 1)
    assert order == ["other", "main"]


def test_a_message_without_headers_says_so() -> None:
    @workflow.defn(name="T")
    class Cancelling:
        @workflow.run
        async def run(self) -> None:
            await workflow.get_external_workflow_handle("other").cancel()

    (sent,) = made(Cancelling).apply(started(), 1)
    assert sent.headers == {}


@pytest.mark.parametrize(("name", "version"), [(None, "v1"), ("T", "v1"), ("Other", "")])
def test_what_follows_keeps_its_words_and_the_version_of_its_own_type_only(name: str | None, version: str) -> None:
    @workflow.defn(name="T", version="v1", versioning_behavior=VersioningBehavior.PINNED)
    class Continuing:
        @workflow.run
        async def run(self) -> None:
            workflow.continue_as_new(workflow=name)

    (continued,) = made(Continuing).apply(started(static_summary="short", static_details="long"), 1)
    follows = continued.next.started
    assert (follows.static_summary, follows.static_details, follows.version) == ("short", "long", version)


def test_a_query_that_waits_is_told_that_it_may_not() -> None:
    instance = made(Waiting)
    instance.apply(started(), 1)
    answer = instance.query("waits", [])
    assert answer.failure is not None
    assert "this one waits" in answer.failure.message


def test_a_warning_that_is_an_error_is_a_bug_of_the_run() -> None:
    @workflow.defn(name="T")
    class Hasty:
        @workflow.run
        async def run(self) -> None:
            await workflow.sleep(1)

        @workflow.signal
        async def hear(self) -> None:
            await workflow.wait_condition(lambda: False)

    instance = made(Hasty)
    instance.apply(started(), 1)
    instance.apply(r.SignalReceived("hear"), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(WorkflowBug, match="UnfinishedSignalHandlersWarning"):
            instance.apply(r.TimerFired(1), 1001)


# ------------------------------------------------------------------------------------------ interrupted code


def test_an_interrupted_validator_rejects_for_good_and_has_seen_the_time() -> None:
    times = []

    @workflow.defn(name="T")
    class Validating:
        @workflow.run
        async def run(self) -> None:
            await workflow.wait_condition(lambda: False)

        @workflow.update
        def change(self) -> None: ...

        @change.validator
        def check(self) -> None:
            times.append(workflow.time())
            instance.interrupt(WorkflowDeadlock("it stood here"))
            raise Deadlocked

    instance = made(Validating)
    instance.apply(started(), 1000)
    failure = instance.rejection(r.UpdateAccepted("u", "change"), 5000)
    assert times == [5.0]
    assert failure is not None
    assert (failure.message, failure.type, failure.non_retryable) == ("it stood here", "Deadlock", True)


def test_an_interrupted_constructor_is_a_bug() -> None:
    @workflow.defn(name="T")
    class Looping:
        def __init__(self) -> None:
            raise Deadlocked

        @workflow.run
        async def run(self) -> None: ...

    with pytest.raises(WorkflowBug):
        made(Looping).construct(started(), 1)


def test_the_instance_is_found_by_its_handlers() -> None:
    instance = made(Waiting)
    assert instance_of(instance) is instance_of(instance.handlers) is instance


# ------------------------------------------------------------------------------------------ values that cannot be read


@pytest.mark.parametrize(
    ("error", "type"), [(ApplicationError("no", type="Own"), "Own"), (KeyError("no"), "UnreadablePayload")], ids=str
)
def test_input_that_a_converter_means_to_fail_fails_the_run(error: Exception, type: str) -> None:
    (failed,) = made(Waiting, error).apply(started(input=[PAYLOAD]), 1)
    assert (failed.failure.type, failed.failure.non_retryable) == (type, type != "Own")
    instance = made(Waiting, error)
    instance.apply(started(), 1)
    (failed,) = instance.apply(r.SignalReceived("hear", [PAYLOAD]), 2)
    assert failed.failure.type == type


def test_input_that_cannot_be_read_is_a_bug() -> None:
    with pytest.raises(WorkflowBug, match="ODR-069"):
        made(Waiting, ValueError("no")).apply(started(input=[PAYLOAD]), 1)


def test_a_result_that_cannot_be_read_yet_parks_the_run() -> None:
    @workflow.defn(name="T")
    class Stepping:
        @workflow.run
        async def run(self) -> str:
            return str(await workflow.step(echo, "word"))

    instance = made(Stepping, ConverterNotReady("not yet"))
    instance.apply(started(), 1)
    with pytest.raises(WorkflowBug, match=r"^not yet$"):
        instance.apply(r.StepEnded(1, "echo", PAYLOAD, 1, 1), 2)


class Contextual(DefaultPayloadConverter, WithSerializationContext):
    """Remembers what its values were of."""

    def __init__(self, seen: list[SerializationContext]) -> None:
        super().__init__()
        self.seen = seen

    def with_context(self, context: SerializationContext) -> Contextual:
        self.seen.append(context)
        return self


def test_the_result_of_a_step_is_read_in_the_context_of_its_own_id() -> None:
    @workflow.defn(name="T")
    class Stepping:
        @workflow.run
        async def run(self) -> str:
            limit = timedelta(seconds=9)
            await workflow.execute_local_activity(local, "a", activity_id="own", start_to_close_timeout=limit)
            return str(await workflow.execute_local_activity(local, "b", start_to_close_timeout=limit))

    seen: list[SerializationContext] = []
    instance = WorkflowInstance(Definition.of(Stepping), "w", "r", "n", Contextual(seen), FAILURES)
    instance.apply(started(), 1)
    for seq in (1, 2):
        instance.apply(r.StepEnded(seq, "local", PAYLOAD, 1, 1), 2)
    assert [context.activity_id for context in seen if isinstance(context, ActivitySerializationContext)] == [
        "own",
        "2",
    ]


def test_a_local_activity_whose_handle_is_cancelled_is_given_up_and_keeps_its_id() -> None:
    @workflow.defn(name="T")
    class GivingUp:
        @workflow.run
        async def run(self) -> str:
            handle = workflow.start_local_activity(
                local, "word", activity_id="own", start_to_close_timeout=timedelta(seconds=9)
            )
            await asyncio.sleep(0)
            handle.cancel()
            try:
                return str(await handle)
            except ActivityError as error:
                return error.activity_id

    instance = made(GivingUp)
    (completed,) = instance.apply(started(), 1)
    assert completed.result == DataConverter.default.payload_converter.to_payload("own")
    assert instance.steps is not None
    assert (instance.steps.waiting, instance.steps.revoked) == ({}, [1])


# ------------------------------------------------------------------------------------------ children


@workflow.defn(name="T")
class Parent:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_child_workflow("Child", "a word", id="child", memo={"note": "another"})
        except ChildWorkflowError as error:
            return error.namespace
        return ""


def test_a_child_is_of_its_parents_namespace_unless_it_names_one() -> None:
    instance = made(Parent)
    instance.apply(started(), 1)
    failure = r.Failure(r.FailureKind.APPLICATION, "no", "ODR-100")
    (completed,) = instance.apply(r.ChildStartFailed(1, failure), 2)
    assert completed.result == DataConverter.default.payload_converter.to_payload("n")


def test_what_a_child_starts_with_has_room_in_one_event() -> None:
    instance = made(Parent)
    instance.event_bytes_max = 12
    (failed,) = instance.apply(started(), 1)
    assert failed.failure.type == "PayloadTooLarge"
