"""Questions and requests that name a run: a closed one beside the open one, one that is ending, one that never was."""

from __future__ import annotations

import asyncio
from typing import Any

from odradek import workflow
from odradek.schemas import records as r
from odradek.workflow.definition import Definition
from tests.orchestrator.listening import Listening, say
from tests.orchestrator.partition import Owner, Partition


@workflow.defn
class Asked:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def how(self) -> str:
        return "well"

    @workflow.update
    async def wait_for(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @wait_for.validator
    def check(self, seconds: float) -> None:
        if seconds < workflow.time() % 60:
            raise ValueError("that is over")

    @workflow.signal
    def bug(self) -> None:
        raise RuntimeError("a bug")


def opened(**limits: Any) -> tuple[Partition, Owner, str, str]:
    """A closed run of "w", and an open one."""
    partition = Partition([Listening, Asked], **limits)
    owner = Owner(partition)
    memo = {"note": partition.payload("of the first")}
    first = partition.start("w", "Listening", 1, memo=memo)
    owner.run()
    say(partition, "w", "first")
    owner.run()
    second = partition.start("w", "Listening", 2)
    owner.run()
    return partition, owner, partition.replies(first)[0].run_id, partition.replies(second)[0].run_id


def answer(partition: Partition, owner: Owner, kind: Any, *arguments: Any, to: str = "w", **options: Any) -> Any:
    request = partition.request()
    partition.send(to, kind(request, *arguments, **options))
    owner.run()
    return partition.replies(request)[-1]


def test_a_closed_run_is_told_of_while_another_is_open() -> None:
    partition, owner, closed, live = opened()
    outcome = answer(partition, owner, r.AwaitResult, closed)
    assert (outcome.run_id, outcome.status) == (closed, "completed")
    page = answer(partition, owner, r.FetchHistory, closed)
    assert (page.run_id, page.status, bool(page.archive)) == (closed, "completed", True)
    page = answer(partition, owner, r.FetchHistory)
    assert (page.run_id, page.status, bool(page.events)) == (live, "running", True)
    description = answer(partition, owner, r.DescribeWorkflow, closed)
    assert (description.run_id, description.status, description.history_bytes) == (closed, "completed", 0)
    assert description.memo == {"note": partition.payload("of the first")}


def test_a_run_that_never_was_is_unknown_to_everybody() -> None:
    partition, owner, closed, _ = opened()
    for kind, arguments in ((r.AwaitResult, ()), (r.FetchHistory, ()), (r.QueryWorkflow, ("how",))):
        refused = answer(partition, owner, kind, *arguments, run_id="never")
        assert refused.code == "ODR-100"
    assert answer(partition, owner, r.AwaitUpdate, "u1", "never").code == "ODR-100"
    refused = answer(partition, owner, lambda request: r.SignalWorkflow("say", run_id=closed, request=request))
    assert (refused.code, refused.run_id) == ("ODR-102", closed)
    assert f"(run {closed})" in refused.message


def test_a_run_whose_end_is_on_its_way_is_still_told_of() -> None:
    partition, owner, _, live = opened()
    for word in ("one", "two"):
        say(partition, "w", word)
    owner.read()
    owner.land_all()
    assert list(owner.shard.workflow("w").ending) == [live]
    for run_id in (None, live):
        partition.send("w", r.FetchHistory(partition.request(), run_id))
    owner.read()
    owner.land_all()
    effects = owner.shard.writer.outbox
    pages = [body for effect in effects if isinstance(body := getattr(effect, "body", None), r.HistoryPage)]
    assert [(page.run_id, bool(page.events)) for page in pages] == [(live, True)] * 2


def test_a_history_is_read_page_by_page() -> None:
    """At least one event, however small a page is."""
    partition, owner, _, live = opened(history_page_bytes=0)
    say(partition, "w", "one")
    owner.run()
    numbers: list[int | None] = [0]
    while numbers[-1] is not None:
        page = answer(partition, owner, r.FetchHistory, live, numbers[-1])
        assert (page.first_event, len(page.events)) == (numbers[-1], 1)
        numbers.append(page.next_event)
    assert numbers == [0, 1, None]
    partition, owner, _, live = opened()
    say(partition, "w", "one")
    owner.run()
    page = answer(partition, owner, r.FetchHistory, live)
    assert (len(page.events), page.next_event) == (2, None)


# -------------------------------------------------------------------------------------------------------------- starts


def test_a_start_with_a_signal_that_finds_a_run_waits_for_its_result() -> None:
    partition, owner, _, live = opened()
    signal = r.SignalWorkflow("say", [partition.payload("one")])
    joined = partition.start("w", "Listening", 9, signal=signal)
    alone = partition.request()
    partition.send("w", r.StartWorkflow(alone, "Listening", "queue", [partition.payload(9)], signal=signal))
    owner.run()
    accepted = partition.replies(joined)[0]
    assert (accepted.run_id, accepted.already) == (live, True)
    assert partition.result(joined) == ["one", "one"]
    assert [type(body) for body in partition.replies(alone)] == [r.Accepted]


def test_a_start_with_a_signal_may_end_the_run_that_it_finds() -> None:
    partition, owner, _, live = opened()
    signal = r.SignalWorkflow("say", [partition.payload("one")])
    request = partition.start("w", "Listening", 1, signal=signal, id_conflict_policy="terminate-existing")
    owner.run()
    assert partition.result(request) == ["one"]
    assert answer(partition, owner, r.AwaitResult, live).status == "terminated"


def test_a_start_delay_counts_also_where_there_is_a_schedule() -> None:
    partition, owner, *_ = opened()
    partition.start("c", "Asked", cron_schedule="0 0 1 1 *", start_delay_ms=5000)
    owner.run()
    (wait,) = answer(partition, owner, r.DescribeWorkflow, to="c").waits
    assert (wait.name, wait.due_ms) == ("start delay", partition.now_ms + 5000)


# ------------------------------------------------------------------------------------------------------------- updates


def test_an_update_id_is_its_own_and_a_rejection_that_of_its_request() -> None:
    partition, owner, *_ = opened()
    partition.start("a", "Asked")
    owner.run()
    owner.pass_time(61)
    minute = partition.now_ms / 1000 % 60
    rejected = partition.request("rejected")

    def update(request: r.Request, id: str, seconds: float) -> r.UpdateOutcome:
        partition.send("a", r.UpdateWorkflow(request, id, "wait_for", [partition.payload(seconds)]))
        owner.run()
        outcome = partition.replies(request)[-1]
        assert isinstance(outcome, r.UpdateOutcome)
        return outcome

    assert update(rejected, "u1", minute - 1).failure is not None
    accepted = partition.request()
    assert not update(accepted, "u1", minute + 1).completed
    assert update(rejected, "u1", minute - 1).failure is not None
    assert not update(accepted, "u1", minute + 1).completed
    owner.pass_time(60)
    for _ in range(2):
        assert update(rejected, "u1", minute - 1).failure is not None
        assert answer(partition, owner, r.AwaitUpdate, "u1", to="a").failure is None
        assert answer(partition, owner, r.AwaitUpdate, "u2", to="a").code == "ODR-139"
        partition.send("a", r.TerminateWorkflow(partition.request()))
        owner.run()


def test_who_waits_for_an_update_is_told_that_its_run_is_parked() -> None:
    partition, owner, *_ = opened(parked_runs_fail_waits=True)
    partition.start("a", "Asked")
    update = r.UpdateWorkflow(partition.request(), "u1", "wait_for", [partition.payload(90)], wait_completed=True)
    partition.send("a", update)
    owner.run()
    assert isinstance(partition.replies(update.request)[-1], r.UpdateOutcome)
    partition.send("a", r.SignalWorkflow("bug", request=partition.request()))
    owner.run()
    assert isinstance(partition.replies(update.request)[-1], r.Refused)


@workflow.defn(name="Listening")
class Deaf:
    @workflow.run
    async def run(self, enough: int) -> list[str]:
        await asyncio.sleep(1)
        return []

    @workflow.query
    def words(self) -> list[str]:
        return []


def test_a_query_on_a_closed_run_that_does_not_replay_says_so() -> None:
    partition, _, closed, _ = opened()
    partition.hosted["Listening"] = Definition.of(Deaf)
    refused = answer(partition, Owner(partition), r.QueryWorkflow, "words", run_id=closed)
    assert (refused.code, refused.run_id) == ("ODR-108", closed)
    assert "cannot answer" in refused.message
