"""What a class says about itself as a workflow: its type name, its run method, and its handlers.

Checks everything that can be checked when the class is defined, so that a mistake fails at import and not in
production.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import typing
import warnings
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from odradek.activity import ActivityDefaults
from odradek.common import RawValue, VersioningBehavior

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

DEFINITION = "__odradek_workflow_definition__"
_RUN = "__odradek_workflow_run__"
_INIT = "__odradek_workflow_init__"
_SIGNAL = "__odradek_signal_definition__"
_DYNAMIC_CONFIG = "__odradek_workflow_dynamic_config__"
_QUERY = "__odradek_query_definition__"
_UPDATE = "__odradek_update_definition__"
_VALIDATOR = "__odradek_update_validator__"


class HandlerUnfinishedPolicy(Enum):
    """What happens when a run ends while a signal or update handler is under way. The handler is abandoned anyway."""

    WARN_AND_ABANDON = 1
    ABANDON = 2


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


@lru_cache(4096)
def _of_method(function: Callable[..., Any]) -> Signature:
    """Looking up type hints takes longer than everything else that a signal costs."""
    return Signature.of(function)


@dataclass(frozen=True, slots=True)
class Handler:
    """A signal, query or update handler; ``name`` None takes every name that has no handler of its own."""

    name: str | None
    function: Callable[..., Any]
    description: str = ""
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON
    validator: Callable[..., Any] | None = None
    """Of an update: reads its input, and raises to reject it."""
    is_method: bool = True
    """Takes the workflow's instance first; one that was set while the workflow runs does not."""

    @property
    def signature(self) -> Signature:
        return _of_method(self.function) if self.is_method else Signature.of(self.function, skip_self=False)

    @property
    def takes_values(self) -> bool:
        """Of a dynamic one: it takes (name, *values), the deprecated form of (name, sequence of ``RawValue``)."""
        return _takes_values(self.function)

    @property
    def arg_types(self) -> Sequence[type] | None:
        return self.signature.arg_types

    @property
    def ret_type(self) -> type | None:
        return self.signature.return_type


class UpdateMethodMultiParam(Protocol[P, R_co]):
    """A method decorated with ``@workflow.update``, to which ``.validator`` adds its validator."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co | Awaitable[R_co]: ...

    def validator(self, vfunc: Callable[P, None], /) -> Callable[P, None]:
        """Mark the method that decides whether the update is accepted: it only reads, and raises to reject.

        It takes the update's parameters and must not be ``async``.
        """
        ...


@dataclass(frozen=True)
class DynamicWorkflowConfig:
    """What a dynamic workflow decides when it stands in for a type; see ``dynamic_config``."""

    failure_exception_types: Sequence[type[BaseException]] = ()
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    """Accepted, and of no effect: the class's own counts."""


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
    updates: dict[str | None, Handler] = field(default_factory=dict)
    failure_exception_types: Sequence[type[BaseException]] = ()
    init_takes_input: bool = False
    version: str = ""
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    dynamic_config: Callable[[Any], DynamicWorkflowConfig] | None = None
    takes_record: bool = False
    """Built in: its run method takes the workflow's ID, and the run's start as it is recorded."""
    activity_defaults: ActivityDefaults | None = None
    interceptors: Sequence[type] = ()
    """Classes of ``WorkflowInboundInterceptor``; of several the first one is outermost."""
    sandboxed: bool = True

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
    ``FailureError`` does; any other exception counts as a bug and parks it. With
    ``sandboxed=False`` neither the check when it is registered nor the guard while it runs looks at the class.

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
            dynamic_config=_dynamic_config(cls, dynamic),
            versioning_behavior=VersioningBehavior(versioning_behavior),
            sandboxed=sandboxed,
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


@overload
def signal(fn: F, /) -> F: ...
@overload
def signal(
    *,
    name: str | None = None,
    dynamic: bool = False,
    description: str = "",
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
) -> Callable[[F], F]: ...
def signal(
    fn: F | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    description: str = "",
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
) -> Any:
    """Mark a method as the handler of a signal; ``name`` defaults to the method's. It may be ``async``.

    A ``dynamic`` one takes every signal without a handler of its own, as (name, sequence of ``RawValue``).
    """
    return _handler(_SIGNAL, "signal", fn, name, dynamic, description, unfinished_policy)


@overload
def query(fn: F, /) -> F: ...
@overload
def query(*, name: str | None = None, dynamic: bool = False, description: str = "") -> Callable[[F], F]: ...
def query(fn: F | None = None, /, *, name: str | None = None, dynamic: bool = False, description: str = "") -> Any:
    """Mark a method as the handler of a query: it reads and returns. An ``async`` one is deprecated, and cannot wait.

    ``name`` and ``dynamic`` are as for ``signal``.
    """
    return _handler(_QUERY, "query", fn, name, dynamic, description)


@overload
def update(fn: Callable[P, Awaitable[R]], /) -> UpdateMethodMultiParam[P, R]: ...
@overload
def update(fn: Callable[P, R], /) -> UpdateMethodMultiParam[P, R]: ...
@overload
def update(
    *,
    name: str | None = None,
    dynamic: bool = False,
    description: str = "",
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
) -> Callable[[Callable[P, Awaitable[R] | R]], UpdateMethodMultiParam[P, R]]: ...
def update(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    dynamic: bool = False,
    description: str = "",
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
) -> Any:
    """Mark a method as the handler of an update: a request that changes the workflow, and is answered.

    What it returns is the answer; a ``FailureError`` that it raises fails the update and not the workflow. It may be
    ``async``. ``@<method>.validator`` marks a method that can reject the update before anything is recorded of it.
    ``name`` and ``dynamic`` are as for ``signal``.
    """
    return _handler(_UPDATE, "update", fn, name, dynamic, description, unfinished_policy)


def dynamic_config(fn: F) -> F:
    """Mark a method of a dynamic workflow that returns a ``DynamicWorkflowConfig``; called before its run method."""
    return _mark(fn, _DYNAMIC_CONFIG, True)


def _dynamic_config(cls: type, dynamic: bool) -> Callable[[Any], DynamicWorkflowConfig] | None:
    members: list[Any] = [member for _, member in inspect.getmembers(cls, callable)]
    found = [member for member in members if getattr(member, _DYNAMIC_CONFIG, False)]
    if found and not dynamic:
        raise InvalidWorkflow(cls.__qualname__, "@workflow.dynamic_config is for dynamic workflows: add dynamic=True")
    return found[0] if found else None


def _mark(fn: F, mark: str, value: object) -> F:
    setattr(fn, mark, value)
    return fn


def _handler(
    mark: str,
    kind: str,
    fn: F | None,
    name: str | None,
    dynamic: bool,
    description: str,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
) -> Any:
    def decorate(fn: F) -> F:
        where = getattr(fn, "__qualname__", repr(fn))
        if dynamic and name is not None:
            raise InvalidWorkflow(where, f"a dynamic {kind} has no name of its own: drop name=")
        if not list(inspect.signature(fn).parameters):
            raise InvalidWorkflow(where, f"a {kind} handler is a method, and its first parameter self")
        if dynamic:
            _check_dynamic(where, kind, fn)
        if mark == _QUERY and inspect.iscoroutinefunction(fn):
            warnings.warn(f"{where}: async query handlers are deprecated", DeprecationWarning, stacklevel=3)
        if mark == _UPDATE:
            setattr(fn, "validator", lambda check: _validator(where, fn, check))  # noqa: B010 - typed by the Protocol
        handler_name = None if dynamic else name or fn.__name__
        return _mark(fn, mark, Handler(handler_name, fn, description or inspect.getdoc(fn) or "", unfinished_policy))

    return decorate if fn is None else decorate(fn)


def _validator(where: str, update: Callable[..., Any], check: F) -> F:
    if inspect.iscoroutinefunction(check):
        raise InvalidWorkflow(check.__qualname__, "an update validator only reads, and cannot be async")
    if not _same_parameters(update, check):
        raise InvalidWorkflow(check.__qualname__, f"a validator takes the same parameters as its update {where}")
    setattr(update, _VALIDATOR, check)
    return check


def _same_parameters(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Equal in number and, where both say them, in types."""
    if len(inspect.signature(one).parameters) != len(inspect.signature(other).parameters):
        return False
    types, others = Signature.of(one).arg_types, Signature.of(other).arg_types
    return types is None or others is None or types == others


@lru_cache(4096)
def _takes_values(function: Callable[..., Any]) -> bool:
    *before, last = inspect.signature(function).parameters.values()
    return last.kind is last.VAR_POSITIONAL and bool(before)


def _check_dynamic(where: str, kind: str, function: Callable[..., Any]) -> None:
    if _takes_values(function):
        warnings.warn(
            f"{where}: (name, *args) is deprecated: take (name, args: Sequence[RawValue])", DeprecationWarning, 4
        )
        return
    types = Signature.of(function).arg_types
    if types is None or len(types) != 2 or types[0] is not str or not _is_raw_values(types[1]):
        raise InvalidWorkflow(where, f"a dynamic {kind} handler takes self, a name: str, and a Sequence[RawValue]")


def _is_raw_values(hint: Any) -> bool:
    return typing.get_origin(hint) in (collections.abc.Sequence, list) and typing.get_args(hint) == (RawValue,)


def _define(cls: type, name: str | None, failure_types: Sequence[type[BaseException]]) -> Definition:
    where = cls.__qualname__
    members = [member for _, member in inspect.getmembers(cls, callable)]
    runs = [member for member in members if getattr(member, _RUN, False)]
    if len(runs) != 1:
        raise InvalidWorkflow(where, f"it needs one method with @workflow.run and has {len(runs)}")
    if not inspect.iscoroutinefunction(runs[0]):
        raise InvalidWorkflow(where, f'"{runs[0].__name__}" must be an async method to be @workflow.run')
    signature = Signature.of(runs[0])
    if name is None and not (
        signature.arg_types and len(signature.arg_types) == 1 and _is_raw_values(signature.arg_types[0])
    ):
        raise InvalidWorkflow(where, "the run method of a dynamic workflow takes self and a Sequence[RawValue]")
    if any(getattr(member, _INIT, False) and member.__name__ != "__init__" for member in members):
        raise InvalidWorkflow(where, "@workflow.init is for the __init__ method only")
    constructor: Any = cls.__init__  # type: ignore[misc]
    takes_input = getattr(constructor, _INIT, False)
    if takes_input and (
        not _same_parameters(constructor, runs[0]) or Signature.of(constructor).arg_types != signature.arg_types
    ):
        raise InvalidWorkflow(where, "@workflow.init must take the same parameters as @workflow.run")
    if not takes_input and constructor is not object.__init__ and _needs_arguments(constructor):
        raise InvalidWorkflow(where, "__init__ needs arguments: decorate it with @workflow.init, or give them defaults")
    return Definition(
        name,
        cls,
        runs[0],
        signature.arg_types,
        signature.return_type,
        _handlers(where, members, _SIGNAL),
        _handlers(where, members, _QUERY),
        _handlers(where, members, _UPDATE),
        failure_types,
        takes_input,
    )


def _needs_arguments(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def _handlers(where: str, members: Sequence[Any], mark: str) -> dict[str | None, Handler]:
    found: dict[str | None, Handler] = {}
    for member in members:
        handler = getattr(member, mark, None)
        if handler is None:
            continue
        if handler.name in found and found[handler.name].function is not handler.function:
            raise InvalidWorkflow(where, f'two handlers are named "{handler.name}"')
        validator = getattr(member, _VALIDATOR, None)
        found[handler.name] = handler if validator is None else dataclasses.replace(handler, validator=validator)
    return found
