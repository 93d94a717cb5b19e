"""What all test folders share: odradek's own pytest plugin, and a real Kafka broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.testing.broker import BrokerUnavailable
from odradek.testing.broker import kafka_broker as find_broker

pytest_plugins = ["odradek.testing.plugin"]


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
