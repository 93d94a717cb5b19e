"""What all test folders share: odradek's own pytest plugin, and a real Kafka broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from odradek.testing.broker import BrokerUnavailable
from odradek.testing.broker import kafka_broker as find_broker
from odradek.testing.redis import LocalRedis, RedisUnavailable
from odradek.testing.redis import redis_server as find_redis

pytest_plugins = ["odradek.testing.plugin"]


PROCESSES_MAX = 4
"""Each of them has a broker of its own."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What ``-n auto`` means here."""
    return min(PROCESSES_MAX, os.cpu_count() or 1)


ALONE = {"chaos", "nemesis", "rollout"}
"""Folders of tests that wait for what several processes do, and would wait in vain on a machine that is too busy."""


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in ALONE:
            item.add_marker("alone")


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``host:port`` of a broker. Without one the test is skipped, or fails where ``ODRADEK_REQUIRE_KAFKA=1``."""
    folder: Path = tmp_path_factory.mktemp("kafka")
    try:
        broker = find_broker(folder)
        address = broker.__enter__()
    except BrokerUnavailable as error:
        if os.environ.get("ODRADEK_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(error))
    yield address
    broker.__exit__(None, None, None)


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = find_redis(tmp_path_factory.mktemp("redis"))
        url = server.__enter__()
    except RedisUnavailable as error:
        pytest.skip(str(error))
    yield url
    server.__exit__(None, None, None)


@pytest.fixture
def redis_url(_redis: str) -> str:
    """The URL of a real Redis, emptied. Without one the test is skipped, which says so."""
    with redis.Redis.from_url(_redis) as client:
        client.flushall()
    return _redis


@pytest.fixture
def local_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis of this test alone, which it may kill and start again."""
    try:
        with LocalRedis(tmp_path / "redis") as server:
            yield server
    except RedisUnavailable as error:
        pytest.skip(str(error))
