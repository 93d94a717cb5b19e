"""Metrics of workflow code: what a replay counts has been counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from odradek.common import (
    MetricAttributes,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)
from odradek.workflow.runtime import Runtime


class _OnceOnly:
    """A metric that keeps silent during a replay; which kind of metric it is says the subclass."""

    def __init__(self, metric: Any, runtime: Runtime) -> None:
        self._metric = metric
        self._runtime = runtime

    @property
    def name(self) -> str:
        return str(self._metric.name)

    @property
    def description(self) -> str | None:
        return self._metric.description  # type: ignore[no-any-return]

    @property
    def unit(self) -> str | None:
        return self._metric.unit  # type: ignore[no-any-return]

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return type(self)(self._metric.with_additional_attributes(additional_attributes), self._runtime)


class _Counter(_OnceOnly, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        if not self._runtime.replaying:
            self._metric.add(value, additional_attributes)


class _Histogram(_OnceOnly, MetricHistogram, MetricHistogramFloat, MetricHistogramTimedelta):
    def record(self, value: float | timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        if not self._runtime.replaying:
            self._metric.record(value, additional_attributes)


class _Gauge(_OnceOnly, MetricGauge, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        if not self._runtime.replaying:
            self._metric.set(value, additional_attributes)


class ReplaySafeMeter(MetricMeter):
    """Makes metrics of ``meter`` that keep silent while ``runtime`` replays."""

    def __init__(self, meter: MetricMeter, runtime: Runtime) -> None:
        self._meter = meter
        self._runtime = runtime

    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        return _Counter(self._meter.create_counter(name, description, unit), self._runtime)

    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        return _Histogram(self._meter.create_histogram(name, description, unit), self._runtime)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _Histogram(self._meter.create_histogram_float(name, description, unit), self._runtime)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _Histogram(self._meter.create_histogram_timedelta(name, description, unit), self._runtime)

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        return _Gauge(self._meter.create_gauge(name, description, unit), self._runtime)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _Gauge(self._meter.create_gauge_float(name, description, unit), self._runtime)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return ReplaySafeMeter(self._meter.with_additional_attributes(additional_attributes), self._runtime)
