"""Queries that every workflow answers without a handler of its own: where its tasks wait, and what it is. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from odradek.workflow.definition import Handler

if TYPE_CHECKING:
    from odradek.orchestrator.core.instance import WorkflowInstance

STACK_TRACE: Final = "__stack_trace"
METADATA: Final = "__workflow_metadata"


def stack_trace(instance: WorkflowInstance) -> str:
    """Each task that waits, with the lines of code that it waits in, the innermost last."""
    parts = []
    for task in instance.tasks():
        lines = [f"Task {task.get_name()}:"]
        lines += [f'  File "{file}", line {line}, in {name}' for file, line, name in _frames(task)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _frames(task: asyncio.Task[Any]) -> Iterable[tuple[str, int, str]]:
    """Of the coroutine and of what it awaits, down to a future; those of this package are left out."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None and not frame.f_globals.get("__name__", "").startswith("odradek."):
            code = frame.f_code
            yield code.co_filename, frame.f_lineno, code.co_qualname
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)


def metadata(instance: WorkflowInstance) -> dict[str, Any]:
    """The workflow's type, its handlers with their descriptions, and what it says of itself now."""
    handlers = instance.handlers
    return {
        "definition": {
            "type": instance.info.workflow_type,
            "version": instance.version,
            "queryDefinitions": [
                *_shown(handlers.all_of("query")),
                {"name": STACK_TRACE, "description": "Where each task waits."},
                {"name": METADATA, "description": "This answer."},
            ],
            "signalDefinitions": _shown(handlers.all_of("signal")),
            "updateDefinitions": _shown(handlers.all_of("update")),
        },
        "currentDetails": instance.current_details,
    }


def _shown(handlers: Iterable[Handler]) -> list[dict[str, str]]:
    """A handler without a name takes whatever has none of its own."""
    found = [{"name": handler.name or "", "description": handler.description} for handler in handlers]
    return sorted(found, key=lambda handler: handler["name"])


BUILT_IN: Final[dict[str, Callable[[WorkflowInstance], Any]]] = {
    STACK_TRACE: stack_trace,
    METADATA: metadata,
    "__temporal_workflow_metadata": metadata,
}
