"""A plugin of a few values: what to add to the clients, workers and replayers that it is given to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from odradek.client import ClientConfig, Connection, WorkflowHistory
from odradek.client import Interceptor as ClientInterceptor
from odradek.client import Plugin as ClientPlugin
from odradek.converter import DataConverter
from odradek.service import ConnectConfig
from odradek.worker import Interceptor as WorkerInterceptor
from odradek.worker import Plugin as WorkerPlugin
from odradek.worker import Replayer, ReplayerConfig, Worker, WorkerConfig, WorkflowReplayResult

__all__ = ["SimplePlugin"]

T = TypeVar("T")
Adds = Sequence[T] | Callable[[Sequence[T] | None], Sequence[T]] | None
"""What to append to the given ones, or what makes the new ones of them."""


class SimplePlugin(ClientPlugin, WorkerPlugin):
    """Adds to what clients, workers and replayers are made with, each what it takes.

    ``data_converter`` is one, or makes one of the given one; ``activities``, ``workflows`` and
    ``workflow_failure_exception_types`` are appended, or are functions of what was given. ``run_context`` makes an
    async context that is open while a worker or a replayer runs. ``workflow_runner`` has no meaning here.
    """

    def __init__(
        self,
        name: str,
        *,
        data_converter: DataConverter | Callable[[DataConverter | None], DataConverter] | None = None,
        interceptors: Sequence[Any] | None = None,
        activities: Adds[Callable[..., Any]] = None,
        workflows: Adds[type] = None,
        workflow_runner: Any = None,
        workflow_failure_exception_types: Adds[type[BaseException]] = None,
        run_context: Callable[[], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        self._name = name
        self.data_converter = data_converter
        self.interceptors = tuple(interceptors or ())
        self.activities = activities
        self.workflows = workflows
        self.workflow_failure_exception_types = workflow_failure_exception_types
        self.run_context = run_context

    def name(self) -> str:
        return self._name

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        if self.data_converter is not None:
            config["data_converter"] = self._converter(config.get("data_converter"))
        own = [one for one in self.interceptors if isinstance(one, ClientInterceptor)]
        config["interceptors"] = [*config.get("interceptors", ()), *own]
        return config

    async def connect_service_client(
        self, config: ConnectConfig, next: Callable[[ConnectConfig], Awaitable[Connection]]
    ) -> Connection:
        return await next(config)

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config["activities"] = _added(config.get("activities"), self.activities)
        config["workflows"] = _added(config.get("workflows"), self.workflows)
        config["workflow_failure_exception_types"] = _added(
            config.get("workflow_failure_exception_types"), self.workflow_failure_exception_types
        )
        there = config["client"].config(active_config=True)["interceptors"]
        config["interceptors"] = self._with_own(config.get("interceptors"), there)
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        if self.run_context is None:
            await next(worker)
            return
        async with self.run_context():
            await next(worker)

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        if self.data_converter is not None:
            config["data_converter"] = self._converter(config.get("data_converter"))
        config["workflows"] = _added(config.get("workflows"), self.workflows)
        config["workflow_failure_exception_types"] = _added(
            config.get("workflow_failure_exception_types"), self.workflow_failure_exception_types
        )
        config["interceptors"] = self._with_own(config.get("interceptors"), ())
        return config

    @asynccontextmanager
    async def run_replayer(
        self, replayer: Replayer, histories: AsyncIterator[WorkflowHistory], next: Any
    ) -> AsyncIterator[AsyncIterator[WorkflowReplayResult]]:
        if self.run_context is None:
            async with next(replayer, histories) as results:
                yield results
            return
        async with self.run_context(), next(replayer, histories) as results:
            yield results

    def _converter(self, given: DataConverter | None) -> DataConverter:
        converter = self.data_converter
        assert converter is not None
        return converter if isinstance(converter, DataConverter) else converter(given)

    def _with_own(self, given: Sequence[Any] | None, there: Sequence[Any]) -> Sequence[Any]:
        """With those of a worker; what the client brings already is not taken twice."""
        own = [one for one in self.interceptors if isinstance(one, WorkerInterceptor) and one not in there]
        return [*(given or ()), *own]


def _added(given: Sequence[T] | None, more: Adds[T]) -> Sequence[T]:
    if callable(more):
        return more(given)
    return [*(given or ()), *(more or ())]
