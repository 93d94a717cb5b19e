"""What starts of workflows and of activities take beside what is started and its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Required, TypedDict

from odradek.common import (
    ActivityIDConflictPolicy,
    ActivityIDReusePolicy,
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)


class WorkflowOptions(TypedDict, total=False):
    """What ``start_workflow`` and ``execute_workflow`` take beside the workflow and its arguments."""

    id: Required[str]
    """Unique among the open workflows of the namespace."""
    task_queue: Required[str]
    """The default queue of its activities."""
    execution_timeout: timedelta | None
    """Of the workflow with all its retries and continuations."""
    run_timeout: timedelta | None
    """Of each run."""
    task_timeout: timedelta | None
    """How long the code may compute between two waits."""
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    """Of the workflow as a whole; None: it is not retried."""
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    static_summary: str | None
    static_details: str | None
    start_delay: timedelta | None
    cron_schedule: str
    """When to run again and again, as in "30 9 * * MON-FRI"; in UTC, or with "CRON_TZ=Europe/Berlin " in front."""
    start_signal: str | None
    """A signal that the workflow gets with its start; an open run gets it alone."""
    start_signal_args: Sequence[Any]
    priority: Priority | None
    versioning_override: VersioningOverride | None
    """Which version of its code the workflow begins on; None: the newest."""
    rpc_timeout: timedelta | None
    """How long to wait until the start is durable; 10 s by default. A result has no limit."""
    rpc_metadata: Mapping[str, str]
    """Without meaning here: there is no gRPC."""
    request_eager_start: bool
    """Without meaning here: nothing stands between a start and its orchestrator."""
    request_id: str | None
    """Of two starts with the same one only one counts; random by default."""


class StartActivityOptions(TypedDict, total=False):
    """What ``Client.start_activity`` and its kin take beside the activity and its arguments."""

    id: Required[str]
    """Unique among the activities of the namespace that clients have started and that are not over."""
    task_queue: Required[str]
    result_type: Any
    schedule_to_close_timeout: timedelta | None
    """Of all attempts together, the waits between them included."""
    schedule_to_start_timeout: timedelta | None
    """How long an attempt may wait for a worker."""
    start_to_close_timeout: timedelta | None
    """Of each attempt."""
    heartbeat_timeout: timedelta | None
    id_reuse_policy: ActivityIDReusePolicy
    id_conflict_policy: ActivityIDConflictPolicy
    retry_policy: RetryPolicy | None
    """None: for ever, 1 s doubling to 100 s."""
    search_attributes: TypedSearchAttributes | None
    summary: str | None
    priority: Priority
    start_delay: timedelta | None
    ordering_key: str | None
    """Those of one key run one after the other, each with all its retries, in the order in which they were started."""
    rpc_timeout: timedelta | None
    """How long to wait until the start is durable; 10 s by default. A result has no limit."""
    rpc_metadata: Mapping[str, str]
    """Without meaning here: there is no gRPC."""
    request_id: str | None
    """Of two starts with the same one only one counts; random by default."""
