"""Metrics as user code sees them. What becomes of the numbers is decided by the worker that implements the meter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar, Self, TypeAlias, TypeVar

MetricAttributes: TypeAlias = Mapping[str, str | int | float | bool]
M = TypeVar("M", bound="MetricCommon")


class MetricCommon(ABC):
    """What all metrics have."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    @abstractmethod
    def description(self) -> str | None: ...

    @property
    @abstractmethod
    def unit(self) -> str | None: ...

    @abstractmethod
    def with_additional_attributes(self: M, additional_attributes: MetricAttributes) -> M:
        """The same metric, with these attributes on every value from here on."""


class MetricCounter(MetricCommon):
    """A number that only rises."""

    @abstractmethod
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Raises ``ValueError`` for a negative value."""


class MetricHistogram(MetricCommon):
    """A distribution of whole numbers."""

    @abstractmethod
    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None: ...


class MetricHistogramFloat(MetricCommon):
    """A distribution of numbers."""

    @abstractmethod
    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None: ...


class MetricHistogramTimedelta(MetricCommon):
    """A distribution of durations."""

    @abstractmethod
    def record(self, value: timedelta, additional_attributes: MetricAttributes | None = None) -> None: ...


class MetricGauge(MetricCommon):
    """A whole number that is set."""

    @abstractmethod
    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None: ...


class MetricGaugeFloat(MetricCommon):
    """A number that is set."""

    @abstractmethod
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None: ...


class MetricMeter(ABC):
    """Makes metrics. A metric of the same name is the same metric."""

    noop: ClassVar[MetricMeter]
    """Takes everything and keeps nothing."""

    @abstractmethod
    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter: ...

    @abstractmethod
    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram: ...

    @abstractmethod
    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat: ...

    @abstractmethod
    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta: ...

    @abstractmethod
    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge: ...

    @abstractmethod
    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat: ...

    @abstractmethod
    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """A meter whose metrics carry these attributes too."""


class _Silent:
    """Every metric at once, without effect."""

    def __init__(self, name: str, description: str | None, unit: str | None) -> None:
        self._name, self._description, self._unit = name, description, unit

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str | None:
        return self._description

    @property
    def unit(self) -> str | None:
        return self._unit


S = TypeVar("S", bound=_Silent)


class _SilentCounter(_Silent, MetricCounter):
    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        if value < 0:
            raise ValueError(f'counter "{self.name}" can only rise, and {value} was added')

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return self


class _SilentHistogram(_Silent, MetricHistogram, MetricHistogramFloat, MetricHistogramTimedelta):
    def record(self, value: float | timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        pass

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return self


class _SilentGauge(_Silent, MetricGauge, MetricGaugeFloat):
    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        pass

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        return self


class _SilentMeter(MetricMeter):
    def create_counter(self, name: str, description: str | None = None, unit: str | None = None) -> MetricCounter:
        return _SilentCounter(name, description, unit)

    def create_histogram(self, name: str, description: str | None = None, unit: str | None = None) -> MetricHistogram:
        return _SilentHistogram(name, description, unit)

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        return _SilentHistogram(name, description, unit)

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        return _SilentHistogram(name, description, unit)

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        return _SilentGauge(name, description, unit)

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        return _SilentGauge(name, description, unit)

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        return self


MetricMeter.noop = _SilentMeter()
