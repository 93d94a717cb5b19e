"""From what users name (a decorated class or method, or a text) to the name and type on the wire.

Goes by the attributes that the decorators leave, so that a client needs no workflow package.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from odradek.activity import _Definition

_WORKFLOW: Final = "__odradek_workflow_definition__"
_SIGNAL: Final = "__odradek_signal_definition__"
_QUERY: Final = "__odradek_query_definition__"
_UPDATE: Final = "__odradek_update_definition__"


def workflow_of(workflow: str | Callable[..., Any]) -> tuple[str, Any]:
    """The workflow's type name, and the type of its result where it says one. Raises ``TypeError``."""
    return (workflow, None) if isinstance(workflow, str) else _workflow(workflow)


def activity_of(activity: str | Callable[..., Any]) -> tuple[str, Any]:
    """The activity's type name, and the type of its result where it says one. Raises ``TypeError``."""
    return (activity, None) if isinstance(activity, str) else _activity(getattr(activity, "__func__", activity))


def signal_of(signal: str | Callable[..., Any]) -> str:
    """The signal's name. Raises ``TypeError``."""
    return signal if isinstance(signal, str) else _handler(signal, _SIGNAL, "signal")[0]


def query_of(query: str | Callable[..., Any]) -> tuple[str, Any]:
    """The query's name, and the type of its answer where it says one. Raises ``TypeError``."""
    return (query, None) if isinstance(query, str) else _handler(query, _QUERY, "query")


def update_of(update: str | Callable[..., Any]) -> tuple[str, Any]:
    """The update's name, and the type of its answer where it says one. Raises ``TypeError``."""
    return (update, None) if isinstance(update, str) else _handler(update, _UPDATE, "update")


@lru_cache(1024)
def _workflow(workflow: Callable[..., Any]) -> tuple[str, Any]:
    definition = getattr(workflow, _WORKFLOW, None)
    if definition is None:
        raise TypeError(
            f"{_shown(workflow)} is no workflow: give its type's name or the run method of a class with @workflow.defn"
        )
    return _named(definition, workflow, "workflow"), definition.run_return_type


@lru_cache(1024)
def _activity(activity: Callable[..., Any]) -> tuple[str, Any]:
    definition = _Definition.from_callable(activity)
    if definition is None and isinstance(activity, type):
        definition = _Definition.from_callable(activity.__call__)
    if definition is None:
        raise TypeError(f'ODR-125: "{_shown(activity)}" is not an activity: decorate it with @activity.defn')
    return _named(definition, activity, "activity"), definition.ret_type


@lru_cache(1024)
def _handler(handler: Callable[..., Any], attribute: str, kind: str) -> tuple[str, Any]:
    definition = getattr(handler, attribute, None)
    if definition is None:
        raise TypeError(
            f"{_shown(handler)} is no {kind} handler: name one by its name or by a method with @workflow.{kind}"
        )
    return _named(definition, handler, kind), getattr(definition, "ret_type", None)


def _named(definition: Any, named: object, kind: str) -> str:
    if definition.name is None:
        raise TypeError(f"{_shown(named)} is a dynamic {kind}, which has no name of its own: give the name as a text")
    return typing.cast(str, definition.name)


def _shown(named: object) -> str:
    return str(getattr(named, "__qualname__", None) or repr(named))
