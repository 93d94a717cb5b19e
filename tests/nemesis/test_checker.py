"""The checker notices what it is there for: each way to break a promise, by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from odradek.schemas import records as r
from odradek.service import RPCError, RPCStatusCode
from tests.nemesis.books import OPENING_BALANCE, Books
from tests.nemesis.checker import Topics, check_books, check_counter, check_operations
from tests.nemesis.journal import FAILED, OK, UNKNOWN, Journal, Operation
from tests.nemesis.load import CONSISTENT, QUERY, SIGNAL, START, UPDATE


def heard(*operations: Operation) -> Journal:
    journal = Journal()
    journal.operations += operations
    return journal


def update(number: int, began: float, ended: float, value: int) -> Operation:
    return Operation(UPDATE, "c", number, began, ended, OK, value)


FIRST, SECOND = update(1, 10, 11, 1), update(2, 12, 13, 2)
TIMED_OUT = Operation(SIGNAL, "c", 3, 10)


@pytest.mark.parametrize(
    ("taken_in", "operations"),
    [
        ([1, 2], [FIRST, SECOND]),
        ([3, 1, 2], [update(1, 10, 11, 2), update(2, 12, 13, 3), TIMED_OUT]),
        ([1, 2, 3], [FIRST, SECOND, TIMED_OUT]),
        ([1, 2], [FIRST, SECOND, TIMED_OUT]),
        ([2, 1], [update(1, 10, 13, 2), update(2, 12, 13, 1)]),
        ([1, 2], [FIRST, SECOND, Operation(CONSISTENT, "c", 4, 11.5, 14, OK, 1)]),
        ([1, 2], [FIRST, SECOND, Operation(QUERY, "c", 4, 15, 16, OK, 1)]),
    ],
)
def test_what_may_be_is_no_problem(taken_in: list[int], operations: list[Operation]) -> None:
    assert list(check_counter("c", heard(*operations), taken_in)) == []


@pytest.mark.parametrize(
    ("taken_in", "operations", "problem"),
    [
        ([1], [FIRST, SECOND], "c has lost .*number=2"),
        ([1, 2, 1], [FIRST, SECOND], "took 1 in 2 times"),
        ([1, 2, 9], [FIRST, SECOND], "took 9 in 1 times: None"),
        ([3, 1, 2], [FIRST, SECOND, TIMED_OUT], "has it at place 2: .*number=1"),
        ([2, 1], [update(1, 10, 11, 2), update(2, 12, 13, 1)], "before .*number=1"),
        ([1, 2], [FIRST, SECOND, Operation(CONSISTENT, "c", 4, 15, 16, OK, 1)], "without .*number=2"),
        ([1, 2], [FIRST, SECOND, Operation(QUERY, "c", 4, 11, 11.5, OK, 2)], "this began later: .*number=2"),
    ],
)
def test_each_broken_promise_of_a_counter_is_told(
    taken_in: list[int], operations: list[Operation], problem: str
) -> None:
    found = "\n".join(check_counter("c", heard(*operations), taken_in))
    assert re.search(problem, found), found


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    with closing(Books(tmp_path / "books.db")) as opened:
        opened.open_accounts(2)
        yield opened


def enter(books: Books, transfer: str, **amounts: int) -> None:
    for kind, amount in amounts.items():
        assert books.enter(f"{transfer}/{kind}", transfer, kind, int(kind == "deposit"), amount, 1)


def test_entries_are_made_once_and_add_up(books: Books) -> None:
    for _ in range(2):
        enter(books, "transfer-1", withdrawal=-5, deposit=5)
    enter(books, "payday-2-0", withdrawal=-7, refund=7)
    assert not books.enter("transfer-3/withdrawal", "transfer-3", "withdrawal", 0, -OPENING_BALANCE, 1)
    assert books.balances() == {0: OPENING_BALANCE - 5, 1: OPENING_BALANCE + 5}
    results = {"transfer-1": "completed", "payday-2": ["compensated"], "transfer-3": "refused"}
    assert list(check_books(books, results)) == []


@pytest.mark.parametrize(
    ("amounts", "results", "problem"),
    [
        ({"withdrawal": -5}, {"transfer-1": "completed"}, "transfer-1 is completed, and its entries"),
        ({"withdrawal": -5, "deposit": 5}, {"transfer-1": "compensated"}, "transfer-1 is compensated"),
        ({"withdrawal": -5, "deposit": 6}, {"transfer-1": "completed"}, "2001 in 2 accounts"),
        ({"withdrawal": -5, "deposit": 5}, {}, "transfer-1 has entries and no result"),
        ({}, {"transfer-1": "completed"}, "its entries are {}"),
    ],
)
def test_each_wrong_transfer_is_told(
    books: Books, amounts: dict[str, int], results: dict[str, Any], problem: str
) -> None:
    enter(books, "transfer-1", **amounts)
    found = "\n".join(check_books(books, results))
    assert problem in found


def test_a_start_without_an_end_and_a_refusal_are_told() -> None:
    started = Operation(START, "transfer-1", 1, 10, 11, OK)
    refused = Operation(UPDATE, "c", 2, 10, 11, FAILED, "RPCError()")
    unknown = Operation(START, "transfer-3", 3, 10)
    problems = list(check_operations(heard(started, refused, unknown), {}))
    assert len(problems) == 2
    assert list(check_operations(heard(started, unknown), {"transfer-1": "refused"})) == []


def topics(*runs: tuple[str, list[r.Event]]) -> Topics:
    """Without a log: only the archive, with a run of workflow "w" for each list of events."""
    found = object.__new__(Topics)
    found.archived, found.workflow_ids = dict(runs), {name: "w" for name, _ in runs}
    found.timers_fired, found.late_seconds = 0, 0.0
    return found


def events(*bodies: tuple[int, Any]) -> list[r.Event]:
    return [r.Event(n, time_ms, body) for n, (time_ms, body) in enumerate(bodies)]


COMPLETED = (9000, r.RunCompleted())


def test_timers_that_are_early_or_missing_or_fire_twice_are_told() -> None:
    started, fired = (1000, r.TimerStarted(1, 3000)), (3000, r.TimerFired(1))
    good = topics(("run", events(started, fired, COMPLETED)))
    assert list(good.check_timers()) == []
    assert good.timers_fired == 1
    for wrong in ([started], [started, fired, fired], [started, (2999, r.TimerFired(1))]):
        assert list(topics(("run", events(*wrong, COMPLETED))).check_timers()), wrong


def test_two_runs_of_one_workflow_are_told() -> None:
    assert list(topics(("run", events(COMPLETED))).check_ids()) == []
    assert list(topics(("run", events(COMPLETED)), ("other", events(COMPLETED))).check_ids())


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RPCError("ODR-130: no answer", RPCStatusCode.DEADLINE_EXCEEDED), UNKNOWN),
        (RPCError("ODR-108: cannot answer: ODR-088: its process died", RPCStatusCode.FAILED_PRECONDITION), UNKNOWN),
        (RPCError("ODR-108: cannot answer: its code has changed", RPCStatusCode.FAILED_PRECONDITION), FAILED),
    ],
)
def test_who_is_refused_has_heard_that_and_who_may_ask_again_has_heard_nothing(error: RPCError, outcome: str) -> None:
    journal = Journal()
    with journal.operation(QUERY, "c") as operation:
        raise error
    assert operation.outcome == outcome
