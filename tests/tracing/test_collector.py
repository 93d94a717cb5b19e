"""One trace across a client, an orchestrator and a worker, as an OpenTelemetry Collector has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.orders.fleet import Fleet
from odradek.client import Client
from odradek.contrib.opentelemetry import TracingInterceptor
from tests.programs import ProgramUnavailable
from tests.tracing import shop
from tests.tracing.collector import Collector, Span
from tests.tracing.collector import collector as started

QUEUE = "orders"


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    context = started(tmp_path)
    try:
        found = context.__enter__()
    except ProgramUnavailable as error:
        pytest.skip(f"traces are NOT TESTED with a collector: {error}")
    yield found
    context.__exit__(None, None, None)


def tree(spans: list[Span]) -> list[str]:
    """Each span with its service beneath its parent, in the order of their names."""
    lines: list[str] = []

    def add(parent_id: str, depth: int) -> None:
        for span in sorted((one for one in spans if one.parent_id == parent_id), key=lambda one: one.name):
            failed = " (failed)" if span.failed else ""
            lines.append(f"{'  ' * depth}{span.name} by {span.service}{failed}")
            add(span.span_id, depth + 1)

    add("", 0)
    return lines


async def buy(address: str) -> None:
    """As an application does that traces itself."""
    provider = shop.provider()
    tracer = provider.get_tracer("checkout")
    async with await Client.connect(address, interceptors=[TracingInterceptor(tracer)]) as client:
        with tracer.start_as_current_span("checkout"):
            handle = await client.start_workflow(shop.Order.run, "tea", id="order-tea", task_queue=QUEUE)
            assert await handle.result() == "tea is on its way"
    provider.shutdown()


@pytest.mark.slow
async def test_one_trace_of_three_processes(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each process exports, the last spans before it was told to stop included."""
    address = f"sqlite:///{tmp_path / 'log.db'}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "web-shop")
    monkeypatch.setenv("ODRADEK_LOG", address)
    monkeypatch.setenv("ODRADEK_INTERCEPTORS", "tests.tracing.shop:tracing")
    monkeypatch.setenv("ODRADEK_HEALTH_PORT", "0")
    command = ["-m", "odradek.cli"]
    orchestrator = [*command, "orchestrator", "tests.tracing.shop"]
    worker = [*command, "worker", "tests.tracing.shop", "--queue", QUEUE]
    with (
        Fleet(tmp_path, {"orchestrator": orchestrator}, {"OTEL_SERVICE_NAME": "orchestrators"}),
        Fleet(tmp_path, {"worker": worker}, {"OTEL_SERVICE_NAME": "workers"}),
    ):
        await buy(address)
    spans = collector.stop()
    assert tree(spans) == [
        "checkout by web-shop",
        "  StartWorkflow:Order by web-shop",
        "    CompleteWorkflow:Order by orchestrators",
        "    RunWorkflow:Order by orchestrators",
        "    StartActivity:charge by orchestrators",
        "      RunActivity:charge by workers (failed)",
        "      RunActivity:charge by workers",
        "    StartChildWorkflow:Parcel by orchestrators",
        "      CompleteWorkflow:Parcel by orchestrators",
        "      RunWorkflow:Parcel by orchestrators",
        "      StartActivity:ship by orchestrators",
        "        RunActivity:ship by workers",
    ]
    assert len({span.trace_id for span in spans}) == 1
    workflows = {span.attributes["odradekWorkflowID"] for span in spans if span.service != "web-shop"}
    assert workflows == {"order-tea", "parcel-tea"}
