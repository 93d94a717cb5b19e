"""From a module's name or file to the workflows and activities in it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from odradek.cli.errors import ModuleUnusable, NothingToRun


@dataclass
class Found:
    """What the modules hold, each thing once."""

    modules: list[str] = field(default_factory=list)
    workflows: list[type] = field(default_factory=list)
    activities: list[Callable[..., Any]] = field(default_factory=list)

    @property
    def workflow_names(self) -> list[str]:
        from odradek.workflow import Definition

        return [Definition.of(cls).name or f"{cls.__qualname__} (dynamic)" for cls in self.workflows]

    @property
    def activity_names(self) -> list[str]:
        return [_activity_name(function) for function in self.activities]

    def need(self, wanted: str) -> None:
        """Raises ``NothingToRun`` unless there are "workflows", "activities", or either."""
        if (self.workflows and "workflows" in wanted) or (self.activities and "activities" in wanted):
            return
        found = []
        if self.workflows:
            found.append(f"workflows {', '.join(self.workflow_names)}")
        if self.activities:
            found.append(f"activities {', '.join(self.activity_names)}")
        decorated = {
            "workflows": "@workflow.defn on a class",
            "activities": "@activity.defn on a function of the module",
        }
        missing = " or ".join(text for word, text in decorated.items() if word in wanted)
        nothing = f"nothing that is decorated ({missing})"
        raise NothingToRun(", ".join(f'"{name}"' for name in self.modules), wanted, "; ".join(found) or nothing)


def load(names: Sequence[str]) -> Found:
    """Import the modules, dotted names or paths of files. Raises ``ModuleUnusable``, and what their own code raises."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = Found()
    for name in names:
        _add(found, name, _import(name))
    return found


def made(place: str, kind: Any, wanted: str) -> Any:
    """What stands at ``module:name``: an instance, or a class or function without arguments that makes one.

    Raises ``ModuleUnusable`` for what is none.
    """
    module, colon, name = place.partition(":")
    if not colon:
        raise ModuleUnusable(place, "it does not say what of it is meant: give MODULE:NAME")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    value: Any = _import(module)
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, kind) and callable(value):
        try:
            value = value()
        except TypeError as error:
            raise ModuleUnusable(place, f"{name} is not {wanted}, and does not make one without arguments") from error
    if not isinstance(value, kind):
        raise ModuleUnusable(place, f"{name} is not {wanted}, and does not make one")
    return value


def _add(found: Found, name: str, module: ModuleType) -> None:
    from odradek.orchestrator.registry import workflows_in

    found.modules.append(name)
    found.workflows += [cls for cls in workflows_in(module) if cls not in found.workflows]
    for value in vars(module).values():
        if _is_activity(value) and value not in found.activities:
            found.activities.append(value)


def _is_activity(value: Any) -> bool:
    from odradek.activity import _Definition

    return callable(value) and not isinstance(value, type) and _Definition.from_callable(value) is not None


def _activity_name(function: Callable[..., Any]) -> str:
    from odradek.activity import _Definition

    return _Definition.must_from_callable(function).name or "(dynamic)"


def _import(name: str) -> ModuleType:
    is_file = name.endswith(".py") or "/" in name
    if is_file and not Path(name).is_file():
        raise ModuleUnusable(name, "there is no such file")
    dotted = _dotted_name(Path(name)) if is_file else name
    try:
        return _import_file(Path(name)) if dotted is None else importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if dotted == missing or (dotted or "").startswith(f"{missing}."):
            raise ModuleUnusable(name, f"there is none of that name in {Path.cwd()} or this environment") from error
        raise ModuleUnusable(name, f'it imports "{missing}", which is not there') from error
    except Exception as error:
        if str(error).startswith("ODR-"):
            raise
        raise ModuleUnusable(name, f"it raised {type(error).__name__}: {error}. With -v it says where") from error


def _dotted_name(path: Path) -> str | None:
    """The name under which the file can be imported from here; None when another module has that name."""
    try:
        parts = path.resolve().relative_to(Path.cwd().resolve()).with_suffix("").parts
    except ValueError:
        return None
    if not all(part.isidentifier() for part in parts):
        return None
    dotted = ".".join(parts)
    try:
        spec = importlib.util.find_spec(dotted)
    except (ImportError, ValueError):
        return None
    return dotted if spec is not None and spec.origin and Path(spec.origin).samefile(path) else None


def _import_file(path: Path) -> ModuleType:
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem if path.stem not in sys.modules else f"odradek_module_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleUnusable(str(path), "it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
