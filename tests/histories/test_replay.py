"""Every history that a build of ours has recorded must replay on this one, and on all that come."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from odradek import workflow
from odradek.client import WorkflowHistory
from odradek.schemas import records as r
from odradek.worker import HistoryMismatch, Replayer, ReplayFailed
from odradek.workflow import NondeterminismError
from tests.histories.workflows import SOON, WORKFLOWS, double, flaky

FOLDER = Path(__file__).parent
RECORDED = sorted(FOLDER.glob("v*/*.json"))


def recorded(name: str | Path) -> WorkflowHistory:
    path = FOLDER / name
    return WorkflowHistory.from_json(path.stem, path.read_text())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
async def test_a_recorded_history_replays(path: Path) -> None:
    result = await Replayer(workflows=WORKFLOWS).replay_workflow(recorded(path))
    assert result.replay_failure is None


def test_the_histories_cover_every_workflow() -> None:
    types = {
        e.body.workflow_type for p in RECORDED for e in recorded(str(p)).events if isinstance(e.body, r.RunStarted)
    }
    assert types == {cls.__name__ for cls in WORKFLOWS}


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_histories_replay_in_another_process(seed: str) -> None:
    """What the order of a set or dict of hashes could change, another process would decide otherwise."""
    program = (
        "import asyncio, pathlib\n"
        "from odradek.client import WorkflowHistory\n"
        "from odradek.worker import Replayer\n"
        "from tests.histories.workflows import WORKFLOWS\n"
        "paths = sorted(pathlib.Path('tests/histories').glob('v*/*.json'))\n"
        "histories = [WorkflowHistory.from_json(path.stem, path.read_text()) for path in paths]\n"
        "asyncio.run(Replayer(workflows=WORKFLOWS).replay_workflows(histories))\n"
        "print(len(paths))\n"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=FOLDER.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, str(len(RECORDED))), done.stderr


@workflow.defn(name="Chained")
class OtherFirst:
    @workflow.run
    async def run(self, steps: int) -> int:
        value: int = await workflow.execute_activity(flaky, steps, start_to_close_timeout=SOON)
        return value


@workflow.defn(name="Chained")
class OneFewer:
    @workflow.run
    async def run(self, steps: int) -> int:
        value = 1
        for _ in range(steps - 1):
            value = await workflow.execute_activity(double, value, start_to_close_timeout=SOON)
        return value


@workflow.defn(name="Chained")
class TwoAtOnce:
    @workflow.run
    async def run(self, steps: int) -> int:
        first = workflow.start_activity(double, steps, start_to_close_timeout=SOON)
        second = workflow.start_activity(double, steps, start_to_close_timeout=SOON)
        return int(await first) + int(await second)


@workflow.defn(name="Chained")
class Idle:
    @workflow.run
    async def run(self, steps: int) -> int:
        await workflow.wait_condition(lambda: False)
        return steps


@workflow.defn(name="Chained")
class Failing:
    @workflow.run
    async def run(self, steps: int) -> int:
        raise KeyError(steps)


def line_of(cls: type, text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"class {cls.__name__}"))
    return next(number for number, line in enumerate(lines[first:], first + 1) if text in line)


async def refused(changed: type) -> HistoryMismatch:
    with pytest.raises(NondeterminismError) as raised:
        await Replayer(workflows=[changed]).replay_workflow(recorded("v0/chained.json"))
    assert isinstance(raised.value, HistoryMismatch)
    assert "workflow.patched" in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    return raised.value


async def test_another_activity_is_named_with_its_line() -> None:
    error = await refused(OtherFirst)
    assert (error.event, error.recorded) == (2, 'ActivityScheduled(1, "double")')
    assert error.made == 'ActivityScheduled(1, "flaky")'
    assert error.place == f"{__file__}:{line_of(OtherFirst, 'flaky')}, in OtherFirst.run"
    assert f"event 2 of {error.events}" in str(error)


async def test_a_run_that_ends_too_early_names_its_method() -> None:
    error = await refused(OneFewer)
    assert error.made == "RunCompleted"
    assert error.recorded == 'ActivityScheduled(4, "double")'
    assert error.place.endswith("in OneFewer.run")


async def test_a_command_too_many_is_placed_before_what_history_goes_on_with() -> None:
    error = await refused(TwoAtOnce)
    assert (error.event, error.recorded) == (3, "ActivityCompleted(1)")
    assert error.made == 'ActivityScheduled(2, "double")'
    assert error.place == f"{__file__}:{line_of(TwoAtOnce, 'second =')}, in TwoAtOnce.run"


async def test_a_command_too_few_says_where_the_code_waits() -> None:
    error = await refused(Idle)
    assert (error.event, error.made) == (2, "")
    assert error.place == f"{__file__}:{line_of(Idle, 'wait_condition')}, in Idle.run"
    assert "does not do that there" in str(error)


async def test_an_open_history_is_compared_to_its_end() -> None:
    whole = recorded("v0/chained.json")
    begun = WorkflowHistory("chained", whole.events[:2])
    assert (await Replayer(workflows=WORKFLOWS).replay_workflow(begun)).replay_failure is None
    with pytest.raises(HistoryMismatch, match="history ends after event 2") as raised:
        await Replayer(workflows=[TwoAtOnce]).replay_workflow(begun)
    assert raised.value.event == 3


async def test_code_that_raises_a_bug_is_no_mismatch() -> None:
    with pytest.raises(ReplayFailed, match="KeyError: 4") as raised:
        await Replayer(workflows=[Failing]).replay_workflow(recorded("v0/chained.json"))
    assert isinstance(raised.value.__cause__, KeyError)


async def test_errors_that_fail_a_workflow_are_given_to_the_replayer_as_to_a_worker() -> None:
    whole = recorded("v0/chained.json")
    replayer = Replayer(workflows=[Failing], workflow_failure_exception_types=[KeyError])
    begun = WorkflowHistory("w", whole.events[:1])
    assert (await replayer.replay_workflow(begun, raise_on_replay_failure=False)).replay_failure is not None
    failed = r.Event(1, whole.events[0].time_ms, r.RunFailed(r.Failure("application", "KeyError: 4")))
    result = await replayer.replay_workflow(WorkflowHistory("w", [whole.events[0], failed]))
    assert result.replay_failure is None


async def test_a_type_that_the_replayer_does_not_know() -> None:
    with pytest.raises(ReplayFailed, match='its type is "Chained", and the replayer has Telling'):
        await Replayer(workflows=[WORKFLOWS[-1]]).replay_workflow(recorded("v0/chained.json"))


async def test_failures_of_many_are_collected() -> None:
    histories = [recorded("v0/chained.json"), recorded("v0/telling.json"), recorded("v0/cancelled.json")]
    replayer = Replayer(workflows=[OtherFirst, *WORKFLOWS[1:]])
    results = await replayer.replay_workflows(iter(histories), raise_on_replay_failure=False)
    assert list(results.replay_failures) == [histories[0].run_id]
    with pytest.raises(HistoryMismatch):
        await replayer.replay_workflows(histories)

    async def one_by_one() -> object:
        for history in histories:
            yield history

    async with replayer.workflow_replay_iterator(one_by_one()) as replayed:  # type: ignore[arg-type]
        assert [result.replay_failure is None async for result in replayed] == [False, True, True]


def test_a_replayer_needs_workflows() -> None:
    with pytest.raises(ValueError, match="ODR-077"):
        Replayer(workflows=[])
