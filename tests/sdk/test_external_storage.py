"""Claim check: large payloads stand in a store, and records refer to them; a store that is down loses nothing."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import RawValue
from odradek.contrib.encryption import EncryptionCodec
from odradek.contrib.storage import FileStorageDriver, RedisStorageDriver, S3StorageDriver
from odradek.converter import (
    DataConverter,
    ExternalStorage,
    ExternalStorageInvalid,
    Payload,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverUnknown,
    StorageDriverWorkflowInfo,
    StorageUnavailable,
    StoredPayloadDamaged,
    StoredPayloadMissing,
)
from odradek.converter.storage import REFERENCE_ENCODING, digest_of, from_stored, to_stored
from odradek.testing import WorkflowEnvironment
from odradek.testing.redis import LocalRedis
from odradek.worker import Replayer, Worker

SOON: Any = {"start_to_close_timeout": timedelta(seconds=20)}
LARGE = "x" * 3_000_000
PAYLOAD = Payload("json/plain", b'"' + b"x" * 1000 + b'"', {"type": b"\xff"})


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, ThreadedMotoServer]]:
    """A client, and the S3-compatible server of this test."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # what it holds outlives it
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="payloads")
    yield client, server
    client.close()
    server.stop()


@pytest.fixture(params=["files", "redis", "s3"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> StorageDriver:
    match request.param:
        case "files":
            return FileStorageDriver(tmp_path)
        case "redis":
            return RedisStorageDriver(request.getfixturevalue("redis_url"))
        case _:
            client, _ = request.getfixturevalue("bucket")
            return S3StorageDriver("payloads", client=client)


def storing(driver: StorageDriver, threshold: int = 100, **options: Any) -> ExternalStorage:
    return ExternalStorage([driver], payload_size_threshold=threshold, **options)


# ------------------------------------------------------------------------------------------------------------- drivers


def test_every_driver_gives_back_what_it_was_given(driver: StorageDriver) -> None:
    async def there_and_back() -> None:
        storage = storing(driver)
        small = Payload("json/plain", b"1")
        stored = await storage.store([PAYLOAD, small])
        assert stored[0].encoding == REFERENCE_ENCODING
        assert stored[1] is small
        assert await storage.retrieve(stored) == [PAYLOAD, small]
        assert await storage.store([PAYLOAD]) == stored[:1], "the same payload is the same object"

    asyncio.run(there_and_back())


def test_every_driver_says_what_is_not_there(driver: StorageDriver) -> None:
    digest = digest_of(PAYLOAD)
    claim = StorageDriverClaim({"sha256": digest})
    with pytest.raises(StoredPayloadMissing, match=f'ODR-049: storage driver "{driver.name()}" .*{digest}'):
        asyncio.run(driver.retrieve(StorageDriverRetrieveContext(), [claim]))


def test_no_driver_reads_what_no_claim_of_its_own_names(driver: StorageDriver) -> None:
    with pytest.raises(ValueError, match="is no SHA-256"):
        asyncio.run(driver.retrieve(StorageDriverRetrieveContext(), [StorageDriverClaim({"sha256": "../etc/passwd"})]))


def test_what_was_changed_in_the_store_is_noticed(tmp_path: Path) -> None:
    storage = storing(FileStorageDriver(tmp_path))
    stored = asyncio.run(storage.store([PAYLOAD]))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    file.write_bytes(to_stored(Payload("json/plain", b"another")))
    with pytest.raises(StoredPayloadDamaged, match="ODR-052"):
        asyncio.run(storage.retrieve(stored))


def test_a_volume_that_is_not_mounted_is_no_missing_object(tmp_path: Path) -> None:
    storage = storing(FileStorageDriver(tmp_path / "volume"))
    stored = asyncio.run(storage.store([PAYLOAD]))
    (tmp_path / "volume").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageUnavailable, match="ODR-051"):
        asyncio.run(storage.retrieve(stored))


def test_files_are_written_whole(tmp_path: Path) -> None:
    asyncio.run(storing(FileStorageDriver(tmp_path)).store([PAYLOAD, PAYLOAD]))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [from_stored(path.read_bytes()) for path in files] == [PAYLOAD]


def test_redis_keeps_objects_for_their_time(redis_url: str) -> None:
    import redis

    driver = RedisStorageDriver(redis_url, ttl=timedelta(hours=1))
    asyncio.run(storing(driver).store([PAYLOAD]))
    with redis.Redis.from_url(redis_url) as client:
        assert 3_500_000 < client.pttl(driver.place(digest_of(PAYLOAD))) <= 3_600_000


def test_a_redis_that_is_gone(local_redis: LocalRedis) -> None:
    storage = storing(RedisStorageDriver(local_redis.url))
    local_redis.kill()
    with pytest.raises(StorageUnavailable, match='storage driver "redis" cannot reach its store: ConnectionError'):
        asyncio.run(storage.store([PAYLOAD]))


def test_a_bucket_that_is_not_there(bucket: Any) -> None:
    storage = storing(S3StorageDriver("another", client=bucket[0]))
    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        asyncio.run(storage.store([PAYLOAD]))


# ------------------------------------------------------------------------------------------------------------ choosing


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"drivers": []}, "at least one driver"),
        ({"drivers": ["a", "a"]}, "two drivers have one name"),
        ({"drivers": ["a", "b"]}, "driver_selector must say"),
        ({"drivers": ["a"], "payload_size_threshold": -1}, "must be 0 or more"),
    ],
)
def test_parts_that_do_not_fit(options: dict[str, Any], reason: str, tmp_path: Path) -> None:
    drivers = [FileStorageDriver(tmp_path, name=name) for name in options.pop("drivers")]
    with pytest.raises(ExternalStorageInvalid, match=f"ODR-053: .*{reason}"):
        ExternalStorage(drivers, **options)


def test_a_selector_chooses_by_whom_a_payload_is_for(tmp_path: Path) -> None:
    hot, cold = FileStorageDriver(tmp_path / "hot", name="hot"), FileStorageDriver(tmp_path / "cold", name="cold")

    def choose(context: StorageDriverSelectContext, payload: Payload) -> StorageDriver | None:
        match context.target:
            case StorageDriverWorkflowInfo(id="w"):
                return hot
            case StorageDriverActivityInfo():
                return cold
            case _:
                return None

    storage = ExternalStorage([hot, cold], choose, payload_size_threshold=0)
    assert storage.driver_for(PAYLOAD, StorageDriverWorkflowInfo(namespace="n", id="w")) is hot
    assert storage.driver_for(PAYLOAD, StorageDriverActivityInfo(namespace="n")) is cold
    assert storage.driver_for(PAYLOAD) is None
    stranger = ExternalStorage([hot], lambda context, payload: cold, 0)
    with pytest.raises(ExternalStorageInvalid, match='"cold", which is not among the drivers'):
        stranger.driver_for(PAYLOAD)


def test_a_driver_that_this_process_does_not_have(tmp_path: Path) -> None:
    stored = asyncio.run(storing(FileStorageDriver(tmp_path, name="old")).store([PAYLOAD]))
    with pytest.raises(StorageDriverUnknown, match=r'ODR-050: .*"old", and the data converter has new'):
        asyncio.run(storing(FileStorageDriver(tmp_path, name="new")).retrieve(stored))
    with pytest.raises(StorageDriverUnknown, match="has no external storage"):
        asyncio.run(DataConverter.default.decode(stored))


def test_the_store_sees_what_the_codec_made(tmp_path: Path) -> None:
    codec = EncryptionCodec({"k": b"k" * 32}, "k")
    converter = DataConverter(payload_codec=codec, external_storage=storing(FileStorageDriver(tmp_path)))
    encoded = asyncio.run(converter.encode(["secret" * 100]))
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret" not in file.read_bytes()
    assert encoded[0].encoding == REFERENCE_ENCODING
    assert asyncio.run(converter.decode(encoded, [str])) == ["secret" * 100]
    assert converter.in_workflows.from_payloads(encoded, [str]) == ["secret" * 100]


# ----------------------------------------------------------------------------------------------------------- workflows


class Shaky(StorageDriver):
    """In memory; counts, and is down when it is told to be."""

    def __init__(self) -> None:
        self.kept: dict[str, Payload] = {}
        self.stored = self.retrieved = 0
        self.down = self.forgets = False

    def name(self) -> str:
        return "shaky"

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        if self.down:
            raise ConnectionError("down")
        self.stored += len(payloads)
        self.kept |= {digest_of(payload): payload for payload in payloads}
        return [StorageDriverClaim({"key": digest_of(payload)}) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        if self.down:
            raise ConnectionError("down")
        self.retrieved += len(claims)
        for claim in claims:
            if claim.claim_data["key"] not in self.kept:
                raise StoredPayloadMissing("shaky", claim.claim_data["key"])
        return [self.kept[claim.claim_data["key"]] for claim in claims]


@activity.defn
async def grow(text: str) -> str:
    return text + "!"


@workflow.defn
class Growing:
    @workflow.run
    async def run(self, text: str) -> str:
        grown = await workflow.execute_activity(grow, text, **SOON)
        await workflow.sleep(3600)
        return str(await workflow.execute_activity(grow, grown, **SOON))


@workflow.defn
class Plain:
    @workflow.run
    async def run(self, text: str) -> str:
        return str(await workflow.execute_activity(grow, text, **SOON))


@workflow.defn
class PassingOn:
    @workflow.run
    async def run(self, text: RawValue) -> RawValue:
        passed: RawValue = await workflow.execute_activity(grow, text, result_type=RawValue, **SOON)
        return passed


@workflow.defn(failure_exception_types=[Exception])
class Swallowing:
    """Catches whatever its calls raise."""

    @workflow.run
    async def run(self) -> str:
        try:
            return str(await workflow.execute_activity(grow, "y" * 1000, **SOON))
        except Exception:
            return "swallowed"


async def test_more_than_a_record_may_hold_goes_through_a_workflow(driver: StorageDriver) -> None:
    converter = DataConverter(external_storage=ExternalStorage([driver]))
    async with (
        await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env,
        Worker(env.client, task_queue="q", workflows=[Growing], activities=[grow]),
    ):
        handle = await env.client.start_workflow(Growing.run, LARGE, id="w", task_queue="q")
        assert await handle.result() == LARGE + "!!"
        history = await handle.fetch_history()
    assert len(history.to_json()) < 20_000
    await Replayer(workflows=[Growing], data_converter=converter).replay_workflow(history)


async def test_a_replay_stores_nothing_and_fetches_little() -> None:
    shaky = Shaky()
    converter = DataConverter(external_storage=storing(shaky))
    async with (
        await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env,
        Worker(env.client, task_queue="q", workflows=[Growing], activities=[grow]),
    ):
        handle = await env.client.start_workflow(Growing.run, LARGE, id="w", task_queue="q")
        await handle.result()
        history = await handle.fetch_history()
    stored, retrieved = shaky.stored, shaky.retrieved
    await Replayer(workflows=[Growing], data_converter=converter).replay_workflow(history)
    assert (shaky.stored, shaky.retrieved) == (stored, retrieved), "what this process has read it remembers"


async def test_what_is_only_passed_on_is_not_fetched() -> None:
    shaky = Shaky()
    converter = DataConverter(external_storage=storing(shaky))
    async with (
        await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env,
        Worker(env.client, task_queue="q", workflows=[PassingOn], activities=[grow]),
    ):
        result = await env.client.execute_workflow("PassingOn", LARGE, id="w", task_queue="q", result_type=str)
    assert result == LARGE + "!"
    assert (shaky.stored, shaky.retrieved) == (2, 2), "by the client and the worker; the workflow saw references"


@asynccontextmanager
async def connected(converter: DataConverter) -> AsyncIterator[Client]:
    """On the host's time: a test environment does not wait for what is parked."""
    async with await Client.connect(f"memory://{uuid.uuid4().hex}", data_converter=converter) as client:
        yield client


async def parked_code(handle: Any) -> str:
    for _ in range(400):
        parked = (await handle.describe()).parked
        if parked is not None:
            return str(parked.code)
        await asyncio.sleep(0.01)
    raise AssertionError("it was not parked")


@pytest.mark.parametrize("trouble", ["down", "missing"])
async def test_a_workflow_waits_for_its_store(trouble: str) -> None:
    """Input that cannot be fetched parks the run, and it goes on when the store is back: nothing is lost."""
    shaky = Shaky()
    async with connected(DataConverter(external_storage=storing(shaky))) as client:
        handle = await client.start_workflow(Plain.run, "z" * 1000, id="w", task_queue="q", wait=False)
        kept = dict(shaky.kept)
        if trouble == "down":
            shaky.down = True
        else:
            shaky.kept.clear()
        async with Worker(client, task_queue="q", workflows=[Plain], activities=[grow]):
            assert await parked_code(handle) == ("ODR-051" if trouble == "down" else "ODR-049")
            shaky.down, shaky.kept = False, kept | shaky.kept
            assert await handle.result() == "z" * 1000 + "!"


async def test_code_cannot_decide_by_a_store_that_is_down() -> None:
    """Even where it catches everything and fails with everything, the run is parked, and goes on as if nothing was."""
    shaky = Shaky()
    converter = DataConverter(external_storage=storing(shaky))
    async with (
        connected(converter) as client,
        Worker(client, task_queue="q", workflows=[Swallowing], activities=[grow]),
    ):
        shaky.down = True
        handle = await client.start_workflow(Swallowing.run, id="w", task_queue="q")
        assert await parked_code(handle) == "ODR-051"
        shaky.down = False
        assert await handle.result() == "y" * 1000 + "!"


async def test_an_activity_is_tried_again_when_its_result_cannot_be_stored() -> None:
    shaky, attempts = Shaky(), []

    @activity.defn
    async def unlucky() -> str:
        attempts.append(activity.info().attempt)
        shaky.down = len(attempts) < 3
        return "r" * 1000

    @workflow.defn(name="Trying", sandboxed=False)
    class Trying:
        @workflow.run
        async def run(self) -> str:
            return str(await workflow.execute_activity("unlucky", result_type=str, **SOON))

    converter = DataConverter(external_storage=storing(shaky))
    async with (
        await WorkflowEnvironment.start_time_skipping(data_converter=converter) as env,
        Worker(env.client, task_queue="q", workflows=[Trying], activities=[unlucky]),
    ):
        assert await env.client.execute_workflow("Trying", id="w", task_queue="q", result_type=str) == "r" * 1000
    assert attempts == [1, 2, 3]
