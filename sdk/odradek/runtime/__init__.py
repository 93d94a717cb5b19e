"""Telemetry of a process, under the names that code from elsewhere has for it.

``Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address="0.0.0.0:9000")))`` serves the metrics of this
process. Logging is Python's own: the loggers begin with ``odradek``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from prometheus_client import start_http_server

from odradek.common import MetricMeter
from odradek.common.accepted import accept
from odradek.common.prometheus import PrometheusMeter

__all__ = [
    "LoggingConfig",
    "OpenTelemetryConfig",
    "PrometheusConfig",
    "Runtime",
    "TelemetryConfig",
    "TelemetryFilter",
]


@dataclass(frozen=True)
class TelemetryFilter:
    """Levels of loggers; both as the names that ``logging`` has for them."""

    core_level: str
    """Of the logger "odradek"."""
    other_level: str
    """Without meaning here."""


@dataclass(frozen=True)
class LoggingConfig:
    """How much is logged; where to is what ``logging`` was told."""

    filter: TelemetryFilter | str
    forwarding: object = None
    """Without meaning here: everything is logged by Python's loggers."""

    default: ClassVar[LoggingConfig]

    def apply(self) -> None:
        level = self.filter.core_level if isinstance(self.filter, TelemetryFilter) else self.filter
        logging.getLogger("odradek").setLevel(level.upper())


LoggingConfig.default = LoggingConfig(TelemetryFilter("WARN", "ERROR"))


@dataclass(frozen=True)
class PrometheusConfig:
    """Serve metrics over HTTP. Only the address has a meaning here; names and units are those of the reference."""

    bind_address: str
    counters_total_suffix: bool = False
    unit_suffix: bool = False
    durations_as_seconds: bool = False
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class OpenTelemetryConfig:
    """Without meaning here: metrics are Prometheus ones, which an OpenTelemetry collector can scrape."""

    url: str
    headers: Mapping[str, str] | None = None
    metric_periodicity: timedelta | None = None
    metric_temporality: object = None
    durations_as_seconds: bool = False
    http: bool = False
    histogram_bucket_overrides: Mapping[str, Sequence[float]] | None = None


@dataclass(frozen=True)
class TelemetryConfig:
    """Only ``logging`` and ``metrics`` have a meaning here."""

    logging: LoggingConfig | None = LoggingConfig.default
    metrics: OpenTelemetryConfig | PrometheusConfig | object | None = None
    global_tags: Mapping[str, str] = field(default_factory=dict)
    attach_service_name: bool = True
    metric_prefix: str | None = None


class Runtime:
    """What a process tells of itself. Takes effect when it is made; which client it is given to does not matter.

    Raises ``OSError`` where its address cannot be served at, and ``ValueError`` for one that is none.
    """

    _default: ClassVar[Runtime | None] = None

    def __init__(self, *, telemetry: TelemetryConfig, **without_meaning: Any) -> None:
        accept("Runtime", without_meaning, {"worker_heartbeat_interval", "disable_environment_info"})
        if telemetry.logging is not None and telemetry.logging is not LoggingConfig.default:
            telemetry.logging.apply()
        if isinstance(telemetry.metrics, PrometheusConfig):
            host, colon, port = telemetry.metrics.bind_address.rpartition(":")
            if not colon or not port.isdecimal():
                raise ValueError(f'bind_address is "{telemetry.metrics.bind_address}", and must be like "0.0.0.0:9000"')
            start_http_server(int(port), host or "::")
        elif telemetry.metrics is not None:
            accept("TelemetryConfig", {"metrics": telemetry.metrics}, {"metrics"})

    @classmethod
    def default(cls) -> Runtime:
        """The one of ``set_default``, or one without telemetry."""
        if Runtime._default is None:
            Runtime._default = cls(telemetry=TelemetryConfig())
        return Runtime._default

    @staticmethod
    def set_default(runtime: Runtime, *, error_if_already_set: bool = True) -> None:
        """Raises ``RuntimeError`` when there is a default already, unless told not to."""
        if Runtime._default is not None and error_if_already_set:
            raise RuntimeError("the runtime's default has been set already")
        Runtime._default = runtime

    @property
    def metric_meter(self) -> MetricMeter:
        return PrometheusMeter()
