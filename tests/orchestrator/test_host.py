"""The process around the shards: failing appends, unknown offsets, records of a newer build, orderly hand-over."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from odradek import activity, workflow
from odradek.client import Client, RequestPolicy, RPCError
from odradek.log import Appender, AppendFailed, LogUnavailable, OnAppended, open_log
from odradek.log.memory import MemoryAppender, MemoryLog
from odradek.log.namespace import FACTS_KEY, Namespace, create_namespace, open_namespace, read_to_end
from odradek.orchestrator.core import inputs
from odradek.orchestrator.core.inputs import Inputs
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas.errors import NewerSchema
from odradek.schemas.records import (
    ActivityCompleted,
    ActivityScheduled,
    DeadLetterRecord,
    NamespaceFacts,
    SignalWorkflow,
    WorkerLease,
    WorkersRecord,
)
from odradek.schemas.topics import TopicSpec
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker
from odradek.workers import ActivityWorker

SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, claim_again_seconds=0.05, session_timeout_seconds=1)
SOON = {"start_to_close_timeout": timedelta(seconds=20)}
executed: Counter[str] = Counter()


@activity.defn
async def count(key: str) -> None:
    executed[key] += 1


@workflow.defn
class Counting:
    @workflow.run
    async def run(self, steps: int) -> int:
        for step in range(steps):
            await workflow.execute_activity(count, f"{workflow.info().workflow_id}/{step}", **SOON)
        return steps


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self, seconds: float) -> str:
        await workflow.sleep(timedelta(seconds=seconds))
        return "waited"

    @workflow.signal
    def bad(self) -> None:
        """Nothing comes of it."""


class FailingAppender(Appender):
    """Now and then says that an append failed, whether it landed or not; knows no offset once in a while."""

    def __init__(self, inner: Appender, chance: random.Random, share: float) -> None:
        self._inner, self._chance, self._share = inner, chance, share

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        if on_appended is None or ".history" not in topic or self._chance.random() >= self._share:
            self._inner.append(topic, partition, key, value, on_appended)
            return
        told = on_appended
        kind = self._chance.randrange(3)
        failure = AppendFailed(topic, partition, "injected", kind == 0)
        if kind == 1:
            self._inner.append(topic, partition, key, value, lambda offset, error: told(None, None))
        else:
            landing = value if kind == 2 else None
            if landing is not None:
                self._inner.append(topic, partition, key, landing, lambda offset, error: told(None, failure))
            else:
                told(None, failure)

    def poll(self, timeout_seconds: float = 0) -> int:
        return self._inner.poll(timeout_seconds)

    @property
    def in_flight(self) -> int:
        return self._inner.in_flight

    def flush(self, timeout_seconds: float) -> int:
        return self._inner.flush(timeout_seconds)

    def discard(self) -> None:
        self._inner.discard()

    def close(self, timeout_seconds: float = 5) -> None:
        self._inner.close(timeout_seconds)


@pytest.mark.parametrize("seed", range(3))
def test_failed_appends_and_unknown_offsets_cost_time_and_nothing_else(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer is discarded, everything is claimed again, each workflow completes and is decided once."""
    executed.clear()
    chance = random.Random(seed)
    make = MemoryLog.appender

    def appender(log: MemoryLog) -> Appender:
        inner = make(log)
        return (
            FailingAppender(inner, chance, 0.01) if threading.current_thread().name.endswith("orchestrator") else inner
        )

    monkeypatch.setattr(MemoryLog, "appender", appender)

    async def main() -> None:
        policy = RequestPolicy(retry_seconds=0.3, retry_seconds_max=0.5)
        async with (
            await Client.connect(f"memory://{uuid.uuid4().hex}", request_policy=policy) as client,
            Worker(client, task_queue="q", workflows=[Counting], activities=[count], orchestrator_settings=SETTINGS),
        ):
            runs = [client.execute_workflow(Counting.run, 6, id=f"w{n}", task_queue="q") for n in range(40)]
            assert await asyncio.wait_for(asyncio.gather(*runs), 60) == [6] * 40
            for n in range(40):
                events = (await client.get_workflow_handle(f"w{n}").fetch_history()).events
                scheduled = [e.body.seq for e in events if isinstance(e.body, ActivityScheduled)]
                assert scheduled == sorted(set(scheduled))
                assert len(scheduled) == 6

    asyncio.run(main())
    assert set(executed) == {f"w{n}/{step}" for n in range(40) for step in range(6)}


def in_thread(orchestrator: Orchestrator) -> tuple[threading.Thread, list[BaseException]]:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            orchestrator.run()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, failures


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def opened(partitions: int = 4) -> tuple[Any, Namespace]:
    log = open_log(f"memory://{uuid.uuid4().hex}")
    create_namespace(log, "host", partitions=partitions, queues=("q",))
    return log, open_namespace(log, "host")


def orchestrator(namespace: Namespace, workflow_type: type = Counting) -> Orchestrator:
    registry = Registry()
    registry.add([workflow_type])
    return Orchestrator(namespace, registry, settings=SETTINGS)


def test_partitions_are_shared_and_handed_over_in_order() -> None:
    _, namespace = opened()
    first, second = orchestrator(namespace), orchestrator(namespace)
    thread, failures = in_thread(first)
    eventually(first.ready.is_set, "the first one is live")
    assert len(first.owned) == 4
    other, _ = in_thread(second)
    eventually(lambda: len(first.owned) == 2 and len(second.owned) == 2 and second.ready.is_set(), "they share")
    first.stop()
    eventually(lambda: len(second.owned) == 4, "the second one has all")
    thread.join(10)
    second.stop()
    other.join(10)
    assert failures == []


def test_a_record_from_a_newer_schema_is_left_to_a_newer_process() -> None:
    """It is not bad input: nothing of it is dead-lettered or skipped, and the process says why it leaves."""
    log, namespace = opened()
    appender = log.appender()
    facts = b"\x04" + namespace.codec.encode(WorkersRecord(NamespaceFacts(namespace.partitions, 2)))[1:]
    appender.append(namespace.topics.workers, 0, FACTS_KEY, facts)  # as a newer "odradek upgrade" writes it
    appender.append(namespace.topics.inbox, 0, b"wf", b"\x04\x00\x00")  # version 2 as zigzag
    appender.close()
    served = orchestrator(namespace)
    thread, failures = in_thread(served)
    thread.join(20)
    assert [type(failure) for failure in failures] == [NewerSchema]
    assert log.offsets(namespace.topics.dead_letter, 0).end == 0


def test_a_version_that_nobody_may_write_yet_is_bad_input() -> None:
    """No process waits for a newer build because of it: the namespace's feature level was not raised."""
    log, namespace = opened()
    appender = log.appender()
    for partition in range(namespace.partitions):
        key = next(f"wf-{n}" for n in range(99) if namespace.partition(f"wf-{n}") == partition)
        appender.append(namespace.topics.inbox, partition, key.encode(), b"\x04\x00\x00")
    appender.close()
    served = orchestrator(namespace)
    thread, failures = in_thread(served)
    dead = namespace.topics.dead_letter
    eventually(lambda: log.offsets(dead, 0).end == namespace.partitions, "the dead letters")
    assert thread.is_alive()
    served.stop()
    thread.join(10)
    assert failures == []
    letters = [namespace.codec.decode(DeadLetterRecord, record.value or b"") for record in read_to_end(log, dead, 0)]
    assert {letter.code for letter in letters} == {"ODR-002"}
    assert "feature level is 1" in letters[0].reason


def test_garbage_in_the_inbox_goes_to_the_dead_letters_and_the_partition_goes_on() -> None:
    log, namespace = opened()
    appender = log.appender()
    for key, value in ((b"wf", b"garbage"), (None, b"\x02\x00"), (b"wf", None), (b"a\0b", b"\x02\x00")):
        appender.append(namespace.topics.inbox, namespace.partition("wf"), key, value)
    appender.close()

    async def main() -> None:
        served = orchestrator(namespace)
        thread, failures = in_thread(served)
        async with (
            Client(await _connection(log), namespace="host") as client,
            ActivityWorker(namespace, "q", [count]),
        ):
            assert await client.execute_workflow(Counting.run, 1, id="wf", task_queue="q") == 1
        served.stop()
        thread.join(10)
        assert failures == []

    asyncio.run(main())
    eventually(lambda: log.offsets(namespace.topics.dead_letter, 0).end == 4, "four dead letters")


@pytest.mark.parametrize("culprit", ["record", "time"])
def test_a_defect_of_ours_costs_one_workflow(culprit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition that fails over the same thing twice sets it aside; the workflows beside it go on."""
    if culprit == "record":
        signalled = Inputs.on_signal

        def on_signal(shard: Any, wf: Any, item: Any, body: SignalWorkflow) -> None:
            signalled(shard, wf, item, body)
            if body.name == "bad":
                raise RuntimeError("a defect")

        monkeypatch.setitem(inputs._HANDLERS, SignalWorkflow, on_signal)
    else:
        fired = Inputs._fire

        def _fire(shard: Any, live: Any, due_ms: int, kind: str, number: int) -> None:
            if live.run.workflow_id == "victim":
                raise RuntimeError("a defect")
            fired(shard, live, due_ms, kind, number)

        monkeypatch.setattr(Inputs, "_fire", _fire)
    log, namespace = opened(partitions=1)

    async def main() -> None:
        served = orchestrator(namespace, Waiting)
        thread, failures = in_thread(served)
        async with Client(await _connection(log), namespace="host") as client:
            victim = await client.start_workflow(Waiting.run, 0.2, id="victim", task_queue="q")
            if culprit == "record":
                with pytest.raises(RPCError, match="ODR-166"):
                    await victim.signal("bad")
                assert await victim.result() == "waited"
            assert await client.execute_workflow(Waiting.run, 0.2, id="other", task_queue="q") == "waited"
            if culprit == "time":
                parked = (await victim.describe()).parked
                assert parked is not None
                assert "ODR-167" in parked.message
                await victim.terminate("damaged")
                assert await client.execute_workflow(Waiting.run, 0, id="victim", task_queue="q") == "waited"
        served.stop()
        thread.join(10)
        assert failures == []

    asyncio.run(main())


async def _connection(log: Any) -> Any:
    from odradek.client.connection import Connection

    return Connection(log)


def test_one_that_cannot_join_closes_what_it_has_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    log, namespace = opened()
    monkeypatch.setattr(log, "membership", Mock(side_effect=LogUnavailable(log.address, "nobody answers")))
    closed = Mock()
    monkeypatch.setattr(MemoryAppender, "close", closed)
    before = set(threading.enumerate())
    with pytest.raises(LogUnavailable, match="nobody answers"):
        orchestrator(namespace).run()
    assert closed.call_count == 2, "history, and all else"
    assert set(threading.enumerate()) <= before


def test_leases_that_were_deleted_are_read_on_from_where_they_begin() -> None:
    """An offset out of range concerns its own topic only."""
    log, namespace = opened()
    served = orchestrator(namespace)
    thread, failures = in_thread(served)
    eventually(served.ready.is_set, "it is live")
    owned = dict(served.owned)
    log.delete_records(namespace.topics.workers, {0: log.offsets(namespace.topics.workers, 0).end})
    lease = WorkersRecord(WorkerLease("w", "w@host", "q", 3))
    appender = log.appender()
    appender.append(namespace.topics.workers, 0, b"w\0w", namespace.codec.encode(lease))
    appender.close()
    eventually(lambda: served.worker_partition("w") == 3, "the lease is known")
    assert served.owned == owned
    served.stop()
    thread.join(10)
    assert failures == []


async def test_a_queue_that_forgets_too_soon_is_warned_of(
    odradek_env: WorkflowEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    log = odradek_env.client.connection.log
    log.create_topics([TopicSpec("default.tasks.forgetful", 1, "delete", retention_ms=3_600_000)])
    for queue in ("forgetful", "lasting"):
        async with Worker(odradek_env.client, task_queue=queue, workflows=[Counting], activities=[count]):
            await odradek_env.client.execute_workflow(Counting.run, 1, id=queue, task_queue=queue)
    warned = [record.message for record in caplog.records if "ODR-147" in record.message]
    assert len(warned) == 1
    assert "topic default.tasks.forgetful keeps tasks for 1.0 h" in warned[0]


async def test_a_task_is_issued_again_when_its_topic_is_about_to_delete_it(odradek_env: WorkflowEnvironment) -> None:
    """Half of the retention has passed, and no worker has been there."""
    log, client = odradek_env.client.connection.log, odradek_env.client
    log.create_topics([TopicSpec("default.tasks.brief", 1, "delete", retention_ms=2000)])
    async with Worker(client, task_queue="brief", workflows=[Counting]):
        handle = await client.start_workflow(Counting.run, 1, id="brief", task_queue="brief")
        deadline = time.monotonic() + 20
        while log.offsets("default.tasks.brief", 0).end < 2:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        async with Worker(client, task_queue="brief", activities=[count]):
            await handle.result()
        bodies = [event.body for event in (await handle.fetch_history()).events]
    assert [body.attempt for body in bodies if isinstance(body, ActivityCompleted)] == [1]
