"""For each alert what Prometheus has seen, minute by minute, when it rests, and when it fires with which words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.monitoring import expressions


@dataclass(frozen=True)
class Case:
    alert: str
    series: dict[str, str]
    """In promtool's notation: ``0x5 3x9`` is 0 for six minutes, then 3."""
    rests: str
    fires: str
    labels: dict[str, str]
    summary: str
    description: str = ""
    """Empty: as in the rule, which then has nothing to fill in."""
    ends: str = ""
    """When it rests again."""


NS = {"namespace": "shop"}
PAYMENTS = {**NS, "task_queue": "payments"}

CASES = [
    Case(
        "OdradekWorkflowsParked",
        {
            'odradek_workflows_parked{namespace="shop",code="ODR-070",instance="a"}': "0x5 2x20",
            'odradek_workflows_parked{namespace="shop",code="ODR-070",instance="b"}': "0x5 1x20",
            'odradek_workflows_parked{namespace="shop",code="ODR-206",instance="a"}': "9x30",
        },
        "10m", "12m", {**NS, "code": "ODR-070"}, "3 workflows of shop are parked with ODR-070",
    ),
    Case(
        "OdradekReplayMismatches",
        {'odradek_replay_mismatches_total{namespace="shop",workflow_type="Order"}': "0x10 4x20"},
        "10m", "12m", {**NS, "workflow_type": "Order"}, "Code of Order does not do what its histories say",
        "A deployment changed what running workflows of shop do. Each that wakes up is parked; roll back, or bring "
        "back the old path.",
        ends="30m",
    ),
    Case(  # deployed, and wrong before the first scrape
        "OdradekReplayMismatches",
        {
            'odradek_replay_mismatches_total{namespace="shop",workflow_type="Order",instance="old"}': "9x10 stale",
            'process_start_time_seconds{instance="old"}': "-86400x10 stale",
            'odradek_replay_mismatches_total{namespace="shop",workflow_type="Order",instance="new"}': "_x10 4x30",
            'process_start_time_seconds{instance="new"}': "_x10 600x30",
        },
        "9m", "11m", {**NS, "workflow_type": "Order"}, "Code of Order does not do what its histories say",
        "A deployment changed what running workflows of shop do. Each that wakes up is parked; roll back, or bring "
        "back the old path.",
        ends="22m",
    ),
    Case(
        "OdradekDeadLetters",
        {
            'odradek_dead_letters_total{namespace="shop",topic="shop.inbox"}': "0x30",
            'odradek_activity_dead_letters_total{namespace="shop",task_queue="payments"}': "0x10 1x20",
        },
        "10m", "12m", NS, "Records of shop could not be taken in",
        ends="30m",
    ),
    Case(  # the same process, that has begun again
        "OdradekDeadLetters",
        {
            'odradek_dead_letters_total{namespace="shop",topic="shop.inbox",job="o",instance="a"}': "3x20 0x5 1x30",
            'process_start_time_seconds{job="o",instance="a"}': "-86400x20 1260x35",
        },
        "24m", "27m", NS, "Records of shop could not be taken in",
        ends="50m",
    ),
    Case(
        "OdradekDeadLetters",
        {
            'odradek_activity_dead_letters_total{namespace="shop",task_queue="payments",job="w"}': "_x10 2x40",
            'process_start_time_seconds{job="w"}': "_x10 600x40",
        },
        "9m", "11m", NS, "Records of shop could not be taken in",
        ends="27m",
    ),
    Case(
        "OdradekTimersLate",
        {'odradek_timers_overdue_seconds{namespace="shop"}': "10x5 120x20"},
        "10m", "12m", NS, "Timers of shop fire 2m 0s late",
    ),
    Case(
        "OdradekNoWorkers",
        {
            'odradek_task_queue_unserved_seconds{namespace="shop",task_queue="payments"}': "_x3 0+60x10",
            # Scaled to zero hours ago, and from zero within a minute.
            'odradek_task_queue_unserved_seconds{namespace="shop",task_queue="reports"}': "_x6 7200x1 stale",
        },
        "5m", "8m", PAYMENTS, "No worker serves task queue payments of shop",
        "Activities have been waiting there, and no worker was seen for 5m 0s.",
    ),
    Case(
        "OdradekTasksOld",
        {'odradek_task_queue_oldest_seconds{namespace="shop",task_queue="payments"}': "60x5 7200x20"},
        "15m", "17m", PAYMENTS, "Tasks of queue payments wait for 2h 0m 0s",
    ),
    Case(
        "OdradekTasksExpire",
        {
            'odradek_task_queue_expires_seconds{namespace="shop",task_queue="payments"}': "500000x5 7200x20",
            'odradek_task_queue_oldest_seconds{namespace="shop",task_queue="payments"}': "104800x5 597600x20",
            # Half a day of what is kept for a day: nobody needs to be called.
            'odradek_task_queue_expires_seconds{namespace="shop",task_queue="mail"}': "43200x25",
            'odradek_task_queue_oldest_seconds{namespace="shop",task_queue="mail"}': "43200x25",
        },
        "15m", "17m", PAYMENTS, "Tasks of queue payments will be deleted unread in 2h 0m 0s",
    ),
    Case(
        "OdradekWorkersNeedNewerBuild",
        {'odradek_activity_partitions_stopped{namespace="shop",task_queue="payments"}': "0x5 2x20"},
        "15m", "17m", PAYMENTS, "Workers of queue payments have stopped at records of a newer build",
        "2 partitions wait for workers of the build that the orchestrators run.",
    ),
    Case(
        "OdradekOrchestratorsMissing",
        {
            'odradek_namespace_partitions{namespace="shop",instance="a"}': "8x5 stale",
            'odradek_namespace_partitions{namespace="shop",instance="b"}': "8x7 stale",
        },
        "7m", "300m", NS, "No orchestrator of shop is left",
    ),
    Case(
        "OdradekPartitionsWithoutOwner",
        {
            'odradek_namespace_partitions{namespace="shop",instance="a"}': "8x30",
            'odradek_namespace_partitions{namespace="shop",instance="b"}': "8x30",
            'odradek_partitions_owned{namespace="shop",instance="a"}': "4x30",
            'odradek_partitions_owned{namespace="shop",instance="b"}': "4x5 1x25",
        },
        "8m", "10m", NS, "3 partitions of shop are served by nobody",
    ),
    Case(
        "OdradekTakeoverSlow",
        {'odradek_takeover_pending_seconds{namespace="shop"}': "0x5 60+60x10"},
        "7m", "9m", NS, "A takeover in shop has lasted for 4m 0s",
    ),
    Case(
        "OdradekClaimsVoid",
        {  # one partition of a large fleet, and a process that lost all that it had, once
            'odradek_partitions_owned{namespace="shop",job="o",instance="a"}': "8x50",
            'odradek_claims_void_total{namespace="shop",job="o",instance="a"}': "0+1x10 10+4x30",
            'odradek_partitions_owned{namespace="shop",job="o",instance="b"}': "64x50",
            'odradek_claims_void_total{namespace="shop",job="o",instance="b"}': "0x24 64x30",
        },
        "10m", "30m", {**NS, "job": "o", "instance": "a"}, "a loses partitions of shop again and again",
        "40 of its claims ended out of order within ten minutes.",
    ),
    Case(
        "OdradekInboxUnread",
        {'odradek_inbox_unread_seconds{namespace="shop"}': "2x5 600x20"},
        "10m", "12m", NS, "Inputs of shop have waited for 10m 0s",
    ),
    Case(
        "OdradekInboxExpires",
        {
            'odradek_inbox_expires_seconds{namespace="shop",instance="a"}': "86000x5 3600x20",
            'odradek_inbox_unread_seconds{namespace="shop",instance="a"}': "400x5 82800x20",
            # An inbox keeps so little: what has just come need not wake anybody.
            'odradek_inbox_expires_seconds{namespace="shop",instance="b"}': "3590x25",
            'odradek_inbox_unread_seconds{namespace="shop",instance="b"}': "10x25",
        },
        "5m", "6m", NS, "Unread inputs of shop will be deleted in 1h 0m 0s",
    ),
    Case(
        "OdradekCheckpointsOld",
        {'odradek_checkpoint_age_seconds{namespace="shop"}': "1x5 180x20"},
        "7m", "9m", NS, "A partition of shop has had no checkpoint for 3m 0s",
    ),
    Case(
        "OdradekNotScraped",
        {'odradek_build_info{role="worker",version="1"}': "1x5 stale"},
        "15m", "25m", {}, "No process of odradek is scraped",
    ),
    Case(
        "OdradekTopicsUnderReplicated",
        {
            'odradek_topics_under_replicated{namespace="shop",instance="a"}': "0x5 4x20",
            'odradek_topics_under_replicated{namespace="shop",instance="b"}': "0x5 3x20",
        },
        "15m", "17m", NS, "7 topics of shop lack copies",
    ),
    Case(
        "OdradekOutputsBlocked",
        {'odradek_outputs_blocked{namespace="shop"}': "0x5 3x20"},
        "15m", "17m", NS, "3 outputs of shop wait for topics that do not take them",
    ),
    Case(
        "OdradekRestartLoop",
        {
            'process_start_time_seconds{job="orchestrator",instance="a"}': "1x5 1+60x20",
            'odradek_build_info{job="orchestrator",instance="a",role="orchestrator",version="1"}': "1x8 stale _x1 1x20",
            'process_start_time_seconds{job="other",instance="b"}': "1+60x30",
        },
        "8m", "10m", {"job": "orchestrator", "instance": "a"}, "orchestrator a starts again and again",
        "4 times within fifteen minutes.",
    ),
    Case(
        "OdradekRequestsFail",
        {
            'odradek_client_requests_total{namespace="shop",request="StartWorkflow",outcome="answered"}': "0+90x40",
            'odradek_client_requests_total{namespace="shop",request="StartWorkflow",outcome="failed"}': "0x10 0+10x30",
            # Two of five in a quiet place.
            'odradek_client_requests_total{namespace="quiet",request="Query",outcome="answered"}': "0x22 1x3 3x30",
            'odradek_client_requests_total{namespace="quiet",request="Query",outcome="failed"}': "0x22 1x3 2x30",
        },
        "10m", "30m", NS, "10% of the requests to shop get no answer in time",
    ),
    Case(
        "OdradekRedisAway",
        {
            'odradek_redis_up{namespace="shop",used_by="worker",instance="a"}': "1x30",
            'odradek_redis_up{namespace="shop",used_by="worker",instance="b"}': "1x5 0x25",
        },
        "15m", "17m", {**NS, "used_by": "worker"}, "Redis is away for the workers of shop",
    ),
]  # fmt: skip


def promtool_file() -> dict[str, Any]:
    """All cases, as ``promtool test rules`` reads them."""
    rules = {rule["alert"]: rule for rule in expressions.alerts()}
    return {
        "rule_files": [str(expressions.ALERTS)],
        "evaluation_interval": "1m",
        "tests": [_test(case, rules[case.alert]) for case in CASES],
    }


def _test(case: Case, rule: Any) -> dict[str, Any]:
    fired = {
        "exp_labels": {**case.labels, **rule["labels"]},
        "exp_annotations": {
            "summary": case.summary,
            "description": case.description or rule["annotations"]["description"],
            "runbook_url": rule["annotations"]["runbook_url"],
        },
    }
    return {
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [
            {"eval_time": case.rests, "alertname": case.alert, "exp_alerts": []},
            {"eval_time": case.fires, "alertname": case.alert, "exp_alerts": [fired]},
            *([{"eval_time": case.ends, "alertname": case.alert, "exp_alerts": []}] if case.ends else []),
        ],
    }
