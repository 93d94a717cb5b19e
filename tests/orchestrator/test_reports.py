"""What is said of open activities by somebody who is no worker: each is done once, and survives a takeover."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError
from odradek.orchestrator.core import effects as fx
from odradek.schemas import records as r
from odradek.workflow.definition import Definition

from .partition import Owner, Partition

LONG = timedelta(hours=1)


@workflow.defn
class Waiting:
    options: dict[str, Any]

    @workflow.run
    async def run(self) -> str:
        try:
            answer: str = await workflow.execute_activity("approve", activity_id="by-hand", **self.options)
            return answer
        except ActivityError as error:
            return f"{type(error.cause).__name__}: {error.cause}, {error.retry_state}"


@workflow.defn
class Several:
    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(initial_interval=LONG)
        for _ in range(3):
            workflow.start_activity("approve", start_to_close_timeout=LONG, retry_policy=policy)
        await workflow.sleep(9999)


def waiting(**options: Any) -> tuple[Partition, Owner, r.Request]:
    Waiting.options = {"start_to_close_timeout": LONG, **options}
    partition = Partition([Waiting])
    owner = Owner(partition, activities=False)
    owner.shard.worker_partition = lambda worker: 3 if worker else None
    request = partition.start("a", "Waiting")
    owner.run()
    return partition, owner, request


def tasks(partition: Partition) -> list[r.TaskRecord]:
    return [e.task for e in partition.emitted if isinstance(e, fx.SendTask) and e.task is not None]


def told(partition: Partition) -> list[str]:
    replies = [e.body for e in partition.emitted if isinstance(e, fx.Reply)]
    return [body.reason for body in replies if isinstance(body, r.AttemptRevoked)]


def begun(partition: Partition, owner: Owner, worker: str = "w1", *, detached: bool = False) -> None:
    task = tasks(partition)[-1]
    body = r.ActivityStarted(task.run_id, task.seq, task.attempt, worker, partition.now_ms, detached)
    partition.send("a", body)
    owner.run()


def ended(partition: Partition, owner: Owner, **facts: Any) -> None:
    task = tasks(partition)[-1]
    failure = r.Failure(r.FailureKind.APPLICATION, "broken", **facts)
    partition.send("a", r.ActivityResult(task.run_id, task.seq, task.attempt, "w1", partition.now_ms, None, failure))
    owner.run()


def report(partition: Partition, owner: Owner, kind: str, **facts: Any) -> Any:
    request = facts.pop("request", None) or partition.request()
    where = {"activity_id": "by-hand", **facts} if "seq" not in facts else facts
    partition.send("a", r.ReportActivity(request, None, kind, **where))
    owner.run()
    return partition.replies(request)[-1]


def control(partition: Partition, owner: Owner, action: str, **facts: Any) -> Any:
    request = facts.pop("request", None) or partition.request()
    partition.send("a", r.ControlActivity(request, None, action, **facts))
    owner.run()
    return partition.replies(request)[-1]


def wait(partition: Partition, owner: Owner) -> r.Wait:
    request = partition.request()
    partition.send("a", r.DescribeWorkflow(request, None))
    owner.run()
    found: r.Wait = partition.replies(request)[-1].waits[0]
    return found


# ------------------------------------------------------------------------------------------------------------ reports


def test_completed_by_id_and_by_number() -> None:
    for by_id in (True, False):
        partition, owner, request = waiting()
        begun(partition, owner, detached=True)
        where = {"activity_id": "by-hand"} if by_id else {"seq": tasks(partition)[-1].seq, "attempt": 1}
        answer = report(partition, owner, "completed", result=partition.payload("yes"), **where)
        assert isinstance(answer, r.Accepted)
        assert partition.result(request) == "yes"


def test_a_report_that_is_sent_again_is_answered_again_even_by_the_next_owner() -> None:
    partition, owner, request = waiting()
    begun(partition, owner, detached=True)
    same = partition.request()
    first = report(partition, owner, "failed", failure=r.Failure(r.FailureKind.APPLICATION, "no"), request=same)
    assert isinstance(first, r.Accepted)
    assert wait(partition, owner).attempt == 2
    successor = Owner(partition, activities=False)
    successor.run()
    again = report(partition, successor, "failed", failure=r.Failure(r.FailureKind.APPLICATION, "no"), request=same)
    assert isinstance(again, r.Accepted)
    assert wait(partition, successor).attempt == 2
    assert request.id


@pytest.mark.parametrize(
    "where", [{"activity_id": "other"}, {"seq": 99, "attempt": 1}, {"seq": 1, "attempt": 2}], ids=str
)
def test_what_nobody_waits_for_is_refused(where: dict[str, Any]) -> None:
    partition, owner, _ = waiting()
    answer = report(partition, owner, "completed", **where)
    assert answer.code == "ODR-115"


def test_no_loss_of_its_worker_ends_a_detached_attempt() -> None:
    partition, owner, request = waiting()
    begun(partition, owner)
    begun(partition, owner, detached=True)
    owner.shard.worker_lost("w1", "silent")
    owner.run()
    assert (wait(partition, owner).state, wait(partition, owner).attempt) == ("started", 1)
    report(partition, owner, "completed", result=partition.payload("late"))
    assert partition.result(request) == "late"


def test_its_time_limits_go_on() -> None:
    partition, owner, request = waiting(
        start_to_close_timeout=timedelta(seconds=10), retry_policy=RetryPolicy(maximum_attempts=1)
    )
    begun(partition, owner, detached=True)
    owner.pass_time(11)
    assert partition.result(request).startswith("TimeoutError: start-to-close timeout of 10 s")


def test_heartbeats_keep_it_alive_and_their_details_are_kept() -> None:
    partition, owner, _ = waiting(heartbeat_timeout=timedelta(seconds=10))
    begun(partition, owner, detached=True)
    for number in range(3):
        owner.pass_time(8)
        assert isinstance(report(partition, owner, "heartbeat", details=[partition.payload(number)]), r.Accepted)
    assert wait(partition, owner).heartbeat_details == (partition.payload(2),)
    owner.pass_time(11)
    owner.pass_time(2)
    assert tasks(partition)[-1].attempt == 2
    assert tasks(partition)[-1].heartbeat_details == (partition.payload(2),)


def test_a_cancellation_is_told_at_the_heartbeat_and_its_report_ends_it() -> None:
    partition, owner, request = waiting(cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
    begun(partition, owner, detached=True)
    partition.send("a", r.CancelWorkflow("no more", request=partition.request()))
    owner.run()
    refused = report(partition, owner, "heartbeat")
    assert (refused.code, refused.status) == ("ODR-116", "cancelled")
    report(partition, owner, "cancelled", details=[partition.payload("half")])
    assert partition.result(request).startswith("CancelledError: Cancelled")


# ----------------------------------------------------------------------------------------------------------- controls


def test_a_pause_holds_retries_back_until_it_ends() -> None:
    partition, owner, _ = waiting()
    ended(partition, owner)
    assert isinstance(control(partition, owner, "pause", activity_id="by-hand", reason="look first"), r.Accepted)
    owner.pass_time(100)
    assert (len(tasks(partition)), wait(partition, owner).state) == (1, "paused")
    successor = Owner(partition, activities=False)
    successor.run()
    successor.pass_time(100)
    assert len(tasks(partition)) == 1
    control(partition, successor, "unpause", activity_id="by-hand")
    successor.pass_time(0.001)
    assert [task.attempt for task in tasks(partition)] == [1, 2]


def test_a_pause_tells_those_that_run_and_those_that_begin() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner)
    control(partition, owner, "pause", activity_type="approve")
    assert told(partition) == ["paused"]
    begun(partition, owner, "w2")
    assert told(partition) == ["paused", "paused"]
    ended(partition, owner, type="ActivityStopped")
    owner.pass_time(1000)
    assert len(tasks(partition)) == 1


def test_a_result_counts_while_it_is_paused() -> None:
    partition, owner, request = waiting()
    begun(partition, owner)
    control(partition, owner, "pause")
    report(partition, owner, "completed", result=partition.payload("all the same"))
    assert partition.result(request) == "all the same"


def test_a_reset_counts_from_one_and_begins_at_once() -> None:
    policy = RetryPolicy(initial_interval=timedelta(seconds=10), maximum_attempts=3)
    partition, owner, request = waiting(retry_policy=policy)
    for _ in range(2):
        ended(partition, owner)
        assert not isinstance(partition.replies(request)[-1], r.RunOutcome)
        control(partition, owner, "reset", activity_id="by-hand", reset_heartbeat=True)
        owner.pass_time(0.001)
    last = tasks(partition)[-1]
    assert (last.attempt, last.attempts_before) == (3, 2)
    for _ in range(2):
        ended(partition, owner)
        owner.pass_time(30)
    assert tasks(partition)[-1].attempt == 5
    ended(partition, owner)
    assert partition.result(request).endswith("maximum-attempts-reached")


def test_a_reset_tells_the_attempt_that_runs() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner)
    control(partition, owner, "reset")
    assert told(partition) == ["reset"]
    ended(partition, owner, type="ActivityStopped")
    owner.pass_time(1)
    last = tasks(partition)[-1]
    assert last.attempt - last.attempts_before == 1


def test_a_reset_may_stay_paused() -> None:
    partition, owner, _ = waiting()
    ended(partition, owner)
    control(partition, owner, "pause")
    control(partition, owner, "reset", keep_paused=True)
    owner.pass_time(100)
    assert wait(partition, owner).state == "paused"
    control(partition, owner, "reset")
    owner.pass_time(0.001)
    assert tasks(partition)[-1].attempt == 2


def test_changed_limits_hold_at_once_and_a_changed_queue_gets_the_task() -> None:
    partition, owner, _ = waiting(retry_policy=RetryPolicy(maximum_attempts=1))
    options = r.ActivityOptions("elsewhere", r.ActivityTimeouts(schedule_to_close_ms=5000), r.RetryPolicy())
    control(partition, owner, "change", options=options, changed=["task_queue", "timeouts.schedule_to_close_ms"])
    assert [task.task_queue for task in tasks(partition)] == ["queue", "elsewhere"]
    assert tasks(partition)[-1].timeouts == r.ActivityTimeouts(5000, None, 3_600_000, None)
    assert tasks(partition)[-1].retry_policy.maximum_attempts == 1
    successor = Owner(partition, activities=False)
    successor.run()
    successor.pass_time(6)
    request = partition.request()
    partition.send("a", r.AwaitResult(request, None))
    successor.run()
    assert partition.result(request).startswith("TimeoutError: schedule-to-close timeout of 5 s")


def test_wishes_for_nothing_are_refused() -> None:
    partition, owner, _ = waiting()
    assert control(partition, owner, "pause", activity_id="other").code == "ODR-115"
    assert control(partition, owner, "pause", activity_type="other").code == "ODR-115"


# -------------------------------------------------------------------------------------------------------- lost workers


def test_an_activity_that_takes_worker_after_worker_down_is_stopped() -> None:
    partition, owner, request = waiting()
    for number in range(5):
        begun(partition, owner, f"w{number}")
        owner.shard.worker_lost(f"w{number}", "silent")
        owner.run()
        owner.pass_time(101)
    result = partition.result(request)
    assert "ODR-118: 5 workers in succession" in result
    assert result.endswith("non-retryable-failure")


def test_a_failure_of_another_kind_between_them_begins_the_count_anew() -> None:
    partition, owner, request = waiting()
    for number in range(8):
        begun(partition, owner, f"w{number}")
        if number == 4:
            ended(partition, owner)
        else:
            owner.shard.worker_lost(f"w{number}", "silent")
            owner.run()
        owner.pass_time(101)
    assert not any(isinstance(reply, r.RunOutcome) for reply in partition.replies(request))


# -------------------------------------------------------------------------------------------------- what stays as it is


def test_a_task_is_sent_anew_only_where_a_changed_queue_lacks_it() -> None:
    partition, owner, _ = waiting()
    options = r.ActivityOptions("another", r.ActivityTimeouts(), r.RetryPolicy())
    control(partition, owner, "change", options=options, changed=("priority",))
    begun(partition, owner)
    control(partition, owner, "change", options=options, changed=("task_queue",))
    assert len(tasks(partition)) == 1


def test_a_reset_of_what_nobody_has_begun_sends_no_second_task() -> None:
    partition, owner, _ = waiting()
    control(partition, owner, "reset")
    owner.pass_time(1)
    assert len(tasks(partition)) == 1
    assert wait(partition, owner).state == "dispatched"


def test_an_attempt_that_waits_begins_when_the_pause_ends() -> None:
    partition, owner, _ = waiting(retry_policy=RetryPolicy(initial_interval=LONG))
    begun(partition, owner)
    ended(partition, owner)
    control(partition, owner, "pause")
    control(partition, owner, "unpause")
    owner.pass_time(1)
    assert [task.attempt for task in tasks(partition)] == [1, 2]


def test_attempts_that_are_reset_together_spread_over_the_jitter() -> None:
    partition, owner, _ = waiting(retry_policy=RetryPolicy(initial_interval=LONG))
    partition.start("b", "Several")
    partition.hosted["Several"] = Definition.of(Several)
    owner.run()
    for task in tasks(partition)[1:]:
        failure = r.Failure(r.FailureKind.APPLICATION, "broken")
        result = r.ActivityResult(task.run_id, task.seq, 1, "w1", partition.now_ms, None, failure)
        partition.send("b", result)
    partition.send("b", r.ControlActivity(partition.request(), None, "reset", activity_type="approve", jitter_ms=9000))
    owner.run()
    live = owner.shard.workflow("b").live
    assert live is not None
    begin = {activity.progress.retry_at_ms for activity in live.run.activities.values()}
    assert len(begin) == 3
    assert all(at is not None and 0 <= at - partition.now_ms <= 9000 for at in begin)


def test_a_heartbeat_of_a_paused_activity_is_told_so() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner, detached=True)
    control(partition, owner, "pause", reason="for now")
    refused = report(partition, owner, "heartbeat")
    assert (refused.code, refused.status) == ("ODR-116", "paused")


def test_a_reset_may_forget_what_heartbeats_said() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner, detached=True)
    report(partition, owner, "heartbeat", details=[partition.payload("half way")])
    control(partition, owner, "reset", reset_heartbeat=True)
    ended(partition, owner)
    owner.pass_time(2)
    assert len(tasks(partition)) == 2
    assert not tasks(partition)[-1].heartbeat_details


def test_a_result_of_an_attempt_that_has_failed_or_not_begun_does_not_count() -> None:
    partition, owner, _ = waiting(retry_policy=RetryPolicy(initial_interval=LONG))
    begun(partition, owner)
    ended(partition, owner)
    task = tasks(partition)[-1]
    result = partition.payload("too late, or too early")
    for attempt in (task.attempt, task.attempt + 1):
        partition.send("a", r.ActivityResult(task.run_id, task.seq, attempt, "w1", partition.now_ms, result))
    owner.run()
    assert wait(partition, owner).state == "backing-off"


def test_nothing_is_left_of_attempts_once_their_activity_is_over() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner)
    report(partition, owner, "heartbeat")
    task = tasks(partition)[-1]
    partition.send("a", r.ActivityResult(task.run_id, task.seq, 1, "w1", partition.now_ms, partition.payload("yes")))
    owner.run()
    last = dict(record for record in partition.history if record)
    progress = [value for key, value in last.items() if b"\0p1\0" in key]
    assert progress == [None]
    assert not any(owner.shard.holders.values())


def test_who_works_on_is_told_that_his_time_is_over() -> None:
    partition, owner, _ = waiting(start_to_close_timeout=timedelta(seconds=5))
    begun(partition, owner)
    owner.pass_time(6)
    assert told(partition) == ["timed-out"]


def test_the_loss_of_a_worker_is_looked_at_again_where_a_run_waits_for_the_log() -> None:
    partition, owner, _ = waiting()
    begun(partition, owner)
    partition.start("b", "Waiting")
    owner.run()
    task = tasks(partition)[-1]
    partition.send("b", r.ActivityStarted(task.run_id, task.seq, task.attempt, "w1", partition.now_ms))
    owner.run()
    first, second = owner.shard.workflow("a").live, owner.shard.workflow("b").live
    assert first is not None
    assert second is not None
    first.barrier = True
    owner.shard.worker_lost("w1", "silent")
    assert second.run.activities[1].progress.retry_at_ms is not None
    assert first.run.activities[1].progress.retry_at_ms is None
    first.barrier = False
    owner.shard.worker_lost("w1", "silent")
    assert first.run.activities[1].progress.retry_at_ms is not None


def test_who_begins_an_attempt_of_a_run_that_is_over_is_told_so() -> None:
    partition, owner, _ = waiting()
    partition.send("a", r.TerminateWorkflow(partition.request()))
    owner.run()
    begun(partition, owner)
    assert told(partition) == ["closed"]
    ended(partition, owner)
    assert told(partition) == ["closed"]
