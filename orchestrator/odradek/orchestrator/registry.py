"""Which workflow code this process hosts, by task queue and type."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from odradek.workflow.definition import DEFINITION, Definition, InvalidWorkflow


class Registry:
    """Workflow code is looked up by (task queue, type), then by type, then the dynamic workflow if there is one."""

    def __init__(self) -> None:
        self._by_queue: dict[tuple[str, str | None], Definition] = {}
        self._by_type: dict[str | None, Definition] = {}

    def add(self, workflows: Iterable[type], task_queue: str | None = None) -> None:
        """Host these classes.

        Raises ``InvalidWorkflow`` for one that is not decorated, or a type that two classes claim.
        """
        for cls in workflows:
            definition = Definition.of(cls)
            table_key = (task_queue, definition.name) if task_queue else None
            known = self._by_queue.get(table_key) if table_key else self._by_type.get(definition.name)
            if known is not None and known.cls is not cls:
                raise InvalidWorkflow(
                    cls.__qualname__, f'"{known.cls.__qualname__}" is type "{definition.name}" already'
                )
            if table_key:
                self._by_queue[table_key] = definition
            self._by_type.setdefault(definition.name, definition)

    def find(self, task_queue: str, workflow_type: str) -> Definition | None:
        for name in (workflow_type, None):
            found = self._by_queue.get((task_queue, name)) or self._by_type.get(name)
            if found is not None:
                return found
        return None

    def hosted(self) -> list[str]:
        return sorted(name for name in self._by_type if name is not None)


def workflows_in(module: ModuleType) -> list[type]:
    """The workflow classes that a module defines or imports."""
    return [value for value in vars(module).values() if isinstance(value, type) and DEFINITION in value.__dict__]
