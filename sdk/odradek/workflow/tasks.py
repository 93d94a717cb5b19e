"""Tasks and futures whose order in a set is the same in every process: their hash is their number in the run.

``loop`` is a workflow's: its ``next_number`` counts, and says the hash beside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class OrderedTask(asyncio.Task[T]):
    """asyncio keeps tasks in sets and goes through them, when a group is cancelled for one; so may workflow code."""

    def __init__(
        self, coro: Coroutine[Any, Any, T], loop: Any, name: str | None = None, context: Context | None = None
    ) -> None:
        number, self._hash = loop.next_number()
        self._context = copy_context() if context is None else context  # ``get_context`` is of Python 3.12
        # A name is always given: asyncio would number the tasks of the whole process, which no replay could repeat.
        super().__init__(coro, loop=loop, name=f"task-{number}" if name is None else name, context=self._context)

    _hash: int
    _context: Context

    def __hash__(self) -> int:
        return self._hash


class OrderedFuture(asyncio.Future[T]):
    """As ``OrderedTask``."""

    def __init__(self, loop: Any) -> None:
        self._hash = loop.next_number()[1]
        super().__init__(loop=loop)

    _hash: int

    def __hash__(self) -> int:
        return self._hash
