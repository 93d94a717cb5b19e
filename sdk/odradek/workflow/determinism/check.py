"""The static check of a workflow: its methods, and what they call in the same package, read as syntax trees.

Names are resolved to the live objects that they stand for, so that aliases are seen through and what only looks alike
is let alone. What cannot be resolved is let pass: a workflow that is refused without reason costs more than one that
the guard finds when it runs.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

from odradek.workflow.definition import Definition, InvalidWorkflow
from odradek.workflow.determinism.findings import Finding
from odradek.workflow.determinism.scan import Called, scan

_log = logging.getLogger("odradek.workflow")
_passed: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


class NondeterministicCode(InvalidWorkflow):
    """The code of a workflow does what no replay can repeat; ``findings`` say where, and what to write instead."""

    code = "ODR-080"

    def __init__(self, workflow: str, findings: Iterable[Finding]) -> None:
        ValueError.__init__(self, workflow, tuple(findings))
        self.workflow: str = workflow
        self.findings: tuple[Finding, ...] = self.args[1]

    def __str__(self) -> str:
        found = "\n".join(f"  {finding}" for finding in self.findings)
        return (
            f'{self.code}: workflow "{self.workflow}" does what no replay can repeat:\n{found}\n'
            'What is deterministic all the same: mark its line with "# odradek: deterministic"'
        )


def check(workflow: type) -> list[Finding]:
    """What a workflow class does that no replay can repeat, by file and line; nothing if its source is not there.

    Raises ``InvalidWorkflow`` for a class that is none.
    """
    definition = Definition.of(workflow)
    package = _package(workflow)
    found: list[Finding] = []
    seen: set[Called] = set()
    waiting = [Called(function, workflow) for function in reversed(list(_entries(definition)))]
    while waiting:
        called = waiting.pop()
        if called in seen or _package(called.function) != package:
            continue
        seen.add(called)
        scanned = _scanned(called)
        found += [finding for finding in scanned.findings if finding not in found]
        waiting += reversed(scanned.calls)
    wrong = {(finding.file, finding.line) for finding in found if finding.is_error}
    return [finding for finding in found if finding.is_error or (finding.file, finding.line) not in wrong]


_scanned = lru_cache(4096)(scan)


def require(workflow: type) -> None:
    """Check a class when it is registered, once: warnings are logged. Raises ``NondeterministicCode``."""
    if workflow in _passed:
        return
    findings = check(workflow)
    errors = [finding for finding in findings if finding.is_error]
    if errors:
        raise NondeterministicCode(workflow.__qualname__, errors)
    for finding in findings:
        _log.warning('ODR-082: workflow "%s" may decide otherwise in a replay: %s', workflow.__qualname__, finding)
    _passed[workflow] = True


def _entries(definition: Definition) -> Iterable[FunctionType]:
    """Where the code of a workflow begins."""
    handlers = [*definition.signals.values(), *definition.queries.values(), *definition.updates.values()]
    functions: list[Callable[..., Any] | None] = [
        definition.cls.__init__,  # type: ignore[misc]
        definition.dynamic_config,
        definition.run,
        *(handler.function for handler in handlers),
        *(handler.validator for handler in handlers),
    ]
    for function in functions:
        inner = (
            inspect.unwrap(function.__func__ if isinstance(function, MethodType) else function) if function else None
        )
        if isinstance(inner, FunctionType):
            yield inner


def _package(thing: Any) -> str:
    name = getattr(thing, "__module__", None) or ""
    top = name.partition(".")[0]
    return "" if top in sys.stdlib_module_names and top != "__main__" else top
