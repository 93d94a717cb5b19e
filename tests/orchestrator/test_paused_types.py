"""Runs of a workflow type that an operator has paused record what comes, and their code sees it when that is over."""

from __future__ import annotations

from typing import Any

from odradek import workflow
from odradek.orchestrator.core.paused import TYPE_PAUSED
from odradek.schemas import records as r
from tests.orchestrator.partition import Owner, Partition

BY_ADA = r.TypeControl("Collecting", 1_700_000_000_000, "a bad deploy", "ada@host")
code_ran: list[str] = []


@workflow.defn
class Collecting:
    """Returns what it was signalled, in order, and that its timer has fired."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        code_ran.append("init")

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.sleep(10)
        self.seen.append("timer")
        await workflow.wait_condition(lambda: "end" in self.seen)
        return self.seen

    @workflow.signal
    def add(self, what: str) -> None:
        self.seen.append(what)

    @workflow.query
    def so_far(self) -> list[str]:
        return self.seen

    @workflow.update
    def change(self) -> str:
        return "changed"


@workflow.defn
class Other:
    @workflow.run
    async def run(self) -> str:
        return "other"


def paused(partition: Partition) -> Owner:
    code_ran.clear()
    owner = Owner(partition)
    owner.shard.paused_types = {"Collecting": BY_ADA}
    return owner


def lift(owner: Owner) -> None:
    owner.shard.paused_types = {}
    owner.shard.types_resumed(owner.partition.now_ms)
    owner.pass_time(0.001)


def signal(partition: Partition, workflow_id: str, what: str) -> r.Request:
    request = partition.request()
    partition.send(workflow_id, r.SignalWorkflow("add", [partition.payload(what)], request=request))
    return request


def described(partition: Partition, owner: Owner, workflow_id: str) -> r.Description:
    request = partition.request()
    partition.send(workflow_id, r.DescribeWorkflow(request))
    owner.run()
    (answer,) = partition.replies(request)
    assert isinstance(answer, r.Description)
    return answer


def refusal(partition: Partition, owner: Owner, workflow_id: str, body: Any) -> r.Refused:
    partition.send(workflow_id, body)
    owner.run()
    (answer,) = partition.replies(body.request)
    assert isinstance(answer, r.Refused)
    return answer


def test_a_start_is_accepted_and_waits() -> None:
    """Other types go on meanwhile."""
    partition = Partition([Collecting, Other])
    owner = paused(partition)
    start, other = partition.start("w", "Collecting"), partition.start("o", "Other")
    owner.run()
    assert partition.result(other) == "other"
    assert code_ran == []
    parked = described(partition, owner, "w").parked
    assert parked is not None
    assert (parked.code, parked.since_ms, parked.failures) == (TYPE_PAUSED, BY_ADA.paused_ms, 0)
    assert 'workflow type "Collecting" is paused by an operator (ada@host): a bad deploy' in parked.message
    lift(owner)
    assert described(partition, owner, "w").parked is None
    signal(partition, "w", "end")
    owner.run()
    owner.pass_time(10)
    assert partition.result(start) == ["end", "timer"]


def test_what_comes_meanwhile_is_seen_in_order() -> None:
    """Signals and a timer that fires, of a run whose code was in memory already."""
    partition = Partition([Collecting])
    owner = Owner(partition)
    start = partition.start("w", "Collecting")
    owner.run()
    owner.shard.paused_types = {"Collecting": BY_ADA}
    shown = described(partition, owner, "w").parked
    assert shown is not None  # though nothing has come for it yet
    assert shown.code == TYPE_PAUSED
    taken = signal(partition, "w", "a")
    owner.run()
    assert isinstance(partition.replies(taken)[0], r.Accepted)
    owner.pass_time(11)
    signal(partition, "w", "end")
    owner.run()
    assert [body for body in partition.replies(start) if isinstance(body, r.RunOutcome)] == []
    lift(owner)
    assert partition.result(start) == ["a", "timer", "end"]


def test_the_next_owner_keeps_it_paused_and_then_lets_it_go_on() -> None:
    partition = Partition([Collecting])
    first = paused(partition)
    start = partition.start("w", "Collecting")
    signal(partition, "w", "a")
    first.run()
    second = paused(partition)
    second.run()
    signal(partition, "w", "end")
    second.run()
    second.pass_time(3600)
    assert code_ran == []
    lift(second)
    second.pass_time(10)
    assert partition.result(start) == ["a", "end", "timer"]


def test_questions_are_refused_with_the_reason_and_leave_nothing_behind() -> None:
    """A run that had nothing to see but was asked goes on like the others."""
    partition = Partition([Collecting])
    owner = Owner(partition)
    start = partition.start("w", "Collecting")
    owner.run()
    owner.shard.paused_types = {"Collecting": BY_ADA}
    query = r.QueryWorkflow(partition.request(), "so_far", [])
    update = r.UpdateWorkflow(partition.request(), "u1", "change", [])
    for body in (query, update):
        refused = refusal(partition, owner, "w", body)
        assert refused.code == "ODR-108"
        assert "is paused by an operator" in refused.message
    lift(owner)
    assert described(partition, owner, "w").parked is None
    assert owner.shard.parked == {}
    signal(partition, "w", "end")
    owner.run()
    owner.pass_time(10)
    assert partition.result(start) == ["end", "timer"]


def test_a_paused_run_can_be_terminated() -> None:
    partition = Partition([Collecting])
    owner = paused(partition)
    start = partition.start("w", "Collecting")
    owner.run()
    partition.send("w", r.TerminateWorkflow(partition.request(), "enough"))
    owner.run()
    (outcome,) = [body for body in partition.replies(start) if isinstance(body, r.RunOutcome)]
    assert outcome.status == "terminated"
    assert code_ran == []
    assert owner.shard.parked == {}


def test_who_waits_for_the_result_waits_on() -> None:
    """Also where parked runs fail those who wait, as in tests: nothing is wrong with the code."""
    partition = Partition([Collecting], parked_runs_fail_waits=True)
    owner = paused(partition)
    start = partition.start("w", "Collecting")
    owner.run()
    assert [body for body in partition.replies(start) if isinstance(body, r.Refused)] == []


def test_many_runs_go_on_a_few_at_a_time() -> None:
    """All of them, and within the time that their number takes."""
    partition = Partition([Collecting])
    owner = paused(partition)
    for number in range(20):
        partition.start(f"w{number}", "Collecting")
    owner.run()
    assert len(owner.shard.parked) == 20
    owner.shard.paused_types = {}
    owner.shard.types_resumed(partition.now_ms)
    owner.pass_time(0)
    assert 0 < len(owner.shard.parked) < 20
    owner.pass_time(0.004)
    assert owner.shard.parked == {}
