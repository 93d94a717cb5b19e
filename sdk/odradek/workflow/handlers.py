"""Handlers of signals, queries and updates while a workflow runs: set, found, and waited for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from odradek.workflow.runtime import current

Kind = Literal["signal", "query", "update"]


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """The run has ended while signal handlers were under way."""


class UnfinishedUpdateHandlersWarning(RuntimeWarning):
    """The run has ended while update handlers were under way: whoever sent those updates gets an error."""


@dataclass(frozen=True)
class UpdateInfo:
    """The update that is being handled or validated."""

    id: str
    name: str


current_update: ContextVar[UpdateInfo | None] = ContextVar("odradek_update", default=None)


class Handlers(ABC):
    """The handlers of one run; ``name`` None stands for the dynamic one."""

    @abstractmethod
    def get(self, kind: Kind, name: str | None) -> Callable[..., Any] | None: ...

    @abstractmethod
    def set(
        self,
        kind: Kind,
        name: str | None,
        function: Callable[..., Any] | None,
        validator: Callable[..., Any] | None = None,
    ) -> None: ...

    @property
    @abstractmethod
    def all_finished(self) -> bool: ...


def current_update_info() -> UpdateInfo | None:
    """The update in whose handler or validator this is called, or in a task that it started; None elsewhere."""
    current()
    return current_update.get()


def all_handlers_finished() -> bool:
    """Whether no signal or update handler is under way.

    To let them finish before the workflow does:
    ``await workflow.wait_condition(workflow.all_handlers_finished)``.
    """
    return current().handlers.all_finished


def get_signal_handler(name: str) -> Callable[..., Any] | None:
    """The handler of this signal; the dynamic one does not count."""
    return current().handlers.get("signal", name)


def set_signal_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Handle this signal from now on, instead of what handled it before; None: by the dynamic handler, if any.

    Signals of this name that came when nobody handled them are handed over now, in order.
    """
    current().handlers.set("signal", name, handler)


def get_dynamic_signal_handler() -> Callable[..., Any] | None:
    return current().handlers.get("signal", None)


def set_dynamic_signal_handler(handler: Callable[..., Any] | None) -> None:
    """Handle, as (name, sequence of ``RawValue``), every signal that has no handler of its own.

    Those that came when nobody handled them are handed over now, in order.
    """
    current().handlers.set("signal", None, handler)


def get_query_handler(name: str) -> Callable[..., Any] | None:
    """The handler of this query; the dynamic one does not count."""
    return current().handlers.get("query", name)


def set_query_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Answer this query from now on, instead of what answered it before; None: by the dynamic handler, if any."""
    current().handlers.set("query", name, handler)


def get_dynamic_query_handler() -> Callable[..., Any] | None:
    return current().handlers.get("query", None)


def set_dynamic_query_handler(handler: Callable[..., Any] | None) -> None:
    """Answer, from (name, sequence of ``RawValue``), every query that has no handler of its own."""
    current().handlers.set("query", None, handler)


def get_update_handler(name: str) -> Callable[..., Any] | None:
    """The handler of this update; the dynamic one does not count."""
    return current().handlers.get("update", name)


def set_update_handler(
    name: str, handler: Callable[..., Any] | None, *, validator: Callable[..., Any] | None = None
) -> None:
    """Handle this update from now on, instead of what handled it before; None: by the dynamic handler, if any."""
    current().handlers.set("update", name, handler, validator)


def get_dynamic_update_handler() -> Callable[..., Any] | None:
    return current().handlers.get("update", None)


def set_dynamic_update_handler(
    handler: Callable[..., Any] | None, *, validator: Callable[..., Any] | None = None
) -> None:
    """Handle, as (name, sequence of ``RawValue``), every update that has no handler of its own."""
    current().handlers.set("update", None, handler, validator)
