"""The simulated fleet against what queueing theory knows in closed form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.capacity import simulate
from benchmarks.capacity.figures import Turn
from benchmarks.capacity.simulate import Fleet, Simulation
from tests.benchmarks.capacity_figures import TURNS

FREE = Turn(0.0, 0.0)
ALONE = Fleet(1, 1, 8, 8, {"orchestrator": FREE, "worker": FREE, "log": FREE}, [0.0], steps=1)


def test_one_record_a_turn_is_the_queue_of_the_book() -> None:
    """M/D/1, by Pollaczek and Khinchine; here the worker is the server."""
    served, load = 0.001, 0.7
    fleet = replace(ALONE, turns={**ALONE.turns, "worker": Turn(0.0, served)}, concurrency=1)
    found = Simulation(fleet, 3, rate=load / served).run(80, 1)
    mean = sum(found.latencies_ms) / len(found.latencies_ms) / 1000
    assert mean == pytest.approx(served + served * load / (2 * (1 - load)), rel=0.04)
    assert found.busy["worker"] == [pytest.approx(load, rel=0.02)]


def test_a_turn_that_takes_everything_in_bounds_the_wait() -> None:
    """Where only the turn costs, who comes waits for the rest of it, half on average, and for the next one."""
    turn = 0.01
    fleet = replace(ALONE, turns={**ALONE.turns, "worker": Turn(turn, 0.0)})
    found = Simulation(fleet, 3, rate=8_000).run(3, 0.5)
    assert sum(found.latencies_ms) / len(found.latencies_ms) == pytest.approx(1.5 * turn * 1000, rel=0.03)
    assert found.records_per_turn["worker"] == pytest.approx(8_000 * turn, rel=0.03)


def test_busy_time_is_what_turns_and_records_cost() -> None:
    fleet = Fleet(1, 1, 8, 8, TURNS, [0.001])
    found = Simulation(fleet, 1, rate=800).run(5, 1)
    records = found.steps_per_second * 12 / 5
    turns = records / found.records_per_turn["orchestrator"]
    assert found.busy["orchestrator"] == [pytest.approx(turns * 100e-6 + records * 25e-6, rel=0.02)]


def test_without_cost_a_step_takes_its_appends() -> None:
    """18 appends of a chain of five steps, one after the other."""
    fleet = Fleet(1, 1, 8, 8, dict.fromkeys(TURNS, FREE), [0.002])
    found = Simulation(fleet, 1, open_workflows=1).run(1, 0.1)
    assert found.p(0.5) == pytest.approx(18 * 2 / 5, rel=0.001)
    assert found.p(0.99) == pytest.approx(18 * 2 / 5, rel=0.001)


def test_the_limit_is_that_of_full_turns() -> None:
    fleet = Fleet(1, 4, 8, 8, {**TURNS, "orchestrator": Turn(0.0, 25e-6)}, [0.001])
    found = Simulation(fleet, 1, open_workflows=2_000).run(1, 0.5)
    assert found.steps_per_second == pytest.approx(1 / (25e-6 * 12 / 5), rel=0.03)


def test_a_shared_core_is_shared() -> None:
    """Together they cannot use more than there is: the limit is the core over what a step costs them all."""
    fleet = Fleet(1, 1, 8, 8, {"orchestrator": Turn(0.0, 25e-6), "worker": Turn(0.0, 20e-6), "log": FREE}, [0.001])
    found = Simulation(replace(fleet, cores=1.0), 1, open_workflows=2_000).run(2, 1)
    assert found.steps_per_second == pytest.approx(1 / (25e-6 * 12 / 5 + 20e-6), rel=0.1)


def test_a_worker_runs_so_many_activities_at_a_time() -> None:
    """Little's law: ten places, 50 ms each, 200 a second."""
    turns = dict.fromkeys(TURNS, FREE)
    fleet = Fleet(1, 1, 8, 8, turns, [0.0001], concurrency=10, activity_seconds=0.05)
    found = Simulation(fleet, 1, open_workflows=100).run(10, 1)
    assert found.steps_per_second == pytest.approx(200, rel=0.02)


def test_partitions_that_do_not_come_out_even_make_one_process_the_busiest() -> None:
    even, uneven = (
        Simulation(Fleet(10, 4, count, 32, TURNS, [0.001]), 1, rate=10_000).run(1, 0.2).busy["orchestrator"]
        for count in (40, 15)
    )
    assert max(even) / min(even) < 1.1
    assert max(uneven) / min(uneven) > 1.25, "some have two partitions, others one"


def test_a_seed_says_everything() -> None:
    fleet = Fleet(2, 2, 8, 8, TURNS, [0.001, 0.002])
    first, second, other = (Simulation(fleet, seed, rate=500).run(0.5, 0.1) for seed in (1, 1, 2))
    assert first == second
    assert first.latencies_ms != other.latencies_ms


def test_a_turn_takes_no_more_than_an_orchestrator_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "RECORDS_PER_TURN", 4)
    found = Simulation(Fleet(1, 1, 8, 8, TURNS, [0.001]), 1, open_workflows=500).run(1, 0.2)
    assert found.records_per_turn["orchestrator"] == pytest.approx(4, rel=0.01)
