"""What a step or a local activity sees of its attempt through ``odradek.activity``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from odradek.activity._context import ActivityCancellationDetails, Info
from odradek.activity._flag import Flag
from odradek.activity.interceptors import ActivityOutboundInterceptor
from odradek.common import MetricMeter, Priority, RetryPolicy
from odradek.converter import PayloadConverter
from odradek.orchestrator.core.effects import RunStep


class StepContext:
    """The ``_Context`` of ``odradek.activity`` for one attempt in this process."""

    __slots__ = ("_info", "_namespace", "_step", "attempt", "cancellation_details", "cancelled", "outbound",
                 "payload_converter", "scheduled_ms", "started_ms", "worker_shutdown")  # fmt: skip

    client: Any = None
    metric_meter = MetricMeter.noop

    def __init__(
        self,
        step: RunStep,
        namespace: str,
        converter: PayloadConverter,
        scheduled_ms: int,
        started_ms: int,
        shutdown: Flag,
    ) -> None:
        self._step = step
        self._namespace = namespace
        self._info: Info | None = None
        self.attempt = step.attempt
        self.scheduled_ms = scheduled_ms
        self.started_ms = started_ms
        self.payload_converter = converter
        self.cancelled = Flag()
        self.cancellation_details: ActivityCancellationDetails | None = None
        self.worker_shutdown = shutdown
        self.outbound: ActivityOutboundInterceptor | None = None

    def heartbeat(self, *details: Any) -> None:
        if self.outbound is not None:
            self.outbound.heartbeat(*details)

    def own_heartbeat(self, *details: Any) -> None:
        """The process itself knows that it lives."""

    def shield_thread_cancel_exception(self) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def info(self) -> Info:
        return self.own_info() if self.outbound is None else self.outbound.info()

    def own_info(self) -> Info:
        if self._info is None:
            self._info = self._facts()
        return self._info

    def _facts(self) -> Info:
        step, call = self._step, self._step.call
        details: Sequence[Any] = ()
        return Info(
            activity_id=call.activity_id or str(step.seq),
            activity_type=call.activity,
            attempt=self.attempt,
            current_attempt_scheduled_time=_time(self.scheduled_ms),
            heartbeat_details=details,
            heartbeat_timeout=None,
            is_local=True,
            namespace=self._namespace,
            priority=Priority.default,
            retry_policy=call.retry_policy or RetryPolicy(),
            schedule_to_close_timeout=call.schedule_to_close_timeout,
            scheduled_time=_time(step.asked_ms),
            start_to_close_timeout=call.start_to_close_timeout,
            started_time=_time(self.started_ms),
            task_queue=step.task_queue,
            task_token=b"",
            workflow_id=step.workflow_id,
            workflow_namespace=self._namespace,
            workflow_run_id=step.run_id,
            workflow_type=step.workflow_type,
            idempotency_key=f"{step.run_id}:{step.seq}",
        )


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(0, tz=UTC) + timedelta(milliseconds=ms)
