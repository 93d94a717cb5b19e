"""What a function says about itself as an activity: its name and signature. Workflows and workers both read this."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from odradek.common import Priority, RawValue, RetryPolicy

F = TypeVar("F", bound=Callable[..., Any])

DEFINITION = "__odradek_activity_definition__"


class InvalidActivity(ValueError, TypeError):
    """A function cannot be an activity as it stands."""

    code = "ODR-124"

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem)
        self.where, self.problem = where, problem

    def __str__(self) -> str:
        return f"{self.code}: {self.where}: {self.problem}"


class ActivityDefaults(TypedDict, total=False):
    """Options of calls that do not say otherwise."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    summary: str | None
    priority: Priority | None


@dataclass(frozen=True, slots=True)
class _Definition:
    """An activity type. ``name`` None stands for a dynamic activity, which runs every type that no other one claims."""

    name: str | None
    fn: Callable[..., Any]
    is_async: bool
    no_thread_cancel_exception: bool = False
    arg_types: Sequence[Any] | None = field(default=None)
    """Types of the positional parameters; None when one of them has no annotation."""
    ret_type: Any = None
    defaults: ActivityDefaults | None = None

    @staticmethod
    def from_callable(fn: Callable[..., Any]) -> _Definition | None:
        """The definition of a decorated function, method, callable instance or partial, which becomes its ``fn``."""
        if isinstance(fn, functools.partial):
            inner = _Definition.from_callable(fn.func)
            return None if inner is None else replace(inner, fn=fn, arg_types=None)
        found = getattr(fn, DEFINITION, None)
        if not isinstance(found, _Definition) and not inspect.isclass(fn):
            found = getattr(type(fn).__call__, DEFINITION, None)
        return replace(found, fn=fn) if isinstance(found, _Definition) else None

    @staticmethod
    def must_from_callable(fn: Callable[..., Any]) -> _Definition:
        """Raises ``TypeError`` for something that was never decorated."""
        found = _Definition.from_callable(fn)
        if found is None:
            name = getattr(fn, "__name__", None) or repr(fn)
            raise TypeError(f"ODR-125: Activity {name} missing attributes, was it decorated with @activity.defn?")
        return found

    @staticmethod
    def of_implementation(fn: Callable[..., Any]) -> _Definition:
        """The definition of what a worker is given to run. Raises ``TypeError`` for a class, whose instances can."""
        if inspect.isclass(fn):
            raise TypeError(f'ODR-125: activity "{fn.__qualname__}" is a class instead of an instance: register one')
        return _Definition.must_from_callable(fn)


@overload
def defn(fn: F) -> F: ...


@overload
def defn(
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    **defaults: Unpack[ActivityDefaults],
) -> Callable[[F], F]: ...


def defn(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
    **defaults: Unpack[ActivityDefaults],
) -> Any:
    """Declare a function, method or callable class instance as an activity.

    ``async def`` runs on the worker's event loop, ``def`` in its executor. ``name`` is the activity type: by default
    the function's name. ``no_thread_cancel_exception``: a cancellation is not raised in the thread of a ``def``.
    ``dynamic``: runs every type without an activity of its own; takes one ``Sequence[RawValue]``. ``defaults`` hold
    where it is called as a function rather than by name, and the call does not say otherwise.
    """

    def decorate(function: F) -> F:
        target = _definable(function)
        definition = _define(target, name, no_thread_cancel_exception, dynamic)
        if defaults:
            definition = replace(definition, defaults=defaults)
        setattr(target, DEFINITION, definition)
        return function

    return decorate if fn is None else decorate(fn)


def _definable(function: Callable[..., Any]) -> Callable[..., Any]:
    if not callable(function):
        raise InvalidActivity(repr(function), "is not callable")
    return function


def _define(function: Callable[..., Any], name: str | None, no_exception: bool, dynamic: bool) -> _Definition:
    where = getattr(function, "__qualname__", None) or repr(function)
    if dynamic and name:
        raise InvalidActivity(where, "a dynamic activity runs any type, so it cannot have a name")
    signature, is_async = _signature(function)
    if any(p.kind is p.KEYWORD_ONLY for p in signature.parameters.values()):
        raise InvalidActivity(where, "it is called with positional arguments, and cannot have keyword-only arguments")
    arg_types, ret_type = _types(function, signature)
    if dynamic and arg_types is not None and not (len(arg_types) == 1 and _is_raw_values(arg_types[0])):
        raise InvalidActivity(where, "a dynamic activity takes exactly one argument, a Sequence[RawValue]")
    default_name = getattr(function, "__name__", None) or type(function).__name__
    return _Definition(
        None if dynamic else name or default_name,
        function,
        is_async,
        no_exception,
        None if dynamic else arg_types,
        ret_type,
    )


def _is_raw_values(hint: Any) -> bool:
    """Whichever ``Sequence`` it is, that of ``typing`` or of ``collections.abc``."""
    return typing.get_origin(hint) in (Sequence, list) and typing.get_args(hint) == (RawValue,)


def _signature(function: Callable[..., Any]) -> tuple[inspect.Signature, bool]:
    called = _called(function)
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
    return inspect.signature(called if inspect.isclass(function) else function), is_async


def _called(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when an instance of this class, or this instance, is called."""
    called: Callable[..., Any] = (function if inspect.isclass(function) else type(function)).__call__
    return called


def _types(function: Callable[..., Any], signature: inspect.Signature) -> tuple[Sequence[Any] | None, Any]:
    annotated = function if inspect.isroutine(function) else _called(function)
    try:
        hints = typing.get_type_hints(annotated)
    except NameError:
        hints = {}  # an annotation that only a type checker can see
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].name in ("self", "cls") and parameters[0].name not in hints:
        parameters = parameters[1:]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    known = len(positional) == len(parameters) and all(p.name in hints for p in positional)
    return tuple(hints[p.name] for p in positional) if known else None, hints.get("return")
