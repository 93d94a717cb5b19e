"""Erasing a closed workflow: nothing of what it was about is left, and what keeps repetitions from counting is."""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.orchestrator.core.run import MESSAGE_LIFETIME_MS
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition

SECRET = "a-secret-4711"


@workflow.defn
class Telling:
    """Ends when it is told to, with what it was told; goes on as a new run first."""

    def __init__(self) -> None:
        self._told = ""

    @workflow.run
    async def run(self, text: str, turns: int) -> str:
        await workflow.wait_condition(lambda: bool(self._told))
        if turns:
            workflow.continue_as_new(args=[text, turns - 1])
        return text + self._told

    @workflow.signal
    def tell(self, text: str) -> None:
        self._told = text


@workflow.defn
class Dozing:
    """Ends without another input."""

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.sleep(60)
        return text


def told(partition: Partition, request: r.Request | None = None) -> r.Request:
    request = request or partition.request()
    partition.send("wf", r.SignalWorkflow("tell", [partition.payload(SECRET)], request=request))
    return request


def erase(partition: Partition, owner: Owner) -> Any:
    request = partition.request()
    partition.send("wf", r.EraseWorkflow(request))
    owner.run()
    (answer,) = partition.replies(request)
    return answer


def ended(turns: int = 0) -> tuple[Partition, Owner, r.Request, r.Request]:
    partition = Partition([Telling])
    owner = Owner(partition)
    started = partition.start("wf", "Telling", SECRET, turns, memo={"note": partition.payload(SECRET)})
    signalled = [told(partition)]
    owner.run()
    for _ in range(turns):
        signalled.append(told(partition))
        owner.run()
    return partition, owner, started, signalled[-1]


def holds(partition: Partition) -> bool:
    """Whether the secret stands in the history, as the cleaner leaves it."""
    partition.compact()
    return any(SECRET.encode() in value for record in partition.history if record for value in [record[1]] if value)


@pytest.mark.parametrize("turns", [0, 2])
def test_nothing_of_it_is_left_under_this_owner_or_the_next(turns: int) -> None:
    """All runs of a chain."""
    partition, owner, started, _ = ended(turns)
    assert holds(partition)
    assert isinstance(erase(partition, owner), r.Accepted)
    owner.shard.checkpoint(partition.now_ms)
    owner.run()
    assert not holds(partition)
    following = Owner(partition)
    following.run()
    for closed in (owner.shard.workflow("wf").closed, following.shard.workflow("wf").closed):
        assert len(closed) == turns + 1
        assert started.id in {seen.id for summary in closed.values() for seen in summary.requests}
        for summary in closed.values():
            assert (summary.result, summary.memo, summary.archive) == (None, {}, ())
            assert summary.failure is not None
            assert summary.failure.message.startswith("ODR-253")
            assert summary.expires_ms <= partition.now_ms + MESSAGE_LIFETIME_MS
    assert not holds(partition)


def test_repeated_requests_do_not_count_again() -> None:
    """A client's start and signal that come twice find that they have been taken in."""
    partition, owner, started, signalled = ended()
    erase(partition, owner)
    owner = Owner(partition)
    partition.start("wf", "Telling", SECRET, 0, request=started)
    told(partition, signalled)
    owner.run()
    assert owner.shard.workflow("wf").live is None
    assert [type(body) for body in partition.replies(signalled)] == [r.Accepted, r.Accepted]


def test_whoever_asks_for_the_result_is_told_that_it_was_erased() -> None:
    partition, owner, _, _ = ended()
    erase(partition, owner)
    request = partition.request()
    partition.send("wf", r.AwaitResult(request))
    owner.run()
    (outcome,) = partition.replies(request)
    assert (outcome.status, outcome.result) == ("terminated", None)
    assert "ODR-253" in outcome.failure.message


def test_an_open_run_is_not_erased() -> None:
    partition = Partition([Telling])
    owner = Owner(partition)
    partition.start("wf", "Telling", SECRET, 0)
    owner.run()
    refused = erase(partition, owner)
    assert (refused.code, refused.status) == ("ODR-252", "running")
    told(partition)
    owner.run()
    assert isinstance(erase(partition, owner), r.Accepted)


def read_again(partition: Partition, offset: int) -> Owner:
    """A next owner, while an input of another workflow has kept x before this offset."""
    owner = Owner(partition)
    owner.shard.taken = offset - 1
    owner.inbox_at = offset
    owner.run()
    return owner


def test_what_was_refused_is_not_done_by_the_next_owner() -> None:
    """The answer was given: somebody may have been glad of it."""
    partition = Partition([Dozing])
    owner = Owner(partition)
    partition.start("wf", "Dozing", SECRET)
    owner.run()
    assert erase(partition, owner).code == "ODR-252"
    owner.pass_time(61)
    (summary,) = read_again(partition, len(partition.inbox) - 1).shard.workflow("wf").closed.values()
    assert (summary.status, summary.result) == ("completed", partition.payload(SECRET))


def test_a_run_that_has_begun_since_is_not_erased_by_the_next_owner() -> None:
    partition, owner, _, _ = ended()
    assert isinstance(erase(partition, owner), r.Accepted)
    offset = len(partition.inbox) - 1
    partition.start("wf", "Telling", "another", 0)
    told(partition)
    owner.run()
    following = read_again(partition, offset)
    assert {summary.status for summary in following.shard.workflow("wf").closed.values()} == {"terminated", "completed"}
    assert isinstance(erase(partition, following), r.Accepted)
    assert {summary.status for summary in following.shard.workflow("wf").closed.values()} == {"terminated"}


def test_twice_is_once_and_nothing_is_erased_already() -> None:
    partition, owner, _, _ = ended()
    assert isinstance(erase(partition, owner), r.Accepted)
    owner.run()
    before = len([record for record in partition.history if record and b"\0s0\0" in record[0]])
    assert isinstance(erase(partition, owner), r.Accepted)
    assert len([record for record in partition.history if record and b"\0s0\0" in record[0]]) == before
    partition.send("other", r.EraseWorkflow(request := partition.request()))
    owner.run()
    assert [type(body) for body in partition.replies(request)] == [r.Accepted]


def test_it_is_forgotten_after_a_day_and_its_id_is_free_before() -> None:
    partition, owner, _, _ = ended()
    erase(partition, owner)
    partition.start("wf", "Telling", "another", 0)
    owner.run()
    (live,) = [owner.shard.workflow("wf").live]
    assert live is not None
    owner.pass_time(MESSAGE_LIFETIME_MS / 1000 + 1)
    assert owner.shard.workflow("wf").closed == {}
    assert owner.shard.workflow("wf").live is live
