"""A saga: steps with compensations, undone in reverse order when a later step fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from odradek import activity
from odradek.exceptions import ApplicationError, is_cancelled_exception
from odradek.workflow.calls import execute_activity
from odradek.workflow.log import logger
from odradek.workflow.runtime import current


class saga:  # noqa: N801 - used like a function: ``async with workflow.saga() as saga:``
    """Undo what was done when the block fails.

    Register each compensation *before* its step, so that a step which fails half-way is compensated too::

        async with workflow.saga() as saga:
            saga.compensate(release_stock, order)
            await workflow.execute_activity(reserve_stock, order, …)

    A compensation is an activity with the options given here, or any ``async`` function. They run last-in first-out,
    shielded from cancellation, each as durable as any step. One that finally fails does not stop the others: the saga
    then raises ``ApplicationError`` of type ``CompensationFailed`` that names them all, and whose cause is the original
    failure.
    """

    def __init__(self, **activity_options: Any) -> None:
        self._options = activity_options
        self._steps: list[tuple[str, Callable[[], Awaitable[Any]]]] = []

    def compensate(self, step: Callable[..., Any] | str, *args: Any, **options: Any) -> None:
        """Register what undoes the step that comes next: an activity (function or name), or an ``async`` function."""
        name = step if isinstance(step, str) else getattr(step, "__name__", repr(step))
        if isinstance(step, str) or activity._Definition.from_callable(step) is not None:
            merged = {**self._options, **options}
            self._steps.append((name, lambda: execute_activity(step, args=args, **merged)))
        else:
            self._steps.append((name, lambda: step(*args, **options)))

    async def __aenter__(self) -> Self:
        current()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, GeneratorExit):
            return
        task = asyncio.ensure_future(self._undo())
        failures = await _finish(task)
        if failures:
            named = "; ".join(f"{name}: {_reason(problem)}" for name, problem in failures)
            raise ApplicationError(
                f"ODR-066: {len(failures)} of {len(self._steps)} compensations failed for good: {named}",
                [name for name, _ in failures],
                type="CompensationFailed",
                non_retryable=True,
            ) from error

    async def _undo(self) -> list[tuple[str, BaseException]]:
        failures: list[tuple[str, BaseException]] = []
        for name, step in reversed(self._steps):
            try:
                await step()
            except Exception as problem:
                logger.warning("compensation %s failed for good: %s", name, problem)
                failures.append((name, problem))
        return failures


async def _finish(task: asyncio.Future[list[tuple[str, BaseException]]]) -> list[tuple[str, BaseException]]:
    """Wait for the compensations whatever is cancelled meanwhile: an order that is half undone helps nobody."""
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    return task.result()


def _reason(problem: BaseException) -> str:
    cause: BaseException = problem
    while cause.__cause__ is not None and not is_cancelled_exception(cause):
        cause = cause.__cause__
    return str(cause) or type(cause).__name__
