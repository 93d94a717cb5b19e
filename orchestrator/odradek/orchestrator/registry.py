"""Which workflow code this process hosts, by task queue and type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from odradek.activity import _Definition
from odradek.workflow.definition import DEFINITION, Definition, InvalidWorkflow


class Registry:
    """Workflow code is looked up by (task queue, type), then by type, then the dynamic workflow if there is one."""

    def __init__(self) -> None:
        self._added: list[tuple[str | None, list[Definition]]] = []
        self._by_queue: dict[tuple[str, str | None], Definition] = {}
        self._by_type: dict[str | None, Definition] = {}
        self._activities: dict[str | None, list[_Definition]] = {}

    def add(self, workflows: Iterable[type], task_queue: str | None = None) -> None:
        """Host these classes.

        Raises ``InvalidWorkflow`` for one that is not decorated, or a type that two classes claim.
        """
        added = (task_queue, [Definition.of(cls) for cls in workflows])
        self._index([*self._added, added])

    def remove(self, workflows: Iterable[type], task_queue: str | None = None) -> None:
        """Undo one ``add`` of the same classes for the same queue."""
        kept = list(self._added)
        kept.remove((task_queue, [Definition.of(cls) for cls in workflows]))
        self._index(kept)

    def _index(self, added: list[tuple[str | None, list[Definition]]]) -> None:
        by_queue: dict[tuple[str, str | None], Definition] = {}
        by_type: dict[str | None, Definition] = {}
        for task_queue, definitions in added:
            for definition in definitions:
                name, cls = definition.name, definition.cls
                known = by_queue.get((task_queue, name)) if task_queue else by_type.get(name)
                if known is not None and known.cls is not cls:
                    raise InvalidWorkflow(cls.__qualname__, f'"{known.cls.__qualname__}" is type "{name}" already')
                if task_queue:
                    by_queue[task_queue, name] = definition
                by_type.setdefault(name, definition)
        # In one step each: an orchestrator may be looking from another thread.
        self._added, self._by_queue, self._by_type = added, by_queue, by_type

    def find(self, task_queue: str, workflow_type: str) -> Definition | None:
        for name in (workflow_type, None):
            found = self._by_queue.get((task_queue, name)) or self._by_type.get(name)
            if found is not None:
                return found
        return None

    def add_activities(self, activities: Iterable[Callable[..., Any]]) -> None:
        """Make these known by name, as local activities. Raises ``TypeError`` for one that is not decorated."""
        for function in activities:
            definition = _Definition.must_from_callable(function)
            found = self._activities.setdefault(definition.name, [])
            if all(known.fn != definition.fn for known in found):
                found.append(definition)

    def activity(self, name: str) -> _Definition | None:
        """The local activity of this name, else the dynamic one. Of several of one name none: none is meant more."""
        found = self._activities.get(name) or self._activities.get(None) or ()
        return found[0] if len(found) == 1 else None

    def activity_names(self) -> list[str]:
        return sorted(name for name in self._activities if name is not None)

    def hosted(self) -> list[str]:
        return sorted(name for name in self._by_type if name is not None)


def workflows_in(module: ModuleType) -> list[type]:
    """The workflow classes that a module defines or imports."""
    return [value for value in vars(module).values() if isinstance(value, type) and DEFINITION in value.__dict__]
