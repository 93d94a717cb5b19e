"""Durable steps and local activities: functions that run in the orchestrator's own process, their outcome recorded."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import FunctionType
from typing import Any, Final, NamedTuple, TypedDict
from weakref import WeakKeyDictionary

from odradek import activity as _activity
from odradek.common import RetryPolicy
from odradek.workflow.calls import Activity, ActivityCancellationType, ActivityHandle, _resolve, _shown
from odradek.workflow.external import NOT_GIVEN, arguments
from odradek.workflow.interceptors import StartLocalActivityInput
from odradek.workflow.runtime import current

STEP_TIMEOUT: Final = timedelta(seconds=60)
"""The start-to-close timeout of a step that is given none: what takes longer is better an activity."""


class _Known(NamedTuple):
    name: str | None
    result_type: Any
    is_async: bool


_known: WeakKeyDictionary[Callable[..., Any], _Known] = WeakKeyDictionary()


async def step(
    fn: Callable[..., Any],
    *args: Any,
    start_to_close_timeout: timedelta | None = STEP_TIMEOUT,
    schedule_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    name: str | None = None,
    inline: bool = False,
    result_type: Any = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    summary: str = "",
) -> Any:
    """Call ``fn(*args)`` in the orchestrator's process and return its result, which every replay returns, too.

    The quickest durable call there is: no queue and no worker, one record when it has ended, none when it begins. So it
    is run again when the process dies or the partition moves before its end is recorded: at least once, like an
    activity. It starts once everything that the run has decided before is durable. Arguments are handed over as they
    are, not as copies; the result is what the data converter makes of it, as ``result_type`` (default: ``fn``'s return
    annotation).

    ``async`` functions run on an event loop of the process, others in a pool of threads. ``inline=True`` runs a plain
    function in the thread that serves the partition: for what takes microseconds, since everything else waits.
    Keyword arguments: ``functools.partial``. ``name`` is what history records (default: the function's name); a lambda
    needs one. Inside, ``activity.info()`` and ``activity.logger`` work; heartbeats mean nothing.

    ``start_to_close_timeout`` limits one attempt (default 60 s), ``schedule_to_close_timeout`` all of them (default:
    no limit). ``retry_policy``: as for activities, by default for ever, 1 s doubling to 100 s; attempts are counted
    anew by the next process. Raises ``ActivityError`` whose cause says why. When the call is cancelled, an ``async``
    function is cancelled, and a thread is told (``activity.is_cancelled()``).
    """
    function = fn if type(fn) is FunctionType else getattr(fn, "__func__", None)
    known = _known.get(function) if type(function) is FunctionType else None
    if known is None:
        known = _look_at(fn)
    if name is None:
        name = known.name
        if name is None:
            raise ValueError(
                f"ODR-140: the step {_shown(fn)} has no name that could be recorded and be the same in a replay: "
                "give name="
            )
    if inline and known.is_async:
        raise ValueError(
            f'ODR-141: step "{name}" is an async function and cannot run inline: leave inline away, or make it a '
            "plain function that never waits"
        )
    return await _execute(
        StartLocalActivityInput(
            name,
            fn,
            args,
            result_type or known.result_type,
            start_to_close_timeout,
            schedule_to_close_timeout,
            None,
            retry_policy,
            cancellation_type,
            known.is_async,
            inline,
            summary=summary,
        )
    )


def _look_at(fn: Callable[..., Any]) -> _Known:
    """A function's name, result type and kind; remembered as long as the function itself is there."""
    if not callable(fn):
        raise TypeError(f"ODR-140: {fn!r} is not a function: workflow.step takes a function and its arguments")
    definition = _activity._Definition.from_callable(fn)
    if definition is not None:
        return _remember(fn, _Known(definition.name, definition.ret_type, definition.is_async))
    inner: Any = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", None) or type(inner).__name__
    annotated = inner if inspect.isroutine(inner) else type(inner).__call__
    try:
        hints = typing.get_type_hints(annotated)
    except Exception:
        hints = {}  # an annotation that only a type checker can see
    is_async = inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004
    return _remember(fn, _Known(None if name == "<lambda>" else name, hints.get("return"), is_async))


def _remember(fn: Callable[..., Any], known: _Known) -> _Known:
    function = getattr(fn, "__func__", fn)
    if inspect.isfunction(function):
        _known[function] = known
    return known


def _local_call(
    activity: Activity,
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    result_type: Any = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: timedelta | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    summary: str | None = None,
) -> StartLocalActivityInput:
    if schedule_to_close_timeout is None and start_to_close_timeout is None:
        raise ValueError(
            f'ODR-062: local activity "{_shown(activity)}" has no limit, and one that hangs would be waited for for '
            "ever: give start_to_close_timeout or schedule_to_close_timeout"
        )
    name, declared = _resolve(activity)
    definition = None if isinstance(activity, str) else _activity._Definition.from_callable(activity)
    return StartLocalActivityInput(
        name,
        None if isinstance(activity, str) else activity,
        arguments(f'local activity "{name}"', arg, args),
        result_type or declared,
        start_to_close_timeout,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        retry_policy,
        cancellation_type,
        definition is not None and definition.is_async,
        is_activity=True,
        activity_id=activity_id,
        summary=summary or "",
    )


class LocalActivityConfig(TypedDict, total=False):
    """Options of a local activity, to be given as ``**config``."""

    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None


def start_local_activity(activity: Activity, arg: Any = NOT_GIVEN, **options: Any) -> ActivityHandle[Any]:
    """Start a local activity and go on; await the handle for its result.

    A local activity is a step (``workflow.step``) that is called like an activity: it runs in the orchestrator's
    process. ``activity``: a function, method or callable class decorated with ``@activity.defn``, or a name. What the
    process has registered under its name goes first (``Worker(activities=…)``, modules of ``odradek orchestrator``),
    then the function itself. Options: ``args``, ``result_type``, ``schedule_to_close_timeout``,
    ``schedule_to_start_timeout``, ``start_to_close_timeout``, ``retry_policy`` (default: for ever, 1 s doubling to
    100 s), ``cancellation_type``, ``activity_id``, ``summary``. ``local_retry_threshold`` is accepted and has no
    meaning here: however long a retry waits, it is the process that waits.
    """
    runtime, call = current(), _local_call(activity, arg, **options)
    return runtime.start_step(call) if runtime.outbound is None else runtime.outbound.start_local_activity(call)


async def execute_local_activity(activity: Activity, arg: Any = NOT_GIVEN, **options: Any) -> Any:
    """Run a local activity and return its result; options as for ``start_local_activity``.

    Raises ``ActivityError`` whose cause says why: ``ApplicationError``, ``TimeoutError`` or ``CancelledError``.
    """
    return await _execute(_local_call(activity, arg, **options))


async def _execute(call: StartLocalActivityInput) -> Any:
    runtime = current()
    if runtime.outbound is not None:
        return await runtime.outbound.start_local_activity(call)
    return await runtime.execute_step(call)


start_local_activity_method = start_local_activity
execute_local_activity_method = execute_local_activity
start_local_activity_class = start_local_activity
execute_local_activity_class = execute_local_activity
