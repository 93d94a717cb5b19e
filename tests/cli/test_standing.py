"""The sentence that says where a run stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from odradek.cli.standing import duration, standing
from odradek.client import ParkedInfo, PendingWait, WorkflowExecutionDescription, WorkflowExecutionStatus
from odradek.converter import DataConverter
from odradek.exceptions import ApplicationError

NOW = datetime(2030, 1, 31, 10, 0, tzinfo=UTC)
RUN = WorkflowExecutionDescription(
    id="order-77",
    run_id="r1",
    namespace="shop",
    workflow_type="Order",
    task_queue="orders",
    status=WorkflowExecutionStatus.RUNNING,
    start_time=NOW - timedelta(seconds=90),
    close_time=None,
    parked=None,
    data_converter=DataConverter.default,
    memo_payloads={},
    search_attribute_payloads={},
    first_execution_run_id="r1",
    history_length=1,
    history_size=100,
    waits=(),
    recorded_summary="",
    recorded_details="",
)
TIMER = PendingWait("timer", "cool-off", 1, NOW + timedelta(seconds=793))
SHIP = PendingWait("activity", "ship", 2, NOW + timedelta(seconds=3.8), "backing-off", 3)


def said(**changes: Any) -> str:
    return standing(replace(RUN, **changes), NOW)


def test_timer_and_retried_activity() -> None:
    expected = 'Running, waits for: timer "cool-off", fires 10:13:13; activity "ship", attempt 3, next in 3.8 s'
    assert said(waits=[TIMER, SHIP]) == expected


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "started", "worker": "w1", "attempt": 1}, "attempt 1, running on w1"),
        ({"state": "dispatched", "attempt": 1}, "attempt 1, sent to its queue"),
        (
            {"state": "dispatched", "attempt": 1, "scheduled_time": NOW - timedelta(minutes=5)},
            "attempt 1, sent to its queue for 5 min",
        ),
        (
            {"state": "dispatched", "attempt": 1, "task_queue": "trucks", "unserved": timedelta(minutes=5)},
            'attempt 1, sent to its queue; no worker has served "trucks" for 5 min',
        ),
        (
            {"state": "queue-paused", "attempt": 1, "task_queue": "trucks", "pause_reason": "snow"},
            'attempt 1, waits in queue "trucks", which is paused: snow',
        ),
        ({"state": "cancel-requested"}, "attempt 3, asked to cancel"),
        ({"due_time": NOW - timedelta(seconds=1)}, "attempt 3, next now"),
        ({"last_failure": LookupError("no truck")}, "attempt 3, next in 3.8 s after LookupError: no truck"),
        ({"last_failure": ApplicationError("no funds", type="CardDeclined")}, "after CardDeclined: no funds"),
    ],
)
def test_states_of_an_activity(changes: dict[str, Any], words: str) -> None:
    assert said(waits=[replace(SHIP, **changes)]).endswith(words)


def test_nothing_recorded_to_wait_for() -> None:
    assert said() == "Running, waits for a signal or a condition of its code"


def test_parked_says_why_since_when_and_next() -> None:
    parked = ParkedInfo("ODR-071", "KeyError: 'a bug'", NOW - timedelta(days=1), NOW + timedelta(seconds=30), 2)
    expected = "Running, but parked since 2030-01-30 10:00:00 (2 times, next try in 30 s): ODR-071: KeyError: 'a bug'"
    assert said(parked=parked) == expected
    assert said(parked=parked, waits=[TIMER]) == f'{expected}. It waits for: timer "cool-off", fires 10:13:13'


def test_parked_by_an_operator_says_nothing_of_tries() -> None:
    """Nothing has failed, and no time is known at which it goes on."""
    parked = ParkedInfo("ODR-206", "ODR-206: paused by ada", NOW - timedelta(minutes=1), NOW, 0)
    assert said(parked=parked) == "Running, but parked since 09:59:00: ODR-206: paused by ada"


def test_closed_runs_say_how_and_when() -> None:
    closed = said(status=WorkflowExecutionStatus.TIMED_OUT, close_time=NOW)
    assert closed == "Timed out 10:00:00, after 90 s"
    assert said(status=None, close_time=NOW).startswith("Unknown 10:00:00")


def test_times_are_shown_in_the_zone_of_now() -> None:
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert "fires 19:13:13" in standing(replace(RUN, waits=[TIMER]), tokyo)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 ms"),
        (0.12, "120 ms"),
        (3.84, "3.8 s"),
        (9.96, "10 s"),
        (119, "119 s"),
        (720, "12 min"),
        (18_180, "5 h 3 min"),
        (7200, "2 h"),
        (14 * 86_400, "14 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(("state", "words"), [("starting", ", which is being started"), ("started", "")])
def test_child(state: str, words: str) -> None:
    child = PendingWait("child", 'Charge "charge-1"', 4, state=state)
    assert said(waits=[child]) == f'Running, waits for: child Charge "charge-1"{words}'
