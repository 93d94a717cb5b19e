"""What a trace must not show twice: runs that are evicted, taken over, parked, or continued leave each span once."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from odradek import activity, workflow
from odradek.client import ActivityFailureError, Client
from odradek.common import RetryPolicy
from odradek.contrib import opentelemetry as tracing
from odradek.exceptions import ApplicationError
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker
from tests.orchestrator.test_watch import until
from tests.sdk.test_opentelemetry import run_traced, tree, work

LIMIT: Any = {"start_to_close_timeout": timedelta(seconds=10)}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def interceptor(exporter: InMemorySpanExporter) -> Iterator[tracing.TracingInterceptor]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield tracing.TracingInterceptor(provider.get_tracer("tests"))
    provider.shutdown()


def counted(exporter: InMemorySpanExporter) -> Counter[str]:
    return Counter(span.name for span in exporter.get_finished_spans())


@activity.defn
async def lookup(number: int) -> int:
    if number < 0:
        raise ApplicationError("below zero", non_retryable=True)
    return number


@workflow.defn
class Steps:
    """Notes what it does, also on its way out."""

    def __init__(self) -> None:
        self.signals = 0

    @workflow.run
    async def run(self, rounds: int) -> int:
        try:
            for number in range(rounds):
                await workflow.wait_condition(lambda: self.signals > number)  # noqa: B023
                await workflow.execute_activity(lookup, number, **LIMIT)
        finally:
            tracing.workflow.completed_span("on the way out")
        return rounds

    @workflow.signal
    def go(self) -> None:
        self.signals += 1


@workflow.defn
class Again:
    @workflow.run
    async def run(self, left: int) -> str:
        await workflow.execute_activity(lookup, left, **LIMIT)
        if left:
            workflow.continue_as_new(left - 1)
        return "over"


@workflow.defn
class Buggy:
    mended = False

    @workflow.run
    async def run(self) -> int:
        tracing.workflow.completed_span("before the bug")
        if not Buggy.mended:
            raise KeyError("total")
        return int(await workflow.execute_activity(lookup, 1, **LIMIT))


async def connect(name: str, interceptor: tracing.TracingInterceptor) -> Client:
    return await Client.connect(f"memory://{name}", namespace="traced", interceptors=[interceptor])


async def test_eviction_doubles_nothing(
    exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor
) -> None:
    """Two runs in turn where there is room for the code of one: each signal replays one and drops the other."""
    settings = OrchestratorSettings(instances_in_memory_max=1)
    async with await connect("traced-evicted", interceptor) as client:
        worker = Worker(client, task_queue="q", workflows=[Steps], activities=[lookup], orchestrator_settings=settings)
        async with worker:
            runs = [await client.start_workflow(Steps.run, 3, id=f"w-{n}", task_queue="q") for n in range(2)]
            for _ in range(3):
                for run in runs:
                    await run.signal(Steps.go)
            for run in runs:
                assert await run.result() == 3
    assert counted(exporter) == {
        "StartWorkflow:Steps": 2,
        "RunWorkflow:Steps": 2,
        "SignalWorkflow:go": 6,
        "HandleSignal:go": 6,
        "StartActivity:lookup": 6,
        "RunActivity:lookup": 6,
        "on the way out": 2,
        "CompleteWorkflow:Steps": 2,
    }


async def test_a_takeover_doubles_nothing(
    exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor
) -> None:
    """Another orchestrator, with another interceptor object, goes on in the same trace."""
    async with await connect("traced-taken", interceptor) as client:
        workers = [Worker(client, task_queue="q", workflows=[Steps], activities=[lookup]) for _ in range(2)]
        async with workers[0]:
            run = await client.start_workflow(Steps.run, 2, id="w", task_queue="q")
            await run.signal(Steps.go)
            await until(lambda: counted(exporter)["RunActivity:lookup"] == 1)
        async with workers[1]:
            await run.signal(Steps.go)
            assert await run.result() == 2
    assert counted(exporter) == {
        "StartWorkflow:Steps": 1,
        "RunWorkflow:Steps": 1,
        "SignalWorkflow:go": 2,
        "HandleSignal:go": 2,
        "StartActivity:lookup": 2,
        "RunActivity:lookup": 2,
        "on the way out": 1,
        "CompleteWorkflow:Steps": 1,
    }
    spans = {span.name: span for span in exporter.get_finished_spans()}
    of_start = spans["StartWorkflow:Steps"].context
    of_end = spans["CompleteWorkflow:Steps"].context
    assert of_start is not None
    assert of_end is not None
    assert of_end.trace_id == of_start.trace_id


async def test_a_parked_run_is_seen_once_when_it_goes_on(
    exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try of code that cannot go on would leave the spans of all that it did before."""
    monkeypatch.setattr(Buggy, "mended", False)
    async with (
        await connect("traced-parked", interceptor) as client,
        Worker(client, task_queue="q", workflows=[Buggy], activities=[lookup]),
    ):
        run = await client.start_workflow(Buggy.run, id="w", task_queue="q")
        for _ in range(100):
            if (await run.describe()).parked is not None:
                break
            await asyncio.sleep(0.05)
        assert counted(exporter) == {"StartWorkflow:Buggy": 1}
        monkeypatch.setattr(Buggy, "mended", True)
        assert await run.result() == 1
    assert counted(exporter) == {
        "StartWorkflow:Buggy": 1,
        "RunWorkflow:Buggy": 1,
        "before the bug": 1,
        "StartActivity:lookup": 1,
        "RunActivity:lookup": 1,
        "CompleteWorkflow:Buggy": 1,
    }


async def test_runs_that_follow_one_another_are_one_trace(
    exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor
) -> None:
    async with (
        await connect("traced-again", interceptor) as client,
        Worker(client, task_queue="q", workflows=[Again], activities=[lookup]),
    ):
        assert await client.execute_workflow(Again.run, 2, id="w", task_queue="q") == "over"
    spans = exporter.get_finished_spans()
    assert counted(exporter) == {
        "StartWorkflow:Again": 1,
        "RunWorkflow:Again": 3,
        "StartActivity:lookup": 3,
        "RunActivity:lookup": 3,
        "CompleteWorkflow:Again": 1,
    }
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    runs = {(span.attributes or {})["odradekRunID"] for span in spans if span.name == "RunWorkflow:Again"}
    assert len(runs) == 3


async def test_an_activity_without_a_workflow_is_one_trace(
    odradek_env: WorkflowEnvironment, exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor
) -> None:
    """The built-in workflow behind it is no business of the trace."""
    config = odradek_env.client.config()
    config["interceptors"] = [interceptor]
    client = Client(**config)
    async with Worker(client, task_queue="q", activities=[lookup, work]):
        assert await client.execute_activity(lookup, 4, id="a", task_queue="q", **LIMIT) == 4
        assert tree(exporter.get_finished_spans()) == ["StartActivity:lookup", "  RunActivity:lookup"]
        for span in exporter.get_finished_spans():
            assert dict(span.attributes or {}) == {"odradekActivityID": "a"}, "exporters refuse what has no value"
        exporter.clear()
        retried = RetryPolicy(initial_interval=timedelta(milliseconds=10))
        assert await client.execute_activity(work, True, id="b", task_queue="q", retry_policy=retried, **LIMIT)
        assert tree(exporter.get_finished_spans()) == [
            "StartActivity:work",
            "  RunActivity:work",
            "  RunActivity:work",
        ]
        with pytest.raises(ActivityFailureError):
            await client.execute_activity(lookup, -1, id="c", task_queue="q", **LIMIT)


@pytest.mark.kafka
async def test_one_trace_through_kafka(
    kafka_broker: str, exporter: InMemorySpanExporter, interceptor: tracing.TracingInterceptor
) -> None:
    """The context stands in the records: client, orchestrator and worker have nothing else in common."""
    address, name = f"kafka://{kafka_broker}", f"traced-{uuid.uuid4().hex[:8]}"
    with closing(open_log(address)) as log:
        create_namespace(log, name, partitions=2, replication=1, queues=("tq",))
    async with await Client.connect(address, namespace=name, interceptors=[interceptor]) as client:
        await run_traced(client)
    assert len(exporter.get_finished_spans()) == 23
    traces = {span.name: span.context.trace_id for span in exporter.get_finished_spans() if span.context}
    of_start = traces["StartWorkflow:Traced"]
    for name in (
        "RunWorkflow:Traced",
        "RunActivity:work",
        "RunWorkflow:Child",
        "HandleSignal:tell",
        "HandleSignal:end",
    ):
        assert traces[name] == of_start
