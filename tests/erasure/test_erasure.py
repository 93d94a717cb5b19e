"""What was erased cannot be read by anybody, in any topic, and everything else can: on a broker whose cleaner runs."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from odradek import activity, workflow
from odradek.client import Client, Erased, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.contrib.encryption import TopicKeyStore, WorkflowKeyCodec
from odradek.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    KeyErased,
    Payload,
)
from odradek.exceptions import ApplicationError, TerminatedError
from odradek.log import Log, Record, open_log
from odradek.log.namespace import create_namespace, open_namespace, read_to_end
from odradek.orchestrator.core import keys
from odradek.orchestrator.transfer.backup_file import BackupFile, write_backup
from odradek.orchestrator.transfer.copying import copy
from odradek.orchestrator.transfer.cut import Cut
from odradek.schemas import records as r
from odradek.service import RPCError
from odradek.testing.broker import LocalBroker
from odradek.worker import Worker
from tests.chaos.test_compacted import EAGER, configure

MASTER: Final = {"2026": bytes(range(32))}
LIMITS: Final[Any] = {
    "start_to_close_timeout": timedelta(seconds=30),
    "retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=20)),
}
CLEANING_SECONDS: Final = 40.0
KINDS: Final = {
    "inbox": r.InboxRecord,
    "history": r.HistoryRecord,
    "archive": r.ArchiveRecord,
    "replies": r.ReplyRecord,
    "visibility": r.VisibilityRecord,
    "tasks": r.TaskRecord,
    "workers": r.WorkersRecord,
    "dead-letter": r.DeadLetterRecord,
    "keys": r.DataKeyRecord,
}

pytestmark = pytest.mark.kafka


@activity.defn
async def tell(text: str) -> str:
    activity.heartbeat(text)
    if activity.info().attempt == 1:
        raise ApplicationError(f"not yet: {text}", text)
    return text


@workflow.defn
class Story:
    """Carries a secret through everything that takes values."""

    def __init__(self) -> None:
        self._told: list[str] = []

    @workflow.run
    async def run(self, secret: str) -> str:
        await workflow.wait_condition(lambda: len(self._told) == 2)
        return str(await workflow.execute_activity(tell, secret, **LIMITS))

    @workflow.signal
    def hear(self, secret: str) -> None:
        self._told.append(secret)

    @workflow.update
    def write(self, secret: str) -> str:
        self._told.append(secret)
        return secret

    @workflow.query
    def told(self) -> list[str]:
        return self._told


class Place:
    """A namespace on the broker, whose payloads are encrypted by workflow."""

    def __init__(self, address: str, name: str = "") -> None:
        self.address, self.name = address, name or f"erasure-{secrets.token_hex(3)}"
        if not name:
            with closing(open_log(address)) as log:
                create_namespace(log, self.name, partitions=2, queues=("q",))

    def store(self) -> TopicKeyStore:
        """With nothing in memory."""
        return TopicKeyStore(self.address, self.name, MASTER, "2026")

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        converter = DataConverter(
            payload_codec=WorkflowKeyCodec(self.store()),
            failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        )
        async with await Client.connect(self.address, namespace=self.name, data_converter=converter) as client:
            yield client

    def records(self) -> Iterator[tuple[str, Record]]:
        """All of every topic."""
        with closing(open_log(self.address)) as log:
            for topic in log.topics(f"{self.name}."):
                info = log.topic(topic)
                for partition in range(info.partitions if info else 0):
                    for record in read_to_end(log, topic, partition):
                        yield topic.removeprefix(f"{self.name}.").partition(".")[0], record


def payloads_in(value: Any) -> Iterator[Payload]:
    if isinstance(value, Payload):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from payloads_in(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from payloads_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from payloads_in(item)


async def readable(place: Place) -> dict[str, int]:
    """How often each word of a secret can be read, in whatever topic, by somebody who has the master key."""
    codec, store = WorkflowKeyCodec(place.store()), open_namespace(open_log(place.address), place.name)
    found: dict[str, int] = {}
    for part, record in place.records():
        if record.value is None:
            continue
        texts = [record.value]
        for payload in payloads_in(store.codec.decode(KINDS[part], record.value)):
            try:
                (plain,) = await codec.decode([payload])
            except KeyErased:
                continue
            texts.append(plain.data)
        for word in ("alpha", "beta", "gamma"):
            found[word] = found.get(word, 0) + sum(text.count(f"secret-{word}".encode()) for text in texts)
    store.log.close()
    return found


async def live(client: Client, word: str) -> str:
    workflow_id, secret = f"wf-{word}", f"secret-{word}"
    memo = {"note": secret}
    handle = await client.start_workflow(Story.run, secret, id=workflow_id, task_queue="q", memo=memo)
    await handle.signal(Story.hear, secret)
    assert await handle.query(Story.told) == [secret]
    assert await handle.execute_update(Story.write, secret) == secret
    return await handle.result()


def compact(place: Place) -> None:
    """Have the broker clean history, visibility and keys of everything that stands there now."""
    host, _, port = place.address.removeprefix("kafka://").rpartition(":")
    broker = cast(LocalBroker, SimpleNamespace(bootstrap=f"{host}:{port}"))
    with closing(open_log(place.address)) as log:
        namespace = open_namespace(log, place.name)
        topics = namespace.topics
        for topic in (topics.history, topics.visibility, topics.keys):
            info = log.topic(topic)
            assert info is not None
            eager = {**EAGER, "max.compaction.lag.ms": "1"}
            configure(broker, topic, eager)
            for partition in range(info.partitions):
                _await_cleaned(log, topic, partition, log.offsets(topic, partition).end)
            configure(broker, topic, {name: info.config[name] for name in eager})


def _await_cleaned(log: Log, topic: str, partition: int, end: int) -> None:
    deadline = time.monotonic() + CLEANING_SECONDS
    while True:
        appender = log.appender()  # the segment that is written to is never cleaned
        appender.append(topic, partition, keys.mark(0), None)
        appender.close()
        left = [record for record in read_to_end(log, topic, partition) if record.offset < end]
        names = [record.key for record in left]
        if len(names) == len(set(names)) and all(record.value is not None for record in left):
            return
        assert time.monotonic() < deadline, f"{topic} was not cleaned: {len(left)} records"
        time.sleep(0.2)


@pytest.mark.timeout(240)
def test_what_was_erased_is_unreadable_everywhere_and_the_rest_is_not(kafka_broker: str, tmp_path: Path) -> None:
    place = Place(f"kafka://{kafka_broker}")
    asyncio.run(erase_one_of_three(place))
    back_up(place, tmp_path / "backup")
    compact(place)
    asyncio.run(find_the_others(place))


def back_up(place: Place, file: Path) -> None:
    """Before the broker has cleaned anything; what is made of the file holds no more than the file."""
    copied = Place(place.address, f"{place.name}-copy")
    with closing(open_log(place.address)) as log:
        write_backup(file, Cut(open_namespace(log, place.name), watch_seconds=0))
        copy(BackupFile(file), log, copied.name)
        codec = open_namespace(log, copied.name).codec
    entries = list(BackupFile(file).entries())
    keys_in = [codec.decode(r.DataKeyRecord, entry.value or b"") for entry in entries if entry.part == "key"]
    listed = [codec.decode(r.VisibilityRecord, entry.value or b"") for entry in entries if entry.part == "visibility"]
    assert {key.subject for key in keys_in} == {shown.workflow_id for shown in listed} == {"wf-beta", "wf-gamma"}
    found = asyncio.run(readable(copied))
    assert found["alpha"] == 0
    assert found["beta"] > 0


async def erase_one_of_three(place: Place) -> None:
    async with place.client() as client, Worker(client, task_queue="q", workflows=[Story], activities=[tell]):
        assert await live(client, "alpha") == "secret-alpha"
        assert await live(client, "beta") == "secret-beta"
        await client.start_workflow(Story.run, "secret-gamma", id="wf-gamma", task_queue="q")
        before = await readable(place)
        assert min(before.values()) >= 2  # in topics of all kinds
        assert before["alpha"] >= 12

        with pytest.raises(RPCError, match="ODR-252"):
            await client.erase_workflow("wf-gamma")
        erased = await client.erase_workflow("wf-alpha")
        assert erased.keys >= 1
        assert erased.listed >= 1
        assert await client.erase_workflow("wf-alpha") == Erased(0, 0)
        after = await readable(place)
        assert (after["alpha"], after["beta"]) == (0, before["beta"])

        with pytest.raises(WorkflowFailureError) as failed:
            await client.get_workflow_handle("wf-alpha").result()
        assert isinstance(failed.value.__cause__, TerminatedError)
        assert "ODR-253" in str(failed.value.__cause__)
        assert {run.id async for run in client.list_workflows()} == {"wf-beta", "wf-gamma"}


async def find_the_others(place: Place) -> None:
    """The topics say nothing of what was erased, and another workflow may have its ID."""
    assert (await readable(place))["alpha"] == 0
    async with place.client() as client, Worker(client, task_queue="q", workflows=[Story], activities=[tell]):
        history = [
            record for part, record in place.records() if part == "history" and b"wf-alpha\0" in (record.key or b"")
        ]
        assert [(record.key or b"").split(b"\0")[2] for record in history if record.value] == [b"s0"]
        parts = [part for part, record in place.records() if b"wf-alpha" in (record.key or b"") and record.value]
        assert not {"keys", "visibility"} & set(parts)
        gamma = client.get_workflow_handle_for(Story.run, "wf-gamma")
        await gamma.signal(Story.hear, "secret-gamma")
        await gamma.execute_update(Story.write, "secret-gamma")
        assert await gamma.result() == "secret-gamma"
        assert await client.get_workflow_handle("wf-beta").result() == "secret-beta"
        assert await live(client, "alpha") == "secret-alpha"
        erased = await client.erase_workflow("wf-gamma", terminate=True)
        assert erased.keys == 1
        await client.start_workflow(Story.run, "secret-alpha", id="wf-alpha", task_queue="q")
        assert (await client.erase_workflow("wf-alpha", terminate=True)).keys == 1
    after = await readable(place)
    assert (after["alpha"], after["gamma"]) == (0, 0)
    assert after["beta"] > 0
