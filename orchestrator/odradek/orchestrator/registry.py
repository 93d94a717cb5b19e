"""Which workflow code this process hosts, by task queue, type and version."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, TypeVar

from odradek.activity import ActivityDefaults, _Definition
from odradek.common.standalone import is_built_in
from odradek.orchestrator.core.versions import natural
from odradek.orchestrator.standalone import BUILT_IN
from odradek.workflow.definition import DEFINITION, Definition, InvalidWorkflow
from odradek.workflow.determinism import guard, require

K = TypeVar("K")
Versions = dict[str, Definition]
"""The classes of one type, the newest version first."""


class Registry:
    """Workflow code is looked up by (task queue, type), then by type, then the dynamic workflow if there is one.

    What is built in is always hosted.
    """

    def __init__(self) -> None:
        self._added: list[tuple[str | None, list[Definition]]] = []
        self._by_queue: dict[tuple[str, str | None], Versions] = {}
        self._by_type: dict[str | None, Versions] = {}
        self._activities: dict[str | None, list[_Definition]] = {}

    def add(
        self,
        workflows: Iterable[type],
        task_queue: str | None = None,
        failure_exception_types: Sequence[type[BaseException]] = (),
        *,
        sandboxed: bool = True,
        interceptors: Sequence[type] = (),
        activity_defaults: ActivityDefaults | None = None,
    ) -> None:
        """Host these classes. Exceptions of ``failure_exception_types`` fail their runs, beside those that they name.

        ``interceptors`` are classes of ``WorkflowInboundInterceptor``, around each run; ``activity_defaults`` hold for
        calls that do not say otherwise.
        ``sandboxed=False`` leaves all of them unchecked and unguarded, as a class that says so itself. Raises
        ``InvalidWorkflow`` for one that is not decorated, or a type that two classes claim in one version, and its
        subclass ``NondeterministicCode`` for one that does what no replay can repeat.
        """
        workflows = list(workflows)
        for cls in workflows:
            definition = Definition.of(cls)
            if definition.name is not None and is_built_in(definition.name):
                raise InvalidWorkflow(
                    cls.__qualname__,
                    f'the type "{definition.name}" is reserved for what is built in: give it another name',
                )
        definitions = [
            dataclasses.replace(
                definition,
                sandboxed=definition.sandboxed and sandboxed,
                failure_exception_types=(*definition.failure_exception_types, *failure_exception_types),
                interceptors=tuple(interceptors),
                activity_defaults=activity_defaults or None,
            )
            for definition in map(Definition.of, workflows)
        ]
        for definition in definitions:
            if definition.sandboxed:
                require(definition.cls)
                guard.install()
        self._index([*self._added, (task_queue, definitions)])

    def remove(self, workflows: Iterable[type], task_queue: str | None = None) -> None:
        """Undo one ``add`` of the same classes for the same queue."""
        kept = list(self._added)
        classes = list(workflows)
        kept.remove(next(one for one in kept if one[0] == task_queue and [d.cls for d in one[1]] == classes))
        self._index(kept)

    def _index(self, added: list[tuple[str | None, list[Definition]]]) -> None:
        by_queue: dict[tuple[str, str | None], Versions] = {}
        by_type: dict[str | None, Versions] = {}
        for task_queue, definitions in added:
            for definition in definitions:
                shared = by_type.setdefault(definition.name, {})
                table = by_queue.setdefault((task_queue, definition.name), {}) if task_queue else shared
                _add(table, definition)
                shared.setdefault(definition.version, definition)
        # In one step each: an orchestrator may be looking from another thread.
        self._added, self._by_queue, self._by_type = added, _sorted(by_queue), _sorted(by_type)

    def find(self, task_queue: str, workflow_type: str, version: str | None = None) -> Definition | None:
        """The class of this version; without one, of the newest."""
        if workflow_type.startswith("__") and is_built_in(workflow_type):
            return BUILT_IN[workflow_type.partition(":")[0]]
        for name in (workflow_type, None):
            queued, shared = self._by_queue.get((task_queue, name)), self._by_type.get(name)
            if version is None and (table := queued or shared):
                return next(iter(table.values()))
            if version is not None and (queued or shared):
                return (queued.get(version) if queued else None) or (shared.get(version) if shared else None)
        return None

    def add_activities(self, activities: Iterable[Callable[..., Any]]) -> None:
        """Make these known by name, as local activities. Raises ``TypeError`` for one that is not decorated."""
        for function in activities:
            definition = _Definition.of_implementation(function)
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

    def versions(self, task_queue: str, workflow_type: str) -> list[str]:
        """The versions of a type that this process hosts, the newest first; empty text for a class without one."""
        for name in (workflow_type, None):
            found = {**self._by_type.get(name, {}), **self._by_queue.get((task_queue, name), {})}
            if found:
                return sorted(found, key=natural, reverse=True)
        return []


def _add(versions: Versions, definition: Definition) -> None:
    known = versions.get(definition.version)
    if known is not None and known.cls is not definition.cls:
        version = f' of version "{definition.version}"' if definition.version else ""
        raise InvalidWorkflow(
            definition.cls.__qualname__,
            f'"{known.cls.__qualname__}" is type "{definition.name}"{version} already: '
            "give each class a name or a version of its own",
        )
    versions[definition.version] = definition


def _sorted(tables: dict[K, Versions]) -> dict[K, Versions]:
    return {
        key: dict(sorted(versions.items(), key=lambda item: natural(item[0]), reverse=True))
        for key, versions in tables.items()
    }


def workflows_in(module: ModuleType) -> list[type]:
    """The workflow classes that a module defines or imports."""
    return [value for value in vars(module).values() if isinstance(value, type) and DEFINITION in value.__dict__]
