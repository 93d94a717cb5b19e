"""The dashboards of Grafana: ``python deploy/make_dashboards.py`` writes them to helm/odradek/files/dashboards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from panels import Json, dashboard, lines, most, number, or_zero, quantile, quantiles, rate, recent, total

FOLDER = Path(__file__).parents[1] / "helm" / "odradek" / "files" / "dashboards"

PARKED = number(
    "Parked workflows", "They wait for better code; paused types do not count.",
    or_zero(total('odradek_workflows_parked{N, code!="ODR-206"}')), bad=1,
)  # fmt: skip
DEAD_LETTERS = number(
    "Dead letters, last hour", "Records that could not be taken in, of inboxes, histories and tasks.",
    "round((sum(increase(odradek_dead_letters_total{N}[1h])) or vector(0))"
    " + (sum(increase(odradek_activity_dead_letters_total{N}[1h])) or vector(0)))", bad=1,
)  # fmt: skip
UNSERVED = number(
    "Queues without a worker", "Task queues in which activities wait, and that nobody serves.",
    or_zero("count(max by (namespace, task_queue) (odradek_task_queue_unserved_seconds{N}) > 60)"), bad=1,
)  # fmt: skip
UNREAD = number(
    "Oldest unread input", "How long the oldest record of an inbox has waited to be taken in.",
    most("odradek_inbox_unread_seconds"), "s", warn=30, bad=300,
)  # fmt: skip
MISSING = number(
    "Partitions without owner", "Nothing moves there: neither starts nor signals nor timers. All, where no orchestrator is left.",
    "sum(max by (namespace) (max_over_time(odradek_namespace_partitions{N}[1d])))"
    " - (sum(odradek_partitions_owned{N}) or vector(0))", warn=1, bad=8,
)  # fmt: skip
UNDER_REPLICATED = number(
    "Under-replicated topics", "Topics of which a broker lacks its copy.",
    total("odradek_topics_under_replicated"), warn=1,
)  # fmt: skip


def fleet() -> Json:
    return dashboard("fleet", "Fleet", "Whether all is well, and where to look if it is not.", [
        ("Is all well?", [MISSING, UNREAD, PARKED, UNSERVED, DEAD_LETTERS, UNDER_REPLICATED]),
        ("Work", [
            lines("Runs", "Begun, and how they ended.", {"{{what}}": rate('odradek_workflow_events_total{N, what=~"started|completed|failed|cancelled|terminated|timed-out|continued-as-new"}', "what")}, "ops"),
            lines("Activities", "Attempts that ended, by how.", {
                "completed": rate("odradek_activity_completed_total"),
                "failed": rate("odradek_activity_failed_total"),
                "cancelled": rate("odradek_activity_cancelled_total"),
            }, "ops"),
            lines("Transitions", "What is written to histories; the unit that capacity is measured in.", {"transitions": rate("odradek_transitions_total"), "inbox records": rate("odradek_inbox_records_total")}, "ops"),
        ]),
        ("Latency", [
            lines("Requests of clients", "From a request to its answer.", quantiles("odradek_client_request_duration_seconds"), "s"),
            lines("Inbox", "From the append of a record until an orchestrator reads it.", quantiles("odradek_inbox_wait_seconds"), "s"),
            lines("Schedule to start", "How long tasks wait for a worker.", quantiles("odradek_activity_schedule_to_start_seconds"), "s"),
            lines("Steps, end to end", "95 % of activities (first scheduled to final outcome) and of durable steps.", {
                "activities": quantile(0.95, "odradek_activity_schedule_to_close_seconds"),
                "durable steps": quantile(0.95, "odradek_step_duration_seconds"),
            }, "s"),
        ]),
        ("Requests", [
            lines("By outcome", "Failed: no answer in time.", {"{{outcome}}": rate("odradek_client_requests_total", "outcome")}, "ops"),
            lines("Refused, by error", "What each code means: docs/errors.md.", {"{{code}}": rate("odradek_requests_refused_total", "code")}, "ops", empty="None has been refused"),
            lines("Pending", "Requests that wait for room or for an answer.", {"{{request}}": total("odradek_client_requests_pending", "request")}),
        ]),
        ("Processes", [
            lines("By role and version", "Two versions at a time are a deployment.", {"{{role}} {{version}}": "count by (role, version) (odradek_build_info)"}, stacked=True),
            lines("CPU", "One orchestrator uses one core.", {"{{job}} {{instance}}": "rate(process_cpu_seconds_total[$__rate_interval]) and on (job, instance) odradek_build_info"}, "percentunit"),
            lines("Memory", "Resident.", {"{{job}} {{instance}}": "process_resident_memory_bytes and on (job, instance) odradek_build_info"}, "bytes"),
        ]),
    ])  # fmt: skip


def workflows() -> Json:
    return dashboard("workflows", "Workflows", "Runs by type: how many, how fast, what stops them.", [
        ("Now", [
            PARKED,
            number("Held in memory", "Workflows in memory; the others wait in local stores.", total("odradek_workflows_in_memory")),
            number("Open activities", "Of workflows in memory.", total("odradek_activities_pending")),
            number("Open timers", "Of workflows in memory.", total("odradek_timers_pending")),
            number("Most overdue timer", "Rises when an orchestrator cannot keep up, or after an outage.", most("odradek_timers_overdue_seconds"), "s", warn=5, bad=60),
        ]),
        ("Runs", [
            lines("Started, by type", "", {"{{workflow_type}}": rate('odradek_workflow_events_total{N, what="started"}', "workflow_type")}, "ops"),
            lines("Failed and timed out, by type", "", {"{{workflow_type}} {{what}}": rate('odradek_workflow_events_total{N, what=~"failed|timed-out|terminated"}', "workflow_type, what")}, "ops", empty="None so far"),
            lines("Duration, 95 %", "From start to close.", {"{{workflow_type}}": quantile(0.95, "odradek_workflow_duration_seconds", "workflow_type")}, "s"),
        ]),
        ("What they wait for", [
            lines("Activities, 95 %", "From scheduling to the final outcome, retries included.", {"{{activity_type}}": quantile(0.95, "odradek_activity_schedule_to_close_seconds", "activity_type")}, "s"),
            lines("Retries and final failures", "", {"{{activity_type}} {{what}}": rate("odradek_activity_outcomes_total", "activity_type, what")}, "ops", empty="None so far"),
            lines("Durable steps, 95 %", "From when the code asks until it goes on.", {"{{workflow_type}}": quantile(0.95, "odradek_step_duration_seconds", "workflow_type")}, "s", empty="No workflow has steps"),
        ]),
        ("What stops them", [
            lines("Parked, by error", "ODR-206: an operator has paused the type.", {"{{code}}": total("odradek_workflows_parked", "code")}, stacked=True, empty="None is parked"),
            lines("Replay mismatches", "In five minutes: code that does not do what histories say, see ODR-070.", {"{{workflow_type}}": recent("odradek_replay_mismatches_total", "workflow_type")}),
            lines("Deadlocks", "In five minutes: code that did not come back.", {"{{workflow_type}}": recent("odradek_workflow_deadlocks_total", "workflow_type")}),
            lines("Replays", "Runs whose code was rebuilt, and the events which that took.", {"runs": rate("odradek_replays_total"), "events": rate("odradek_replayed_events_total")}, "ops"),
        ]),
    ])  # fmt: skip


def task_queues() -> Json:
    return dashboard("task-queues", "Task queues", "What waits for workers, and for how long.", [
        ("Now", [
            UNSERVED,
            number("Tasks that wait", "In all queues.", "sum(max by (namespace, task_queue) (odradek_task_queue_backlog_records{N}))"),
            number("Oldest task", "", most("odradek_task_queue_oldest_seconds"), "s", warn=60, bad=3600),
            number("Until a task is deleted", "By retention; it is issued again, late.", "min(odradek_task_queue_expires_seconds{N})", "s", empty="none waits"),
        ]),
        ("What waits", [
            lines("Backlog", "Tasks that wait for a worker.", {"{{task_queue}}": most("odradek_task_queue_backlog_records", "task_queue")}),
            lines("Oldest task", "", {"{{task_queue}}": most("odradek_task_queue_oldest_seconds", "task_queue")}, "s"),
            lines("Until retention deletes the oldest task", "", {"{{task_queue}}": "min by (task_queue) (odradek_task_queue_expires_seconds{N})"}, "s", empty="No task waits"),
            lines("Without a worker", "For how long.", {"{{task_queue}}": most("odradek_task_queue_unserved_seconds", "task_queue")}, "s", empty="Where tasks wait, workers are"),
        ]),
        ("Flow", [
            lines("Attempts started", "", {"{{task_queue}}": rate("odradek_activity_started_total", "task_queue")}, "ops"),
            lines("Attempts failed", "", {"{{task_queue}}": rate("odradek_activity_failed_total", "task_queue")}, "ops"),
            lines("Schedule to start, 95 %", "", {"{{task_queue}}": quantile(0.95, "odradek_activity_schedule_to_start_seconds", "task_queue")}, "s"),
        ]),
        ("Room", [
            lines("Slots in use", "Attempts that run, of those that may.", {"{{task_queue}}": "sum by (task_queue) (odradek_activity_running{N}) / (sum by (task_queue) (odradek_activity_slots{N}) > 0)"}, "percentunit"),
            lines("Queued in workers", "Read ahead.", {"{{task_queue}}": total("odradek_activity_queued", "task_queue")}),
            lines("Put off", "In five minutes: tasks for which no topic had room. Now: outputs that no topic takes, messages to other namespaces included.", {"{{task_queue}}": recent("odradek_tasks_put_off_total", "task_queue"), "outputs blocked": total("odradek_outputs_blocked")}),
        ]),
    ])  # fmt: skip


def partitions() -> Json:
    return dashboard("partitions", "Partitions", "Who owns what, how far it is read, and how takeovers go.", [
        ("Now", [
            MISSING, UNREAD,
            number("Until an input is deleted", "By retention, unread: it would be lost.", "min(odradek_inbox_expires_seconds{N})", "s", empty="none is"),
            number("Longest takeover under way", "", most("odradek_takeover_pending_seconds"), "s", warn=30, bad=120),
            number("Oldest checkpoint", "", most("odradek_checkpoint_age_seconds"), "s", warn=30, bad=120),
            UNDER_REPLICATED,
        ]),
        ("Ownership", [
            lines("Partitions by phase", "Of a takeover; live ones are served.", {"{{phase}}": total("odradek_partitions", "phase")}, stacked=True),
            lines("Partitions by process", "", {"{{instance}}": total("odradek_partitions_owned", "instance")}, stacked=True),
            lines("Claims, and those that went void", "In five minutes; a few at a deployment are normal.", {"claims": recent("odradek_claims_total"), "void": recent("odradek_claims_void_total")}),
            lines("Takeovers", "From a claim to the first new decision.", quantiles("odradek_restore_seconds"), "s"),
        ]),
        ("Inbox", [
            lines("Lag", "Records between the committed position and the end.", {"{{partition}}": "topk(12, max by (namespace, partition) (odradek_inbox_lag_records{N}))"}),
            lines("Oldest unread input", "", {"{{instance}}": most("odradek_inbox_unread_seconds", "instance")}, "s"),
            lines("Records taken in", "", {"{{instance}}": rate("odradek_inbox_records_total", "instance")}, "ops"),
            lines("Refused records", "In five minutes: set aside as dead letters.", {"{{code}}": recent("odradek_inbox_records_refused_total", "code")}),
        ]),
        ("History", [
            lines("Transitions", "", {"{{instance}}": rate("odradek_transitions_total", "instance")}, "ops"),
            lines("Appends in flight", "", {"{{instance}}": total("odradek_appends_in_flight", "instance")}),
            lines("Age of checkpoints", "The oldest of a process.", {"{{instance}}": most("odradek_checkpoint_age_seconds", "instance")}, "s"),
            lines("Local stores", "", {"{{instance}}": total("odradek_store_bytes", "instance")}, "bytes"),
        ]),
        ("Around", [
            lines("Redis", "1: it answers.", {"{{used_by}} {{instance}}": most("odradek_redis_up", "used_by, instance")}, empty="None is configured"),
            lines("Messages to other namespaces dropped", "In five minutes; they are sent again.", {"{{to_namespace}}": recent("odradek_messages_dropped_total", "to_namespace")}, empty="None has been dropped"),
        ]),
    ])  # fmt: skip


def workers() -> Json:
    return dashboard("workers", "Workers", "What activity workers do, process by process.", [
        ("Now", [
            number("Workers", "Processes that read a task queue.", "count(sum by (instance) (odradek_activity_partitions{N}) > 0) or vector(0)"),
            number("Attempts that run", "", total("odradek_activity_running")),
            number("Slots in use", "", "sum(odradek_activity_running{N}) / (sum(odradek_activity_slots{N}) > 0)", "percentunit", warn=0.9),
            number("Waiting for a newer build", "Partitions with a record that only a newer worker can read.", total("odradek_activity_partitions_stopped"), bad=1),
        ]),
        ("Attempts", [
            lines("Started, by type", "", {"{{activity_type}}": rate("odradek_activity_started_total", "activity_type")}, "ops"),
            lines("Failed, by type", "Benign errors do not count.", {"{{activity_type}}": rate("odradek_activity_failed_total", "activity_type")}, "ops"),
            lines("Duration, 95 %", "Of one attempt.", {"{{activity_type}}": quantile(0.95, "odradek_activity_duration_seconds", "activity_type")}, "s"),
        ]),
        ("Processes", [
            lines("Running", "", {"{{instance}}": total("odradek_activity_running", "instance")}),
            lines("Queued", "Read ahead.", {"{{instance}}": total("odradek_activity_queued", "instance")}),
            lines("Answers in flight", "Not acknowledged by the log.", {"{{instance}}": total("odradek_activity_results_in_flight", "instance")}),
            lines("Partitions", "Of task queues.", {"{{instance}} {{task_queue}}": total("odradek_activity_partitions", "instance, task_queue")}, stacked=True),
        ]),
        ("What is out of the ordinary", [
            lines("Handed over", "They ran for more than a second.", {"{{task_queue}}": rate("odradek_activity_handed_over_total", "task_queue")}, "ops"),
            lines("Repeated deliveries", "In five minutes; they are dropped.", {"{{task_queue}}": recent("odradek_activity_duplicates_total", "task_queue")}),
            lines("Expired", "In five minutes: tasks that came after their expiry; they are issued again.", {"{{task_queue}}": recent("odradek_activity_expired_total", "task_queue")}),
            lines("Cancelled", "", {"{{activity_type}}": rate("odradek_activity_cancelled_total", "activity_type")}, "ops"),
        ]),
    ])  # fmt: skip


DASHBOARDS = {
    "fleet": fleet,
    "workflows": workflows,
    "task-queues": task_queues,
    "partitions": partitions,
    "workers": workers,
}


def text(name: str) -> str:
    return json.dumps(DASHBOARDS[name](), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name))
