"""One trace across client, workflow, activity, child, signal, update and query; nothing is doubled by a replay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, get_tracer

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.contrib import opentelemetry as tracing
from odradek.exceptions import ApplicationError, ApplicationErrorCategory
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

LIMIT: Any = {"start_to_close_timeout": timedelta(seconds=10), "retry_policy": RetryPolicy(maximum_attempts=2)}


@activity.defn
async def work(fails: bool) -> str:
    if fails and activity.info().attempt == 1:
        raise ValueError("once")
    return "done"


@workflow.defn
class Child:
    def __init__(self) -> None:
        self.told = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.told)
        return str(await workflow.execute_local_activity(work, False, **LIMIT))

    @workflow.signal
    def tell(self) -> None:
        self.told = True


@workflow.defn
class Traced:
    def __init__(self) -> None:
        self.ends = False

    @workflow.run
    async def run(self) -> str:
        tracing.workflow.completed_span("a mark", attributes={"by": "hand"})
        await workflow.execute_activity(work, True, **LIMIT)
        child = await workflow.start_child_workflow(Child.run, id="child")
        await child.signal(Child.tell)
        await child
        await workflow.wait_condition(lambda: self.ends)
        return "over"

    @workflow.signal
    def end(self) -> None:
        self.ends = True

    @workflow.query
    def state(self) -> str:
        return "fine"

    @workflow.update
    async def change(self, number: int) -> int:
        await workflow.step(stepped)
        return number

    @change.validator
    def may_change(self, number: int) -> None:
        if number < 0:
            raise ApplicationError("too small")


async def stepped() -> None: ...


@workflow.defn
class Failing:
    @workflow.run
    async def run(self, benign: bool) -> None:
        category = ApplicationErrorCategory.BENIGN if benign else ApplicationErrorCategory.UNSPECIFIED
        raise ApplicationError("as it is", category=category)


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self.holds = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def hold(self) -> None:
        self.holds += 1
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def held(self) -> int:
        return self.holds


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traced(odradek_env: WorkflowEnvironment, exporter: InMemorySpanExporter) -> Iterator[Client]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    config = odradek_env.client.config()
    config["interceptors"] = [tracing.TracingInterceptor(provider.get_tracer("tests"))]
    yield Client(**config)
    provider.shutdown()


def tree(spans: tuple[ReadableSpan, ...]) -> list[str]:
    """The spans as indented lines, each beneath its parent, in the order of their names."""
    by_parent: dict[int | None, list[ReadableSpan]] = {}
    known = {span.context.span_id for span in spans if span.context}
    for span in spans:
        parent = span.parent.span_id if span.parent and span.parent.span_id in known else None
        by_parent.setdefault(parent, []).append(span)
    lines: list[str] = []

    def add(parent: int | None, depth: int) -> None:
        for span in sorted(by_parent.get(parent, []), key=lambda span: span.name):
            lines.append("  " * depth + span.name)
            assert span.context is not None
            add(span.context.span_id, depth + 1)

    add(None, 0)
    return lines


async def run_traced(client: Client) -> Any:
    async with Worker(client, task_queue="tq", workflows=[Traced, Child], activities=[work]):
        handle = await client.start_workflow(Traced.run, id="wf", task_queue="tq")
        assert await handle.execute_update(Traced.change, 4) == 4
        assert await handle.query(Traced.state) == "fine"
        await handle.signal(Traced.end)
        assert await handle.result() == "over"
        return await handle.fetch_history()


async def test_one_trace_of_everything(traced: Client, exporter: InMemorySpanExporter) -> None:
    history = await run_traced(traced)
    spans = exporter.get_finished_spans()
    assert tree(spans) == [
        "QueryWorkflow:state",
        "  HandleQuery:state",
        "SignalWorkflow:end",
        "StartWorkflow:Traced",
        "  CompleteWorkflow:Traced",
        "  HandleSignal:end",
        "  RunWorkflow:Traced",
        "  SignalChildWorkflow:tell",
        "  StartActivity:work",
        "    RunActivity:work",
        "    RunActivity:work",
        "  StartChildWorkflow:Child",
        "    CompleteWorkflow:Child",
        "    HandleSignal:tell",
        "    RunWorkflow:Child",
        "    StartActivity:work",
        "      RunActivity:work",
        "  a mark",
        "StartWorkflowUpdate:change",
        "  HandleUpdate:change",
        "  StartActivity:stepped",
        "    RunActivity:stepped",
        "  ValidateUpdate:change",
    ]
    by_name = {span.name: span for span in spans}
    attributes = by_name["RunWorkflow:Traced"].attributes
    assert attributes is not None
    assert attributes["odradekWorkflowID"] == "wf"
    assert (by_name["a mark"].attributes or {})["by"] == "hand"
    failed = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert [(span.name, span.status.description) for span in failed] == [("RunActivity:work", "ValueError: once")]
    assert by_name["HandleSignal:end"].links[0].context.span_id == context_of(by_name["SignalWorkflow:end"])

    exporter.clear()
    interceptor = traced.interceptors[0]
    assert isinstance(interceptor, tracing.TracingInterceptor)
    await Replayer(workflows=[Traced, Child], interceptors=[interceptor]).replay_workflow(history)
    assert exporter.get_finished_spans() == ()


def context_of(span: ReadableSpan) -> int:
    assert span.context is not None
    number: int = span.context.span_id
    return number


async def test_failures(traced: Client, exporter: InMemorySpanExporter) -> None:
    async with Worker(traced, task_queue="tq", workflows=[Failing, Traced], activities=[work]):
        for benign in (False, True):
            with pytest.raises(WorkflowFailureError):
                await traced.execute_workflow(Failing.run, benign, id=f"f-{benign}", task_queue="tq")
    ends = [span for span in exporter.get_finished_spans() if span.name == "CompleteWorkflow:Failing"]
    assert [span.status.status_code for span in ends] == [StatusCode.ERROR, StatusCode.UNSET]
    assert [event.name for event in ends[0].events] == ["exception"]


async def test_a_cancelled_workflow_has_an_end(traced: Client, exporter: InMemorySpanExporter) -> None:
    async with Worker(traced, task_queue="tq", workflows=[Waiting], activities=[work]):
        handle = await traced.start_workflow(Waiting.run, id="cancelled", task_queue="tq")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    names = [span.name for span in exporter.get_finished_spans()]
    assert sorted(names) == ["CompleteWorkflow:Waiting", "RunWorkflow:Waiting", "StartWorkflow:Waiting"]


async def test_untraced_workflows_make_no_spans_unless_told_to(
    odradek_env: WorkflowEnvironment, exporter: InMemorySpanExporter
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for always in (False, True):
        interceptor = tracing.TracingInterceptor(provider.get_tracer("tests"), always_create_workflow_spans=always)
        exporter.clear()
        async with Worker(
            odradek_env.client, task_queue=f"tq-{always}", workflows=[Failing], interceptors=[interceptor]
        ):
            with pytest.raises(WorkflowFailureError):
                await odradek_env.client.execute_workflow(
                    Failing.run, True, id=f"wf-{always}", task_queue=f"tq-{always}"
                )
        names = [span.name for span in exporter.get_finished_spans()]
        assert names == (["RunWorkflow:Failing", "CompleteWorkflow:Failing"] if always else [])


async def test_a_traced_run_that_is_dropped_complains_of_nothing(
    traced: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """What it attached is detached where it was attached, in the main task and in that of a handler."""
    async with Worker(traced, task_queue="tq", workflows=[Waiting], activities=[work]):
        handle = await traced.start_workflow(Waiting.run, id="waits", task_queue="tq")
        await handle.signal(Waiting.hold)
        assert await handle.query(Waiting.held) == 1
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_the_tracer_of_the_global_provider_by_default() -> None:
    assert type(tracing.TracingInterceptor().tracer) is type(get_tracer("x"))
