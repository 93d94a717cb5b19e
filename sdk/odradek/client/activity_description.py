"""Standalone activities as a client shows them: in listings, and in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final

from odradek.client.description import time_of
from odradek.client.status import WorkflowExecutionStatus, status_of
from odradek.common import Payload, Priority, RetryPolicy, SearchAttributeValue, TypedSearchAttributes
from odradek.common.standalone import TIMED_OUT, StandaloneOptions, activity_name
from odradek.converter import DataConverter, decode_typed_search_attributes
from odradek.schemas import records as r


class ActivityExecutionStatus(IntEnum):
    """Where a standalone activity stands. Everything but ``RUNNING`` and ``PAUSED`` is final."""

    UNSPECIFIED = 0
    """One that only a newer build knows."""
    RUNNING = 1
    """Or it waits: for a worker, for its next attempt, for its turn."""
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    TIMED_OUT = 6
    PAUSED = 7
    """Seen by ``describe``; listings show it as ``RUNNING``."""


class PendingActivityState(IntEnum):
    """What an activity that is not over is about."""

    UNSPECIFIED = 0
    SCHEDULED = 1
    """It waits: for a worker, for its next attempt, for its turn, for its start delay to end."""
    STARTED = 2
    """A worker runs it, and has for a second or more: of shorter attempts nobody is told before they end."""
    CANCEL_REQUESTED = 3
    PAUSED = 4
    PAUSE_REQUESTED = 5


_STATUSES: Final[Mapping[WorkflowExecutionStatus, ActivityExecutionStatus]] = {
    WorkflowExecutionStatus.RUNNING: ActivityExecutionStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED: ActivityExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: ActivityExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: ActivityExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED: ActivityExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: ActivityExecutionStatus.TIMED_OUT,
}
_STATES: Final[Mapping[str, PendingActivityState]] = {
    "started": PendingActivityState.STARTED,
    "cancel-requested": PendingActivityState.CANCEL_REQUESTED,
    "paused": PendingActivityState.PAUSED,
}


def activity_status(recorded: str, memo: Mapping[str, Payload]) -> ActivityExecutionStatus:
    if recorded == r.RunStatus.FAILED and TIMED_OUT in memo:
        return ActivityExecutionStatus.TIMED_OUT
    status = status_of(recorded)
    return ActivityExecutionStatus.UNSPECIFIED if status is None else _STATUSES[status]


@dataclass(frozen=True, kw_only=True)
class ActivityExecution:
    """A standalone activity as listings show it."""

    activity_id: str
    activity_run_id: str
    """Tells those apart that had this ID one after the other."""
    activity_type: str
    close_time: datetime | None
    namespace: str
    schedule_time: datetime
    """When it was started, by the client."""
    status: ActivityExecutionStatus
    task_queue: str
    typed_search_attributes: TypedSearchAttributes

    @property
    def execution_time(self) -> datetime:
        """The same as ``schedule_time``."""
        return self.schedule_time

    @property
    def execution_duration(self) -> timedelta | None:
        """From its start to its end, all waits included; None while it is not over."""
        return None if self.close_time is None else self.close_time - self.schedule_time

    @staticmethod
    def of_visibility(record: r.VisibilityRecord, namespace: str) -> ActivityExecution:
        return ActivityExecution(**_facts(record, record.workflow_id, namespace))


def _facts(record: r.VisibilityRecord | r.Description, workflow_id: str, namespace: str) -> dict[str, Any]:
    return {
        "activity_id": activity_name(workflow_id),
        "activity_run_id": record.run_id,
        "activity_type": activity_name(record.workflow_type),
        "close_time": None if record.closed_ms is None else time_of(record.closed_ms),
        "namespace": namespace,
        "schedule_time": time_of(record.started_ms),
        "status": activity_status(record.status, record.memo),
        "task_queue": record.task_queue,
        "typed_search_attributes": decode_typed_search_attributes(record.search_attributes),
    }


@dataclass(frozen=True, kw_only=True)
class ActivityExecutionOptions:
    """What may be changed of an activity while it is open."""

    task_queue: str
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy
    priority: Priority


@dataclass(frozen=True, kw_only=True)
class ActivityExecutionDescription(ActivityExecution):
    """One standalone activity in full, as its orchestrator knows it."""

    attempt: int
    """The current or last one; 0 while the start delay lasts, or it waits for its turn."""
    canceled_reason: str | None
    """None: nobody has asked for its cancellation."""
    expiration_time: datetime | None
    """When ``schedule_to_close_timeout`` ends it."""
    last_started_time: datetime | None
    """Of the last attempt; known once the activity is over."""
    last_worker_identity: str | None
    next_attempt_schedule_time: datetime | None
    """None unless it waits between two attempts."""
    options: ActivityExecutionOptions
    """As they are now, all changes included."""
    original_options: ActivityExecutionOptions = field(repr=False)
    ordering_key: str | None
    pause_reason: str | None
    """None: it is not paused."""
    run_state: PendingActivityState | None
    """None: it is over."""
    start_delay: timedelta | None
    summary: str | None
    data_converter: DataConverter = field(repr=False)
    input_payloads: Sequence[Payload] = field(repr=False)
    heartbeat_payloads: Sequence[Payload] = field(repr=False)
    result_payload: Payload | None = field(repr=False)
    outcome: r.Failure | None = field(repr=False)
    last: r.Failure | None = field(repr=False)

    @property
    def heartbeat_timeout(self) -> timedelta | None:
        return self.options.heartbeat_timeout

    @property
    def schedule_to_close_timeout(self) -> timedelta | None:
        return self.options.schedule_to_close_timeout

    @property
    def schedule_to_start_timeout(self) -> timedelta | None:
        return self.options.schedule_to_start_timeout

    @property
    def start_to_close_timeout(self) -> timedelta | None:
        return self.options.start_to_close_timeout

    @property
    def retry_policy(self) -> RetryPolicy:
        return self.options.retry_policy

    @property
    def priority(self) -> Priority:
        return self.options.priority

    def has_input(self) -> bool:
        return bool(self.input_payloads)

    async def input(self, type_hints: list[type] | None = None) -> list[Any] | None:
        """Its arguments; None if it has none, or they were not asked for (``include_input``)."""
        return await self.data_converter.decode(self.input_payloads, type_hints) if self.input_payloads else None

    def has_heartbeat_details(self) -> bool:
        return bool(self.heartbeat_payloads)

    async def heartbeat_details(self, type_hints: list[type] | None = None) -> list[Any]:
        """What the last heartbeat said; nothing once the activity is over."""
        return await self.data_converter.decode(self.heartbeat_payloads, type_hints)

    def has_last_failure(self) -> bool:
        return self.last is not None

    async def last_failure(self) -> BaseException | None:
        """How the attempt before ended."""
        return None if self.last is None else await self.data_converter.decode_failure(self.last)

    def has_result(self) -> bool:
        return self.result_payload is not None

    async def result(self, type_hint: type | None = None) -> Any:
        """What it returned; None also while it has not."""
        if self.result_payload is None:
            return None
        return (await self.data_converter.decode([self.result_payload], [type_hint] if type_hint else None))[0]

    def has_outcome_failure(self) -> bool:
        return self.outcome is not None

    async def outcome_failure(self) -> BaseException | None:
        """Why it is over without a result."""
        return None if self.outcome is None else await self.data_converter.decode_failure(self.outcome)

    @staticmethod
    def of(
        description: r.Description,
        events: Sequence[r.Event],
        workflow_id: str,
        namespace: str,
        converter: DataConverter,
    ) -> ActivityExecutionDescription:
        """From the state of its run, and all that was recorded of it."""
        told = _Told(description, events)
        facts = _facts(description, workflow_id, namespace)
        if told.wait is not None and told.wait.state == "paused":
            facts["status"] = ActivityExecutionStatus.PAUSED
        options = told.options()
        limit = options.schedule_to_close_timeout
        return ActivityExecutionDescription(
            **facts,
            attempt=told.attempt,
            canceled_reason=told.canceled_reason,
            expiration_time=time_of(told.scheduled_ms) + limit if told.scheduled_ms and limit else None,
            last_started_time=time_of(told.started_ms) if told.started_ms else None,
            last_worker_identity=told.worker or None,
            next_attempt_schedule_time=told.next_attempt(),
            options=options,
            original_options=told.original_options(),
            ordering_key=told.given.ordering_key or None,
            pause_reason=told.wait.reason if told.wait and told.wait.state == "paused" else None,
            run_state=told.state(),
            start_delay=_duration(told.started.start_delay_ms),
            summary=told.started.static_summary or None,
            data_converter=converter,
            input_payloads=told.started.input[1:],
            heartbeat_payloads=told.wait.heartbeat_details if told.wait else (),
            result_payload=told.result,
            outcome=told.outcome,
            last=told.last_failure,
        )


class _Told:
    """What the events of its run, and its state, say of an activity."""

    def __init__(self, description: r.Description, events: Sequence[r.Event]) -> None:
        self.description = description
        self.wait = next((wait for wait in description.waits if wait.kind == "activity"), None)
        self.attempt, self.worker, self.last_failure = 0, "", None
        if self.wait is not None:
            self.attempt, self.worker, self.last_failure = self.wait.attempt, self.wait.worker, self.wait.last_failure
        self.canceled_reason: str | None = None
        self.scheduled_ms: int | None = None
        self.started_ms: int | None = None
        self.result: r.Payload | None = None
        self.outcome: r.Failure | None = None
        for event in events:
            self._take(event)

    def _take(self, event: r.Event) -> None:
        match event.body:
            case r.RunStarted() as started:
                self.started = started
                self.given = StandaloneOptions.of(started.input[0])
            case r.ActivityScheduled():
                self.scheduled_ms = event.time_ms
            case r.CancelRequested(reason=reason):
                self.canceled_reason = reason
            case r.ActivityCompleted() as end:
                self.attempt, self.worker, self.last_failure = end.attempt, end.worker, end.last_failure
                self.started_ms, self.result = end.started_ms, end.result
            case r.ActivityFailed() as end:
                self.attempt, self.worker, self.last_failure = end.attempt, end.worker, end.failure.cause
                self.started_ms = end.started_ms
            case r.RunFailed(failure=failure):
                self.outcome = failure.cause or failure
            case r.RunCancelled():
                self.outcome = r.Failure(r.FailureKind.CANCELLED, "Activity cancelled")
            case r.RunTerminated(reason=reason):
                self.outcome = r.Failure(r.FailureKind.TERMINATED, reason or "Activity terminated")

    def options(self) -> ActivityExecutionOptions:
        changed = self.wait.options if self.wait else None
        return _options(changed) if changed else self.original_options()

    def original_options(self) -> ActivityExecutionOptions:
        started, given = self.started, self.given
        return _options(r.ActivityOptions(started.task_queue, given.timeouts, given.retry_policy, started.priority))

    def next_attempt(self) -> datetime | None:
        waits = self.wait is not None and self.wait.state == "backing-off"
        return time_of(self.wait.due_ms) if waits and self.wait and self.wait.due_ms else None

    def state(self) -> PendingActivityState | None:
        if self.description.closed_ms is not None:
            return None
        return _STATES.get(self.wait.state if self.wait else "", PendingActivityState.SCHEDULED)


def _options(record: r.ActivityOptions) -> ActivityExecutionOptions:
    limits = record.timeouts
    return ActivityExecutionOptions(
        task_queue=record.task_queue,
        schedule_to_close_timeout=_duration(limits.schedule_to_close_ms),
        schedule_to_start_timeout=_duration(limits.schedule_to_start_ms),
        start_to_close_timeout=_duration(limits.start_to_close_ms),
        heartbeat_timeout=_duration(limits.heartbeat_ms),
        retry_policy=RetryPolicy.from_record(record.retry_policy),
        priority=Priority.from_record(record.priority),
    )


def _duration(ms: int | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)


@dataclass(frozen=True)
class ActivityExecutionCountAggregationGroup:
    """How many activities have these values of the fields that GROUP BY names; None: a field without a value."""

    count: int
    group_values: Sequence[SearchAttributeValue | None]


@dataclass(frozen=True)
class ActivityExecutionCount:
    """How many activities there are; ``groups`` is empty without a GROUP BY."""

    count: int
    groups: Sequence[ActivityExecutionCountAggregationGroup]
