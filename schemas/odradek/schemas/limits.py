"""What the values of a record may be, beyond what its schema says.

Records from outside are held to it once, where they are taken in; what stands in a history has been taken in already.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from odradek.schemas import records as r
from odradek.schemas.compiled import cached, members

NUMBER_MAX: Final = 86_399_999_999_999_999
"""Python's longest ``timedelta`` in milliseconds; sums of a few such numbers are 64-bit integers yet."""
TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999: a later time is none in Python."""
NESTED_MAX: Final = 200
"""Causes of one failure: far below what Python's stack allows in whatever is done with them, and above what is written.
"""
_BELOW_ZERO: Final[Mapping[str, int]] = {"reply_partition": -1, "seq": -1}
"""Least values by field; of all other numbers it is 0."""
_ONE_OF: Final[Mapping[tuple[type, str], Sequence[str]]] = {
    (r.ReportActivity, "kind"): ("heartbeat", "completed", "failed", "cancelled"),
    (r.ControlActivity, "action"): ("pause", "unpause", "reset", "change"),
    (r.StartWorkflow, "id_conflict_policy"): ("fail", "use-existing", "terminate-existing"),
    (r.StartWorkflow, "id_reuse_policy"): (
        "allow-duplicate", "allow-duplicate-failed-only", "reject-duplicate", "terminate-if-running",
    ),
    (r.QueryWorkflow, "reject_condition"): ("none", "not-open", "not-completed-cleanly"),
    (r.ChildResult, "status"): tuple(status for status in r.RunStatus if status != r.RunStatus.RUNNING),
}  # fmt: skip
_CHANGEABLE: Final = {
    "task_queue", "retry_policy", "priority", *(f"timeouts.{f.name}" for f in dataclasses.fields(r.ActivityTimeouts)),
}  # fmt: skip

Check = Callable[[Any, int], str | None]


def problem(record: Any) -> str | None:
    """What about this record cannot be, with the name of the field; None if nothing is."""
    return _check_of(type(record))(record, 0)


@cached
def _check_of(record_type: type) -> Check:
    hints = typing.get_type_hints(record_type)
    found = [(f.name, _of_field(record_type, f.name, hints)) for f in dataclasses.fields(record_type)]
    checks = [(name, of_field) for name, of_field in found if of_field is not None]
    whole = _WHOLE.get(record_type)

    def check(record: Any, depth: int) -> str | None:
        if depth > NESTED_MAX:
            return f"{record_type.__name__} is nested more than {NESTED_MAX} times"
        for name, of_field in checks:
            value = getattr(record, name)
            if value is not None and (wrong := of_field(value, depth + 1)) is not None:
                return f"{record_type.__name__}.{name} {wrong}" if wrong.startswith("is ") else wrong
        return None if whole is None else whole(record)

    return check


def _of_field(record_type: type, name: str, hints: Mapping[str, Any]) -> Check | None:
    allowed = _ONE_OF.get((record_type, name))
    if allowed is not None:
        return lambda value, _: None if value in allowed else f'is "{value:.80}", none of {", ".join(allowed)}'
    return _of_hint(hints[name], name, record_type)


def _of_hint(hint: Any, name: str, within: type) -> Check | None:
    kinds, _ = members(hint)
    if len(kinds) > 1:
        return _of_its_type
    (kind,) = kinds
    if kind is int:
        return _integer(_BELOW_ZERO.get(name, 0))
    if kind is float:
        return lambda value, _: None if 0 <= value < math.inf else f"is {value}"
    if dataclasses.is_dataclass(kind):
        # A type that contains itself is looked up when a value is there, all others now.
        if kind is within or _has_checks(typing.cast(type, kind)):
            return _of_its_type
        return None
    arguments = typing.get_args(kind)
    item = _of_hint(arguments[-1], name, within) if arguments else None
    if item is None:
        return None
    return lambda value, depth: _first_wrong(item, value.values() if isinstance(value, dict) else value, depth)


@cached
def _has_checks(record_type: type) -> bool:
    if record_type in _WHOLE:
        return True
    hints = typing.get_type_hints(record_type)
    return any(_of_field(record_type, f.name, hints) for f in dataclasses.fields(record_type))


def _of_its_type(value: Any, depth: int) -> str | None:
    return _check_of(type(value))(value, depth)


def _integer(least: int) -> Check:
    def check(value: int, _: int) -> str | None:
        return None if least <= value <= NUMBER_MAX else f"is {value}, not {least} to {NUMBER_MAX}"

    return check


def _first_wrong(check: Check, values: typing.Iterable[Any], depth: int) -> str | None:
    for value in values:
        wrong = check(value, depth)
        if wrong is not None:
            return wrong
    return None


def _controls(body: r.ControlActivity) -> str | None:
    if body.action == "change" and body.options is None:
        return "ControlActivity.options is missing, and the action is change"
    unknown = [name for name in body.changed if name not in _CHANGEABLE]
    return f'ControlActivity.changed names "{unknown[0]:.80}", which nobody can change' if unknown else None


_WHOLE: Final[Mapping[type, Callable[[Any], str | None]]] = {r.ControlActivity: _controls}
"""What no field says by itself."""
