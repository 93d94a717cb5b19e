"""Listing filters: what they let through, and how they complain."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest

from odradek.client.filter import Row
from odradek.client.filter_parsing import FilterError, parse_filter

ROW: Row = {
    "WorkflowType": "Order",
    "WorkflowId": "order-7",
    "RunId": "r1",
    "TaskQueue": "shop",
    "ExecutionStatus": "Running",
    "StartTime": datetime(2030, 1, 31, 12, tzinfo=UTC),
    "Amount": 12.5,
    "Count": 3,
    "Express": True,
    "Tags": ["red", "blue"],
    "Due": datetime(2030, 2, 1, tzinfo=UTC),
    "a-b c": "odd",
}


@pytest.mark.parametrize(
    "query",
    [
        None,
        "",
        "  ",
        "WorkflowType = 'Order'",
        'WorkflowType="Order" and WorkflowId STARTS_WITH "order-"',
        "WorkflowId IN ('x', 'order-7')",
        "ExecutionStatus = 'running'",
        "ExecutionStatus NOT IN ('Completed', 'TimedOut')",
        "ExecutionStatus != 'Cancelled'",
        "StartTime > '2030-01-31T11:59:59Z'",
        "StartTime BETWEEN '2030-01-31' AND '2030-02-01T00:00:00+01:00'",
        "StartTime = '2030-01-31T14:00:00+02:00'",
        "CloseTime IS NULL AND StartTime IS NOT NULL",
        "Amount >= 12.5 AND Amount < 13 AND Amount <> 1e3 AND Count == 3",
        "Express = true AND NOT Express = false",
        "Tags = 'red' AND Tags IN ('blue')",
        "Due <= '2030-02-01'",
        "`a-b c` = 'odd'",
        "WorkflowId = 'nope' OR (TaskQueue = 'shop' AND RunId = 'r1')",
        "WorkflowId = 'nope' AND TaskQueue = 'x' OR RunId = 'r1'",
        "NOT (WorkflowId = 'nope' OR Count NOT BETWEEN 1 AND 5)",
        "ORDER BY StartTime DESC, WorkflowId",
    ],
)
def test_lets_the_run_through(query: str | None) -> None:
    assert parse_filter(query).matches(ROW)


@pytest.mark.parametrize(
    "query",
    [
        "WorkflowType = 'order'",
        "Unknown = 'x'",
        "Unknown != 'x'",
        "Unknown NOT IN ('x')",
        "CloseTime < '2040-01-01'",
        "Count = '3'",
        "Express = 1",
        "Due = 'soon'",
        "Tags = 'green'",
        "Count STARTS_WITH '3'",
    ],
)
def test_keeps_the_run_out(query: str) -> None:
    assert not parse_filter(query).matches(ROW)


@pytest.mark.parametrize(
    ("query", "position", "reason"),
    [
        ("WorkflowType = AND", 16, 'text in quotes, found "AND"'),
        ("WorkflowType", 13, "IN, BETWEEN, STARTS_WITH or IS after WorkflowType, found the end"),
        ("ExecutionStatus = 'Runing'", 19, "'Runing' is no status: Running, Completed"),
        ("ExecutionStatus < 'Running'", 17, "has no order"),
        ("StartTime > 'yesterday'", 13, "is no time such as"),
        ("StartTime > 5", 13, "such as"),
        ("WorkflowId = 'a' WorkflowId = 'b'", 18, "expected AND, OR or the end"),
        ("(WorkflowId = 'a'", 18, 'expected ")", found the end'),
        ("WorkflowId = 'a", 14, "no closing quote"),
        ("WorkflowId ~ 'a'", 12, '"~" means nothing here'),
        ("Amount = 3x", 10, "means nothing here"),
        ("WorkflowId IN ()", 16, "text in quotes"),
        ("ORDER StartTime", 7, 'expected "BY"'),
        ("StartTime STARTS_WITH 'a'", 23, "needs a field of text"),
        ("= 'a'", 1, "expected the name of a field"),
        ("NOT " * 200 + "Amount = 3", 401, "nested more than 100 deep"),
    ],
)
def test_errors_point_at_the_place(query: str, position: int, reason: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(query)
    assert (caught.value.position, reason in str(caught.value)) == (position, True), str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_error_shows_the_place_with_a_caret() -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter("Amount = ")
    assert str(caught.value).splitlines()[1:] == ["  Amount = ", "           ^"]


def test_quotes_are_escaped_with_a_backslash() -> None:
    assert parse_filter(r"Name = 'it\'s'").matches({"Name": "it's"})


def test_order_and_groups() -> None:
    rows: list[Row] = [
        {"RunId": "a", "N": 1, "StartTime": datetime(2030, 1, 1, tzinfo=UTC)},
        {"RunId": "b", "N": 1, "StartTime": datetime(2030, 1, 2, tzinfo=UTC)},
        {"RunId": "c", "N": 0, "StartTime": datetime(2030, 1, 3, tzinfo=UTC)},
        {"RunId": "d", "StartTime": datetime(2030, 1, 4, tzinfo=UTC)},
    ]

    def order(query: str) -> str:
        return "".join(str(row["RunId"]) for row in parse_filter(query).sorted(rows))

    assert order("") == "dcba"
    assert order("ORDER BY N, RunId DESC") == "cbad"
    assert order("ORDER BY N DESC, StartTime ASC") == "abcd"
    assert parse_filter("Count > 1 GROUP BY ExecutionStatus, TaskQueue").group_by == ("ExecutionStatus", "TaskQueue")
