"""Large payloads, alone and together: what comes of them fits into records, and nobody beside them waits."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError
from odradek.log import Record
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.host import EVENT_RECORD_BYTES, RECORD_MARGIN_BYTES
from odradek.schemas import records as r
from odradek.schemas.topics import RECORD_BYTES_MAX
from odradek.worker import Worker
from tests.fuzz.inbox import ADMISSION, CODEC, FuzzedOwner
from tests.fuzz.workflows import Healthy
from tests.orchestrator.partition import Partition

MB = 1_000_000
LARGEST = RECORD_BYTES_MAX - RECORD_MARGIN_BYTES
HOUR = timedelta(hours=1)
LARGE_TEXT = 2 * 1024 * 1024 - 100


@workflow.defn
class Tries:
    """An activity that is tried again and again."""

    @workflow.run
    async def run(self, text: str) -> str:
        policy = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=4)
        limits = {"schedule_to_close_timeout": 2 * HOUR, "heartbeat_timeout": HOUR}
        return str(await workflow.execute_activity("work", text, retry_policy=policy, **limits))


@workflow.defn
class Returns:
    @workflow.run
    async def run(self, text: str, count: int) -> str:
        return "r" * count


class SizedPartition(Partition):
    """A log that takes what a broker would."""

    def land(self, key: bytes, value: bytes | None) -> int:
        assert len(key) + len(value or b"") <= RECORD_BYTES_MAX, f"{key[:60]!r} has {len(value or b'')} bytes"
        return super().land(key, value)

    def arrive(self, workflow_id: str, body: Any) -> None:
        """As somebody appends it, if a broker takes that."""
        value = CODEC.encode(r.InboxRecord(self.now_ms, body))
        assert len(value) <= RECORD_BYTES_MAX
        record = Record("test.inbox", 0, len(self.inbox), self.now_ms, workflow_id.encode(), value)
        (admitted,) = ADMISSION.take([record], self.now_ms)
        if isinstance(admitted, InboxItem):
            self.inbox.append(admitted)


@pytest.fixture
def partition() -> SizedPartition:
    made = SizedPartition(
        (Tries, Returns, Healthy),
        record_bytes_max=EVENT_RECORD_BYTES,
        event_bytes_max=LARGEST - RECORD_MARGIN_BYTES // 8,
        replays_each_activation=False,
    )
    made.codec = CODEC
    return made


def payload(size: int) -> r.Payload:
    return r.Payload("json/plain", b'"' + b"x" * size + b'"')


def failure(size: int) -> r.Failure:
    return r.Failure("application", "m" * 1000, "Large", details=[payload(size)])


def tasks(partition: Partition) -> list[r.TaskRecord]:
    found = [e.task for e in partition.emitted if isinstance(e, fx.SendTask) and e.task]
    return [task for task in found if task.activity_type == "work"]


def check(partition: SizedPartition, owner: FuzzedOwner) -> None:
    """Another workflow completes, and the next owner can read all that was written."""
    partition.start("healthy", "Healthy", "healthy")
    owner.run()
    successor = FuzzedOwner(partition)
    successor.run()
    waits = partition.request()
    partition.send("healthy", r.SignalWorkflow("tell", [partition.payload("go")], request=partition.request()))
    successor.run()
    successor.pass_time(2)
    partition.send("healthy", r.AwaitResult(waits))
    successor.run()
    assert partition.result(waits) == ["healthy", "go"]
    assert not successor.shard.lost_records


@pytest.mark.parametrize("heartbeat", [int(1.9 * MB), int(3.9 * MB)])
@pytest.mark.parametrize("failed", [int(1.9 * MB), int(3.9 * MB)])
def test_heartbeats_and_failures(partition: SizedPartition, heartbeat: int, failed: int) -> None:
    """Both stand in the progress of an activity, and at its end in one event."""
    owner = FuzzedOwner(partition)
    request = partition.start("tries", "Tries", "text")
    owner.run()
    for attempt in range(1, 5):
        task = tasks(partition)[-1]
        assert task.attempt == attempt
        partition.arrive(
            "tries", r.ActivityHeartbeat(task.run_id, task.seq, attempt, "worker", 1, [payload(heartbeat)])
        )
        partition.arrive("tries", r.ActivityResult(task.run_id, task.seq, attempt, "worker", 1, None, failure(failed)))
        owner.run()
        owner.pass_time(60)
    outcome = next(body for body in partition.replies(request) if isinstance(body, r.RunOutcome))
    assert outcome.status == "failed"
    assert outcome.failure is not None
    assert (outcome.failure.cause is not None) == (failed < 2 * MB), "what a workflow fails with is limited, too"
    assert "Activity task failed" in outcome.failure.message
    check(partition, owner)


@pytest.mark.parametrize("size", [int(1.9 * MB), int(3.9 * MB)])
def test_a_result_after_a_failure(partition: SizedPartition, size: int) -> None:
    """The end of an activity says its last failure, too."""
    owner = FuzzedOwner(partition)
    request = partition.start("tries", "Tries", "text")
    owner.run()
    task = tasks(partition)[-1]
    partition.arrive("tries", r.ActivityResult(task.run_id, task.seq, 1, "worker", 1, None, failure(size)))
    owner.run()
    owner.pass_time(60)
    partition.arrive("tries", r.ActivityResult(task.run_id, task.seq, 2, "worker", 1, payload(size)))
    owner.run()
    outcome = next(body for body in partition.replies(request) if isinstance(body, r.RunOutcome))
    assert outcome.status == ("completed" if size < 2 * MB else "failed")
    check(partition, owner)


@pytest.mark.parametrize("cron", ["", "* * * * *"])
@pytest.mark.parametrize("memo", [0, int(2.4 * MB)])
def test_all_that_the_end_of_a_run_says(partition: SizedPartition, memo: int, cron: str) -> None:
    """Its result, its memo, and with a schedule the whole start of the next run with that result."""
    owner = FuzzedOwner(partition)
    start = r.StartWorkflow(
        partition.request(), "Returns", "queue", [payload(int(1.4 * MB)), r.Payload("json/plain", b"1900000")],
        memo={"memo": payload(memo)}, cron_schedule=cron, wait_result=True,
    )  # fmt: skip
    partition.arrive("returns", start)
    owner.run()
    for _ in range(3):
        owner.pass_time(61)
    described = partition.request()
    partition.send("returns", r.DescribeWorkflow(described))
    owner.run()
    assert partition.replies(described)
    check(partition, owner)


@activity.defn
async def fails_large(text: str) -> None:
    activity.heartbeat("h" * LARGE_TEXT)
    raise RuntimeError("once more")


@workflow.defn
class CallsLarge:
    @workflow.run
    async def run(self) -> str:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=1))
        try:
            await workflow.execute_activity(
                fails_large, "x" * LARGE_TEXT, start_to_close_timeout=HOUR, retry_policy=policy
            )
        except ActivityError as error:
            return str(error.cause)
        return ""


def test_a_task_that_does_not_fit() -> None:
    """Arguments and heartbeat details, each as large as allowed: the activity fails instead of waiting for days."""

    async def main() -> str:
        async with (
            await Client.connect(f"memory://{uuid.uuid4().hex}") as client,
            Worker(client, task_queue="q", workflows=[CallsLarge], activities=[fails_large]),
        ):
            return await asyncio.wait_for(client.execute_workflow(CallsLarge.run, id="large", task_queue="q"), 30)

    assert "ODR-105" in asyncio.run(main())


def test_signals_of_all_sizes(partition: SizedPartition) -> None:
    owner = FuzzedOwner(partition)
    partition.start("healthy-0", "Healthy", "healthy-0")
    owner.run()
    for size in (LARGEST - 200_000, LARGEST - 70_000, LARGEST - 10_000, LARGEST):
        partition.arrive("healthy-0", r.SignalWorkflow("tell", [payload(size)], request=partition.request()))
    owner.run()
    owner.pass_time(2)
    check(partition, owner)
