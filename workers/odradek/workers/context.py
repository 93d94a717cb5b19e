"""What a running attempt shows to its activity: facts, cancellation, heartbeats.

One is made for each attempt, so it does nothing before somebody asks.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from odradek.activity._context import ActivityCancellationDetails, Info
from odradek.activity._flag import Flag
from odradek.common import MetricMeter, Priority, RetryPolicy
from odradek.common.prometheus import PrometheusMeter
from odradek.common.standalone import is_standalone
from odradek.converter import ActivitySerializationContext, DataConverter, PayloadConverter
from odradek.log.clock import WALL
from odradek.schemas.records import ActivityHeartbeat, Payload, TaskRecord
from odradek.workers.attempts import Attempt, StopReason
from odradek.workers.outgoing import Answer
from odradek.workers.settings import WorkerSettings

if TYPE_CHECKING:
    from odradek.activity.interceptors import ActivityOutboundInterceptor
    from odradek.workers.sender import Sender
    from odradek.workers.threads import ThreadCancellation


class Cancellable(Protocol):
    def cancel(self) -> None: ...


_logger = logging.getLogger(__name__)

_DETAILS = {
    StopReason.CANCELLED: ActivityCancellationDetails(cancel_requested=True),
    StopReason.SUPERSEDED: ActivityCancellationDetails(not_found=True),
    StopReason.CLOSED: ActivityCancellationDetails(not_found=True),
    StopReason.PAUSED: ActivityCancellationDetails(paused=True),
    StopReason.RESET: ActivityCancellationDetails(reset=True),
    StopReason.TIMED_OUT: ActivityCancellationDetails(timed_out=True),
    StopReason.START_TO_CLOSE: ActivityCancellationDetails(timed_out=True),
    StopReason.SHUTDOWN: ActivityCancellationDetails(worker_shutdown=True),
}


@dataclass(slots=True)
class Surroundings:
    """What all attempts of one worker share."""

    worker: str
    data_converter: DataConverter
    settings: WorkerSettings
    sender: Sender
    client: Any = None
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    worker_shutdown: Flag = field(default_factory=Flag)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    now_ms: Callable[[], int] = WALL.now_ms

    def converter_for(self, attempt: Attempt) -> DataConverter:
        if attempt.context is not None:
            return attempt.context.data_converter
        return converter_for(self.data_converter, attempt)


def converter_for(converter: DataConverter, attempt: Attempt) -> DataConverter:
    """The worker's converter, for the values of this activity."""
    if not converter.takes_context:
        return converter
    task = attempt.task
    if is_standalone(task.workflow_id):
        return converter.with_context(ActivitySerializationContext.of_standalone(task.namespace, task.workflow_id))
    return converter.with_context(
        ActivitySerializationContext(
            task.namespace,
            task.activity_id,
            task.activity_type,
            task.task_queue,
            task.workflow_id,
            task.workflow_type,
        )
    )


class AttemptContext:
    """The ``_Context`` of ``odradek.activity`` for one attempt."""

    __slots__ = (
        "_around",
        "_attempt",
        "_converter",
        "_heartbeat_at",
        "_info",
        "_pending",
        "cancellation_details",
        "cancelled",
        "outbound",
        "previous_details",
        "process",
        "thread",
    )

    def __init__(self, attempt: Attempt, around: Surroundings) -> None:
        self._attempt = attempt
        self._around = around
        self._converter = converter_for(around.data_converter, attempt)
        self._info: Info | None = None
        self._pending: tuple[Any, ...] | None = None
        self._heartbeat_at = 0.0
        self.previous_details: list[Any] | None = None
        """Decoded ahead where a codec is needed; else when somebody asks."""
        self.cancelled = Flag()
        self.cancellation_details: ActivityCancellationDetails | None = None
        self.outbound: ActivityOutboundInterceptor | None = None
        self.thread: ThreadCancellation | None = None
        self.process: Cancellable | None = None

    @property
    def info(self) -> Info:
        return self.outbound.info() if self.outbound else self.own_info()

    def own_info(self) -> Info:
        """The facts as they are, past all interceptors."""
        if self._info is None:
            details = self.previous_details
            if details is None:
                details = self.payload_converter.from_payloads(self._attempt.task.heartbeat_details)
            self._info = info_of(self._attempt.task, self._attempt.started_ms, details)
        return self._info

    @property
    def data_converter(self) -> DataConverter:
        """The worker's, for this activity."""
        return self._converter

    @property
    def payload_converter(self) -> PayloadConverter:
        return self._converter.payload_converter

    @property
    def client(self) -> Any:
        return self._around.client

    @property
    def worker_shutdown(self) -> Flag:
        return self._around.worker_shutdown

    @property
    def metric_meter(self) -> MetricMeter:
        task = self._attempt.task
        return PrometheusMeter(
            {"namespace": task.namespace, "task_queue": task.task_queue, "activity_type": task.activity_type}
        )

    def shield_thread_cancel_exception(self) -> AbstractContextManager[None]:
        return self.thread.shielded() if self.thread else nullcontext()

    def cancel(self, reason: StopReason) -> None:
        self.cancellation_details = _DETAILS[reason]
        self.cancelled.set()

    # ------------------------------------------------------------------------------------------------ heartbeats

    def heartbeat(self, *details: Any) -> None:
        if self.outbound:
            self.outbound.heartbeat(*details)
        else:
            self.own_heartbeat(*details)

    def own_heartbeat(self, *details: Any) -> None:
        self._pending = details
        if time.monotonic() >= self._heartbeat_at:
            self.flush_heartbeat()

    def flush_due_heartbeat(self, now: float) -> None:
        """The sender's sweep: what was held back goes out when its time has come."""
        if self._pending is not None and now >= self._heartbeat_at:
            self.flush_heartbeat()

    def flush_heartbeat(self) -> None:
        """Send what was said last, if it was not sent yet. From any thread."""
        details, self._pending = self._pending, None
        if details is None or self._attempt.ended:
            return
        self._heartbeat_at = time.monotonic() + self._interval_seconds()
        try:
            payloads = self.payload_converter.to_payloads(details)
        except Exception:
            _logger.exception("heartbeat details of an activity cannot be converted; the heartbeat goes without them")
            payloads = []
        if payloads and self._converter.outer:
            self._around.loop.call_soon_threadsafe(self._send_encoded, payloads)
        else:
            self._send(payloads)

    async def flush_last_heartbeat(self) -> None:
        """Before a failure is answered: the next attempt shall find the latest details."""
        details, self._pending = self._pending, None
        if details is not None:
            try:
                self._send(await self._converter.encode(details))
            except Exception:
                _logger.exception("the last heartbeat details of an activity cannot be converted; they are not sent")

    def _interval_seconds(self) -> float:
        settings, timeout_ms = self._around.settings, self._attempt.task.timeouts.heartbeat_ms
        wanted = 0.8 * timeout_ms / 1000 if timeout_ms else settings.heartbeat_seconds_max
        return max(settings.heartbeat_seconds_min, min(wanted, settings.heartbeat_seconds_max))

    def _send_encoded(self, payloads: list[Payload]) -> None:
        task = self._around.loop.create_task(self._encode_and_send(payloads))
        self._around.background.add(task)
        task.add_done_callback(self._around.background.discard)

    async def _encode_and_send(self, payloads: list[Payload]) -> None:
        try:
            encoded = await self._converter.encode_payloads(payloads)
        except Exception:
            _logger.exception("heartbeat details of an activity cannot be encoded; the heartbeat goes without them")
            encoded = []
        if not self._attempt.ended:
            self._send(encoded)

    def _send(self, payloads: list[Payload]) -> None:
        attempt, task = self._attempt, self._attempt.task
        body = ActivityHeartbeat(
            task.run_id, task.seq, task.attempt, self._around.worker, attempt.started_ms, tuple(payloads)
        )
        self._around.sender.submit(Answer(attempt, body))


def info_of(task: TaskRecord, started_ms: int, heartbeat_details: list[Any]) -> Info:
    timeouts = task.timeouts
    alone = is_standalone(task.workflow_type)
    return Info(
        activity_id=task.activity_id,
        activity_type=task.activity_type,
        attempt=task.attempt - task.attempts_before,
        current_attempt_scheduled_time=_time(task.attempt_scheduled_ms),
        heartbeat_details=heartbeat_details,
        heartbeat_timeout=_duration(timeouts.heartbeat_ms),
        is_local=False,
        namespace=task.namespace,
        priority=Priority.from_record(task.priority),
        retry_policy=RetryPolicy.from_record(task.retry_policy),
        schedule_to_close_timeout=_duration(timeouts.schedule_to_close_ms),
        scheduled_time=_time(task.scheduled_ms),
        start_to_close_timeout=_duration(timeouts.start_to_close_ms),
        started_time=_time(started_ms),
        task_queue=task.task_queue,
        task_token=_token(task, started_ms),
        workflow_id=None if alone else task.workflow_id,
        workflow_namespace=None if alone else task.namespace,
        workflow_run_id=None if alone else task.run_id,
        workflow_type=None if alone else task.workflow_type,
        idempotency_key=f"{task.run_id}:{task.seq}",
        activity_run_id=task.run_id if alone else None,
    )


def _token(task: TaskRecord, started_ms: int) -> bytes:
    facts = [task.namespace, task.workflow_id, task.run_id, task.inbox_partition, task.seq, task.attempt, started_ms]
    return json.dumps(facts, separators=(",", ":")).encode()


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, tz=UTC)


def _duration(ms: int | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)
