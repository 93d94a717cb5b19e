"""What workflow code does.

Activities, timers, conditions, other workflows, and facts that are the same in every replay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn, TypedDict, TypeVar

from odradek import activity as _activity
from odradek.activity import ActivityDefaults
from odradek.activity._definition import DEFINITION as _ACTIVITY
from odradek.common import Priority, RetryPolicy, SearchAttributes, TypedSearchAttributes
from odradek.converter import PayloadConverter
from odradek.workflow.definition import DEFINITION, Definition
from odradek.workflow.external import NOT_GIVEN, arguments
from odradek.workflow.interceptors import ContinueAsNewInput, StartActivityInput
from odradek.workflow.runtime import Info, current, current_or_none, querying, unrestricted
from odradek.workflow.versioning import ContinueAsNewVersioningBehavior

T = TypeVar("T")

ActivityHandle = asyncio.Task
"""A started activity: an awaitable task; cancelling it requests the activity's cancellation."""

Activity = Callable[..., Any] | str


class ActivityCancellationType(StrEnum):
    """What happens to the activity, and when the workflow goes on, if the call is cancelled."""

    TRY_CANCEL = "try-cancel"
    WAIT_CANCELLATION_COMPLETED = "wait-cancellation-completed"
    ABANDON = "abandon"


class ActivityConfig(TypedDict, total=False):
    """Options of an activity, to be given as ``**config``."""

    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    versioning_intent: object
    summary: str | None
    priority: Priority


def _asked(activity: Activity, arg: Any, options: dict[str, Any], defaults: ActivityDefaults | None) -> Any:
    """The call as it stands, and for what it does not say, what its decorator says, and then what the worker says."""
    own = getattr(activity, _ACTIVITY, None) if type(activity) is not str else None
    if defaults is not None or (own is not None and own.defaults is not None):
        options = {**(defaults or {}), **((own.defaults if own else None) or {}), **options}
    return _call(activity, arg, **options)


def _call(
    activity: Activity,
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    result_type: type | None = None,
    schedule_to_close_timeout: timedelta | None = None,
    schedule_to_start_timeout: timedelta | None = None,
    start_to_close_timeout: timedelta | None = None,
    heartbeat_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    versioning_intent: object = None,
    summary: str | None = None,
    priority: Priority | None = None,
) -> StartActivityInput:
    if schedule_to_close_timeout is None and start_to_close_timeout is None:
        raise ValueError(
            f'ODR-062: activity "{_shown(activity)}" has no limit, and a lost one would be waited for for ever: '
            "give start_to_close_timeout or schedule_to_close_timeout"
        )
    name, declared = _resolve(activity)
    return StartActivityInput(
        name,
        arguments(f'activity "{name}"', arg, args),
        activity_id,
        task_queue,
        schedule_to_close_timeout,
        schedule_to_start_timeout,
        start_to_close_timeout,
        heartbeat_timeout,
        retry_policy,
        cancellation_type,
        summary,
        priority,
        result_type or declared,
    )


def _shown(activity: Activity) -> str:
    return activity if isinstance(activity, str) else getattr(activity, "__qualname__", repr(activity))


_resolved: dict[Any, tuple[str, type | None]] = {}


def _resolve(activity: Activity) -> tuple[str, type | None]:
    """The activity's name and result type; functions and methods are looked up once."""
    if isinstance(activity, str):
        return activity, None
    function = getattr(activity, "__func__", activity)
    found = _resolved.get(function)
    if found is None:
        definition = _activity._Definition.must_from_callable(activity)
        if definition.name is None:
            raise ValueError(
                f'ODR-064: activity "{_shown(activity)}" is dynamic: call it by the name that it shall run under'
            )
        found = _resolved[function] = (definition.name, definition.ret_type)
    return found


def start_activity(activity: Activity, arg: Any = NOT_GIVEN, **options: Any) -> ActivityHandle[Any]:
    """Start an activity and go on; await the handle for its result.

    ``activity``: a function, method or callable class decorated with ``@activity.defn``, or a name. Arguments: ``arg``
    or
    ``args=[…]``. Options: ``task_queue`` (default: the workflow's), ``result_type``, ``schedule_to_close_timeout``,
    ``schedule_to_start_timeout``, ``start_to_close_timeout`` (per attempt), ``heartbeat_timeout``, ``retry_policy``
    (default: for ever, 1 s doubling to 100 s), ``cancellation_type``, ``activity_id``, ``summary``, ``priority``. What
    is not given here is what ``@activity.defn`` says, then the worker, then its client (``activity_defaults``).
    """
    runtime = current()
    call = _asked(activity, arg, options, runtime.activity_defaults)
    return runtime.start_activity(call) if runtime.outbound is None else runtime.outbound.start_activity(call)


async def execute_activity(activity: Activity, arg: Any = NOT_GIVEN, **options: Any) -> Any:
    """Run an activity and return its result; options as for ``start_activity``.

    Raises ``ActivityError`` whose cause says why: ``ApplicationError``, ``TimeoutError`` or ``CancelledError``.
    """
    runtime = current()
    call = _asked(activity, arg, options, runtime.activity_defaults)
    if runtime.outbound is not None:
        return await runtime.outbound.start_activity(call)
    return await runtime.execute_activity(call)


start_activity_method = start_activity
execute_activity_method = execute_activity
start_activity_class = start_activity
execute_activity_class = execute_activity


def continue_as_new(
    arg: Any = NOT_GIVEN,
    *,
    args: Sequence[Any] = (),
    workflow: Callable[..., Any] | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
    versioning_intent: object = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    backoff_start_interval: timedelta | None = None,
) -> NoReturn:
    """End this run and go on in a new one of the same ID, with an empty history; never returns.

    What is not given stays as it is. Signals that no handler has taken go along. ``workflow``: another run method or
    type; ``backoff_start_interval``: how long the new run waits before it begins. The new run takes the newest version
    of its code; that of a pinned class stays on its own unless ``initial_versioning_behavior`` says otherwise. Raises
    ``ContinueAsNewError``, which must reach the end of the main method or of a handler.
    """
    runtime = current()
    call = ContinueAsNewInput(
        _workflow_type(workflow),
        arguments("continue_as_new", arg, args),
        task_queue,
        run_timeout,
        task_timeout,
        retry_policy,
        memo,
        search_attributes,
        backoff_start_interval,
        initial_versioning_behavior,
    )
    (runtime if runtime.outbound is None else runtime.outbound).continue_as_new(call)


def _workflow_type(workflow: Callable[..., Any] | str | None) -> str | None:
    if workflow is None or isinstance(workflow, str):
        return workflow
    definition = getattr(workflow, DEFINITION, None)
    if not isinstance(definition, Definition) or definition.name is None:
        raise ValueError(
            f"ODR-112: {workflow!r} is neither the name of a workflow type nor a @workflow.run method: give one of them"
        )
    return definition.name


async def sleep(duration: float | timedelta, *, summary: str | None = None) -> None:
    """A durable timer; ``asyncio.sleep`` is one too. ``summary`` is shown where the run is described."""
    await current().sleep(_seconds(duration), summary or "")


async def wait_condition(
    fn: Callable[[], bool], *, timeout: timedelta | float | None = None, timeout_summary: str | None = None
) -> None:
    """Wait until ``fn()`` is true; it is asked again after every step of this workflow.

    Raises ``asyncio.TimeoutError`` after ``timeout`` (seconds or timedelta; a durable timer).
    """
    await current().wait_condition(fn, None if timeout is None else _seconds(timeout), timeout_summary or "")


async def wait(
    fs: Iterable[asyncio.Future[Any]], *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED
) -> tuple[list[Any], list[Any]]:
    """``asyncio.wait`` that keeps the order of what it was given: lists of those done and of those pending.

    Futures and tasks only, as there. ``timeout`` in seconds; a durable timer.
    """
    unique = list(dict.fromkeys(fs))
    if not unique:
        raise ValueError("Sequence of tasks/futures must not be empty.")
    done, _ = await asyncio.wait(unique, timeout=timeout, return_when=return_when)
    return [f for f in unique if f in done], [f for f in unique if f not in done]


def as_completed(fs: Iterable[Awaitable[T]], *, timeout: float | None = None) -> Iterator[Awaitable[T]]:
    """``asyncio.as_completed`` in an order that a replay repeats, for coroutines, too: they begin in their order here.

    What it yields is to be awaited, and gives the results as they come; ``asyncio.TimeoutError`` after ``timeout``
    (seconds; a durable timer for all of them).
    """
    pending: dict[asyncio.Future[T], None] = dict.fromkeys([asyncio.ensure_future(f) for f in dict.fromkeys(fs)])
    count = len(pending)
    done: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()

    def completed(future: asyncio.Future[T]) -> None:
        if future in pending:
            del pending[future]
            done.put_nowait(future)
            if not pending and timer is not None:
                timer.cancel()

    def timed_out() -> None:
        for _ in range(len(pending)):
            done.put_nowait(None)
        pending.clear()

    async def next_one() -> T:
        future = await done.get()
        if future is None:
            raise TimeoutError
        return future.result()

    for future in pending:
        future.add_done_callback(completed)
    timer = asyncio.get_running_loop().call_later(timeout, timed_out) if timeout is not None and pending else None
    return (next_one() for _ in range(count))


def now() -> datetime:
    """The time of this step of the run, in UTC; it never goes back within a run."""
    return datetime.fromtimestamp(current().time_ms / 1000, UTC)


def time() -> float:
    """Seconds since 1970, as ``now``."""
    return current().time_ms / 1000


def time_ns() -> int:
    """Nanoseconds since 1970, as ``now``."""
    return current().time_ms * 1_000_000


def info() -> Info:
    """The facts of the run."""
    runtime = current()
    return runtime.info if runtime.outbound is None else runtime.outbound.info()


def in_workflow() -> bool:
    return current_or_none() is not None


def instance() -> Any:
    """The object of the workflow class that is running."""
    return current().instance


def payload_converter() -> PayloadConverter:
    return current().converter


def cancellation_reason() -> str | None:
    """Why this run was asked to cancel; None when it was not."""
    return current().cancel_reason


class unsafe:  # noqa: N801 - the name that people know
    """For the rare code that must know whether it runs for the first time."""

    @staticmethod
    def is_replaying() -> bool:
        """Whether what runs now has run before."""
        return current().replaying

    @staticmethod
    def is_replaying_history_events() -> bool:
        """As ``is_replaying``, but False in a query."""
        return current().replaying and not querying.get()

    @staticmethod
    def is_read_only() -> bool:
        """Whether the code may only read: in a query."""
        return querying.get()

    @staticmethod
    def imports_passed_through() -> _Nothing:
        """A context that does nothing: modules are never imported anew per run here."""
        return _Nothing()

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Iterator[None]:
        """A context in which the code may do what no replay repeats: neither the check nor the guard looks at it."""
        token = unrestricted.set(True)
        try:
            yield
        finally:
            with suppress(ValueError):  # a run that leaves memory is closed outside of its context
                unrestricted.reset(token)

    @staticmethod
    def sandbox_import_notification_policy(policy: object) -> _Nothing:
        """A context that does nothing: modules are never imported anew per run here."""
        return _Nothing()

    @staticmethod
    def in_sandbox() -> bool:
        return False

    @staticmethod
    def is_sandbox_unrestricted() -> bool:
        """Whether the code stands within ``sandbox_unrestricted()``."""
        return unrestricted.get()


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
