"""A cluster of three brokers of these tests' own."""

from __future__ import annotations

import asyncio
import inspect
import os

import pytest

from odradek.testing.broker import BrokerUnavailable, kafka_jars


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async`` tests, each in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(scope="session")
def jars() -> None:
    """Kafka can be run here. Otherwise the test is skipped, or fails where ``ODRADEK_REQUIRE_KAFKA=1``."""
    try:
        kafka_jars()
    except BrokerUnavailable as error:
        if os.environ.get("ODRADEK_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(error))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the nemesis did."""
    for report in terminalreporter.stats.get("passed", []):
        for what, figures in report.user_properties:
            if what == "nemesis":
                terminalreporter.write_line(figures)
