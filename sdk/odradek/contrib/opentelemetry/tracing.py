"""The interceptor, its parts in client, activity and workflow, and how context stands in headers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, NoReturn

import opentelemetry.trace
from opentelemetry import context as contexts
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from odradek import activity
from odradek import workflow as _workflow
from odradek.client import (
    ActivityHandle,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    WorkflowHandle,
    WorkflowUpdateHandle,
)
from odradek.client import (
    Interceptor as ClientInterceptor,
)
from odradek.client import StartActivityInput as StartStandaloneActivityInput
from odradek.common import Payload
from odradek.converter import PayloadConverter
from odradek.exceptions import ApplicationError, ApplicationErrorCategory
from odradek.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from odradek.worker import (
    Interceptor as WorkerInterceptor,
)
from odradek.workflow.children import ChildWorkflowHandle
from odradek.workflow.runtime import current

_logger = logging.getLogger(__name__)

WORKFLOW_ID: Final = "odradekWorkflowID"
RUN_ID: Final = "odradekRunID"
ACTIVITY_ID: Final = "odradekActivityID"
UPDATE_ID: Final = "odradekUpdateID"

default_text_map_propagator: TextMapPropagator = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
)
"""How a context is written down: W3C trace context, and baggage."""


class TracingInterceptor(ClientInterceptor, WorkerInterceptor):
    """Give it to the client; its workers have it then, too.

    ``tracer`` defaults to that of this module from the global provider. A workflow that is started without a trace
    makes no spans, unless ``always_create_workflow_spans``: each of its spans is then a trace of its own. A subclass
    may set ``text_map_propagator``, ``header_key`` and ``payload_converter``.
    """

    text_map_propagator: TextMapPropagator = default_text_map_propagator
    header_key = "_tracer-data"
    payload_converter: PayloadConverter = PayloadConverter.default

    def __init__(self, tracer: Tracer | None = None, *, always_create_workflow_spans: bool = False) -> None:
        self.tracer = tracer or opentelemetry.trace.get_tracer(__name__)
        self._always = always_create_workflow_spans

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _ClientOutbound(next, self)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityInbound(next, self)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        root = self

        class Inbound(TracingWorkflowInboundInterceptor):
            tracing = root

        return Inbound

    def to_headers(self, headers: Mapping[str, Payload], context: Context | None = None) -> Mapping[str, Payload]:
        """The headers with the context in them, the current one by default; unchanged where there is nothing to say."""
        carrier: dict[str, str] = {}
        self.text_map_propagator.inject(carrier, context)
        return {**headers, self.header_key: self.payload_converter.to_payload(carrier)} if carrier else headers

    def from_headers(self, headers: Mapping[str, Payload]) -> Context | None:
        payload = headers.get(self.header_key)
        if payload is None:
            return None
        return self.text_map_propagator.extract(self.payload_converter.from_payload(payload, dict[str, str]))

    @contextmanager
    def span(
        self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.CLIENT, context: Context | None = None
    ) -> Iterator[None]:
        """A span around what happens here; an exception is its error, unless it is a benign one."""
        with self.tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:
                if not _is_benign(error):
                    span.record_exception(error)
                    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
                raise


# ------------------------------------------------------------------------------------------------------------- client


class _ClientOutbound(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        kind = "SignalWithStartWorkflow" if input.start_signal else "StartWorkflow"
        with self._root.span(f"{kind}:{input.workflow}", {WORKFLOW_ID: input.id}):
            input.headers = self._root.to_headers(input.headers)
            return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        with self._root.span(f"SignalWorkflow:{input.signal}", {WORKFLOW_ID: input.id}):
            input.headers = self._root.to_headers(input.headers)
            await super().signal_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        with self._root.span(f"QueryWorkflow:{input.query}", {WORKFLOW_ID: input.id}):
            input.headers = self._root.to_headers(input.headers)
            return await super().query_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> WorkflowUpdateHandle[Any]:
        with self._root.span(f"StartWorkflowUpdate:{input.update}", {WORKFLOW_ID: input.id}):
            input.headers = self._root.to_headers(input.headers)
            return await super().start_workflow_update(input)

    async def start_activity(self, input: StartStandaloneActivityInput) -> ActivityHandle[Any]:
        with self._root.span(f"StartActivity:{input.activity_type}", {ACTIVITY_ID: input.id}):
            input.headers = self._root.to_headers(input.headers)
            return await super().start_activity(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        start, update = input.start_workflow_input, input.update_workflow_input
        with self._root.span(f"StartUpdateWithStartWorkflow:{start.workflow}", {WORKFLOW_ID: start.id}):
            start.headers = self._root.to_headers(start.headers)
            update.headers = self._root.to_headers(update.headers)
            return await super().start_update_with_start_workflow(input)


# ----------------------------------------------------------------------------------------------------------- activity


class _ActivityInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        attributes = {ACTIVITY_ID: info.activity_id}
        if info.workflow_id is not None and info.workflow_run_id is not None:
            attributes |= {WORKFLOW_ID: info.workflow_id, RUN_ID: info.workflow_run_id}
        context = self._root.from_headers(input.headers)
        with self._root.span(f"RunActivity:{info.activity_type}", attributes, SpanKind.SERVER, context):
            return await super().execute_activity(input)


# ----------------------------------------------------------------------------------------------------------- workflow

_current: ContextVar[TracingWorkflowInboundInterceptor | None] = ContextVar("odradek_tracing", default=None)


class TracingWorkflowInboundInterceptor(WorkflowInboundInterceptor):
    """Makes a span of each thing that reaches a run, and of each that it asks for; one is made for each run."""

    tracing: TracingInterceptor

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_WorkflowOutbound(outbound, self))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        kind = _workflow.info().workflow_type
        with self.within(input.headers):
            self.completed_span(f"RunWorkflow:{kind}", kind=SpanKind.SERVER)
            try:
                result = await super().execute_workflow(input)
            except Exception as error:
                if _workflow.is_failure_exception(error):  # any other one parks the run, which goes on later
                    self.completed_span(f"CompleteWorkflow:{kind}", exception=error)
                raise
            except asyncio.CancelledError:
                self.completed_span(f"CompleteWorkflow:{kind}")
                raise
            self.completed_span(f"CompleteWorkflow:{kind}")
            return result

    async def handle_signal(self, input: HandleSignalInput) -> None:
        link = self.tracing.from_headers(input.headers)
        with self.within(_workflow.info().headers):
            self.completed_span(f"HandleSignal:{input.signal}", kind=SpanKind.SERVER, link=link)
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with self.within(input.headers), self._alive(f"HandleQuery:{input.query}"):
            return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        attributes = {UPDATE_ID: input.id}
        with self.within(input.headers), self._alive(f"ValidateUpdate:{input.update}", attributes):
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        with self.within(input.headers):
            attributes = {UPDATE_ID: input.id}
            self.completed_span(f"HandleUpdate:{input.update}", attributes, kind=SpanKind.SERVER)
            return await super().handle_update_handler(input)

    # --------------------------------------------------------------------------------------------------------- spans

    @contextmanager
    def within(self, headers: Mapping[str, Payload]) -> Iterator[None]:
        """In the context that came in the headers."""
        token = contexts.attach(self.tracing.from_headers(headers) or Context())
        mine = _current.set(self)
        try:
            yield
        finally:
            _current.reset(mine)
            contexts.detach(token)

    @contextmanager
    def _alive(self, name: str, attributes: Mapping[str, Any] | None = None) -> Iterator[None]:
        """For what is never replayed: a span that takes the time that it takes."""
        if not self._is_traced():
            yield
            return
        with (
            _workflow.unsafe.sandbox_unrestricted(),
            self.tracing.span(name, {**self._attributes(), **(attributes or {})}, SpanKind.SERVER),
        ):
            yield

    def completed_span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        *,
        exception: Exception | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        link: Context | None = None,
    ) -> Context | None:
        """A span of no duration in the current context, unless the run is replayed; its context."""
        if _workflow.unsafe.is_replaying_history_events() or not self._is_traced():
            return None
        now = _workflow.time_ns()
        links = [Link(opentelemetry.trace.get_current_span(link).get_span_context())] if link else None
        # Exporters may write or send at once.
        with _workflow.unsafe.sandbox_unrestricted():
            span = self.tracing.tracer.start_span(
                name, None, kind, {**self._attributes(), **(attributes or {})}, links, start_time=now
            )
            if exception is not None and not _is_benign(exception):
                span.record_exception(exception, timestamp=now)
                span.set_status(Status(StatusCode.ERROR, f"{type(exception).__name__}: {exception}"))
        if _workflow.unsafe.is_read_only():
            _end(span, now)
        else:
            current().when_applied(lambda: _end(span, now))
        return opentelemetry.trace.set_span_in_context(span)

    def headers(self, name: str, headers: Mapping[str, Payload], kind: SpanKind) -> Mapping[str, Payload]:
        """For something that the code asks for: with a span of it in the context."""
        return self.tracing.to_headers(headers, self.completed_span(name, kind=kind))

    def _is_traced(self) -> bool:
        span = opentelemetry.trace.get_current_span()
        return span.get_span_context().is_valid or self.tracing._always

    def _attributes(self) -> dict[str, Any]:
        info = _workflow.info()
        return {WORKFLOW_ID: info.workflow_id, RUN_ID: info.run_id}


class _WorkflowOutbound(WorkflowOutboundInterceptor):
    def __init__(self, next: WorkflowOutboundInterceptor, inbound: TracingWorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._inbound = inbound

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        input.headers = self._inbound.tracing.to_headers(input.headers)
        super().continue_as_new(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        name = f"SignalChildWorkflow:{input.signal}"
        input.headers = self._inbound.headers(name, input.headers, SpanKind.SERVER)
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        name = f"SignalExternalWorkflow:{input.signal}"
        input.headers = self._inbound.headers(name, input.headers, SpanKind.CLIENT)
        await super().signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> _workflow.ActivityHandle[Any]:
        input.headers = self._inbound.headers(f"StartActivity:{input.activity}", input.headers, SpanKind.CLIENT)
        return super().start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]:
        name = f"StartChildWorkflow:{input.workflow}"
        input.headers = self._inbound.headers(name, input.headers, SpanKind.CLIENT)
        return await super().start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> _workflow.ActivityHandle[Any]:
        input.headers = self._inbound.headers(f"StartActivity:{input.activity}", input.headers, SpanKind.CLIENT)
        return super().start_local_activity(input)


class workflow:  # noqa: N801 - a namespace, as people know it
    """What workflow code itself may say to its trace."""

    @staticmethod
    def completed_span(
        name: str, *, attributes: Mapping[str, Any] | None = None, exception: Exception | None = None
    ) -> None:
        """A span of this moment in the workflow's trace; none while the run is replayed, or is not traced."""
        inbound = _current.get()
        if inbound is not None:
            inbound.completed_span(name, attributes, exception=exception)


def _end(span: Span, time_ns: int) -> None:
    """Processors and exporters are somebody else's code, and are called outside of the run's."""
    try:
        span.end(end_time=time_ns)
    except Exception:
        _logger.exception("a span could not be ended")


def _is_benign(error: BaseException) -> bool:
    return isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN
