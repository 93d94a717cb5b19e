"""Metrics of an orchestrator, by Prometheus' conventions."""

from __future__ import annotations

from contextlib import suppress

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
    "odradek_workflow_duration_seconds",
    "From start to close",
    ["namespace", "workflow_type"],
    buckets=(*_BUCKETS, 604_800, 2_592_000),  # weeks are what workflows are for
)
ACTIVITY_SECONDS = Histogram(
    "odradek_activity_schedule_to_close_seconds",
    "From scheduling to the final outcome, retries included",
    ["namespace", "activity_type"],
    buckets=_BUCKETS,
)
STEP_SECONDS = Histogram(
    "odradek_step_duration_seconds",
    "Of durable steps and local activities: from when the code asks until it goes on, retries included",
    ["namespace", "workflow_type"],
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
INBOX_WAIT_SECONDS = Histogram(
    "odradek_inbox_wait_seconds",
    "From the append of an inbox record until it is read here; the oldest record of each batch",
    ["namespace"],
    buckets=_BUCKETS,
)
UNREAD_SECONDS = Gauge(
    "odradek_inbox_unread_seconds",
    "Age of the oldest inbox record that has not been taken in, of the partitions served here; 0: all have been",
    ["namespace"],
)
UNREAD_EXPIRES_SECONDS = Gauge(
    "odradek_inbox_expires_seconds",
    "Until retention deletes the oldest inbox record that has not been taken in, of the partitions served here; absent "
    "while there is none, or where the inbox keeps records for ever",
    ["namespace"],
)
TASKS_BACKLOG = Gauge(
    "odradek_task_queue_backlog_records",
    "Tasks that wait for a worker, or that one has begun a moment ago; each queue is told of by one orchestrator",
    ["namespace", "task_queue"],
)
TASKS_SECONDS = Gauge(
    "odradek_task_queue_oldest_seconds",
    "Age of the oldest task that waits for a worker; 0: none waits",
    ["namespace", "task_queue"],
)
TASKS_EXPIRE_SECONDS = Gauge(
    "odradek_task_queue_expires_seconds",
    "Until retention deletes the oldest task that waits for a worker; absent while none does, or where the topic keeps "
    "tasks for ever",
    ["namespace", "task_queue"],
)
LAGGING_TOPICS = Gauge(
    "odradek_topics_under_replicated",
    "Topics of the namespace with a partition that has fewer copies in sync than it should; each topic is told of by "
    "one orchestrator",
    ["namespace"],
)
PARTITIONS = Gauge("odradek_namespace_partitions", "Partitions of the namespace, whoever serves them", ["namespace"])
OWNED = Gauge("odradek_partitions_owned", "Partitions that this process serves", ["namespace"])
PHASES = Gauge(
    "odradek_partitions", "Partitions that this process has, by how far their takeover is", ["namespace", "phase"]
)
TAKEOVER_SECONDS = Gauge(
    "odradek_takeover_pending_seconds", "How long the longest takeover that is not over takes; 0: none", ["namespace"]
)
CHECKPOINT_SECONDS = Gauge(
    "odradek_checkpoint_age_seconds",
    "Since the log had all that a partition must write down, the longest of those served here; a partition where "
    "nothing happens needs no checkpoint",
    ["namespace"],
)
OVERDUE_SECONDS = Gauge(
    "odradek_timers_overdue_seconds", "How late the most overdue timer or time limit served here is", ["namespace"]
)
CLAIMS = Counter("odradek_claims_total", "Claims made", ["namespace"])
FENCED = Counter("odradek_claims_void_total", "Claims that another owner or trouble ended", ["namespace"])
PARKED = Gauge(
    "odradek_workflows_parked",
    "Open runs that cannot go on by themselves, by the code of the error; ODR-206: their type was paused",
    ["namespace", "code"],
)
MISMATCHES = Counter(
    "odradek_replay_mismatches_total",
    "Times that code was found not to do what the history of its run says (ODR-070)",
    ["namespace", "workflow_type"],
)
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
    "For how long no worker has served a task queue in which activities of workflows held in memory, or tasks in its "
    "topic, wait; absent while one does",
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
STORE_BYTES = Gauge("odradek_store_bytes", "Size of the local stores of this process on disk", ["namespace"])
REFUSED_RECORDS = Counter(
    "odradek_inbox_records_refused_total",
    "Inbox records that were set aside, by the code of the error",
    ["namespace", "code"],
)
REFUSALS = Counter(
    "odradek_requests_refused_total", "Requests that were answered with an error, by its code", ["namespace", "code"]
)
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
OUTPUTS_BLOCKED = Gauge(
    "odradek_outputs_blocked",
    "Outputs that no topic takes at the moment: tasks, and messages to other namespaces",
    ["namespace"],
)


class Share:
    """What one orchestrator adds to a gauge: a process may have several of a namespace, with the same labels."""

    def __init__(self, gauge: Gauge, *labels: str) -> None:
        self._gauge = gauge.labels(*labels)
        self._value = 0.0

    def set(self, value: float) -> None:
        self._gauge.inc(value - self._value)
        self._value = value


def forget(gauge: Gauge, *labels: str) -> None:
    """What it spoke of is no longer here."""
    with suppress(KeyError):  # some versions of the library raise it
        gauge.remove(*labels)
