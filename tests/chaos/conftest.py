"""A broker of these tests' own, since they kill it, and the orders example on it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.testing.broker import BrokerUnavailable, LocalBroker
from tests.chaos.shop import Measured, Shop


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async`` tests, each in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    broker = LocalBroker(tmp_path_factory.mktemp("broker"))
    try:
        broker.start()
    except BrokerUnavailable as error:
        if os.environ.get("ODRADEK_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(error))
    yield broker
    broker.stop()


@pytest.fixture
def broker(own_broker: LocalBroker) -> Iterator[LocalBroker]:
    """A broker that may be killed and paused: the next test finds it running again."""
    yield own_broker
    try:
        own_broker.resume()
    except RuntimeError:
        own_broker.start()


@pytest.fixture
def shop(broker: LocalBroker, tmp_path: Path) -> Iterator[Shop]:
    with Shop(f"kafka://{broker.bootstrap}", tmp_path) as made:
        yield made


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Takes a duration to be shown at the end of the test run."""

    def measure(what: str, seconds: float) -> None:
        request.node.user_properties.append((what, f"{seconds:.1f} s"))

    return measure


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured; with ``-v``."""
    if terminalreporter.verbosity > 0:
        for report in terminalreporter.stats.get("passed", []):
            for what, duration in report.user_properties:
                terminalreporter.write_line(f"{report.head_line}: {duration} {what}")
