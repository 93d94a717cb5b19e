"""Prometheus metrics of activity workers. Counted as plain numbers, and put into families only when somebody scrapes.

An increment of the client library costs a microsecond, with a lock; an activity here costs a few tens of them in all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from odradek.common.distributions import Distribution
from odradek.common.labels import NAMES_MAX, OTHERS

_QUEUE_LABELS: Final = ("namespace", "task_queue")
_TYPE_LABELS: Final = (*_QUEUE_LABELS, "activity_type")


class TypeStats:
    """Of one activity type on one queue. Written by the worker's event loop only."""

    __slots__ = ("cancelled", "completed", "durations", "failed", "running", "started")

    def __init__(self) -> None:
        self.started = self.completed = self.failed = self.cancelled = self.running = 0
        self.durations = Distribution()


class Gauges(NamedTuple):
    """How it stands with one worker, asked when somebody scrapes."""

    queued: int = 0
    in_flight: int = 0
    """Answers that the log has not acknowledged."""
    slots: int = 0
    partitions: int = 0


class QueueStats:
    """Of one task queue in this process. Lives as long as the process: counters must not fall."""

    def __init__(self) -> None:
        self.types: dict[str, TypeStats] = {}
        self.expired = self.duplicates = self.handed_over = self.dead_letters = 0
        self.stopped = 0
        self.waits = Distribution()
        """From when an attempt was scheduled until it starts."""
        self.gauges: dict[str, Callable[[], Gauges]] = {}
        """By worker."""

    def gauge(self) -> Gauges:
        """Of all workers of the queue in this process together."""
        each = [gauge() for gauge in list(self.gauges.values())]
        return Gauges(*(sum(values) for values in zip(Gauges(), *each, strict=True)))

    def of(self, activity_type: str) -> TypeStats:
        """Of a type, as a task names it: a dynamic activity takes any."""
        found = self.types.get(activity_type)
        if found is None:
            shown = activity_type if len(self.types) < NAMES_MAX else OTHERS
            found = self.types.setdefault(shown, TypeStats())
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
        gauges = [(labels, {**stats.gauge()._asdict(), "stopped": stats.stopped}) for labels, stats in queues]
        for name, text, attribute in (
            ("queued", "Tasks that wait in this process", "queued"),
            ("results_in_flight", "Answers that the log has not acknowledged", "in_flight"),
            ("slots", "Attempts that may run at a time", "slots"),
            ("partitions", "Partitions of the queue that this process reads", "partitions"),
            ("partitions_stopped", "Partitions that wait for a newer build", "stopped"),
        ):
            family = GaugeMetricFamily(f"odradek_activity_{name}", text, labels=_QUEUE_LABELS)
            for labels, values in gauges:
                family.add_metric(labels, values[attribute])
            yield family
        waits = HistogramMetricFamily(
            "odradek_activity_schedule_to_start_seconds",
            "From when an attempt was to begin until it did",
            labels=_QUEUE_LABELS,
        )
        for labels, stats in queues:
            stats.waits.add_to(waits, labels)
        yield waits

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
            stats.durations.add_to(durations, labels)
        yield durations


COLLECTOR: Final = ActivityCollector()
