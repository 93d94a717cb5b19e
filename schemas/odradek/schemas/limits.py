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
from odradek.schemas.compiled import Compiler, cached, members

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
    return typing.cast(Check, _Checker(record_type).compile())


class _Checker(Compiler):
    """Every record of an inbox is checked: straight-line code, as the codec's."""

    signature = "r, depth"

    def body(self) -> None:
        self.scope |= {"inf": math.inf, "of_its_type": _of_its_type, "number": _wrong_number, "choice": _wrong_choice}
        where = self.record_type.__name__
        self.line(f"if depth > {NESTED_MAX}: return '{where} is nested more than {NESTED_MAX} times'")
        for field in dataclasses.fields(typing.cast(Any, self.record_type)):
            hint = self.hints[field.name]
            if _is_checked(self.record_type, field.name, hint):
                self.line(f"v = r.{field.name}")
                optional = members(hint)[1]
                if optional:
                    self.line("if v is not None:")
                self.depth += optional
                self.value(hint, "v", field.name)
                self.depth -= optional
        if self.record_type in _WHOLE:
            self.line(f"return {self.name(_WHOLE[self.record_type])}(r)")
        self.line("return None")

    def value(self, hint: Any, source: str, name: str) -> None:
        kinds, _ = members(hint)
        (kind, *others), shown = kinds, f"'{self.record_type.__name__}.{name}'"
        allowed = _ONE_OF.get((self.record_type, name))
        least = _BELOW_ZERO.get(name, 0)
        if allowed is not None:
            choices = self.name(allowed)
            self.line(f"if {source} not in {choices}: return choice({shown}, {source}, {choices})")
        elif others or dataclasses.is_dataclass(kind):
            self.line(f"w = of_its_type({source}, depth + 1)")
            self.line("if w is not None: return w")
        elif kind is int:
            self.line(f"if not {least} <= {source} <= {NUMBER_MAX}: return number({shown}, {source}, {least})")
        elif kind is float:
            self.line(f"if not 0 <= {source} < inf: return {shown} + f' is {{{source}}}'")
        else:
            arguments = typing.get_args(kind)
            self.line(f"for i in {source}{'.values()' if len(arguments) == 2 else ''}:")
            self.depth += 1
            self.value(arguments[-1], "i", name)
            self.depth -= 1


def _is_checked(record_type: type, name: str, hint: Any) -> bool:
    kinds, _ = members(hint)
    if (record_type, name) in _ONE_OF or len(kinds) > 1:
        return True
    (kind,) = kinds
    if dataclasses.is_dataclass(kind):  # a type that contains itself is looked at when a value is there
        return kind is record_type or _has_checks(typing.cast(type, kind))
    arguments = typing.get_args(kind)
    return kind in (int, float) or (bool(arguments) and _is_checked(record_type, "", arguments[-1]))


@cached
def _has_checks(record_type: type) -> bool:
    hints = typing.get_type_hints(record_type)
    fields = dataclasses.fields(record_type)
    return record_type in _WHOLE or any(_is_checked(record_type, f.name, hints[f.name]) for f in fields)


def _of_its_type(value: Any, depth: int) -> str | None:
    return _check_of(type(value))(value, depth)


def _wrong_number(where: str, value: int, least: int) -> str:
    return f"{where} is {value}, not {least} to {NUMBER_MAX}"


def _wrong_choice(where: str, value: str, allowed: Sequence[str]) -> str:
    return f'{where} is "{value:.80}", none of {", ".join(allowed)}'


def _controls(body: r.ControlActivity) -> str | None:
    if body.action == "change" and body.options is None:
        return "ControlActivity.options is missing, and the action is change"
    unknown = [name for name in body.changed if name not in _CHANGEABLE]
    return f'ControlActivity.changed names "{unknown[0]:.80}", which nobody can change' if unknown else None


_WHOLE: Final[Mapping[type, Callable[[Any], str | None]]] = {r.ControlActivity: _controls}
"""What no field says by itself."""
