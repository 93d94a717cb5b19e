"""A replay of a history that was changed ends, with a code; nothing of it hangs or is carried out."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from odradek.client import WorkflowHistory
from odradek.schemas import records as r
from odradek.worker.replayer import ReplayFailed
from tests.fuzz.replays import REPLAYER, check_seed, recorded
from tests.fuzz.test_inbox import FUZZED


@FUZZED
@given(seed=st.integers(0, 10**9))
@example(2)
@example(5)
@example(32)
def test_any_history(seed: int) -> None:
    check_seed(seed)


def longer(body: r.EventBody) -> WorkflowHistory:
    """A history that the code fits, and one more event."""
    told = recorded()[0]
    last = told.events[-1]
    events = (*told.events, r.Event(last.n + 1, last.time_ms, body))
    return WorkflowHistory(told.workflow_id, events, run_id=told.run_id)


async def test_an_input_that_nobody_deferred() -> None:
    """It waited for ever once."""
    assert (await REPLAYER.replay_workflow(recorded()[0])).replay_failure is None
    with pytest.raises(ReplayFailed, match="ODR-079"):
        await REPLAYER.replay_workflow(longer(r.DeferredApplied(0)))


@pytest.mark.parametrize("body", [r.ActivityCompleted(99, None, 1, 0, ""), r.ChildStarted(99, "run")])
async def test_the_end_of_what_was_never_begun(body: r.EventBody) -> None:
    """As that of something which the code has given up: it decides nothing."""
    assert (await REPLAYER.replay_workflow(longer(body))).replay_failure is None


@pytest.mark.parametrize("time_ms", [-1, -(2**63), 0, 1, 2**63 - 1])
def test_times_that_are_none_come_back(time_ms: int) -> None:
    history = WorkflowHistory("w", (r.Event(1, time_ms, r.TimerFired(1)),), run_id="run")
    assert WorkflowHistory.from_json("w", history.to_json()).events == history.events
