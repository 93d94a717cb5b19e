"""Traces across clients, workflows, activities and children: give ``TracingInterceptor`` to the client.

The context travels in headers. What workflow code does becomes spans that are complete when they are made, and none is
made while a run is replayed, so nothing is doubled.
"""

from odradek.contrib.opentelemetry.tracing import (
    TracingInterceptor,
    TracingWorkflowInboundInterceptor,
    default_text_map_propagator,
    workflow,
)

__all__ = [
    "TracingInterceptor",
    "TracingWorkflowInboundInterceptor",
    "default_text_map_propagator",
    "workflow",
]
