"""A workflow, an activity and a tracer for processes of their own: what ``odradek --interceptor`` names."""

from __future__ import annotations

import os
from datetime import timedelta

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from odradek import activity, workflow
from odradek.contrib.opentelemetry import TracingInterceptor

provider = TracerProvider(resource=Resource.create({"service.name": "traced-shop"}))
if "TRACES" in os.environ:  # simple, so that a kill loses none: not for production
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=os.environ["TRACES"])))
tracing = TracingInterceptor(provider.get_tracer("traced-shop"))


@activity.defn
async def charge(cents: int) -> int:
    return cents


@workflow.defn
class Purchase:
    def __init__(self) -> None:
        self.paid = 0

    @workflow.run
    async def run(self, payments: int) -> int:
        for number in range(payments):
            await workflow.wait_condition(lambda: self.paid > number)  # noqa: B023
            await workflow.execute_activity(charge, number, start_to_close_timeout=timedelta(seconds=30))
        return payments

    @workflow.signal
    def pay(self) -> None:
        self.paid += 1
