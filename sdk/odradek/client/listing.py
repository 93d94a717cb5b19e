"""Listing runs from the visibility topic itself: reads all of it, and keeps what the filter lets through.

Good for thousands of runs; an index of the same topic is what serves millions.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from odradek.client.activity_description import ActivityExecutionStatus, activity_status
from odradek.client.description import WorkflowExecutionCount, WorkflowExecutionCountAggregationGroup, time_of
from odradek.client.filter import Filter, Value
from odradek.client.filter_parsing import FilterError, parse_filter
from odradek.client.status import WorkflowExecutionStatus, name_in_filters, status_of
from odradek.common.standalone import activity_name, is_built_in, is_standalone
from odradek.converter import decode_typed_search_attributes
from odradek.log.namespace import Namespace, read_to_end
from odradek.schemas.errors import UnreadableRecord
from odradek.schemas.limits import TIME_MS_MAX, problem
from odradek.schemas.records import RunStatus, VisibilityRecord
from odradek.service import RPCError, RPCStatusCode

_logger = logging.getLogger(__name__)


class Run(dict[str, Value]):
    """The fields of one run under the names that filters use, and the record that they come from."""

    def __init__(self, record: VisibilityRecord) -> None:
        attributes = decode_typed_search_attributes(record.search_attributes)
        super().__init__({pair.key.name: pair.value for pair in attributes})
        self.record = record
        self.update(
            WorkflowId=record.workflow_id,
            RunId=record.run_id,
            WorkflowType=record.workflow_type,
            TaskQueue=record.task_queue,
            StartTime=time_of(record.started_ms),
            Parked=record.parked is not None,
        )
        if record.version:
            self["WorkflowVersion"] = record.version
        if record.parent is not None:
            self.update(ParentWorkflowId=record.parent.workflow_id, ParentRunId=record.parent.run_id)
        if record.closed_ms is not None:
            self["CloseTime"] = time_of(record.closed_ms)
        status = status_of(record.status)
        if status is not None:
            self["ExecutionStatus"] = name_in_filters(status)


class ActivityRun(Run):
    """A standalone activity: the same under the names that filters of activities use."""

    def __init__(self, record: VisibilityRecord) -> None:
        super().__init__(record)
        for name in ("WorkflowId", "WorkflowType", "WorkflowVersion", "Parked"):
            self.pop(name, None)
        self.update(ActivityId=activity_name(record.workflow_id), ActivityType=activity_name(record.workflow_type))
        if activity_status(record.status, record.memo) is ActivityExecutionStatus.TIMED_OUT:
            self["ExecutionStatus"] = name_in_filters(WorkflowExecutionStatus.TIMED_OUT)


def understood(query: str | None) -> Filter:
    """The filter; a client's caller gets ``RPCError`` for one that cannot be read."""
    try:
        return parse_filter(query)
    except FilterError as error:
        raise RPCError(str(error), RPCStatusCode.INVALID_ARGUMENT) from error


def read_runs(namespace: Namespace, wanted: Filter, *, activities: bool = False) -> list[Run]:
    """The workflows, or the standalone ``activities``, that the filter lets through, in its order. Blocks."""
    records = (record for record in _newest(_records(namespace)) if record.status != RunStatus.REFUSED)
    runs: Iterable[Run]
    if activities:
        runs = _made(ActivityRun, (record for record in records if is_standalone(record.workflow_type)))
    else:
        runs = _made(Run, (record for record in records if not is_built_in(record.workflow_type)))
    return wanted.sorted(run for run in runs if wanted.matches(run))


def _made(kind: type[Run], records: Iterable[VisibilityRecord]) -> Iterable[Run]:
    for record in records:
        try:
            yield kind(record)
        except Exception as error:  # whatever foreign values lead it into
            _logger.warning('run "%s" of workflow "%s" is left out: %s', record.run_id, record.workflow_id, error)


def count_runs(runs: Iterable[Run], group_by: tuple[str, ...]) -> WorkflowExecutionCount:
    """The largest group first."""
    runs = list(runs)
    if not group_by:
        return WorkflowExecutionCount(len(runs), ())
    counts = Counter(tuple(_hashable(run.get(field)) for field in group_by) for run in runs)
    groups = [WorkflowExecutionCountAggregationGroup(count, values) for values, count in counts.most_common()]
    return WorkflowExecutionCount(len(runs), groups)


def _hashable(value: Value | None) -> Value | None:
    return tuple(value) if isinstance(value, list) else value


def _records(namespace: Namespace) -> Iterable[VisibilityRecord]:
    """The last record under each key; the key has the claim in it, so one run may have several."""
    topic = namespace.topics.visibility
    info = namespace.log.topic(topic)
    for partition in range(info.partitions if info else 0):
        last = {record.key: record.value for record in read_to_end(namespace.log, topic, partition)}
        for value in last.values():
            if value is not None:
                try:
                    record = namespace.codec.decode(VisibilityRecord, value)
                except UnreadableRecord as error:
                    _logger.warning("a record of %s is left out: %s", topic, error)
                    continue
                if problem(record) is None and max(record.started_ms, record.closed_ms or 0) <= TIME_MS_MAX:
                    yield record


def _newest(records: Iterable[VisibilityRecord]) -> Iterable[VisibilityRecord]:
    newest: dict[tuple[str, str], VisibilityRecord] = {}
    for record in records:
        run = record.workflow_id, record.run_id
        found = newest.get(run)
        if found is None or (found.claim, found.n) < (record.claim, record.n):
            newest[run] = record
    return newest.values()
