"""Retention: what is older goes, what is younger stays, and it can be changed; the same on every log."""

from __future__ import annotations

import time

import pytest

from odradek.log import TopicMissing
from tests.log.conftest import Bench, eventually


def test_a_changed_retention_acts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be kept for ever goes once it is to be kept for a moment; and nothing does after it is taken back."""
    monkeypatch.setattr("odradek.log.sqlite.CHORES_SECONDS", 0.2)
    topic = bench.topic(config={"segment.ms": "50"})
    bench.append(topic, *[(b"k", b"old")] * 5)
    info = bench.log.topic(topic)
    assert info is not None
    assert info.config["retention.ms"] == "-1"
    bench.log.set_retention(topic, 100)
    info = bench.log.topic(topic)
    assert info is not None
    assert info.config["retention.ms"] == "100"
    time.sleep(0.2)

    def old_ones_are_gone() -> bool:
        bench.append(topic, (b"k", b"new"))  # Kafka keeps the segment that is written to
        return bench.log.offsets(topic, 0).begin >= 5

    eventually(old_ones_are_gone, "the old records to go", 40)
    bench.log.set_retention(topic, None)
    (kept,) = bench.append(topic, (b"k", b"kept"))
    assert bench.read(topic, offset=kept)[0].value == b"kept"
    info = bench.log.topic(topic)
    assert info is not None
    assert info.config["retention.ms"] == "-1"


def test_a_missing_topic_is_an_error(bench: Bench) -> None:
    with pytest.raises(TopicMissing):
        bench.log.set_retention("nowhere", 1000)
