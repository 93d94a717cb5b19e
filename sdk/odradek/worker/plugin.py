"""Plugins: one object that changes how workers and replayers are made and run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from odradek.client import WorkflowHistory

if TYPE_CHECKING:
    from odradek.worker.replayer import Replayer, ReplayerConfig, WorkflowReplayResult
    from odradek.worker.worker import Worker, WorkerConfig

    Replay = Callable[
        [Replayer, AsyncIterator[WorkflowHistory]], AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]
    ]


class Plugin(ABC):
    """Given to a worker or a replayer; of several the first one is outermost."""

    def name(self) -> str:
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """The options that the worker is to have, made of those that were given."""

    @abstractmethod
    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Run the worker until it is shut down: ``await next(worker)``, with something around it."""

    @abstractmethod
    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """The options that the replayer is to have, made of those that were given."""

    @abstractmethod
    def run_replayer(
        self, replayer: Replayer, histories: AsyncIterator[WorkflowHistory], next: Replay
    ) -> AbstractAsyncContextManager[AsyncIterator[WorkflowReplayResult]]:
        """Replay: the context of ``next(replayer, histories)``, with something around it."""
