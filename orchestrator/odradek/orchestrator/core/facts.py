"""``workflow.info()`` from a run's first event. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from odradek.common import Priority, RetryPolicy
from odradek.converter import decode_search_attributes, decode_typed_search_attributes
from odradek.schemas import records as r
from odradek.workflow.runtime import Info, ParentInfo, RootInfo


def info_of(
    ids: tuple[str, str, str],
    started: r.RunStarted,
    recorded_ms: int,
    began_ms: int,
    memo: Mapping[str, r.Payload],
    search_attributes: Mapping[str, r.Payload],
) -> Info:
    """``ids``: namespace, workflow, run. ``recorded_ms``: when the run was started; ``began_ms``: when its code was."""
    namespace, workflow_id, run_id = ids
    lineage = started.lineage or r.Lineage()
    parent = lineage.parent
    first_ms = lineage.execution_started_ms
    return Info(
        attempt=started.attempt,
        continued_run_id=lineage.continued_run_id,
        cron_schedule=started.cron_schedule or None,
        execution_start_time=_time(recorded_ms if first_ms is None else first_ms),
        execution_timeout=_duration(started.execution_timeout_ms),
        first_execution_run_id=started.first_run_id,
        headers=started.headers,
        namespace=namespace,
        parent=ParentInfo(parent.namespace, parent.run_id, parent.workflow_id) if parent else None,
        priority=Priority.from_record(started.priority),
        raw_memo=memo,
        retry_policy=RetryPolicy.from_record(started.retry_policy) if started.retry_policy else None,
        root=RootInfo(parent.root_run_id, parent.root_workflow_id) if parent else None,
        run_id=run_id,
        run_timeout=_duration(started.run_timeout_ms),
        search_attributes=decode_search_attributes(search_attributes),
        start_time=_time(began_ms),
        task_queue=started.task_queue,
        task_timeout=_duration(started.task_timeout_ms) or TASK_TIMEOUT,
        typed_search_attributes=decode_typed_search_attributes(search_attributes),
        workflow_id=workflow_id,
        workflow_start_time=_time(recorded_ms),
        workflow_type=started.workflow_type,
    )


TASK_TIMEOUT = timedelta(seconds=10)


def _time(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _duration(milliseconds: int | None) -> timedelta | None:
    return None if milliseconds is None else timedelta(milliseconds=milliseconds)
