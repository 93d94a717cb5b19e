"""Reads listing filters: a small SQL WHERE clause, with GROUP BY and ORDER BY. Pure.

filter     := [expression] [GROUP BY field {, field}] [ORDER BY field [ASC|DESC] {, field [ASC|DESC]}]
expression := conjunction {OR conjunction}          conjunction := term {AND term}
term       := NOT term | ( expression ) | field test
test       := = value | != value | < value | <= value | > value | >= value | IS [NOT] NULL
            | [NOT] IN ( value {, value} ) | [NOT] BETWEEN value AND value | [NOT] STARTS_WITH text
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar
from typing import Literal as OneOf

from odradek.client.filter import (
    COMPARISONS,
    And,
    Comparison,
    Expression,
    Filter,
    Literal,
    Membership,
    Missing,
    Not,
    Or,
    Order,
    Prefix,
    Range,
    parse_time,
)

T = TypeVar("T")
FILTER_CHARACTERS_MAX: Final = 20_000
NESTING_MAX: Final = 100

TEXT_FIELDS: Final = ("WorkflowType", "WorkflowId", "RunId", "TaskQueue", "ParentWorkflowId", "ParentRunId")
TIME_FIELDS: Final = ("StartTime", "CloseTime")
STATUS_FIELD: Final = "ExecutionStatus"
STATUSES: Final[Mapping[str, str]] = {
    "running": "Running",
    "completed": "Completed",
    "failed": "Failed",
    "canceled": "Canceled",
    "cancelled": "Canceled",
    "terminated": "Terminated",
    "continuedasnew": "ContinuedAsNew",
    "timedout": "TimedOut",
}

_TOKEN: Final = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<word>[A-Za-z_][\w.]*|`[^`]+`)
      | (?P<mark><=|>=|!=|<>|==|[=<>(),])
      | (?P<end>$)
    )""",
    re.VERBOSE,
)
_KEYWORDS: Final = frozenset(
    ("AND", "OR", "NOT", "IN", "BETWEEN", "STARTS_WITH", "IS", "NULL", "ORDER", "GROUP", "BY", "ASC", "DESC")
)
_SPELLINGS: Final = {"<>": "!=", "==": "="}


class FilterError(ValueError):
    """The filter cannot be read. ``position`` counts characters from 1."""

    code = "ODR-133"

    def __init__(self, query: str, position: int, reason: str) -> None:
        super().__init__(query, position, reason)
        self.query, self.position, self.reason = query, position, reason

    def __str__(self) -> str:
        place = self.position
        start = max(0, place - 41)
        shown = self.query[start : place + 40].replace("\n", " ")
        caret = " " * (place - 1 - start) + "^"
        return f"{self.code}: the filter cannot be read at position {place}: {self.reason}\n  {shown}\n  {caret}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: OneOf["text", "number", "field", "keyword", "mark", "end"]
    text: str
    place: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f'"{self.text}"' if self.kind != "text" else self.text


def parse_filter(query: str | None) -> Filter:
    """Raises ``FilterError``. None and a blank text let everything through."""
    text = query or ""
    if len(text) > FILTER_CHARACTERS_MAX:
        raise FilterError(text, FILTER_CHARACTERS_MAX, f"it is longer than {FILTER_CHARACTERS_MAX} characters")
    return _Parser(text).parse()


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while True:
        match = _TOKEN.match(query, place)
        if match is None or match.lastgroup is None:
            place += len(query[place:]) - len(query[place:].lstrip())
            is_open = query[place] in "\"'`"
            reason = "this text has no closing quote" if is_open else f'"{query[place]}" means nothing here'
            raise FilterError(query, place + 1, reason)
        tokens.append(_token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        if tokens[-1].kind == "end":
            return tokens
        place = match.end()


def _token(kind: str, text: str, place: int) -> _Token:
    match kind:
        case "word" if text.upper() in _KEYWORDS:
            return _Token("keyword", text.upper(), place)
        case "word":
            return _Token("field", text.strip("`"), place)
        case "text":
            return _Token("text", text, place)
        case "number":
            return _Token("number", text, place)
        case "mark":
            return _Token("mark", _SPELLINGS.get(text, text), place)
        case _:
            return _Token("end", text, place)


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens = _tokens(query)
        self._at = 0
        self._depth = 0

    def parse(self) -> Filter:
        expression = None if self._sees("end") or self._sees("keyword", "ORDER", "GROUP") else self._expression()
        group_by = self._list(self._field) if self._takes_pair("GROUP", "BY") else ()
        order = self._list(self._order) if self._takes_pair("ORDER", "BY") else ()
        if not self._sees("end"):
            self._fail(f"expected AND, OR or the end, found {self._next}")
        return Filter(expression, order, group_by)

    # ---------------------------------------------------------------------------------------------- expressions

    def _expression(self) -> Expression:
        parts = [self._conjunction()]
        while self._takes("keyword", "OR"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Expression:
        parts = [self._term()]
        while self._takes("keyword", "AND"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _term(self) -> Expression:
        self._depth += 1
        if self._depth > NESTING_MAX:
            self._fail(f"it is nested more than {NESTING_MAX} deep")
        if self._takes("keyword", "NOT"):
            result: Expression = Not(self._term())
        elif self._takes("mark", "("):
            result = self._expression()
            self._expect("mark", ")")
        else:
            result = self._test(self._field())
        self._depth -= 1
        return result

    def _test(self, field: str) -> Expression:
        if self._sees("mark", *COMPARISONS):
            return self._comparison(field)
        if self._takes("keyword", "IS"):
            negated = self._takes("keyword", "NOT")
            self._expect("keyword", "NULL")
            return Not(Missing(field)) if negated else Missing(field)
        negated = self._takes("keyword", "NOT")
        test = self._set_test(field)
        return And((Not(Missing(field)), Not(test))) if negated else test

    def _comparison(self, field: str) -> Expression:
        mark = self._take()
        if field == STATUS_FIELD and mark.text not in ("=", "!="):
            self._fail(f"{STATUS_FIELD} has no order: use =, != or IN", mark)
        return Comparison(field, mark.text, self._value(field))

    def _set_test(self, field: str) -> Expression:
        if self._takes("keyword", "IN"):
            self._expect("mark", "(")
            literals = self._list(lambda: self._value(field))
            self._expect("mark", ")")
            return Membership(field, literals)
        if self._takes("keyword", "BETWEEN"):
            low = self._value(field)
            self._expect("keyword", "AND")
            return Range(field, low, self._value(field))
        if self._takes("keyword", "STARTS_WITH"):
            return self._prefix(field)
        raise self._error(
            f"expected =, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH or IS after {field}, found {self._next}"
        )

    def _prefix(self, field: str) -> Expression:
        if field == STATUS_FIELD or field in TIME_FIELDS:
            self._fail(f"STARTS_WITH needs a field of text, and {field} is none")
        if not self._sees("text"):
            self._fail(f"expected a text in quotes after STARTS_WITH, found {self._next}")
        return Prefix(field, _unquoted(self._take().text))

    # --------------------------------------------------------------------------------------------------- values

    def _value(self, field: str) -> Literal:
        token = self._next
        if token.kind == "text":
            return self._text_value(field, self._take())
        if field in TEXT_FIELDS or field in TIME_FIELDS or field == STATUS_FIELD:
            hint = ' such as "2030-01-31T12:00:00Z"' if field in TIME_FIELDS else ""
            self._fail(f"{field} is compared with a text in quotes{hint}, found {token}")
        if token.kind == "number":
            text = self._take().text
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        if token.kind == "field" and token.text.lower() in ("true", "false"):
            return self._take().text.lower() == "true"
        raise self._error(f"expected a text in quotes, a number, true or false, found {token}")

    def _text_value(self, field: str, token: _Token) -> Literal:
        text = _unquoted(token.text)
        if field == STATUS_FIELD:
            status = STATUSES.get(text.lower().replace("_", "").replace("-", ""))
            known = ", ".join(dict.fromkeys(STATUSES.values()))
            return status or self._fail(f"{token} is no status: {known}", token)
        if field in TIME_FIELDS:
            return parse_time(text) or self._fail(f"{token} is no time such as 2030-01-31T12:00:00Z", token)
        return text

    def _field(self) -> str:
        if not self._sees("field"):
            self._fail(f"expected the name of a field, found {self._next}")
        return self._take().text

    def _order(self) -> Order:
        field = self._field()
        descending = self._takes("keyword", "DESC")
        if not descending:
            self._takes("keyword", "ASC")
        return Order(field, descending)

    def _list(self, item: Callable[[], T]) -> tuple[T, ...]:
        items = [item()]
        while self._takes("mark", ","):
            items.append(item())
        return tuple(items)

    # --------------------------------------------------------------------------------------------------- tokens

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _sees(self, kind: str, *texts: str) -> bool:
        return self._next.kind == kind and (not texts or self._next.text in texts)

    def _takes(self, kind: str, text: str) -> bool:
        seen = self._sees(kind, text)
        self._at += seen
        return seen

    def _takes_pair(self, first: str, second: str) -> bool:
        seen = self._takes("keyword", first)
        if seen:
            self._expect("keyword", second)
        return seen

    def _expect(self, kind: str, text: str) -> None:
        if not self._takes(kind, text):
            self._fail(f'expected "{text}", found {self._next}')

    def _fail(self, reason: str, token: _Token | None = None) -> NoReturn:
        raise self._error(reason, token)

    def _error(self, reason: str, token: _Token | None = None) -> FilterError:
        return FilterError(self._query, (token or self._next).place + 1, reason)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
