"""Metrics of an orchestrator, by Prometheus' conventions."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

WORKFLOWS = Counter(
    "odradek_workflow_events_total",
    "Runs by what happened: started, completed, failed, …",
    ["namespace", "workflow_type", "what"],
)
ACTIVITY_EVENTS = Counter(
    "odradek_activity_outcomes_total", "Activities retried and finally failed", ["namespace", "activity_type", "what"]
)
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 86400)
WORKFLOW_SECONDS = Histogram(
    "odradek_workflow_duration_seconds", "From start to close", ["namespace", "workflow_type"], buckets=_BUCKETS
)
ACTIVITY_SECONDS = Histogram(
    "odradek_activity_schedule_to_close_seconds",
    "From scheduling to the final outcome, retries included",
    ["namespace", "activity_type"],
    buckets=_BUCKETS,
)
TRANSITIONS = Counter("odradek_transitions_total", "Transitions written", ["namespace"])
INBOX_RECORDS = Counter("odradek_inbox_records_total", "Inbox records taken in", ["namespace"])
INBOX_LAG = Gauge(
    "odradek_inbox_lag_records",
    "Records between the group's committed position and the end of an inbox partition served here; "
    "up to a checkpoint interval behind",
    ["namespace", "partition"],
)
OWNED = Gauge("odradek_partitions_owned", "Partitions that this process serves", ["namespace"])
CLAIMS = Counter("odradek_claims_total", "Claims made", ["namespace"])
FENCED = Counter("odradek_claims_void_total", "Claims that another owner or trouble ended", ["namespace"])
PARKED = Gauge("odradek_workflows_parked", "Open runs that cannot go on by themselves", ["namespace"])
DEADLOCKS = Counter(
    "odradek_workflow_deadlocks_total",
    "Activations, queries and validators that were interrupted because they did not come back",
    ["namespace", "workflow_type"],
)
IN_MEMORY = Gauge("odradek_workflows_in_memory", "Workflows held in memory", ["namespace"])
ACTIVITIES_PENDING = Gauge(
    "odradek_activities_pending",
    "Open activities of the workflows held in memory; those of workflows put aside into the local store do not count",
    ["namespace"],
)
TIMERS_PENDING = Gauge(
    "odradek_timers_pending",
    "Open timers of the workflows held in memory; those of workflows put aside into the local store do not count",
    ["namespace"],
)
QUEUE_UNSERVED = Gauge(
    "odradek_task_queue_unserved_seconds",
    "For how long no worker has served a task queue in which activities of workflows held in memory wait; "
    "absent while one does",
    ["namespace", "task_queue"],
)
IN_FLIGHT = Gauge("odradek_appends_in_flight", "History appends that are not acknowledged yet", ["namespace"])
RESTORE_SECONDS = Histogram(
    "odradek_restore_seconds",
    "From a claim to the first new decision",
    ["namespace"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600),
)
REPLAYS = Counter("odradek_replays_total", "Runs whose code was rebuilt from their history", ["namespace"])
REPLAYED_EVENTS = Counter("odradek_replayed_events_total", "Events that replays took", ["namespace"])
DEAD_LETTERS = Counter("odradek_dead_letters_total", "Records that could not be taken in", ["namespace", "topic"])
TASKS_PUT_OFF = Counter(
    "odradek_tasks_put_off_total",
    "Tasks put off for minutes, since too many wait for topics",
    ["namespace", "task_queue"],
)
MESSAGES_DROPPED = Counter(
    "odradek_messages_dropped_total",
    "Messages that their senders send again, since too many wait for the namespace",
    ["namespace", "to_namespace"],
)
TASKS_WAITING = Gauge("odradek_outputs_blocked", "Outputs that no topic takes at the moment", ["namespace"])
