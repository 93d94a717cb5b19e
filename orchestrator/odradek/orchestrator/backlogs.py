"""How long what waits in inboxes and task queues has waited, and how long until retention takes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from zlib import crc32

from odradek.log import TopicInfo
from odradek.log.backlog import oldest_ms, oldest_waiting_ms, read_backlog
from odradek.log.errors import TopicMissing
from odradek.log.interface import Standing
from odradek.log.namespace import Namespace
from odradek.orchestrator import metrics

_log = logging.getLogger("odradek.orchestrator.watch")


class Backlogs:
    """Of one orchestrator. Used by its watch, in that thread; reads the log, and decides nothing.

    Each task queue, and each topic, is looked at by whoever serves the partition that its name falls to.
    """

    def __init__(self, namespace: Namespace, now_ms: Callable[[], int]) -> None:
        self._namespace, self._topics, self._log = namespace, namespace.topics, namespace.log
        self._now_ms = now_ms
        self._shown: set[str] = set()
        self._told: set[str] = set()
        self._lagging = metrics.Share(metrics.LAGGING_TOPICS, self._topics.namespace)
        self.waiting: set[str] = set()
        """Those of the queues in which tasks wait."""

    def inbox(self, standing: Mapping[int, Standing]) -> None:
        """The partitions that are served here."""
        name, waiting = self._topics.namespace, {n: one.position for n, one in standing.items() if one.lag}
        began_ms = oldest_ms(self._log, self._topics.inbox, waiting)
        age_ms = 0 if began_ms is None else max(0, self._now_ms() - began_ms)
        metrics.UNREAD_SECONDS.labels(name).set(age_ms / 1000)
        kept_ms = _kept_ms(self._log.topic(self._topics.inbox)) if began_ms is not None else None
        if kept_ms is None:
            metrics.forget(metrics.UNREAD_EXPIRES_SECONDS, name)
        else:
            metrics.UNREAD_EXPIRES_SECONDS.labels(name).set((kept_ms - age_ms) / 1000)

    def queues(self, partitions: Collection[int]) -> None:
        """Those that fall to these partitions."""
        prefix = self._topics.tasks_prefix
        queues = [topic.removeprefix(prefix) for topic in self._log.topics(prefix)]
        mine = {queue for queue in queues if self._falls_to(queue) in partitions}
        for queue in self._shown - mine:
            self._forget(queue)
        self._shown = mine
        for queue in mine:
            try:
                waiting = self._queue(queue)
            except TopicMissing:
                waiting = False
                self._forget(queue)
            (self.waiting.add if waiting else self.waiting.discard)(queue)
        self.waiting &= mine

    def _queue(self, queue: str) -> bool:
        """Whether tasks wait there."""
        name, topics = self._topics.namespace, self._topics
        reading = read_backlog(self._log, topics, queue)
        metrics.TASKS_BACKLOG.labels(name, queue).set(reading.waiting)
        began_ms = oldest_waiting_ms(self._log, topics, queue, reading)
        age_ms = 0 if began_ms is None else max(0, self._now_ms() - began_ms)
        metrics.TASKS_SECONDS.labels(name, queue).set(age_ms / 1000)
        kept_ms = _kept_ms(self._log.topic(topics.tasks(queue))) if began_ms is not None else None
        if kept_ms is None:
            metrics.forget(metrics.TASKS_EXPIRE_SECONDS, name, queue)
        else:
            metrics.TASKS_EXPIRE_SECONDS.labels(name, queue).set((kept_ms - age_ms) / 1000)
        return reading.waiting > 0

    def _forget(self, queue: str) -> None:
        for gauge in (metrics.TASKS_BACKLOG, metrics.TASKS_SECONDS, metrics.TASKS_EXPIRE_SECONDS):
            metrics.forget(gauge, self._topics.namespace, queue)

    def _falls_to(self, name: str) -> int:
        return crc32(name.encode()) % self._namespace.partitions

    def replication(self, partitions: Collection[int]) -> None:
        """Whether a topic that falls to these partitions has lost copies; told of when that changes."""
        topics = self._log.topics(f"{self._topics.namespace}.")
        found = [self._log.topic(topic) for topic in topics if self._falls_to(topic) in partitions]
        lagging = {info.name for info in found if info is not None and info.under_replicated}
        self._lagging.set(len(lagging))
        if lagging - self._told:
            _log.warning(
                "ODR-240: topics with fewer copies in sync than they should have: %s. A broker is down or behind; with "
                "one copy less than min.insync.replicas nothing can be appended",
                ", ".join(sorted(lagging)),
            )
        self._told = lagging

    def clear(self) -> None:
        """Nothing is served here any more."""
        for queue in self._shown:
            self._forget(queue)
        self._shown, self.waiting = set(), set()
        metrics.forget(metrics.UNREAD_EXPIRES_SECONDS, self._topics.namespace)
        metrics.UNREAD_SECONDS.labels(self._topics.namespace).set(0)
        self._lagging.set(0)


def _kept_ms(info: TopicInfo | None) -> int | None:
    kept_ms = int(info.config.get("retention.ms", -1)) if info is not None else -1
    return kept_ms if kept_ms >= 0 else None
