"""What the guard against slower steps makes of its figures."""

from __future__ import annotations

from pathlib import Path

from benchmarks.check import record, recorded, verdict


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
