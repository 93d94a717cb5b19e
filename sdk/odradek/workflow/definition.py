"""What a class says about itself as a workflow: its type name, its run method, and its handlers.

Checks everything that can be checked when the class is defined, so that a mistake fails at import and not in
production.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, overload

from odradek.common import VersioningBehavior

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

DEFINITION = "__odradek_workflow_definition__"
_RUN = "__odradek_workflow_run__"
_INIT = "__odradek_workflow_init__"
_SIGNAL = "__odradek_signal_definition__"
_QUERY = "__odradek_query_definition__"


class InvalidWorkflow(ValueError):
    """A class cannot be a workflow as it stands."""

    code = "ODR-060"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{self.code}: {where}: {problem}")


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of a function's parameters (``self`` left out) and of its result; ``None`` where it does not say."""

    arg_types: Sequence[type] | None
    return_type: type | None

    @staticmethod
    def of(function: Callable[..., Any], *, skip_self: bool = True) -> Signature:
        try:
            hints = typing.get_type_hints(function)
        except NameError:
            hints = {}
        parameters = list(inspect.signature(function).parameters.values())[1 if skip_self else 0 :]
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        known = len(positional) == len(parameters) and all(p.name in hints for p in positional)
        types = tuple(hints[p.name] for p in positional) if known else None
        return Signature(types, hints.get("return"))


@dataclass(frozen=True, slots=True)
class Handler:
    """A signal or query handler; ``name`` None takes every name that has no handler of its own."""

    name: str | None
    function: Callable[..., Any]
    description: str = ""

    @property
    def signature(self) -> Signature:
        return _signature_of(self.function)

    @property
    def arg_types(self) -> Sequence[type] | None:
        return self.signature.arg_types

    @property
    def ret_type(self) -> type | None:
        return self.signature.return_type


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow type. ``name`` None is a dynamic workflow, which runs every type that no other class claims."""

    name: str | None
    cls: type
    run: Callable[..., Any]
    run_arg_types: Sequence[type] | None
    run_return_type: type | None
    signals: dict[str | None, Handler] = field(default_factory=dict)
    queries: dict[str | None, Handler] = field(default_factory=dict)
    failure_exception_types: Sequence[type[BaseException]] = ()
    init_takes_input: bool = False
    version: str = ""
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED

    @staticmethod
    def of(workflow_class: type) -> Definition:
        """The definition of a decorated class; raises ``InvalidWorkflow`` for any other."""
        found = workflow_class.__dict__.get(DEFINITION)
        if not isinstance(found, Definition):
            raise InvalidWorkflow(workflow_class.__qualname__, "it is not decorated with @workflow.defn")
        return found


@overload
def defn(cls: C, /) -> C: ...
@overload
def defn(
    *,
    name: str | None = None,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    sandboxed: bool = True,
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
    version: str = "",
) -> Callable[[C], C]: ...
def defn(
    cls: C | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    sandboxed: bool = True,
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
    version: str = "",
) -> C | Callable[[C], C]:
    """Make a class a workflow type.

    ``name`` defaults to the class's name. Exceptions of ``failure_exception_types`` fail the workflow, as
    ``FailureError`` does; any other exception counts as a bug and parks it. ``sandboxed`` is accepted and has no
    meaning here.

    ``version``: several classes of one name can be hosted side by side when each names another version. New runs, those
    that continue as new and children begin with the newest (numbers within a version count as numbers: 1.9 < 1.10),
    and a run stays on the version that it began with. ``versioning_behavior``: PINNED keeps the runs that follow this
    one (continue-as-new, retries, cron) on its version too; AUTO_UPGRADE lets a run go on with the newest when its code
    is replayed next, so the newest must replay its history: guard changes with ``workflow.patched``. Raises
    ``InvalidWorkflow``.
    """

    def decorate(cls: C) -> C:
        if dynamic and name is not None:
            raise InvalidWorkflow(cls.__qualname__, "a dynamic workflow has no name of its own: drop name=")
        type_name = None if dynamic else name or cls.__name__
        definition = dataclasses.replace(
            _define(cls, type_name, tuple(failure_exception_types)),
            version=version,
            versioning_behavior=VersioningBehavior(versioning_behavior),
        )
        setattr(cls, DEFINITION, definition)
        setattr(definition.run, DEFINITION, definition)
        return cls

    return decorate if cls is None else decorate(cls)


def run(fn: F) -> F:
    """Mark the method that is the workflow; it must be ``async``."""
    return _mark(fn, _RUN, True)


def init(fn: F) -> F:
    """Mark ``__init__`` as taking the workflow's input: the same parameters as the run method."""
    return _mark(fn, _INIT, True)


def signal(fn: F | None = None, /, *, name: str | None = None, dynamic: bool = False, description: str = "") -> Any:
    """Mark a method as the handler of a signal; ``name`` defaults to the method's. It may be ``async``."""
    return _handler(_SIGNAL, fn, name, dynamic, description)


def query(fn: F | None = None, /, *, name: str | None = None, dynamic: bool = False, description: str = "") -> Any:
    """Mark a method as the handler of a query: it reads and returns, and must not be ``async``."""
    if fn is not None and inspect.iscoroutinefunction(fn):
        raise InvalidWorkflow(fn.__qualname__, "a query handler cannot be async: it may only read")
    return _handler(_QUERY, fn, name, dynamic, description)


def _mark(fn: F, mark: str, value: object) -> F:
    setattr(fn, mark, value)
    return fn


def _handler(mark: str, fn: F | None, name: str | None, dynamic: bool, description: str) -> Any:
    def decorate(fn: F) -> F:
        handler_name = None if dynamic else name or fn.__name__
        return _mark(fn, mark, Handler(handler_name, fn, description or inspect.getdoc(fn) or ""))

    return decorate if fn is None else decorate(fn)


def _define(cls: type, name: str | None, failure_types: Sequence[type[BaseException]]) -> Definition:
    where = cls.__qualname__
    members = [member for _, member in inspect.getmembers(cls, callable)]
    runs = [member for member in members if getattr(member, _RUN, False)]
    if len(runs) != 1:
        raise InvalidWorkflow(where, f"it needs one method with @workflow.run and has {len(runs)}")
    if not inspect.iscoroutinefunction(runs[0]):
        raise InvalidWorkflow(where, f'"{runs[0].__name__}" must be an async method to be @workflow.run')
    signature = Signature.of(runs[0])
    constructor = cls.__dict__.get("__init__", object.__init__)
    takes_input = getattr(constructor, _INIT, False)
    if takes_input and Signature.of(constructor).arg_types != signature.arg_types:
        raise InvalidWorkflow(where, "@workflow.init must take the same parameters as @workflow.run")
    return Definition(
        name,
        cls,
        runs[0],
        signature.arg_types,
        signature.return_type,
        _handlers(where, members, _SIGNAL),
        _handlers(where, members, _QUERY),
        failure_types,
        takes_input,
    )


def _handlers(where: str, members: Sequence[Any], mark: str) -> dict[str | None, Handler]:
    found: dict[str | None, Handler] = {}
    for member in members:
        handler = getattr(member, mark, None)
        if handler is None:
            continue
        if handler.name in found and found[handler.name].function is not handler.function:
            raise InvalidWorkflow(where, f'two handlers are named "{handler.name}"')
        found[handler.name] = handler
    return found


@lru_cache(4096)
def _signature_of(function: Callable[..., Any]) -> Signature:
    """Looking up type hints takes longer than everything else that a signal costs."""
    return Signature.of(function)
