"""What waits unread: how old it is, and how long until retention takes it."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from odradek.log import TopicInfo, open_log
from odradek.log.memory import MemoryLog
from odradek.log.namespace import Namespace, append_all, create_namespace, open_namespace, read_to_end
from odradek.orchestrator.backlogs import Backlogs
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.orchestrator.unserved import UnservedQueues
from odradek.orchestrator.watch import Watch
from odradek.schemas import records as r
from odradek.schemas.topics import Topics

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Lagging(MemoryLog):
    """A log that says that it has lost copies of some topics."""

    lagging: frozenset[str] = frozenset()

    def topic(self, name: str) -> TopicInfo | None:
        info = super().topic(name)
        return info if info is None else replace(info, under_replicated=(0,) if name in self.lagging else ())


def value(metric: str, namespace: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"odradek_{metric}", {"namespace": namespace, **labels})


def opened(name: str, *, inbox_kept_ms: int | None = None) -> Namespace:
    log = open_log(f"memory://{name}")
    specs = Topics(name).specs(2)
    log.create_topics([replace(spec, retention_ms=inbox_kept_ms) for spec in specs if spec.name == Topics(name).inbox])
    create_namespace(log, name, partitions=2, queues=("q",))
    return open_namespace(log, name)


def appended(namespace: Namespace, topic: str, partition: int) -> int:
    """The log's time of a new record."""
    appender = namespace.log.appender()
    appender.append(topic, partition, b"w", b"value")
    appender.flush(5)
    appender.close()
    reader = namespace.log.reader()
    reader.assign(topic, partition, namespace.log.offsets(topic, partition).end - 1)
    [record] = reader.poll(5)
    reader.close()
    return record.time_ms


def looked_at_inbox(namespace: Namespace, now_ms: int) -> Backlogs:
    topics = namespace.topics
    backlogs = Backlogs(namespace, lambda: now_ms)
    backlogs.inbox(namespace.log.standing(topics.orchestrators, topics.inbox))
    return backlogs


def test_unread_inbox_records_have_an_age_and_an_end() -> None:
    name = "unread"
    namespace = opened(name, inbox_kept_ms=DAY_MS)
    looked_at_inbox(namespace, 0)
    assert (value("inbox_unread_seconds", name), value("inbox_expires_seconds", name)) == (0.0, None)
    time_ms = appended(namespace, namespace.topics.inbox, 1)
    backlogs = looked_at_inbox(namespace, time_ms + 6 * HOUR_MS)
    assert value("inbox_unread_seconds", name) == 6 * 3600
    assert value("inbox_expires_seconds", name) == 18 * 3600
    backlogs.clear()
    assert (value("inbox_unread_seconds", name), value("inbox_expires_seconds", name)) == (0.0, None)


def test_an_inbox_that_keeps_everything_has_no_end() -> None:
    namespace = opened("endless")
    time_ms = appended(namespace, namespace.topics.inbox, 0)
    looked_at_inbox(namespace, time_ms + HOUR_MS)
    assert value("inbox_unread_seconds", "endless") == 3600
    assert value("inbox_expires_seconds", "endless") is None


def test_a_queue_is_told_of_by_who_serves_its_partition_alone() -> None:
    name = "queued"
    namespace = opened(name)
    tasks = namespace.topics.tasks("q")
    time_ms = appended(namespace, tasks, 0)
    appended(namespace, tasks, 1)
    info = namespace.log.topic(tasks)
    assert info is not None
    kept_ms = int(info.config["retention.ms"])
    told = []
    for partition in (0, 1):
        backlogs = Backlogs(namespace, lambda: time_ms + HOUR_MS)
        backlogs.queues({partition})
        if value("task_queue_backlog_records", name, task_queue="q") is None:
            continue
        told.append(partition)
        assert backlogs.waiting == {"q"}
        assert value("task_queue_backlog_records", name, task_queue="q") == 2
        assert value("task_queue_oldest_seconds", name, task_queue="q") == 3600
        assert value("task_queue_expires_seconds", name, task_queue="q") == (kept_ms - HOUR_MS) / 1000
        backlogs.queues({1 - partition})
        assert value("task_queue_backlog_records", name, task_queue="q") is None, "another process tells of it now"
        assert backlogs.waiting == set()
    assert len(told) == 1


def test_topics_that_have_lost_copies_are_counted_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    log = Lagging("memory://lagging")
    create_namespace(log, "lagging", partitions=2, queues=("q",))
    backlogs = Backlogs(open_namespace(log, "lagging"), lambda: 0)
    backlogs.replication({0, 1})
    assert value("topics_under_replicated", "lagging") == 0
    log.lagging = frozenset({"lagging.inbox", "lagging.tasks.q"})
    for _ in range(2):
        backlogs.replication({0, 1})
    assert value("topics_under_replicated", "lagging") == 2
    told = [record.getMessage() for record in caplog.records if "ODR-240" in record.getMessage()]
    assert len(told) == 1
    assert "lagging.inbox, lagging.tasks.q" in told[0]
    backlogs.replication(())
    assert value("topics_under_replicated", "lagging") == 0, "others tell of them now"
    log.lagging = frozenset()
    backlogs.replication({0, 1})
    assert value("topics_under_replicated", "lagging") == 0


def test_a_queue_with_tasks_of_workflows_that_are_not_in_memory_is_unserved_too() -> None:
    """After a takeover most of those that wait stand in the local store only."""
    unserved = UnservedQueues("aside", {"payments": 90_000, "mail": None}.get, lambda: 0, 60)
    unserved.look([], {"payments", "mail"})
    assert value("task_queue_unserved_seconds", "aside", task_queue="payments") == 90
    assert value("task_queue_unserved_seconds", "aside", task_queue="mail") is None
    unserved.look([], ())
    assert value("task_queue_unserved_seconds", "aside", task_queue="payments") is None


def test_what_one_may_not_read_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orchestrator without the right to see the groups of workers still tells of its inbox and of lost copies."""
    name = "no-right"
    namespace = opened(name)
    time_ms = appended(namespace, namespace.topics.inbox, 1)
    monkeypatch.setattr("odradek.orchestrator.backlogs.read_backlog", _refused)
    shard: Any = SimpleNamespace(parked={}, workflows={})
    unserved = UnservedQueues(name, lambda queue: None, lambda: 0, 60)
    watch = Watch(
        namespace,
        lambda: [(0, shard), (1, shard)],
        OrchestratorSettings(),
        unserved,
        lambda: None,
        lambda: time_ms + 5000,
    )
    watch.look()
    assert value("inbox_unread_seconds", name) == 5
    assert value("topics_under_replicated", name) == 0
    assert value("task_queue_backlog_records", name, task_queue="q") is None


def test_listings_forget_a_run_when_its_owner_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the partitions that are served here only, and not at each look; open runs stay, however old."""
    namespace, day_ms = opened("pruned"), 24 * 3600 * 1000

    def listed(partition: int) -> list[str]:
        records = read_to_end(namespace.log, namespace.topics.visibility, partition)
        last = {record.key: record.value for record in records}
        return sorted(name.decode().partition("\0")[0] for name, value in last.items() if name and value)

    def show(run_id: str, claim: int, closed_day: int | None) -> None:
        closed_ms = None if closed_day is None else closed_day * day_ms
        status = r.RunStatus.RUNNING if closed_ms is None else r.RunStatus.COMPLETED
        for partition in range(2):
            record = r.VisibilityRecord("wf", run_id, claim, 1, "T", "q", status, 0, closed_ms)
            value = namespace.codec.encode(record)
            append_all(namespace.log, namespace.topics.visibility, partition, {f"{run_id}\0{claim}".encode(): value})

    show("open", 3, None)
    show("old", 3, None)  # by an owner before the one that has closed it
    show("old", 9, 2)
    show("young", 9, 8)
    shard: Any = SimpleNamespace(parked={}, workflows={})
    unserved = UnservedQueues("pruned", lambda queue: None, lambda: 0, 60)
    settings = OrchestratorSettings(prune_seconds=240.0)
    watch = Watch(namespace, lambda: [(0, shard)], settings, unserved, lambda: None, lambda: 10 * day_ms)
    assert watch._prune_due == pytest.approx(time.monotonic() + 10, abs=1)
    watch.look()
    assert listed(0) == ["old", "old", "open", "young"]
    monkeypatch.setattr("odradek.orchestrator.watch.PRUNED_RECORDS_MAX", 3)
    watch._prune_due = time.monotonic()
    watch.look()
    assert listed(0) == ["old", "old", "open", "young"]
    assert "partition 0 has more than 3 records of listings" in caplog.text
    monkeypatch.undo()
    watch._prune_due = time.monotonic()
    watch.look()
    assert listed(0) == ["open", "young"]
    assert listed(1) == ["old", "old", "open", "young"]
    show("old", 9, 2)
    watch.look()
    assert listed(0) == ["old", "open", "young"], "it has just been done"


def _refused(*_: object) -> None:
    raise PermissionError("group authorization failed")
