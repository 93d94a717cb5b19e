"""What a listing filter means: an expression over the fields of one run, and the order and groups asked for. Pure.

A comparison with a field that a run does not have is false, whatever the operator; ``IS NULL`` asks for that.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar, assert_never

Literal: TypeAlias = str | int | float | bool | datetime
Value: TypeAlias = Literal | Sequence[str]
Row: TypeAlias = Mapping[str, Value]
"""The fields of one run; a field without a value is left out."""
R = TypeVar("R", bound=Row)

COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    field: str
    operator: str
    literal: Literal


@dataclass(frozen=True, slots=True)
class Membership:
    field: str
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it."""

    field: str
    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class Prefix:
    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Missing:
    field: str


@dataclass(frozen=True, slots=True)
class Not:
    inner: Expression


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Membership | Range | Prefix | Missing | Not | And | Or


@dataclass(frozen=True, slots=True)
class Order:
    field: str
    descending: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """``expression`` None lets everything through."""

    expression: Expression | None = None
    order: tuple[Order, ...] = ()
    group_by: tuple[str, ...] = ()

    def matches(self, row: Row) -> bool:
        return self.expression is None or holds(self.expression, row)

    def sorted(self, rows: Iterable[R]) -> list[R]:
        """In the order asked for, runs without the field last; else the newest start first."""
        result = list(rows)
        for order in reversed(self.order or (Order("StartTime", descending=True),)):
            present = [row for row in result if order.field in row]
            absent = [row for row in result if order.field not in row]
            present.sort(key=lambda row: _sort_key(row[order.field]), reverse=order.descending)
            result = present + absent
        return result


def holds(expression: Expression, row: Row) -> bool:
    match expression:
        case Comparison(field, name, literal):
            return _any_value(row, field, lambda value: _compare(name, value, literal))
        case Membership(field, literals):
            return _any_value(row, field, lambda value: any(_compare("=", value, item) for item in literals))
        case Range(field, low, high):
            return _any_value(row, field, lambda v: _compare(">=", v, low) and _compare("<=", v, high))
        case Prefix(field, prefix):
            return _any_value(row, field, lambda value: isinstance(value, str) and value.startswith(prefix))
        case Missing(field):
            return field not in row
        case Not(inner):
            return not holds(inner, row)
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case _:
            assert_never(expression)


def parse_time(text: str) -> datetime | None:
    """A date or a time in ISO format, in UTC where it names no zone; None when it is neither."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _any_value(row: Row, field: str, test: Callable[[Literal], bool]) -> bool:
    value = row.get(field)
    if value is None:
        return False
    if isinstance(value, str | int | float | datetime):
        return test(value)
    return any(test(item) for item in value)


def _compare(name: str, value: Literal, literal: Literal) -> bool:
    if isinstance(value, datetime) and isinstance(literal, str):
        time = parse_time(literal)
        if time is None:
            return False
        literal = time
    if not _comparable(value, literal):
        return False
    return COMPARISONS[name](value, literal)


def _comparable(value: Literal, literal: Literal) -> bool:
    if isinstance(value, bool) or isinstance(literal, bool):
        return isinstance(value, bool) and isinstance(literal, bool)
    if isinstance(value, int | float):
        return isinstance(literal, int | float)
    return type(value) is type(literal)


def _sort_key(value: Value) -> tuple[str, Any]:
    """Values of different kinds stand apart, so that sorting never compares them."""
    if isinstance(value, int | float):
        return "number", value
    return type(value).__name__, value
