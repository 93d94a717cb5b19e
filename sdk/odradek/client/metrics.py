"""Prometheus metrics of clients: how long requests wait for their answers. Counted as plain numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from odradek.common.distributions import Distribution

ANSWERED: Final = "answered"
REFUSED: Final = "refused"
FAILED: Final = "failed"
"""Nobody answered in time, or whoever asked has given up."""

_LABELS: Final = ("namespace", "request")


class RequestStats:
    """Of one kind of request to one namespace. From any thread."""

    def __init__(self) -> None:
        self.seconds = Distribution()
        self.outcomes = {ANSWERED: 0, REFUSED: 0, FAILED: 0}
        self.pending = 0
        self._lock = threading.Lock()

    def begin(self) -> float:
        """A request begins; what this returns is for ``end``."""
        with self._lock:
            self.pending += 1
        return time.monotonic()

    def end(self, began: float, outcome: str) -> None:
        with self._lock:
            self.pending -= 1
            self.outcomes[outcome] += 1
            if outcome != FAILED:
                self.seconds.observe(time.monotonic() - began)


class ClientCollector(Collector):
    """All clients of this process."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, str], RequestStats] = {}
        self._registered = False
        self._lock = threading.Lock()

    def register(self, registry: CollectorRegistry = REGISTRY) -> None:
        """Once is enough."""
        with self._lock:
            if not self._registered:
                registry.register(self)
                self._registered = True

    def of(self, namespace: str, request: str) -> RequestStats:
        found = self._stats.get((namespace, request))
        return found if found is not None else self._stats.setdefault((namespace, request), RequestStats())

    def collect(self) -> Iterator[Metric]:
        rows = list(self._stats.items())
        requests = CounterMetricFamily(
            "odradek_client_requests",
            "Requests to orchestrators that were answered, refused with an error, or failed: there was no answer in "
            "time, or nobody waits for it any more",
            labels=(*_LABELS, "outcome"),
        )
        pending = GaugeMetricFamily(
            "odradek_client_requests_pending", "Requests that wait for room, or for their answers", labels=_LABELS
        )
        seconds = HistogramMetricFamily(
            "odradek_client_request_duration_seconds",
            "From a request until its first answer, the wait for room included; waits for results do not count",
            labels=_LABELS,
        )
        for labels, stats in rows:
            for outcome, count in list(stats.outcomes.items()):
                requests.add_metric((*labels, outcome), count)
            pending.add_metric(labels, stats.pending)
            stats.seconds.add_to(seconds, labels)
        yield from (requests, pending, seconds)


COLLECTOR: Final = ClientCollector()
