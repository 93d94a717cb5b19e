"""A workflow with an activity and a child, and the interceptor that its processes are started with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.contrib.opentelemetry import TracingInterceptor

LIMIT: Any = {
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3),
}


@activity.defn
async def charge(order: str) -> str:
    if activity.info().attempt == 1:
        raise ConnectionError("the gateway is away")
    return f"{order} is paid"


@activity.defn
async def ship(order: str) -> str:
    return f"{order} is on its way"


@workflow.defn
class Parcel:
    @workflow.run
    async def run(self, order: str) -> str:
        return str(await workflow.execute_activity(ship, order, **LIMIT))


@workflow.defn
class Order:
    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.execute_activity(charge, order, **LIMIT)
        return str(await workflow.execute_child_workflow(Parcel.run, order, id=f"parcel-{order}"))


def provider() -> TracerProvider:
    """Where it exports to, and as which service, say the variables that OpenTelemetry has for that."""
    made = TracerProvider(resource=Resource.create())
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def tracing() -> TracingInterceptor:
    """For the commands; what has not been sent when they are told to stop is sent as they end."""
    return TracingInterceptor(provider().get_tracer("shop"))
