"""What listings and histories are iterated by."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from odradek.client.activity_description import ActivityExecution
from odradek.client.description import WorkflowExecution
from odradek.client.history import WorkflowHistory
from odradek.schemas.records import Event

if TYPE_CHECKING:
    from odradek.client.client import Client


class WorkflowExecutionAsyncIterator(AsyncIterator[WorkflowExecution]):
    """Runs, one after the other; nothing is read before the first is asked for."""

    def __init__(self, client: Client, executions: AsyncIterator[WorkflowExecution]) -> None:
        self._client = client
        self._executions = executions

    def __aiter__(self) -> WorkflowExecutionAsyncIterator:
        return self

    async def __anext__(self) -> WorkflowExecution:
        return await self._executions.__anext__()

    async def map_histories(self) -> AsyncIterator[WorkflowHistory]:
        """The history of each run that is left."""
        async for execution in self:
            handle = self._client.get_workflow_handle(execution.id, run_id=execution.run_id)
            yield await handle.fetch_history()


class ActivityExecutionAsyncIterator(AsyncIterator[ActivityExecution]):
    """Standalone activities, one after the other; nothing is read before the first is asked for."""

    def __init__(self, executions: AsyncIterator[ActivityExecution]) -> None:
        self._executions = executions

    def __aiter__(self) -> ActivityExecutionAsyncIterator:
        return self

    async def __anext__(self) -> ActivityExecution:
        return await self._executions.__anext__()


class WorkflowHistoryEventAsyncIterator(AsyncIterator[Event]):
    """The events of one run; ``run_id`` is known once the first was asked for."""

    def __init__(self, events: Callable[[WorkflowHistoryEventAsyncIterator], AsyncIterator[Event]]) -> None:
        self.run_id = ""
        self._events = events(self)

    def __aiter__(self) -> WorkflowHistoryEventAsyncIterator:
        return self

    async def __anext__(self) -> Event:
        return await self._events.__anext__()
