"""Every log that there is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(params=["memory", "sqlite", "kafka"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "memory":
            yield f"memory://{uuid.uuid4().hex}"
        case "sqlite":
            yield f"sqlite:///{tmp_path}/log.db"
        case _:
            yield f"kafka://{request.getfixturevalue('kafka_broker')}"
