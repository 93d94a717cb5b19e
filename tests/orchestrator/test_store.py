"""The local store: a cache that is resumed from when it fits the log, and thrown away when it does not."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from odradek import workflow
from odradek.client import Client, RequestPolicy
from odradek.orchestrator.core.store import MemoryStore, Store
from odradek.orchestrator.rocks import (
    RocksStore,
    StoreFailed,
    StoreIdentity,
    discard_if_unfit,
    open_store,
    stamp,
)
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker
from tests.orchestrator.partition import Owner, Partition
from tests.orchestrator.test_host import eventually
from tests.orchestrator.test_shard import Sleeper, Waiter, signal

NOW = StoreIdentity("topic", 3, 10_000_000)
AGE_MS_MAX = 1_800_000
ASK_AGAIN = RequestPolicy(retry_seconds=0.1, retry_seconds_max=0.1)


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "store")


def test_every_store_keeps_order_and_forgets_what_is_deleted(store: Store) -> None:
    store.write({b"b2": b"2", b"a": b"0", b"b1": b"1", b"c": b"3"})
    assert list(store.scan(b"b", b"c")) == [(b"b1", b"1"), (b"b2", b"2")]
    store.write({b"b1": None, b"b3": b""})
    assert list(store.scan(b"b", b"c")) == [(b"b2", b"2"), (b"b3", b"")]
    assert store.get(b"b1") is None
    store.clear()
    assert list(store.scan(b"", b"\xff")) == []
    store.close()


@pytest.mark.parametrize(
    ("then", "position", "kept"),
    [
        (NOW, 99, True),
        (StoreIdentity("topic", 2, 10_000_000 - AGE_MS_MAX), 5, True),
        (StoreIdentity("made anew", 3, 10_000_000), 5, False),
        (StoreIdentity("topic", 4, 10_000_000), 5, False),
        (NOW, 100, False),
        (StoreIdentity("topic", 3, 10_000_000 - AGE_MS_MAX - 1), 5, False),
    ],
)
def test_a_store_that_does_not_fit_the_log_is_emptied(then: StoreIdentity, position: int, kept: bool) -> None:
    """Another topic, an epoch of the future, more than the log holds, or old enough to have missed tombstones."""
    store = MemoryStore()
    store.write({b"m": f"{position} 1 1 1".encode(), b"hkey": b"value"})
    stamp(store, then)
    discard_if_unfit(store, NOW, history_end=100, age_ms_max=AGE_MS_MAX)
    assert (store.get(b"hkey") is not None) is kept


def test_a_store_without_a_stamp_is_emptied() -> None:
    store = MemoryStore()
    store.write({b"hkey": b"value"})
    discard_if_unfit(store, NOW, 100, AGE_MS_MAX)
    assert store.get(b"hkey") is None


def test_a_store_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    """The partition has a spare one meanwhile, which goes when it is closed, or when the other is free again."""
    held = open_store(tmp_path, 7)
    held.write({b"a": b"b"})
    spare = open_store(tmp_path, 7)
    assert isinstance(spare, RocksStore)
    assert spare.get(b"a") is None
    assert {path.name for path in tmp_path.iterdir()} == {"partition-7", "partition-7-spare"}
    spare.close()
    assert {path.name for path in tmp_path.iterdir()} == {"partition-7"}
    (tmp_path / "partition-7-spare").mkdir()  # of a process that was killed
    held.close()
    again = open_store(tmp_path, 7)
    assert again.get(b"a") == b"b"
    assert {path.name for path in tmp_path.iterdir()} == {"partition-7"}
    again.close()


def test_a_store_that_is_found_damaged_while_it_is_read_is_made_anew(tmp_path: Path) -> None:
    """It opens, since blocks are looked at when they are read; whoever reads is told, and the next one is another."""
    store = open_store(tmp_path, 7)
    store.write({b"h%06d" % number: random.randbytes(50) for number in range(10_000)})
    store.close()
    _damage(tmp_path)
    read = open_store(tmp_path, 7)
    with pytest.raises(StoreFailed, match=r"ODR-157.*partition-7 cannot be used: Corruption"):
        list(read.scan(b"h", b"i"))
    read.close()
    eventually(lambda: not (tmp_path / "partition-7").exists(), "the damaged store to be deleted", 10)
    anew = open_store(tmp_path, 7)
    assert list(anew.scan(b"h", b"i")) == []
    anew.close()


def test_a_damaged_store_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "partition-1").mkdir()
    (tmp_path / "partition-1" / "CURRENT").write_text("nonsense\n")
    store = open_store(tmp_path, 1)
    assert isinstance(store, RocksStore)
    store.write({b"a": b"b"})
    store.close()


def use_for_seconds(store: RocksStore, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        store.write({b"a": b"b"})
        store.flush()
        time.sleep(0.01)


def test_a_store_that_is_deleted_in_use_is_made_anew(tmp_path: Path) -> None:
    """Whoever uses it is told, by the first thing that it does after a flush has failed; closing it takes no time."""
    store = RocksStore(tmp_path / "partition-1")
    store.write({b"a": b"b"})
    shutil.rmtree(tmp_path / "partition-1")
    with pytest.raises(StoreFailed, match=r"ODR-157.*partition-1 cannot be used: .*No such file"):
        use_for_seconds(store, 10)
    store.close()
    anew = open_store(tmp_path, 1)
    assert anew.get(b"a") is None
    anew.close()


def test_where_no_store_can_be_made_memory_will_do(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    assert isinstance(open_store(tmp_path / "store", 1), MemoryStore)


@workflow.defn
class Adder:
    def __init__(self) -> None:
        self._sum = 0

    @workflow.run
    async def run(self, goal: int) -> int:
        await workflow.wait_condition(lambda: self._sum >= goal)
        return self._sum

    @workflow.signal
    def add(self, number: int) -> None:
        self._sum += number


async def test_deleting_the_stores_in_use_stops_nobody(tmp_path: Path) -> None:
    """The partition is claimed anew and goes on from the log, and the orchestrator ends in order."""
    settings = OrchestratorSettings(
        store=tmp_path, checkpoint_seconds=0.02, store_flush_seconds=0.02, claim_again_seconds=0.02
    )
    address = f"memory://{tmp_path.name}"
    async with (
        await Client.connect(address, namespace="stores", request_policy=ASK_AGAIN) as client,
        Worker(client, task_queue="stores", workflows=[Adder], orchestrator_settings=settings),
    ):
        handle = await client.start_workflow(Adder.run, 2, id="adder", task_queue="stores")
        for _ in range(2):
            _delete_content(tmp_path)
            await handle.signal(Adder.add, 1)
        assert await handle.result() == 2


async def test_damaged_stores_lose_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A workflow whose block cannot be read is not one that does not exist: the store is made anew from the log."""
    settings = OrchestratorSettings(store=tmp_path, claim_again_seconds=0.02)
    address, ids = f"memory://{tmp_path.name}", [f"adder-{number}" for number in range(200)]
    async with await Client.connect(address, namespace="stores", request_policy=ASK_AGAIN) as client:
        async with Worker(client, task_queue="stores", workflows=[Adder], orchestrator_settings=settings):
            for id in ids:
                memo = {"text": random.randbytes(1_000).hex()}
                await client.start_workflow(Adder.run, 1, id=id, task_queue="stores", memo=memo)
        _damage(tmp_path)
        async with Worker(client, task_queue="stores", workflows=[Adder], orchestrator_settings=settings):
            handles = [client.get_workflow_handle_for(Adder.run, id) for id in ids]
            for handle in handles:
                await handle.signal(Adder.add, 1)
            assert [await handle.result() for handle in handles] == [1] * len(ids)
    assert "Corruption: block checksum mismatch" in caplog.text


def _damage(folder: Path) -> None:
    """One block of each table that has more of them."""
    for table in folder.rglob("*.sst"):
        content = bytearray(table.read_bytes())
        if len(content) > 30_000:
            content[20_000:21_000] = b"?" * 1_000
            table.write_bytes(content)


def _delete_content(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry, ignore_errors=True)


def test_a_restart_reads_only_what_the_store_lacks(tmp_path: Path) -> None:
    """Workflows that waited before the store's position are known without their history being read."""
    partition = Partition([Waiter, Sleeper])
    store = RocksStore(tmp_path / "store")
    owner = Owner(partition, store)
    for n in range(20):
        partition.start(f"w{n}", "Waiter", 2)
        partition.start(f"s{n}", "Sleeper", 3600.0)
        signal(partition, f"w{n}", "first")
    owner.run()
    owner.shard.checkpoint(partition.now_ms)
    owner.run()
    owner.shard.flush_store()
    read_before = len(partition.history)
    store.close()

    reopened = RocksStore(tmp_path / "store")
    successor = Owner(partition, reopened)
    assert successor.shard.restore_from >= read_before - 3
    requests = []
    for n in range(20):
        signal(partition, f"w{n}", "second")
        requests.append(partition.request())
        partition.send(f"w{n}", _await(requests[-1]))
        partition.send(f"s{n}", _await(partition.request()))
    successor.run()
    assert [partition.result(request) for request in requests] == [["first", "second"]] * 20
    successor.pass_time(3601)
    assert not any(wf.live for wf in successor.shard.workflows.values() if wf.id.startswith("s"))
    reopened.close()


def _await(request: object) -> object:
    from odradek.schemas import records as r

    assert isinstance(request, r.Request)
    return r.AwaitResult(request)
