"""Runs as a client shows them: in listings, and in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from odradek.client.status import WorkflowExecutionStatus, status_of
from odradek.common import SearchAttributes, SearchAttributeValue, TypedSearchAttributes
from odradek.converter import DataConverter, decode_search_attributes, decode_typed_search_attributes
from odradek.schemas.records import Description, ParentLink, Parked, Payload, VisibilityRecord, Wait

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING: Final = object()


def time_of(time_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=time_ms)


def _time_or_none(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else time_of(time_ms)


@dataclass(frozen=True)
class ParkedInfo:
    """The run cannot go on by itself: why, since when, and when it is tried next. Its inputs are still recorded."""

    code: str
    message: str
    since: datetime
    next_try: datetime
    failures: int

    @staticmethod
    def of(parked: Parked | None) -> ParkedInfo | None:
        if parked is None:
            return None
        since, retry = time_of(parked.since_ms), time_of(parked.retry_at_ms)
        return ParkedInfo(parked.code, parked.message, since, retry, parked.failures)


@dataclass(frozen=True)
class PendingWait:
    """Something that a run waits for."""

    kind: str
    """timer, activity, child, step, message or condition"""
    name: str
    seq: int
    due_time: datetime | None = None
    state: str = ""
    """Of an activity: dispatched, queue-paused, started, backing-off, cancel-requested or paused; of a child: starting
    or started.
    """
    attempt: int = 0
    worker: str = ""
    scheduled_time: datetime | None = None
    last_failure: BaseException | None = None
    heartbeat_details: Sequence[Any] = ()
    activity_id: str = ""
    pause_reason: str = ""
    """Why an activity, or the queue that it waits in, is paused."""
    task_queue: str = ""
    unserved: timedelta | None = None
    """For how long no worker has served the queue that it waits in; None: one does, or that is not known."""

    @staticmethod
    async def of(wait: Wait, converter: DataConverter) -> PendingWait:
        return PendingWait(
            wait.kind,
            wait.name,
            wait.seq,
            _time_or_none(wait.due_ms),
            wait.state,
            wait.attempt,
            wait.worker,
            _time_or_none(wait.scheduled_ms),
            None if wait.last_failure is None else await converter.decode_failure(wait.last_failure),
            await converter.decode(wait.heartbeat_details) if wait.heartbeat_details else (),
            wait.id,
            wait.reason,
            wait.task_queue,
            None if wait.unserved_ms is None else timedelta(milliseconds=wait.unserved_ms),
        )


@dataclass(frozen=True, kw_only=True)
class WorkflowExecution:
    """One run of a workflow as listings show it."""

    id: str
    run_id: str
    namespace: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus | None
    """None for a status that only a newer build knows."""
    start_time: datetime
    close_time: datetime | None
    parked: ParkedInfo | None
    version: str = ""
    """Of the workflow's code that the run is on; empty where the class names none."""
    data_converter: DataConverter = field(repr=False)
    memo_payloads: Mapping[str, Payload] = field(repr=False)
    search_attribute_payloads: Mapping[str, Payload] = field(repr=False)
    parent_link: ParentLink | None = field(default=None, repr=False)

    @property
    def parent_id(self) -> str | None:
        """The workflow that started this one as its child."""
        return self.parent_link.workflow_id if self.parent_link else None

    @property
    def parent_run_id(self) -> str | None:
        return self.parent_link.run_id if self.parent_link else None

    @property
    def parent_namespace(self) -> str | None:
        """A child may be of another namespace than its parent."""
        return self.parent_link.namespace if self.parent_link else None

    @property
    def root_id(self) -> str:
        """The workflow that began the whole tree of parents and children; a tree may be of one."""
        return self.parent_link.root_workflow_id if self.parent_link else self.id

    @property
    def root_run_id(self) -> str:
        return self.parent_link.root_run_id if self.parent_link else self.run_id

    @property
    def execution_time(self) -> datetime:
        """The same as ``start_time``."""
        return self.start_time

    @property
    def typed_search_attributes(self) -> TypedSearchAttributes:
        return decode_typed_search_attributes(self.search_attribute_payloads)

    @property
    def search_attributes(self) -> SearchAttributes:
        """Untyped; prefer ``typed_search_attributes``."""
        return decode_search_attributes(self.search_attribute_payloads)

    async def memo(self) -> Mapping[str, Any]:
        """The memo's values as plain ones."""
        return await self.data_converter.decode_map(self.memo_payloads)

    async def memo_value(self, key: str, default: Any = _MISSING, *, type_hint: Any = None) -> Any:
        """One value of the memo. Raises ``KeyError`` when it is missing and no default is given."""
        payload = self.memo_payloads.get(key)
        if payload is None:
            if default is _MISSING:
                raise KeyError(f"Memo does not have a value for key {key}")
            return default
        return (await self.data_converter.decode([payload], None if type_hint is None else [type_hint]))[0]

    @staticmethod
    def of_visibility(record: VisibilityRecord, namespace: str, converter: DataConverter) -> WorkflowExecution:
        return WorkflowExecution(
            id=record.workflow_id,
            run_id=record.run_id,
            namespace=namespace,
            workflow_type=record.workflow_type,
            task_queue=record.task_queue,
            status=status_of(record.status),
            start_time=time_of(record.started_ms),
            close_time=_time_or_none(record.closed_ms),
            parked=ParkedInfo.of(record.parked),
            version=record.version,
            data_converter=converter,
            memo_payloads=record.memo,
            search_attribute_payloads=record.search_attributes,
            parent_link=record.parent,
        )


@dataclass(frozen=True, kw_only=True)
class WorkflowExecutionDescription(WorkflowExecution):
    """One run in full, as its orchestrator knows it."""

    first_execution_run_id: str
    history_length: int
    """Events so far."""
    history_size: int
    """Bytes of them."""
    waits: Sequence[PendingWait]
    """What the run waits for now."""
    recorded_summary: str
    recorded_details: str
    current_details: str = ""
    """What ``workflow.set_current_details`` said last; empty where the code is not in memory at the moment."""
    cron_schedule: str | None = None

    async def static_summary(self) -> str | None:
        """The summary given at the start."""
        return self.recorded_summary or None

    async def static_details(self) -> str | None:
        """The details given at the start."""
        return self.recorded_details or None

    @staticmethod
    async def of(
        description: Description, workflow_id: str, namespace: str, converter: DataConverter
    ) -> WorkflowExecutionDescription:
        return WorkflowExecutionDescription(
            id=workflow_id,
            run_id=description.run_id,
            namespace=namespace,
            workflow_type=description.workflow_type,
            task_queue=description.task_queue,
            status=status_of(description.status),
            start_time=time_of(description.started_ms),
            close_time=_time_or_none(description.closed_ms),
            parked=ParkedInfo.of(description.parked),
            version=description.version,
            data_converter=converter,
            memo_payloads=description.memo,
            search_attribute_payloads=description.search_attributes,
            parent_link=description.parent,
            first_execution_run_id=description.first_run_id,
            history_length=description.event_count,
            history_size=description.history_bytes,
            waits=[await PendingWait.of(wait, converter) for wait in description.waits],
            recorded_summary=description.static_summary,
            recorded_details=description.static_details,
            current_details=description.current_details,
            cron_schedule=description.cron_schedule or None,
        )


@dataclass(frozen=True)
class WorkflowExecutionCountAggregationGroup:
    """How many runs have these values of the fields that GROUP BY names; None stands for a field without a value."""

    count: int
    group_values: Sequence[SearchAttributeValue | None]


@dataclass(frozen=True)
class WorkflowExecutionCount:
    """How many runs there are; ``groups`` is empty without a GROUP BY."""

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]
