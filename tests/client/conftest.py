from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from odradek.client import Client, RequestPolicy
from odradek.log import Log, open_log
from tests.client.fake_orchestrator import Connected, FakeOrchestrator

IMPATIENT = RequestPolicy(retry_seconds=0.05, retry_seconds_max=0.1)
_numbers = itertools.count()


@pytest.fixture
def address() -> str:
    return f"memory://client-tests-{next(_numbers)}"


@pytest.fixture
def log(address: str) -> Log:
    return open_log(address)


@pytest.fixture
def orchestrator(log: Log) -> Iterator[FakeOrchestrator]:
    with FakeOrchestrator(log, "shop") as fake:
        yield fake


@pytest.fixture
def connected(address: str) -> Connected:
    @asynccontextmanager
    async def connect(**options: Any) -> AsyncIterator[Client]:
        given = {"namespace": "shop", "request_policy": IMPATIENT, **options}
        async with await Client.connect(address, **given) as client:
            yield client

    return connect
