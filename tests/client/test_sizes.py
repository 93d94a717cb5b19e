"""What is too large is refused where it is said, by name, size and limit; nothing else is lost by it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.exceptions import ApplicationError
from odradek.worker import Worker

SOON: Any = {"start_to_close_timeout": timedelta(seconds=20)}
LARGE = "x" * (2 * 1024 * 1024)


@activity.defn
async def take(text: str) -> str:
    return text if text != "grow" else LARGE


@workflow.defn
class Receiver:
    @workflow.run
    async def run(self, text: str = "") -> None: ...

    @workflow.signal
    def hear(self, text: str) -> None: ...


async def activity_argument() -> None:
    await workflow.execute_activity(take, LARGE, **SOON)


async def activity_result() -> None:
    await workflow.execute_activity(take, "grow", **SOON)


async def local_activity_result() -> None:
    await workflow.execute_local_activity(take, "grow", **SOON)


async def child_argument() -> None:
    await workflow.execute_child_workflow(Receiver.run, LARGE, id="c")


async def child_memo() -> None:
    await workflow.execute_child_workflow(Receiver.run, id="c", memo={"m": LARGE})


async def signal_argument() -> None:
    await workflow.get_external_workflow_handle("c").signal(Receiver.hear, LARGE)


async def memo() -> None:
    workflow.upsert_memo({"m": LARGE})


async def search_attributes() -> None:
    workflow.upsert_search_attributes({"Text": [LARGE]})


async def next_argument() -> None:
    workflow.continue_as_new(LARGE)


async def next_memo() -> None:
    workflow.continue_as_new("", memo={"m": LARGE})


async def result() -> str:
    return LARGE


async def failure_details() -> None:
    raise ApplicationError("broken", LARGE, LARGE, LARGE)


PLACES: dict[str, tuple[Callable[[], Awaitable[Any]], str]] = {
    "activity argument": (activity_argument, 'arguments of activity "take"'),
    "activity result": (activity_result, "the result of the activity"),
    "local activity result": (local_activity_result, 'the result of step "take"'),
    "child argument": (child_argument, 'arguments of child workflow "Receiver"'),
    "child memo": (child_memo, "the memo"),
    "signal argument": (signal_argument, 'arguments of signal "hear"'),
    "memo": (memo, "the memo"),
    "search attributes": (search_attributes, "the search attributes"),
    "next argument": (next_argument, "arguments of continue_as_new"),
    "next memo": (next_memo, "the memo"),
    "result": (result, "result of the workflow"),
    "failure details": (failure_details, "failure of the workflow"),
}


@workflow.defn
class Large:
    @workflow.run
    async def run(self, place: str) -> Any:
        return await PLACES[place][0]()


def message(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


@pytest.mark.parametrize("place", PLACES)
async def test_a_workflow_that_says_too_much_fails_with_the_reason(place: str) -> None:
    async with (
        await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
        Worker(client, task_queue="q", workflows=[Large, Receiver], activities=[take]),
    ):
        running = client.execute_workflow("Large", place, id="w", task_queue="q")
        with pytest.raises(WorkflowFailureError) as raised:
            await asyncio.wait_for(running, 20)
        text = message(raised.value)
        assert f"ODR-105: {PLACES[place][1]}" in text
        assert "2,097,152" in text
        await client.execute_workflow("Receiver", "", id="after", task_queue="q")


ALMOST = "x" * (2 * 1024 * 1024 - 1000)


@workflow.defn
class Crowded:
    """Each of what it says is within the limit; together they are more than a record may hold."""

    @workflow.run
    async def run(self, place: str, text: str = "") -> int:
        if text:
            return len(text)
        match place:
            case "fan-out":
                calls = (workflow.execute_activity(take, ALMOST, **SOON) for _ in range(4))
                return sum(map(len, await asyncio.gather(*calls)))
            case "child":
                await workflow.execute_child_workflow(Receiver.run, ALMOST, id="c", memo={"m": ALMOST[:1_800_000]})
                return 0
            case "next":
                workflow.continue_as_new(args=[place, ALMOST], memo={"m": ALMOST[:1_800_000]})
        raise AssertionError(place)


@pytest.mark.parametrize(("place", "value"), [("fan-out", 4 * len(ALMOST)), ("child", 0), ("next", len(ALMOST))])
async def test_what_is_within_the_limit_one_by_one_goes_through_together(place: str, value: int) -> None:
    async with (
        await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
        Worker(client, task_queue="q", workflows=[Crowded, Receiver], activities=[take]),
    ):
        running = client.execute_workflow("Crowded", place, id="w", task_queue="q", result_type=int)
        assert await asyncio.wait_for(running, 20) == value


@workflow.defn
class Laden:
    """Too much together for the one event that it becomes."""

    def __init__(self) -> None:
        self.may_go = False

    @workflow.run
    async def run(self, place: str) -> None:
        attributes = {"Text": [ALMOST]}
        if place == "child":
            memo = {"m": ALMOST}
            await workflow.execute_child_workflow(Receiver.run, ALMOST, id="c", memo=memo, search_attributes=attributes)
        await workflow.wait_condition(lambda: self.may_go)
        workflow.continue_as_new(place)

    @workflow.signal
    def go(self) -> None:
        self.may_go = True


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("child", 'what child workflow "Receiver" starts with'),
        ("next", "what continue_as_new carries, with 3 value(s) of signals that no handler has taken"),
    ],
)
async def test_too_much_for_one_event_fails_the_run_and_no_other(place: str, what: str) -> None:
    async with (
        await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
        Worker(client, task_queue="q", workflows=[Laden, Receiver], activities=[take]),
    ):
        handle = await client.start_workflow("Laden", place, id="w", task_queue="q")
        if place == "next":
            for _ in range(3):
                await handle.signal("unknown", ALMOST)
            await handle.signal("go")
        with pytest.raises(WorkflowFailureError) as raised:
            await asyncio.wait_for(handle.result(), 20)
        assert f"ODR-105: {what}" in message(raised.value)
        await client.execute_workflow("Receiver", "", id="after", task_queue="q")
