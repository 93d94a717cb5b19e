"""What ``make compare ARGS="…"`` understands."""

from __future__ import annotations

import pytest

from benchmarks.peers.__main__ import arguments, is_complete, plan_of
from benchmarks.peers.contestants import CONTESTANTS
from benchmarks.peers.works import WORKS, Plan


def test_without_arguments_everybody_does_everything() -> None:
    options = arguments([])
    assert options.only == list(CONTESTANTS)
    assert options.work == frozenset(WORKS)
    assert is_complete(options)


def test_a_subset_keeps_the_order_of_measuring() -> None:
    options = arguments(["--only", "restate,odradek", "--work", "latency,chain", "--quick"])
    assert options.only == ["odradek", "restate"]
    assert options.work == {"chain", "latency"}
    assert not is_complete(options)


def test_one_name_may_stand_for_several() -> None:
    assert arguments(["--only", "temporal"]).only == ["temporal-pg", "temporal-dev"]
    assert set(arguments(["--only", "peers"]).only) == {"restate", "dbos", "temporal-pg", "temporal-dev"}
    assert arguments(["--work", "signals,fan-out"]).work == {"sleepers", "fan_out"}


@pytest.mark.parametrize(("option", "value"), [("--only", "airflow"), ("--work", "sorting")])
def test_a_stranger_is_named_with_those_there_are(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments([option, value])
    said = capsys.readouterr().err
    assert f'is called "{value}"; there are ' in said


def test_quick_is_less_of_everything() -> None:
    quick, whole = plan_of(arguments(["--quick"])), plan_of(arguments([]))
    assert quick.minutes == 8
    assert whole.minutes == 27
    assert quick.chain_seconds < whole.chain_seconds
    assert plan_of(arguments(["--quick", "--minutes", "3", "--fan-out", "10000"])).minutes == 3


def test_a_plan_is_over_when_its_minutes_are() -> None:
    assert not Plan(minutes=60).over()
    assert Plan(minutes=0).over()
