"""Records in the Schema Registry's wire format: what is registered, what is written, and what goes wrong."""

from __future__ import annotations

import asyncio
import io
import pickle
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import fastavro
import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.client.connection import Connection
from odradek.log import Log, Record, open_log
from odradek.log.namespace import create_namespace, open_namespace, read_to_end
from odradek.schemas import errors, registry
from odradek.schemas.codec import FILES, Codec, source
from odradek.schemas.records import SCHEMA_VERSION, ArchiveRecord, HistoryRecord, InboxRecord
from odradek.worker import Worker
from tests.schemas.registry_server import FakeRegistry

RECORDS_OF_TOPICS = {
    "shop.inbox": "InboxRecord",
    "shop.history": "HistoryRecord",
    "shop.archive": "ArchiveRecord",
    "shop.tasks.orders": "TaskRecord",
    "shop.replies": "ReplyRecord",
    "shop.visibility": "VisibilityRecord",
    "shop.workers": "WorkersRecord",
    "shop.dead-letter": "DeadLetterRecord",
}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as made:
        yield made


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    made = open_log(f"memory://registry-{request.node.name}")
    yield made
    made.close()


@activity.defn
async def charge(amount: int) -> str:
    return f"charged {amount}"


@workflow.defn
class Purchase:
    def __init__(self) -> None:
        self.amount = 0

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.amount > 0)
        timeout = timedelta(seconds=10)
        charged: str = await workflow.execute_activity(charge, self.amount, start_to_close_timeout=timeout)
        return charged

    @workflow.signal
    def pay(self, amount: int) -> None:
        self.amount = amount


async def buy(log: Log, url: str, workflow_id: str) -> None:
    connection = Connection(log, schema_registry=url)
    client = Client(connection, namespace="shop")
    async with Worker(client, task_queue="orders", workflows=[Purchase], activities=[charge]):
        handle = await client.start_workflow(Purchase.run, id=workflow_id, task_queue="orders")
        await handle.signal(Purchase.pay, 7)
        assert await handle.result() == "charged 7"
        await until(lambda: bool(everything(log).get("shop.archive")))
    await connection.close()


async def until(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


def everything(log: Log) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for topic in log.topics("shop."):
        info = log.topic(topic)
        assert info is not None
        records = [record for number in range(info.partitions) for record in read_to_end(log, topic, number)]
        found[topic] = [record for record in records if record.value is not None]
    return found


def test_every_record_on_every_topic_can_be_read_with_the_registry(fake: FakeRegistry, log: Log) -> None:
    """A tool that knows nothing but the registry's address reads all topics of a namespace."""
    create_namespace(log, "shop", partitions=2, schema_registry=fake.url)
    appender = log.appender()
    appender.append("shop.inbox", 0, b"nobody", fake_prefix(fake) + b"no record")
    appender.close()
    asyncio.run(buy(log, fake.url, "order-1"))
    found = everything(log)
    assert found.keys() == RECORDS_OF_TOPICS.keys()
    for topic, records in found.items():
        assert records, topic
        for record in records:
            assert record.value is not None
            if record.value.endswith(b"no record") and topic == "shop.inbox":
                continue
            assert read_with(fake, record.value) == RECORDS_OF_TOPICS[topic]


def fake_prefix(fake: FakeRegistry) -> bytes:
    return b"\0" + registry.registry_ids(fake.url)[InboxRecord].to_bytes(4, "big")


def read_with(fake: FakeRegistry, value: bytes) -> str:
    """The name of the record type, after the whole value has been read."""
    assert value[0] == 0
    schema = fake.schemas[int.from_bytes(value[1:5], "big")]
    data = io.BytesIO(value[5:])
    read: Any = fastavro.schemaless_reader(data, fastavro.parse_schema(schema), None)
    assert data.read() == b""
    assert read["schema_version"] == SCHEMA_VERSION
    return str(schema["name"])


def test_records_with_and_without_prefix_stand_side_by_side(fake: FakeRegistry, log: Log) -> None:
    """A fleet is given its registry process by process, and may lose it again."""
    create_namespace(log, "shop", partitions=1)
    asyncio.run(buy(log, "", "order-1"))
    asyncio.run(buy(log, fake.url, "order-2"))
    asyncio.run(buy(log, "", "order-3"))
    prefixed = {record.value[0] == 0 for record in everything(log)["shop.history"] if record.value}
    assert prefixed == {True, False}


def test_schemas_are_registered_once(fake: FakeRegistry) -> None:
    ids = registry.registry_ids(fake.url)
    assert sorted(ids.values()) == sorted(fake.schemas)
    assert {kind: fake.schemas[number] for kind, number in ids.items()} == {
        kind: source(kind, SCHEMA_VERSION) for kind in FILES
    }
    assert sorted(fake.subjects) == sorted(f"odradek.{kind.__name__}" for kind in FILES)
    asked = len(fake.requests)
    assert registry.registry_ids(fake.url) is ids
    assert len(fake.requests) == asked


def test_without_the_right_to_register_what_is_there_is_found(fake: FakeRegistry) -> None:
    fake.refusal = (403, "not you")
    for kind in FILES:
        fake.register(registry.subject(kind), source(kind, SCHEMA_VERSION))
    assert len(registry.registry_ids(fake.url)) == len(FILES)
    assert [request for request in fake.requests if request.startswith("register")] == []


@pytest.mark.parametrize("refusal", [(403, "not you"), (409, "incompatible"), (422, "invalid")])
def test_refused_schema(fake: FakeRegistry, refusal: tuple[int, str]) -> None:
    fake.refusal = refusal
    with pytest.raises(errors.SchemaRegistryRefused, match=r'ODR-006.*"odradek\.InboxRecord".*' + refusal[1]) as caught:
        registry.registry_ids(fake.url)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    fake.refusal = None
    assert registry.registry_ids(fake.url)


def test_registry_that_is_down(log: Log) -> None:
    create_namespace(log, "shop", partitions=1)
    with pytest.raises(errors.SchemaRegistryUnavailable, match=r'ODR-005.*"http://127\.0\.0\.1:1"') as caught:
        open_namespace(log, "shop", schema_registry="http://me:secret@127.0.0.1:1")
    assert "secret" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("garbage", ["<html>Welcome!</html>", "{}", "[]"])
def test_server_that_is_no_registry(fake: FakeRegistry, garbage: str) -> None:
    fake.garbage = garbage
    with pytest.raises(errors.SchemaRegistryUnavailable):
        registry.registry_ids(fake.url)


def test_address_that_is_none() -> None:
    with pytest.raises(errors.SchemaRegistryUnavailable, match="ODR-005"):
        registry.registry_ids("registry:8081")


def test_extra_that_is_not_installed(fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(errors.SchemaRegistryMissing, match=r"ODR-004.*pip install odradek\[schema-registry\]"):
        registry.registry_ids(fake.url)


def test_environment_names_the_registry(fake: FakeRegistry, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_SCHEMA_REGISTRY", fake.url)
    create_namespace(log, "shop", partitions=1, schema_registry="")
    assert everything(log)["shop.workers"][0].value[:1] != b"\0"  # type: ignore[index]
    assert open_namespace(log, "shop").schema_registry == fake.url
    assert open_namespace(log, "shop", schema_registry="").schema_registry is None
    client = asyncio.run(connected("memory://registry-environment"))
    assert client == fake.url


async def connected(address: str) -> str | None:
    async with await Client.connect(address) as client:
        lane = await client.connection.lane("default")
        return lane.namespace.schema_registry


def test_no_process_needs_the_registry_to_read(fake: FakeRegistry) -> None:
    codec = Codec(registry_ids=registry.registry_ids(fake.url))
    archived = ArchiveRecord("w", "r", "T", "completed", 1, 1, 0)
    assert Codec().decode(ArchiveRecord, codec.encode(archived)) == archived
    with pytest.raises(errors.UnreadableRecord):
        Codec().decode(HistoryRecord, b"\0\0\0")
