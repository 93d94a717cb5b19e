"""Spans reach a receiver of OTLP over HTTP as they were made: with their names, parents, attributes and errors."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from odradek.client import Client
from odradek.contrib import opentelemetry as tracing
from odradek.testing import WorkflowEnvironment
from tests.orchestrator.test_watch import until
from tests.sdk.test_opentelemetry import run_traced
from tests.sdk.traced_shop import Purchase

REPOSITORY = Path(__file__).parents[2]


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to /v1/traces, as a collector would take it in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        assert self.headers["Content-Type"] == "application/x-protobuf"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_what_arrives_is_what_happened(odradek_env: WorkflowEnvironment, receiver: Receiver) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.url)))
    config = odradek_env.client.config()
    config["interceptors"] = [tracing.TracingInterceptor(provider.get_tracer("tests"))]
    await run_traced(Client(**config))
    provider.shutdown()
    spans = {span.name: span for span in receiver.spans}
    assert len(receiver.spans) == 23
    assert len({span.span_id for span in receiver.spans}) == 23
    started = spans["StartWorkflow:Traced"]
    for name, parent in (
        ("RunWorkflow:Traced", "StartWorkflow:Traced"),
        ("StartChildWorkflow:Child", "StartWorkflow:Traced"),
        ("RunWorkflow:Child", "StartChildWorkflow:Child"),
        ("HandleUpdate:change", "StartWorkflowUpdate:change"),
        ("RunActivity:stepped", "StartActivity:stepped"),
    ):
        assert spans[name].parent_span_id == spans[parent].span_id, name
        assert spans[name].trace_id == spans[parent].trace_id, name
    assert spans["RunWorkflow:Child"].trace_id == started.trace_id
    attributes = {pair.key: pair.value.string_value for pair in spans["RunWorkflow:Traced"].attributes}
    assert attributes["odradekWorkflowID"] == "wf"
    failed = [span for span in receiver.spans if span.status.message]
    assert [(span.name, span.status.message) for span in failed] == [("RunActivity:work", "ValueError: once")]
    assert [event.name for event in failed[0].events] == ["exception"]
    assert spans["HandleSignal:end"].links[0].span_id == spans["SignalWorkflow:end"].span_id
    [resource] = receiver.requests[0].resource_spans
    said = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert said["service.name"] == "shop"


def process(*arguments: str, folder: Path, name: str) -> subprocess.Popen[bytes]:
    """The command as people run it."""
    with (folder / f"{name}.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "odradek.cli", *arguments],
            cwd=REPOSITORY,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.slow
async def test_processes_that_die_leave_one_trace_and_double_nothing(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An orchestrator is killed between two payments; another one takes its partitions over."""
    monkeypatch.setenv("TRACES", receiver.url)
    common = ["--log", f"sqlite:///{tmp_path}/log.db", "--interceptor", "tests.sdk.traced_shop:tracing"]
    serving = ["tests.sdk.traced_shop", "--session-timeout", "2", "--health-port", "off"]
    running: list[subprocess.Popen[bytes]] = []

    def orchestrator() -> subprocess.Popen[bytes]:
        running.append(process(*common, "orchestrator", *serving, folder=tmp_path, name="orchestrator"))
        return running[-1]

    def count(name: str) -> int:
        return sum(span.name == name for span in receiver.spans)

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=receiver.url)))
    mine = tracing.TracingInterceptor(provider.get_tracer("tests"))
    try:
        first = orchestrator()
        running.append(process(*common, "worker", "--queue", "q", *serving, folder=tmp_path, name="worker"))
        async with await Client.connect(f"sqlite:///{tmp_path}/log.db", interceptors=[mine]) as client:
            patience = timedelta(seconds=60)
            run = await client.start_workflow(Purchase.run, 2, id="p", task_queue="q", rpc_timeout=patience)
            await run.signal(Purchase.pay, rpc_timeout=patience)
            await until(lambda: count("RunActivity:charge") == 1)
            first.kill()
            first.wait()
            orchestrator()
            await run.signal(Purchase.pay, rpc_timeout=patience)
            assert await run.result() == 2
            await until(lambda: count("CompleteWorkflow:Purchase") == 1)
    finally:
        for one in running:
            one.kill()
            one.wait()
        provider.shutdown()
    assert Counter(span.name for span in receiver.spans) == {
        "StartWorkflow:Purchase": 1,
        "RunWorkflow:Purchase": 1,
        "SignalWorkflow:pay": 2,
        "HandleSignal:pay": 2,
        "StartActivity:charge": 2,
        "RunActivity:charge": 2,
        "CompleteWorkflow:Purchase": 1,
    }
    traces = {span.trace_id for span in receiver.spans if span.name != "SignalWorkflow:pay"}
    assert len(traces) == 1
