"""Metrics of user code as Prometheus sees them."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.registry import CollectorRegistry

from odradek.common import prometheus
from odradek.common.prometheus import PrometheusMeter, UserMetrics


def made() -> tuple[CollectorRegistry, PrometheusMeter]:
    registry = CollectorRegistry()
    return registry, PrometheusMeter({"team": "a-b"}, metrics=UserMetrics(), registry=registry)


def test_all_kinds_stand_in_the_registry_with_their_labels() -> None:
    registry, meter = made()
    meter.create_counter("orders.seen", "Orders", "orders").add(2, {"shop-id": 7})
    meter.create_counter("orders.seen").add(3)
    meter.create_histogram("sizes").record(3)
    meter.create_histogram_float("weights").record(0.5)
    meter.with_additional_attributes({"floor": 1}).create_gauge_float("warmth").set(20.5)
    text = generate_latest(registry).decode()
    for line in (
        "# HELP orders_seen_total Orders",
        "# TYPE orders_seen_total counter",
        'orders_seen_total{shop_id="7",team="a-b"} 2.0',
        'orders_seen_total{team="a-b"} 3.0',
        'sizes_bucket{le="5.0",team="a-b"} 1.0',
        'sizes_count{team="a-b"} 1.0',
        'weights_sum{team="a-b"} 0.5',
        'warmth{floor="1",team="a-b"} 20.5',
    ):
        assert line in text, text


def test_a_name_is_one_metric_of_one_kind() -> None:
    _, meter = made()
    first = meter.create_counter("orders", "Orders", "1")
    assert (first.name, first.description, first.unit) == ("orders", "Orders", "1")
    with pytest.raises(ValueError, match="ODR-153"):
        meter.create_gauge("orders")


def test_what_cannot_be_counted_is_refused() -> None:
    _, meter = made()
    with pytest.raises(ValueError, match="only rise"):
        meter.create_counter("orders").add(-1)
    with pytest.raises(ValueError, match="negative"):
        meter.create_histogram("sizes").record(-1)


def test_labels_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "SERIES_MAX", 3)
    registry, meter = made()
    counter = meter.create_counter("orders")
    for number in range(10):
        counter.add(1, {"order": str(number)})
    assert registry.get_sample_value("orders_total", {"overflow": "true"}) == 7
    assert registry.get_sample_value("orders_total", {"order": "2", "team": "a-b"}) == 1
