"""The gauge of Redis follows what a link finds."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from odradek.common.redis_link import RedisLink
from odradek.testing.redis import LocalRedis


def up() -> float | None:
    return REGISTRY.get_sample_value("odradek_redis_up", {"namespace": "linked", "used_by": "worker"})


def test_redis_that_goes_and_comes_back_is_seen(local_redis: LocalRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odradek.common.redis_link.AWAY_SECONDS", 0.0)
    link = RedisLink(local_redis.url, "it is slower", answer_seconds=5, namespace="linked", used_by="worker")
    assert link.tried(link.client.ping) is True
    assert up() == 1
    local_redis.kill()
    assert link.tried(link.client.ping) is None
    assert up() == 0
    local_redis.start()
    assert link.tried(link.client.ping) is True
    assert up() == 1
    other = RedisLink(local_redis.url, "it is slower", answer_seconds=5, namespace="linked", used_by="worker")
    local_redis.kill()
    assert link.tried(link.client.ping) is None
    link.close()
    assert up() == 0
    local_redis.start()
    assert other.tried(other.client.ping) is True
    assert up() == 1, "it has not noticed that Redis was away"
    other.close()
    assert up() is None, "nobody here uses it any more"
