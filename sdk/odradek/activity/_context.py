"""What an activity can see of its attempt. The worker and the test environment fill it in; user code reads it."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from odradek.activity._flag import Flag
from odradek.common import MetricMeter, Priority, RetryPolicy
from odradek.converter import PayloadConverter


@dataclass(frozen=True)
class Info:
    """Facts of the attempt that runs. Times are in UTC; what is about the workflow is None where there is none."""

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    """What the attempt before this one said last."""
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    priority: Priority
    retry_policy: RetryPolicy | None
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    idempotency_key: str
    """The same for every attempt of this activity, and for no other one: hand it to whatever must not act twice."""
    activity_run_id: str | None = None
    """Of an activity that a client has started: which of those that had this ID, one after the other."""

    @property
    def in_workflow(self) -> bool:
        """False: a client has started it."""
        return self.workflow_id is not None

    def _logger_details(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "activity_id": self.activity_id,
            "activity_type": self.activity_type,
            "attempt": self.attempt,
            "namespace": self.namespace,
            "task_queue": self.task_queue,
        }
        if not self.in_workflow:
            return facts | {"activity_run_id": self.activity_run_id}
        return facts | {
            "workflow_id": self.workflow_id,
            "workflow_run_id": self.workflow_run_id,
            "workflow_type": self.workflow_type,
        }


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an activity is being cancelled; several can be true."""

    not_found: bool = False
    """The workflow waits for this attempt no longer: it has closed, or the attempt was given up."""
    cancel_requested: bool = False
    """The workflow asked for it."""
    paused: bool = False
    timed_out: bool = False
    worker_shutdown: bool = False
    reset: bool = False


class CompleteAsyncError(BaseException):
    """Raised by ``raise_complete_async``. Let it pass: the worker takes it as the end of its own part."""

    def __init__(self) -> None:
        super().__init__("the activity goes on without its worker")


class _Context(Protocol):
    """One per attempt. Its methods may be called from the activity's thread as well as from the event loop."""

    @property
    def cancelled(self) -> Flag: ...

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None: ...

    @property
    def worker_shutdown(self) -> Flag: ...

    @property
    def info(self) -> Info: ...

    @property
    def payload_converter(self) -> PayloadConverter: ...

    @property
    def client(self) -> Any:
        """None: this worker was not given one."""

    @property
    def metric_meter(self) -> MetricMeter: ...

    def heartbeat(self, *details: Any) -> None: ...

    def shield_thread_cancel_exception(self) -> AbstractContextManager[None]: ...


class _PlainContext:
    """A context made of given parts, for environments without a worker."""

    def __init__(
        self,
        info: Info,
        *,
        payload_converter: PayloadConverter,
        on_heartbeat: Callable[..., None] = lambda *details: None,
        client: Any = None,
        metric_meter: MetricMeter = MetricMeter.noop,
        shield: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.info = info
        self.payload_converter = payload_converter
        self.client = client
        self.metric_meter = metric_meter
        self.cancelled = Flag()
        self.cancellation_details: ActivityCancellationDetails | None = None
        self.worker_shutdown = Flag()
        self.heartbeat = on_heartbeat
        self.shield_thread_cancel_exception = shield


_current: contextvars.ContextVar[_Context] = contextvars.ContextVar("odradek_activity")


def _context() -> _Context:
    found = _current.get(None)
    if found is None:
        raise RuntimeError("ODR-126: not in an activity: call this from code that a worker runs as one")
    return found
