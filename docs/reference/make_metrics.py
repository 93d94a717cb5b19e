"""The tables of metrics.md, from the collectors: ``python docs/reference/make_metrics.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from generated import table, write
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from odradek.client.metrics import ClientCollector
from odradek.common.build import BUILD
from odradek.common.redis_link import UP
from odradek.orchestrator import metrics
from odradek.workers.metrics import ActivityCollector

PAGE = Path(__file__).with_name("metrics.md")


def text() -> str:
    return "\n\n".join(
        [
            "## Of an orchestrator",
            _table(_row(m) for m in vars(metrics).values() if isinstance(m, MetricWrapperBase)),
            "## Of an activity worker",
            _table(_collected(ActivityCollector())),
            "## Of a client",
            _table(_collected(ClientCollector())),
            "## Of several of them",
            _table(_row(m) for m in (BUILD, UP)),
        ]
    )


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Name, kind, labels and meaning of each."""
    yield from (_row(m) for m in (*vars(metrics).values(), BUILD, UP) if isinstance(m, MetricWrapperBase))
    yield from _collected(ActivityCollector())
    yield from _collected(ClientCollector())


def _collected(collector: Collector) -> Iterator[tuple[str, str, str, str]]:
    for family in collector.collect():
        yield _name(family.name, family.type), family.type, _labels(family), family.documentation


def _row(metric: MetricWrapperBase) -> tuple[str, str, str, str]:
    family = next(iter(metric.describe()))
    return _name(family.name, family.type), family.type, ", ".join(metric._labelnames), family.documentation


def _labels(family: object) -> str:
    return ", ".join(getattr(family, "_labelnames", ()))


def _name(name: str, kind: str) -> str:
    """As it is scraped: the library leaves the ending of a counter away."""
    return f"{name}_total" if kind == "counter" else name


def _table(rows: Iterable[tuple[str, str, str, str]]) -> str:
    shown = sorted((f"`{name}`", kind, labels, about) for name, kind, labels, about in rows)
    return table(["metric", "kind", "labels", "what it says"], shown)


if __name__ == "__main__":
    write(PAGE, text())
