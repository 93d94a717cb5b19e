"""What operators ask and say of task queues and workflow types; a part of ``Client``."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from abc import ABC, abstractmethod
from datetime import timedelta

from odradek.client.connection import Connection
from odradek.client.task_queues import (
    PausedWorkflowType,
    TaskQueueDescription,
    describe_queues,
    paused_types,
    queue_control,
)
from odradek.log.controls import lift_type_control, write_control
from odradek.log.namespace import Namespace
from odradek.schemas.records import TypeControl


class Operations(ABC):
    @property
    @abstractmethod
    def connection(self) -> Connection: ...

    @property
    @abstractmethod
    def namespace(self) -> str: ...

    @property
    @abstractmethod
    def identity(self) -> str: ...

    async def describe_task_queue(self, name: str, *, window: timedelta = timedelta(seconds=3)) -> TaskQueueDescription:
        """What waits in a task queue, how fast it goes, who serves it; takes as long as ``window`` (0: no rates).

        Raises ``RPCError`` with NOT_FOUND for a queue that does not exist.
        """
        namespace = await self._opened()
        return (await asyncio.to_thread(describe_queues, namespace, [name], window.total_seconds()))[0]

    async def list_task_queues(self, *, window: timedelta = timedelta()) -> list[TaskQueueDescription]:
        """All task queues of the namespace, by name; with their rates over ``window``, if it is not zero."""
        return await asyncio.to_thread(describe_queues, await self._opened(), None, window.total_seconds())

    async def pause_task_queue(self, name: str, *, reason: str = "") -> None:
        """Let the queue's workers begin no tasks, the present ones within a second, until ``resume_task_queue``.

        What runs goes on. Tasks go on to be sent, and their time limits to count. Raises as ``describe_task_queue``.
        """
        namespace = await self._opened()

        def pause() -> None:
            known = queue_control(namespace, name)
            since = known.paused_ms or int(time.time() * 1000)
            write_control(namespace, dataclasses.replace(known, paused_ms=since, reason=reason, identity=self.identity))

        await asyncio.to_thread(pause)

    async def resume_task_queue(self, name: str) -> None:
        """Let the queue's workers go on. Raises as ``describe_task_queue``."""
        namespace = await self._opened()

        def resume() -> None:
            known = queue_control(namespace, name)
            write_control(namespace, dataclasses.replace(known, paused_ms=None, reason="", identity=""))

        await asyncio.to_thread(resume)

    async def limit_task_queue(self, name: str, tasks_per_second: float | None) -> None:
        """Let all workers of the queue together begin so many tasks per second, whatever they say; None: lift that.

        Raises as ``describe_task_queue``, and ``ValueError`` for a limit that lets nothing through.
        """
        if tasks_per_second is not None and not (0 < tasks_per_second < math.inf):
            raise ValueError(f"tasks_per_second is {tasks_per_second:g}, and must be more than 0: pausing is for that")
        namespace = await self._opened()

        def limit() -> None:
            known = queue_control(namespace, name)
            write_control(namespace, dataclasses.replace(known, tasks_per_second=tasks_per_second))

        await asyncio.to_thread(limit)

    async def pause_workflow_type(self, workflow_type: str, *, reason: str = "") -> None:
        """Let no code of this type's runs run, until ``resume_workflow_type``; open activities and timers go on.

        Starts, signals and results are accepted and recorded, and the code sees them in order later. Queries and
        updates are refused meanwhile.
        """
        namespace = await self._opened()
        control = TypeControl(workflow_type, int(time.time() * 1000), reason, self.identity)
        await asyncio.to_thread(write_control, namespace, control)

    async def resume_workflow_type(self, workflow_type: str) -> None:
        """Let the type's runs go on with what has come meanwhile."""
        await asyncio.to_thread(lift_type_control, await self._opened(), workflow_type)

    async def list_paused_workflow_types(self) -> list[PausedWorkflowType]:
        """Those that an operator has paused, by name."""
        return await asyncio.to_thread(paused_types, await self._opened())

    async def _opened(self) -> Namespace:
        return (await self.connection.lane(self.namespace)).namespace
