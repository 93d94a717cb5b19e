"""What travels as a payload shows up nowhere else: canaries in every place that takes values, on every way that fails.

The text of an exception is the user's own; the failure converter can hide it, which is shown here, too.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_tracer
from prometheus_client import generate_latest
from pydantic import BaseModel

from odradek import activity, workflow
from odradek.cli import main
from odradek.client import Client
from odradek.common import RetryPolicy
from odradek.contrib import opentelemetry as tracing
from odradek.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

CANARY = "tweety-4711"
ONCE: Any = {"start_to_close_timeout": timedelta(seconds=20), "retry_policy": RetryPolicy(maximum_attempts=1)}
TWICE: Any = {
    "start_to_close_timeout": timedelta(seconds=20),
    "retry_policy": RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=10)),
}


class Card(BaseModel):
    number: int


class Opaque:
    def __repr__(self) -> str:
        return CANARY


@activity.defn
async def echo(value: str) -> str:
    activity.logger.debug("echo begins")
    activity.heartbeat(CANARY)
    return value


@activity.defn
async def wants_a_card(card: Card) -> int:
    return card.number


@activity.defn
async def wants_cards(cards: dict[str, int]) -> int:
    return len(cards)


@activity.defn
async def returns_what_cannot_travel(value: str) -> Any:
    return Opaque()


@activity.defn
async def fails_with_details(value: str) -> None:
    raise ApplicationError("the bank is down", value, {"card": value})


@activity.defn
async def fails_with_the_payload_in_its_message(value: str) -> None:
    raise ValueError(f"no such card: {value}")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, value: str) -> str:
        return value


@workflow.defn
class Talkative:
    """Every way in which values come and go."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self, value: str) -> str:
        workflow.logger.info("begun")
        workflow.upsert_memo({"later": CANARY})
        await workflow.execute_activity(echo, value, summary="plain", **ONCE)
        await workflow.execute_local_activity(echo, value, **ONCE)
        await workflow.step(lambda: value, name="step")
        await workflow.execute_child_workflow(Child.run, value, id=f"{workflow.info().workflow_id}/child")
        for fails in (fails_with_details, returns_what_cannot_travel):
            try:
                await workflow.execute_activity(fails, value, **TWICE)
            except Exception:
                workflow.logger.warning("an activity failed")
        for wrong in (wants_a_card, wants_cards):
            try:
                await workflow.execute_activity(wrong.__name__, {CANARY: {"number": value}}, **ONCE)
            except Exception:
                workflow.logger.warning("an activity was given nonsense")
        await workflow.wait_condition(lambda: len(self.heard) >= 2)
        return value

    @workflow.signal
    def tell(self, value: str) -> None:
        self.heard.append(value)

    @workflow.signal
    def count(self, number: int) -> None:
        self.heard.append(str(number))

    @workflow.query
    def what(self, prefix: str) -> str:
        return prefix + CANARY

    @workflow.query
    def length(self, of: int) -> int:
        return of

    @workflow.update
    async def change(self, value: str) -> str:
        self.heard.append(value)
        return value

    @change.validator
    def check(self, value: str) -> None:
        if value.startswith("bad"):
            raise ApplicationError("not this one", value)


@workflow.defn
class WantsANumber:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


@workflow.defn
class FailsWithDetails:
    @workflow.run
    async def run(self, value: str) -> None:
        raise ApplicationError("out of stock", value)


@workflow.defn
class HasABug:
    @workflow.run
    async def run(self, value: str) -> None:
        raise LookupError("nothing")


@workflow.defn(name="Talkative")
class TalkativeChanged:
    """The same type, and other code."""

    @workflow.run
    async def run(self, value: str) -> str:
        return str(await workflow.execute_activity("another", value, **ONCE))


@workflow.defn
class LeakyByItself:
    @workflow.run
    async def run(self, value: str) -> None:
        await workflow.execute_activity(fails_with_the_payload_in_its_message, value, **ONCE)


WORKFLOWS = [Talkative, Child, WantsANumber, FailsWithDetails, HasABug, LeakyByItself]
ACTIVITIES: list[Callable[..., Any]] = [
    echo, wants_a_card, wants_cards, returns_what_cannot_travel, fails_with_details,
    fails_with_the_payload_in_its_message,
]  # fmt: skip


class Seen:
    """Everything that people and other systems may get to see of a run of the program."""

    def __init__(self, caplog: pytest.LogCaptureFixture, spans: InMemorySpanExporter) -> None:
        self.errors: list[str] = []
        self.shown: list[str] = []
        self._caplog, self._spans = caplog, spans

    async def error_of(self, work: Coroutine[Any, Any, Any]) -> None:
        """It fails; what a caller would log of that is kept. Details are for ``error.details``, not for logs."""
        with pytest.raises(Exception) as caught:
            await work
        error = caught.value
        self.errors += ["".join(traceback.format_exception(error)), str(error), repr(error)]

    def command(self, *arguments: str) -> None:
        result = CliRunner().invoke(main, ["--log", self.log, *arguments], prog_name="odradek")
        assert result.exit_code == 0, result.output
        self.shown.append(result.output)

    log = ""

    def everything(self) -> dict[str, str]:
        formatter = logging.Formatter("%(name)s %(message)s")
        logs = [formatter.format(record) + str(record.__dict__) for record in self._caplog.records]
        return {
            "logs": "\n".join(logs),
            "errors": "\n".join(self.errors),
            "screens": "\n".join(self.shown),
            "metrics": generate_latest().decode(),
            "spans": "\n".join(span.to_json() for span in self._spans.get_finished_spans()),
        }

    def assert_silent(self) -> None:
        for place, text in self.everything().items():
            at = text.find(CANARY)
            assert at < 0, f"{place}: …{text[max(0, at - 500) : at + 100]}…"


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Seen:
    caplog.set_level(logging.DEBUG)
    return Seen(caplog, InMemorySpanExporter())


@asynccontextmanager
async def served(seen: Seen, tmp_path: Path, **options: Any) -> AsyncIterator[Client]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen._spans))
    interceptor = tracing.TracingInterceptor(get_tracer(__name__, tracer_provider=provider))
    path = str(tmp_path / "log.db")
    seen.log = f"sqlite:///{path}"
    async with (
        await WorkflowEnvironment.start_local(db_filename=path, interceptors=[interceptor], **options) as env,
        Worker(env.client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES),
    ):
        yield env.client


@pytest.fixture
def talked(tmp_path: Path) -> Callable[[Client, Seen], Coroutine[Any, Any, None]]:
    async def talk(client: Client, seen: Seen) -> None:
        """Success, and every failure that odradek speaks of in words of its own."""
        headers: Any = {"memo": {"note": CANARY}, "task_queue": "q"}
        handle = await client.start_workflow(Talkative.run, CANARY, id="talk", **headers)
        await handle.signal(Talkative.tell, CANARY)
        other = await client.start_workflow(Talkative.run, CANARY, id="talk-2", **headers)
        await other.signal("count", CANARY)  # parks it: no number
        await handle.signal("unknown", CANARY)
        assert await handle.query(Talkative.what, "") == CANARY
        await seen.error_of(handle.query("length", CANARY))
        await seen.error_of(handle.query("unknown", CANARY))
        await seen.error_of(handle.execute_update(Talkative.change, f"bad {CANARY}"))
        await seen.error_of(handle.execute_update("unknown", CANARY))
        await handle.execute_update(Talkative.change, CANARY)
        assert await handle.result() == CANARY
        await seen.error_of(client.get_workflow_handle("talk", result_type=int).result())
        await seen.error_of(client.execute_workflow(FailsWithDetails.run, CANARY, id="failed", task_queue="q"))
        await seen.error_of(client.start_workflow("WantsANumber", Opaque(), id="opaque", task_queue="q"))
        await seen.error_of(client.start_workflow(Child.run, CANARY * 300_000, id="large", task_queue="q"))
        await seen.error_of(client.start_workflow(Talkative.run, CANARY, id="no", task_queue="no/queue"))
        for cls in ("WantsANumber", "HasABug", "NobodyHostsIt"):  # these park
            await client.start_workflow(cls, CANARY, id=cls, task_queue="q", memo={"m": CANARY})
        for id in ("talk-2", "WantsANumber", "HasABug", "NobodyHostsIt"):
            parked = client.get_workflow_handle(id)
            while (described := await parked.describe()).parked is None:  # noqa: ASYNC110
                await asyncio.sleep(0)
            seen.shown.append(repr(described))
            await seen.error_of(parked.query("what", CANARY))
            await seen.error_of(parked.execute_update("change", CANARY))
        history = await handle.fetch_history()
        seen.shown.append(repr(history.events))
        replayer = Replayer(workflows=[TalkativeChanged])
        await seen.error_of(replayer.replay_workflow(history))

    return talk


async def test_nothing_but_payloads_holds_what_payloads_hold(
    seen: Seen, tmp_path: Path, talked: Callable[[Client, Seen], Coroutine[Any, Any, None]]
) -> None:
    async with served(seen, tmp_path) as client:
        await talked(client, seen)
        for command in (
            ("workflow", "list"),
            ("workflow", "list", "--json"),
            ("workflow", "show", "talk"),
            ("workflow", "show", "talk", "--json"),
            ("workflow", "show", "WantsANumber"),
            ("workflow", "show", "HasABug"),
            ("workflow", "show", "talk-2", "--json"),
            ("workflow", "history", "talk"),
            ("workflow", "history", "failed"),
            ("task-queue", "describe", "q"),
            ("-v", "--log-level", "debug", "workflow", "history", "WantsANumber"),
        ):
            await asyncio.to_thread(seen.command, *command)
        screens = "\n".join(seen.shown)
        await asyncio.to_thread(seen.command, "workflow", "history", "talk", "--values")
        assert CANARY in seen.shown.pop(), "and who asks for values gets them"
    assert "Signal received" in screens
    assert all(seen.everything().values()), "each of them has been looked at"
    seen.assert_silent()


async def test_the_text_of_an_exception_is_hidden_by_the_failure_converter(seen: Seen, tmp_path: Path) -> None:
    """What code puts into an exception's message travels as text, unless the converter encodes it."""
    hiding = DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
    async with served(seen, tmp_path, data_converter=hiding) as client:
        handle = await client.start_workflow(LeakyByItself.run, CANARY, id="leaky", task_queue="q")
        with pytest.raises(Exception) as caught:
            await handle.result()
        innermost: BaseException = caught.value
        while innermost.__cause__ is not None:
            innermost = innermost.__cause__
        assert CANARY in str(innermost), "whoever may read payloads reads it"
        await asyncio.to_thread(seen.command, "workflow", "history", "leaky")
        await asyncio.to_thread(seen.command, "workflow", "show", "leaky")
    assert CANARY not in "\n".join(seen.shown)
