"""The pytest plugin: environments and workers as fixtures, coroutine tests, and replaying after each activation.

Imports nothing of odradek before a fixture is used, so that other people's test runs start as fast as before.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from odradek.testing import WorkflowEnvironment
    from odradek.worker import Worker

_VARIABLE: Final = "ODRADEK_REPLAY_EACH_ACTIVATION"
_queues = itertools.count(1)

WorkerFactory = Callable[..., "Worker"]
"""``worker(workflows=[…], activities=[…])``: a worker in the test's environment; ``async with`` it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("odradek").addoption(
        "--odradek-replay-each-activation",
        action="store_true",
        help="replay each workflow from its start after each of its steps, and fail it when it decides differently",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--odradek-replay-each-activation"):
        os.environ[_VARIABLE] = "1"


@pytest.hookimpl
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test that no other plugin has run, on an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def odradek_env() -> Iterator[WorkflowEnvironment]:
    """A time-skipping environment of this test alone."""
    yield from _environment()


@pytest.fixture(scope="session")
def odradek_session_env() -> Iterator[WorkflowEnvironment]:
    """A time-skipping environment that all tests of the session share, its clock included.

    Give workflows IDs of their own in it.
    """
    yield from _environment()


@pytest.fixture
def odradek_worker(odradek_env: WorkflowEnvironment) -> WorkerFactory:
    """Makes workers in ``odradek_env``: takes the options of ``Worker``; a task queue is made up where none is given.

    ``async with odradek_worker(workflows=[…], activities=[…]) as worker: …``; its queue is ``worker.task_queue``.
    """

    def make(**options: Any) -> Worker:
        from odradek.worker import Worker

        return Worker(odradek_env.client, **{"task_queue": f"queue-{next(_queues)}", **options})

    return make


def _environment() -> Iterator[WorkflowEnvironment]:
    from odradek.testing import WorkflowEnvironment

    environment = WorkflowEnvironment.skipping()
    yield environment
    # Some plugins keep a loop running in this thread.
    ending = threading.Thread(target=lambda: asyncio.run(environment.shutdown()))
    ending.start()
    ending.join()
