"""Metrics of user code for Prometheus: counted as plain numbers, put into families only when somebody scrapes.

A name means one metric in the process, whoever makes it; labels may differ from value to value.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final, Self, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from odradek.common.distributions import SECONDS_BOUNDS
from odradek.common.metrics import (
    MetricAttributes,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)

VALUE_BOUNDS: Final = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0)
SERIES_MAX: Final = 10_000
"""Sets of label values of one metric; what goes beyond is counted under the label ``overflow`` alone."""
_FORBIDDEN = re.compile(r"[^a-zA-Z0-9_]")
_OVERFLOW: Final = (("overflow", "true"),)

Labels = tuple[tuple[str, str], ...]


class _Family:
    """One metric: its values by their labels."""

    def __init__(self, name: str, kind: str, description: str, unit: str, bounds: tuple[float, ...]) -> None:
        self.name, self.kind, self.description, self.unit, self.bounds = name, kind, description, unit, bounds
        self.values: dict[Labels, float] = {}
        self.buckets: dict[Labels, list[int]] = {}
        self.lock = threading.Lock()

    def add(self, labels: Labels, value: float) -> None:
        with self.lock:
            labels = self._counted(labels)
            self.values[labels] = self.values.get(labels, 0) + value

    def set(self, labels: Labels, value: float) -> None:
        with self.lock:
            self.values[self._counted(labels)] = value

    def observe(self, labels: Labels, value: float) -> None:
        with self.lock:
            labels = self._counted(labels)
            self.values[labels] = self.values.get(labels, 0) + value
            buckets = self.buckets.setdefault(labels, [0] * (len(self.bounds) + 1))
            buckets[bisect_left(self.bounds, value)] += 1

    def _counted(self, labels: Labels) -> Labels:
        return labels if labels in self.values or len(self.values) < SERIES_MAX else _OVERFLOW

    def collect(self) -> Metric:
        metric = Metric(self.name, self.description or self.name, self.kind)
        with self.lock:
            for labels, value in self.values.items():
                if self.kind == "histogram":
                    self._histogram(metric, dict(labels), value, self.buckets[labels])
                else:
                    metric.add_sample(self.name + ("_total" if self.kind == "counter" else ""), dict(labels), value)
        return metric

    def _histogram(self, metric: Metric, labels: dict[str, str], total: float, buckets: list[int]) -> None:
        count = 0
        for bound, number in zip((*map(str, self.bounds), "+Inf"), buckets, strict=True):
            count += number
            metric.add_sample(f"{self.name}_bucket", {**labels, "le": bound}, count)
        metric.add_sample(f"{self.name}_count", labels, count)
        metric.add_sample(f"{self.name}_sum", labels, total)


class UserMetrics(Collector):
    """All metrics that user code has made in this process."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        self._lock = threading.Lock()
        self._registered = False

    def family(
        self, registry: CollectorRegistry, name: str, kind: str, description: str, unit: str, bounds: tuple[float, ...]
    ) -> _Family:
        """Raises ``ValueError`` where the name is one of another kind already."""
        with self._lock:
            if not self._registered:
                registry.register(self)
                self._registered = True
            plain = _FORBIDDEN.sub("_", name).removesuffix("_total" if kind == "counter" else "\0")
            found = self._families.setdefault(plain, _Family(plain, kind, description, unit, bounds))
            if found.kind != kind:
                raise ValueError(f'ODR-153: metric "{name}" is a {found.kind} already: give the {kind} another name')
            return found

    def collect(self) -> Iterator[Metric]:
        for family in list(self._families.values()):
            yield family.collect()


class _Metric:
    """A family together with the labels that every value gets."""

    def __init__(self, family: _Family, labels: Mapping[str, str]) -> None:
        self._family, self._labels = family, labels
        self._sorted: Labels = tuple(sorted(labels.items()))

    @property
    def name(self) -> str:
        return self._family.name

    @property
    def description(self) -> str | None:
        return self._family.description or None

    @property
    def unit(self) -> str | None:
        return self._family.unit or None

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return type(self)(self._family, {**self._labels, **_labels(additional_attributes)})

    def _all(self, additional: MetricAttributes | None) -> Labels:
        return self._sorted if not additional else tuple(sorted({**self._labels, **_labels(additional)}.items()))


class _Counter(_Metric, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        if value < 0:
            raise ValueError(f'counter "{self.name}" can only rise, and {value} was added')
        self._family.add(self._all(additional_attributes), value)


class _Histogram(_Metric, MetricHistogram, MetricHistogramFloat, MetricHistogramTimedelta):
    def record(self, value: float | timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        if number < 0:
            raise ValueError(f'histogram "{self.name}" takes no negative value, and {value} was recorded')
        self._family.observe(self._all(additional_attributes), number)


class _Gauge(_Metric, MetricGauge, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        if value < 0:
            raise ValueError(f'gauge "{self.name}" takes no negative value, and {value} was set')
        self._family.set(self._all(additional_attributes), value)


K = TypeVar("K", bound=_Metric)


class PrometheusMeter(MetricMeter):
    """Makes metrics that stand in a Prometheus registry; durations are in seconds."""

    def __init__(
        self,
        attributes: MetricAttributes | None = None,
        *,
        metrics: UserMetrics | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._labels = _labels(attributes or {})
        self._metrics = metrics or COLLECTOR
        self._registry = registry

    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        return self._make(_Counter, "counter", name, description, unit)

    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        return self._make(_Histogram, "histogram", name, description, unit, VALUE_BOUNDS)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return self._make(_Histogram, "histogram", name, description, unit, VALUE_BOUNDS)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return self._make(_Histogram, "histogram", name, description, unit, SECONDS_BOUNDS)

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        return self._make(_Gauge, "gauge", name, description, unit)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return self._make(_Gauge, "gauge", name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        labels = {**self._labels, **_labels(additional_attributes)}
        return PrometheusMeter(labels, metrics=self._metrics, registry=self._registry)

    def _make(
        self,
        kind: type[K],
        kind_name: str,
        name: str,
        description: str | None,
        unit: str | None,
        bounds: tuple[float, ...] = (),
    ) -> K:
        family = self._metrics.family(self._registry, name, kind_name, description or "", unit or "", bounds)
        return kind(family, self._labels)


def _labels(attributes: MetricAttributes) -> dict[str, str]:
    return {_FORBIDDEN.sub("_", name): str(value) for name, value in attributes.items()}


COLLECTOR: Final = UserMetrics()
"""Of this process; it stands in Prometheus' default registry from the first metric on."""
