"""What the guard against slower steps makes of its figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.chain import Burst, Measured, times_raw
from benchmarks.check import record, recorded, verdict
from benchmarks.machine import WarmUp


def test_a_step_may_cost_fifteen_percent_more_than_usual_and_no_more() -> None:
    before = [9.0, 4.0, 10.0, 10.0, 10.0, 50.0]  # of the last five the median is 10
    assert verdict(11.4, before) is None
    assert "16% more than the 10.00" in (verdict(11.6, before) or "")
    assert verdict(99.0, []) is None, "nothing to compare with"


def test_a_commit_that_is_measured_again_has_its_newest_figure(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert recorded(path) == []
    for commit, ratio in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        record(path, {"commit": commit, "times_raw": ratio})
    assert [(line["commit"], line["times_raw"]) for line in recorded(path)] == [("b", 2.0), ("a", 3.0)]


def test_each_burst_is_held_against_the_raw_one_of_its_time() -> None:
    """The machine was half as quick for one of three pairs, and then for half of another."""
    raw = Measured([Burst(1, 1000, {"broker": cpu}) for cpu in (0.1, 0.2, 0.1)])
    found = Measured([Burst(1, 1000, {"broker": cpu / 2, "worker": cpu / 2}) for cpu in (1.0, 2.0, 2.0)])
    assert times_raw(found, raw) == 10.0
    assert (found.cpu_per_1000(), found.cpu_per_1000("worker"), raw.cpu_per_1000()) == (2.0, 1.0, 0.1)


def test_a_broker_is_warm_when_a_step_costs_it_hardly_less() -> None:
    warm_up = WarmUp(seconds_max=60)
    assert [warm_up.is_over(cost) for cost in (0.8, 0.4, 0.38, 0.3, 0.28)] == [False] * 5, "once may be chance"
    assert warm_up.is_over(0.31)
    assert WarmUp(seconds_max=0).is_over(0.8), "the time is over"
