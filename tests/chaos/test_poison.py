"""What cannot be read, and code that cannot go on, cost one workflow at most: its partition goes on."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.client import Client, WorkflowHandle
from odradek.client.description import ParkedInfo, WorkflowExecutionDescription
from odradek.log import Record
from odradek.log.namespace import FACTS_KEY, Namespace, open_namespace, read_to_end
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r
from odradek.schemas.compiled import encode_long
from odradek.schemas.records import SCHEMA_VERSION
from odradek.worker import Worker
from tests.chaos.shop import Shop
from tests.chaos.sleepers import Sleeper

pytestmark = pytest.mark.kafka
QUEUE = "orders"
A_DAY_SECONDS = 24 * 3600.0
SECONDS_MAX = timedelta(seconds=20)
TEXT_OF_OTHERS = [b"hello", b"garbage", b"\x02\x00\xff", b"{}"]

Handle = WorkflowHandle[Any, Any]


@asynccontextmanager
async def deployed(shop: Shop, *workflows: type) -> AsyncIterator[Client]:
    """An orchestrator that hosts these, in this process; at the end it has handed over and is gone."""
    settings = OrchestratorSettings(session_timeout_seconds=2, checkpoint_seconds=0.1)
    async with (
        await shop.connect() as client,
        Worker(client, task_queue=QUEUE, workflows=workflows, orchestrator_settings=settings),
    ):
        yield client


async def sleep(client: Client, name: str) -> WorkflowHandle[Sleeper, list[str]]:
    handle = await client.start_workflow(Sleeper.run, A_DAY_SECONDS, id=name, task_queue=QUEUE, rpc_timeout=SECONDS_MAX)
    await handle.signal(Sleeper.note, name)
    return handle


async def wakes(handle: WorkflowHandle[Sleeper, list[str]]) -> bool:
    await handle.signal(Sleeper.wake, rpc_timeout=SECONDS_MAX)
    return await handle.result(rpc_timeout=SECONDS_MAX) == [handle.id]


def neighbours(namespace: Namespace, name: str, count: int = 3) -> list[str]:
    """Workflow IDs of the same partition."""
    candidates = (f"neighbour-{number}" for number in itertools.count())
    wanted = namespace.partition(name)
    return list(itertools.islice((other for other in candidates if namespace.partition(other) == wanted), count))


async def append(namespace: Namespace, topic: str, name: str, *pairs: tuple[bytes | None, bytes | None]) -> list[int]:
    """Append to the partition of a workflow as somebody else might; the offsets."""
    appender = namespace.log.appender()
    offsets: list[int] = []
    for key, value in pairs:
        appender.append(topic, namespace.partition(name), key, value, lambda offset, error: offsets.append(offset or 0))
    await asyncio.to_thread(appender.close)
    assert len(offsets) == len(pairs)
    return offsets


def dead_letters(namespace: Namespace) -> list[r.DeadLetterRecord]:
    topic = namespace.topics.dead_letter
    info = namespace.log.topic(topic)
    assert info is not None
    records = [record for p in range(info.partitions) for record in read_to_end(namespace.log, topic, p)]
    return [namespace.codec.decode(r.DeadLetterRecord, record.value or b"") for record in records]


# ---------------------------------------------------------------------------------------------------- bytes


async def test_unreadable_inbox_records_go_to_the_dead_letter_topic(shop: Shop) -> None:
    """With the reason and the place where each came from; what stands before and behind them is served."""
    namespace = open_namespace(shop.log, shop.topics.namespace)
    key, topic = b"poisoned", namespace.topics.inbox
    async with deployed(shop, Sleeper) as client:
        before = await sleep(client, "poisoned")
        pairs = [(key, text) for text in TEXT_OF_OTHERS] + [(None, b"hello"), (key, None), (b"\xff", b"hello")]
        offsets = await append(namespace, topic, "poisoned", *pairs)
        behind = [await sleep(client, name) for name in neighbours(namespace, "poisoned")]
        assert all(await asyncio.gather(*map(wakes, [before, *behind])))
        await shop.until(lambda: len(dead_letters(namespace)) >= len(pairs), "the dead letters")
    found = {dead.offset: dead for dead in dead_letters(namespace)}
    assert sorted(found) == sorted(offsets)
    for (poison_key, value), offset in zip(pairs, offsets, strict=True):
        dead = found[offset]
        assert (dead.topic, dead.partition) == (topic, namespace.partition("poisoned"))
        assert (dead.key, dead.value, dead.code) == (poison_key, value, "ODR-002")
        assert dead.reason


def recorded(description: WorkflowExecutionDescription) -> WorkflowExecutionDescription:
    """Without the conditions, which only code that is in memory can tell."""
    waits = [wait for wait in description.waits if wait.kind != "condition"]
    return dataclasses.replace(description, waits=waits)


@pytest.mark.parametrize("garbage", TEXT_OF_OTHERS)
async def test_unreadable_history_record_costs_one_workflow(shop: Shop, garbage: bytes) -> None:
    """It is kept as a dead letter, and all others of its partition are taken over as they were."""
    namespace = open_namespace(shop.log, shop.topics.namespace)
    partition = namespace.partition("victim")
    topic = namespace.topics.history
    async with deployed(shop, Sleeper) as client:
        await sleep(client, "victim")
        others = [await sleep(client, name) for name in neighbours(namespace, "victim")]
        before = [recorded(await handle.describe()) for handle in others]
    is_its_own: Callable[[Record], bool] = lambda record: (record.key or b"").startswith(b"victim\0")  # noqa: E731
    key = next(filter(is_its_own, read_to_end(namespace.log, topic, partition))).key
    offsets = await append(namespace, topic, "victim", (key, garbage), (b"no such key", garbage))
    async with deployed(shop, Sleeper) as client:
        others = [client.get_workflow_handle_for(Sleeper.run, handle.id) for handle in others]
        after = [recorded(await handle.describe(rpc_timeout=SECONDS_MAX)) for handle in others]
        assert after == before
        assert all(await asyncio.gather(*map(wakes, others)))
        await shop.until(lambda: len(dead_letters(namespace)) >= len(offsets), "the dead letters")
    found = {(dead.topic, dead.partition, dead.offset): dead for dead in dead_letters(namespace)}
    assert sorted(found) == [(topic, partition, offset) for offset in sorted(offsets)]
    assert all(dead.reason and dead.value == garbage for dead in found.values())


def as_newer(record: bytes) -> bytes:
    """The same as a build would write it that knows the next version, after "odradek upgrade"."""
    return encode_long(SCHEMA_VERSION + 1) + record.removeprefix(encode_long(SCHEMA_VERSION))


async def test_record_of_a_newer_build_waits_for_one(shop: Shop) -> None:
    """An older process leaves with exit code 5 and takes nothing of it in; a newer one finds all of it."""
    namespace = open_namespace(shop.log, shop.topics.namespace)
    older = shop.orchestrator("older")
    async with await shop.connect() as client:
        handle = await sleep(client, "sleeper")
        payload = client.data_converter.payload_converter.to_payload("newer")
        record = namespace.codec.encode(r.InboxRecord(0, r.SignalWorkflow("note", [payload])))
        newer = as_newer(record)
        shop.processes.remove(older)
        upgraded = namespace.codec.encode(r.WorkersRecord(r.NamespaceFacts(namespace.partitions, SCHEMA_VERSION + 1)))
        appender = shop.log.appender()
        appender.append(namespace.topics.workers, 0, FACTS_KEY, as_newer(upgraded))
        appender.close()
        await append(namespace, namespace.topics.inbox, "sleeper", (b"sleeper", newer))
        await handle.signal(Sleeper.note, "behind it", wait=False)
        await shop.until(lambda: older.ended() is not None, "the older build to leave")
        assert older.ended() == 5
        assert "deploy a newer odradek" in older.output()
        older.start()
        await shop.until(lambda: older.ended() is not None, "the older build to leave again")
        assert older.ended() == 5
        shop.orchestrator("newer", entry="tests.chaos.newer_build")
        await handle.signal(Sleeper.wake, rpc_timeout=SECONDS_MAX)
        assert await handle.result(rpc_timeout=SECONDS_MAX) == ["sleeper", "newer", "behind it"]
    assert dead_letters(namespace) == []


# ---------------------------------------------------------------------------------------------------- code


@workflow.defn(name="Changing")
class Good:
    """Waits for two signals, with a timer between them."""

    def __init__(self) -> None:
        self._count = 0

    @workflow.run
    async def run(self) -> int:
        for wanted in (1, 2):
            await workflow.wait_condition(lambda wanted=wanted: self._count >= wanted)  # type: ignore[misc]
            await asyncio.sleep(0.05)
        return self._count

    @workflow.signal
    def go(self) -> None:
        self._count += 1


@workflow.defn(name="Changing")
class Buggy(Good):
    """Its second signal meets a bug."""

    @workflow.run
    async def run(self) -> int:
        await super().run()
        raise AssertionError

    @workflow.signal
    def go(self) -> None:
        self._count += 1
        if self._count == 2:
            raise ValueError("no such thing as two")


@workflow.defn(name="Changing")
class Reordered(Good):
    """Runs an activity where old runs have a timer."""

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self._count >= 1)
        await workflow.execute_activity("count", start_to_close_timeout=timedelta(minutes=1))
        return -1


async def parked(shop: Shop, handle: Handle) -> ParkedInfo:
    """Why it is parked, once it is."""
    found: list[ParkedInfo] = []

    async def is_parked() -> bool:
        description = await handle.describe(rpc_timeout=SECONDS_MAX)
        found[:] = [description.parked] if description.parked else []
        return bool(found)

    await shop.until(is_parked, f"{handle.id} to be parked")
    return found[0]


async def begin(client: Client) -> Handle:
    return await client.start_workflow("Changing", id="changing", task_queue=QUEUE, result_type=int)


async def others_are_served(client: Client, shop: Shop) -> bool:
    namespace = open_namespace(shop.log, shop.topics.namespace)
    handles = [await sleep(client, name) for name in neighbours(namespace, "changing")]
    return all(await asyncio.gather(*map(wakes, handles)))


def is_tried_again(info: ParkedInfo) -> bool:
    return info.failures >= 1 and timedelta() < info.next_try - info.since <= timedelta(minutes=2)


async def test_unknown_type_waits_for_a_process_that_hosts_it(shop: Shop) -> None:
    """Its inputs are recorded meanwhile; the description says which types are hosted, and when it is tried next."""
    async with deployed(shop, Sleeper) as client:
        handle = await begin(client)
        await handle.signal("go")
        info = await parked(shop, handle)
        assert info.code == "ODR-072"
        assert '"Changing" (hosted: Sleeper)' in info.message
        assert is_tried_again(info)
        assert await others_are_served(client, shop)
    async with deployed(shop, Sleeper, Good) as client:
        handle = client.get_workflow_handle("changing", result_type=int)
        await handle.signal("go", rpc_timeout=SECONDS_MAX)
        assert await handle.result(rpc_timeout=SECONDS_MAX) == 2
        assert (await handle.describe()).parked is None


async def test_workflow_with_a_bug_waits_for_the_fix(shop: Shop) -> None:
    """The input that met the bug is kept, and the fixed code goes on with it."""
    async with deployed(shop, Sleeper, Buggy) as client:
        handle = await begin(client)
        await handle.signal("go")
        await handle.signal("go")
        info = await parked(shop, handle)
        assert (info.code, info.message) == ("ODR-071", "ValueError: no such thing as two")
        assert is_tried_again(info)
        assert await others_are_served(client, shop)
    async with deployed(shop, Sleeper, Good) as client:
        handle = client.get_workflow_handle("changing", result_type=int)
        assert await handle.result(rpc_timeout=SECONDS_MAX) == 2


async def test_nondeterministic_change_waits_for_the_code_that_began_it(shop: Shop) -> None:
    """The description names the first event that differs; with the old code back, the run goes on where it was."""
    async with deployed(shop, Sleeper, Good) as client:
        handle = await begin(client)
        await handle.signal("go")
        await shop.until(lambda: _timer_has_fired(handle), "the first timer")
    async with deployed(shop, Sleeper, Reordered) as client:
        handle = client.get_workflow_handle("changing", result_type=int)
        await handle.signal("go", rpc_timeout=SECONDS_MAX)
        info = await parked(shop, handle)
        assert "ODR-070: the history records TimerStarted(1)" in info.message
        assert 'ActivityScheduled(1, "count")' in info.message
        assert is_tried_again(info)
        assert await others_are_served(client, shop)
    async with deployed(shop, Sleeper, Good) as client:
        handle = client.get_workflow_handle("changing", result_type=int)
        assert await handle.result(rpc_timeout=SECONDS_MAX) == 2


async def _timer_has_fired(handle: Handle) -> bool:
    history = await handle.fetch_history()
    return any(isinstance(event.body, r.TimerFired) for event in history.events)
