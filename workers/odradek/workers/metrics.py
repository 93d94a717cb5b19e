"""Prometheus metrics of activity workers. Counted as plain numbers, and put into families only when somebody scrapes.

An increment of the client library costs a microsecond, with a lock; an activity here costs a few tens of them in all.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

DURATION_BOUNDS_SECONDS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)
_QUEUE_LABELS: Final = ("namespace", "task_queue")
_TYPE_LABELS: Final = (*_QUEUE_LABELS, "activity_type")


class TypeStats:
    """Of one activity type on one queue. Written by the worker's event loop only."""

    __slots__ = ("buckets", "cancelled", "completed", "failed", "running", "seconds", "started")

    def __init__(self) -> None:
        self.started = self.completed = self.failed = self.cancelled = self.running = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(DURATION_BOUNDS_SECONDS) + 1)

    def observe(self, seconds: float) -> None:
        self.seconds += seconds
        self.buckets[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1


class QueueStats:
    """Of one task queue in this process. Lives as long as the process: counters must not fall."""

    def __init__(self) -> None:
        self.types: dict[str, TypeStats] = {}
        self.expired = self.duplicates = self.handed_over = self.dead_letters = 0
        self.stopped = 0
        self.gauges: dict[str, Callable[[], tuple[int, int]]] = {}
        """By worker: how many tasks are queued and how many answers in flight, asked when somebody scrapes."""

    @property
    def queued(self) -> int:
        return sum(gauge()[0] for gauge in list(self.gauges.values()))

    @property
    def in_flight(self) -> int:
        return sum(gauge()[1] for gauge in list(self.gauges.values()))

    def of(self, activity_type: str) -> TypeStats:
        found = self.types.get(activity_type)
        if found is None:
            found = self.types[activity_type] = TypeStats()
        return found


class ActivityCollector(Collector):
    """All activity workers of this process."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], QueueStats] = {}
        self._registered = False
        self._lock = threading.Lock()

    def queue(self, namespace: str, task_queue: str, registry: CollectorRegistry = REGISTRY) -> QueueStats:
        with self._lock:
            if not self._registered:
                registry.register(self)
                self._registered = True
            return self._queues.setdefault((namespace, task_queue), QueueStats())

    def collect(self) -> Iterator[Metric]:
        queues = list(self._queues.items())
        yield from self._by_queue(queues)
        yield from self._by_type(queues)

    def _by_queue(self, queues: list[tuple[tuple[str, str], QueueStats]]) -> Iterator[Metric]:
        for name, text, attribute in (
            ("expired", "Tasks refused since they came after their expiry", "expired"),
            ("duplicates", "Repeated deliveries that were dropped", "duplicates"),
            ("handed_over", "Attempts handed over to the orchestrator's watch", "handed_over"),
            ("dead_letters", "Task records that could not be read", "dead_letters"),
        ):
            counter = CounterMetricFamily(f"odradek_activity_{name}", text, labels=_QUEUE_LABELS)
            for labels, stats in queues:
                counter.add_metric(labels, getattr(stats, attribute))
            yield counter
        for name, text, attribute in (
            ("queued", "Tasks that wait in this process", "queued"),
            ("results_in_flight", "Answers that the log has not acknowledged", "in_flight"),
            ("partitions_stopped", "Partitions that wait for a newer build", "stopped"),
        ):
            gauge = GaugeMetricFamily(f"odradek_activity_{name}", text, labels=_QUEUE_LABELS)
            for labels, stats in queues:
                gauge.add_metric(labels, getattr(stats, attribute))
            yield gauge

    def _by_type(self, queues: list[tuple[tuple[str, str], QueueStats]]) -> Iterator[Metric]:
        rows = [((*labels, name), t) for labels, stats in queues for name, t in list(stats.types.items())]
        for name, text in (
            ("started", "Attempts started"),
            ("completed", "Attempts that returned a result"),
            ("failed", "Attempts that failed; benign application errors do not count"),
            ("cancelled", "Attempts that ended as cancelled, or whose end nobody waits for"),
        ):
            counter = CounterMetricFamily(f"odradek_activity_{name}", text, labels=_TYPE_LABELS)
            for labels, stats in rows:
                counter.add_metric(labels, getattr(stats, name))
            yield counter
        running = GaugeMetricFamily("odradek_activity_running", "Attempts that run now", labels=_TYPE_LABELS)
        for labels, stats in rows:
            running.add_metric(labels, stats.running)
        yield running
        durations = HistogramMetricFamily(
            "odradek_activity_duration_seconds", "From start to end of an attempt", labels=_TYPE_LABELS
        )
        for labels, stats in rows:
            durations.add_metric(labels, _cumulative(stats.buckets), stats.seconds)
        yield durations


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in DURATION_BOUNDS_SECONDS), "+Inf"]
    total, result = 0, []
    for bound, count in zip(bounds, list(buckets), strict=True):
        total += count
        result.append((bound, float(total)))
    return result


COLLECTOR: Final = ActivityCollector()
