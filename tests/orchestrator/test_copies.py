"""Copies of stores in a real Redis: as good as the store was when it was sent, or not used."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from odradek.orchestrator import copies as module
from odradek.orchestrator.copies import CopiedStore, Copies, ToOpen
from odradek.orchestrator.core.store import MemoryStore, Store
from odradek.orchestrator.rocks import RocksStore, StoreIdentity, position_of, stamp
from odradek.testing.redis import LocalRedis
from tests.orchestrator.test_host import eventually

NOW = StoreIdentity("topic", 3, 10_000_000)
AGE_MS_MAX = 1_800_000


@dataclass(frozen=True)
class Wanted(ToOpen):
    given: Store | None

    def store(self) -> Store:
        return self.given or super().store()


@contextmanager
def process(url: str) -> Iterator[Callable[..., CopiedStore]]:
    """A process that opens stores: under a claim, in a folder or in memory."""
    news = threading.Event()
    copies: Copies[int] = Copies(url, "shop", news.set)

    def opened(
        claim: int, directory: Path | None = None, now: StoreIdentity = NOW, store: Store | None = None
    ) -> CopiedStore:
        news.clear()
        copies.open(claim, Wanted(directory, 0, claim, now, AGE_MS_MAX, store))
        assert news.wait(20)
        owner, copied = copies.done.popleft()
        assert owner == claim
        assert isinstance(copied, CopiedStore), copied
        return copied

    yield opened
    copies.close()


def content(store: Any) -> dict[bytes, bytes]:
    return dict(store.scan(b"", b"\xff"))


def write(store: CopiedStore, position: int, changes: dict[bytes, bytes | None]) -> None:
    store.write(changes | {b"m": f"{position} 1 1 1".encode()})


def settled(store: CopiedStore) -> None:
    """All that has been written is in the copy, as far as Redis takes it."""

    def is_sent() -> bool:
        store.send()
        return not store.waiting_bytes and not store.is_behind

    eventually(is_sent, "the copy is as its store")


def test_a_machine_without_a_store_resumes_from_the_copy(redis_url: str, tmp_path: Path) -> None:
    with process(redis_url) as opened:
        first = opened(100)
        stamp(first, NOW)
        write(first, 50, {b"h%05d" % i: b"x" * 10 for i in range(5000)})
        settled(first)
        write(first, 60, {b"h00000": None, b"h00001": b"changed", b"t1": b""})
        settled(first)
        expected = content(first)
    with process(redis_url) as opened:
        second = opened(200, tmp_path)
        assert isinstance(second.store, RocksStore)
        assert content(second) == expected
        assert len(expected) == 4999 + 3
        write(second, 150, {b"h00002": None})
        settled(second)
        second.close()
    with process(redis_url) as opened:
        assert content(opened(300)) == content(RocksStore(tmp_path / "partition-0")) != expected


def test_a_store_that_is_there_is_preferred_to_a_copy_that_is_little_newer(redis_url: str, tmp_path: Path) -> None:
    with process(redis_url) as opened:
        for position, claim, taken in ((50, 100_000, False), (40_000, 200_000, True)):
            local = RocksStore(tmp_path / "partition-0")
            local.write({b"m": b"49 1 1 1", b"hhere": b"1"})
            stamp(local, NOW)
            local.close()
            copy = opened(claim)
            copy.clear()
            stamp(copy, NOW)
            write(copy, position, {b"hcopy": b"1"})
            settled(copy)
            chosen = opened(claim + 10_000, tmp_path)
            assert (chosen.get(b"hcopy"), chosen.get(b"hhere")) == ((b"1", None) if taken else (None, b"1"))
            chosen.store.close()


@pytest.mark.parametrize("sent", [True, False], ids=["and sent", "and not sent"])
def test_a_store_that_is_preferred_takes_the_place_of_the_copy(redis_url: str, tmp_path: Path, sent: bool) -> None:
    with process(redis_url) as opened:
        copy = opened(100)
        stamp(copy, NOW)
        write(copy, 50, {b"hcopy": b"1"})
        settled(copy)
        local = RocksStore(tmp_path / "partition-0")
        local.write({b"m": b"60 1 1 1", b"hhere": b"1"})
        stamp(local, NOW)
        local.close()
        chosen = opened(200, tmp_path)
        if sent:
            settled(chosen)
        assert content(opened(300)) == (
            content(chosen) if sent else {b"hcopy": b"1", b"m": b"50 1 1 1", b"i": copy.get(b"i")}
        )


@pytest.mark.parametrize(
    "now", [StoreIdentity("topic", 2, NOW.time_ms), StoreIdentity("topic", 3, NOW.time_ms + AGE_MS_MAX + 1)]
)
def test_a_copy_that_does_not_fit_the_log_is_not_used(redis_url: str, now: StoreIdentity) -> None:
    with process(redis_url) as opened:
        copy = opened(100)
        stamp(copy, NOW)
        write(copy, 50, {b"h": b"1"})
        settled(copy)
        assert content(opened(200, now=now)) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"#whole": "1", "#claim": "1", "#number": "none", "m": "1 1 1 1"},
        {"#whole": "1", "#claim": "1", "#number": "1"},
        {"#whole": "1", "#claim": "1", "#number": "1", "m": "", "i": "{}"},
        {"#whole": "1", "#claim": "1", "#number": "1", "m": "1 1 1 1", "i": "{}"},
        {"h": "1"},
    ],
)
def test_what_is_no_copy_is_not_used_and_is_replaced(redis_url: str, fields: dict[str, str]) -> None:
    with process(redis_url) as opened, redis.Redis.from_url(redis_url) as client:
        client.hset("odradek:shop:store:topic:0", mapping=fields)
        store = opened(100)
        assert content(store) == {}
        stamp(store, NOW)
        write(store, 50, {b"hnew": b"1"})
        settled(store)
        assert content(opened(200)) == content(store)


def test_an_owner_that_was_superseded_changes_nothing_any_more(redis_url: str) -> None:
    with process(redis_url) as opened:
        paused = opened(100)
        stamp(paused, NOW)
        write(paused, 50, {b"hold": b"1"})
        settled(paused)
        owner = opened(200)
        write(owner, 150, {b"hnew": b"1"})
        settled(owner)
        write(paused, 60, {b"hold": None, b"hlate": b"1"})
        settled(paused)
        assert paused.is_disowned
        assert content(opened(300)) == content(owner)


def test_without_redis_a_bounded_backlog_waits_and_the_copy_is_made_anew(
    local_redis: LocalRedis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "BACKLOG_BYTES_MAX", 50_000)
    monkeypatch.setattr("odradek.common.redis_link.AWAY_SECONDS", 0.05)
    with process(local_redis.url) as opened:
        store = opened(100)
        stamp(store, NOW)
        write(store, 50, {b"h%05d" % i: b"x" * 100 for i in range(100)})
        settled(store)
        local_redis.kill()
        with caplog.at_level(logging.INFO, "odradek.redis"):
            most = 0
            for n in range(3000):
                write(store, 51 + n, {b"h%05d" % (n % 500): b"y" * 100, b"h%05d" % ((n + 250) % 500): None})
                store.advance()
                most = max(most, store.waiting_bytes)
            assert 10_000 < most <= 100_000
            local_redis.start()
            settled(store)
        assert [record.message[:7] for record in caplog.records if record.levelno == logging.WARNING] == ["ODR-146"]
        assert content(opened(200_000)) == content(store)


def test_a_copy_that_changes_while_it_is_read_is_not_used(redis_url: str) -> None:
    """Another process claims the partition meanwhile, and goes on with the copy."""
    with process(redis_url) as opened, process(redis_url) as elsewhere:
        first = opened(100)
        stamp(first, NOW)
        write(first, 50, {b"h%05d" % i: b"1" for i in range(5000)})
        settled(first)

        class Interrupted(MemoryStore):
            def write(self, changes: Mapping[bytes, bytes | None]) -> None:
                super().write(changes)
                if not newer:
                    newer.append(elsewhere(300))
                    write(newer[0], 250, {b"h%05d" % i: b"2" for i in range(5000)})
                    settled(newer[0])

        newer: list[CopiedStore] = []
        assert content(opened(200, store=Interrupted())) == {}
        assert len(content(newer[0])) == 5002


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_is_always_what_some_store_once_was(
    local_redis: LocalRedis, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Owners come and go, write late, send or not; Redis is empty, or as it was some time ago."""
    monkeypatch.setattr("odradek.common.redis_link.AWAY_SECONDS", 0.0)
    monkeypatch.setattr(module, "PAIRS", 7)
    monkeypatch.setattr(module, "BACKLOG_BYTES_MAX", 200)
    chance = random.Random(seed)
    states: list[dict[bytes, bytes]] = [{}]
    (identity,) = stamped().values()
    loaded, key, backup = 0, "odradek:shop:store:topic:0", None
    with process(local_redis.url) as opened, redis.Redis.from_url(local_redis.url) as client:
        owners = [opened(1)]
        for step in range(2, 600):
            match chance.randrange(14):
                case 0:
                    owners.append(opened(step * 1000))
                    assert content(owners[-1]) in states
                    loaded += position_of(owners[-1]) >= 0
                case 1 if chance.random() < 0.2:
                    client.flushall()
                case 2 if chance.random() < 0.5:
                    backup = client.dump(key)
                case 3 if chance.random() < 0.5 and backup is not None:
                    client.restore(key, 0, backup, replace=True)
                case 4 | 5:
                    chance.choice(owners[-2:]).send()
                case 6:
                    settled(owners[-1])
                case _:
                    owner = chance.choice(owners[-2:])
                    changes: dict[bytes, bytes | None] = {b"i": identity}
                    for _ in range(chance.randrange(1, 12)):
                        changes[b"%c%d" % (chance.choice(b"hht"), chance.randrange(30))] = chance.choice(
                            [None, b"%d" % step]
                        )
                    write(owner, step, changes)
                    states.append(content(owner))
                    owner.advance()
    assert loaded > 5


def stamped() -> dict[bytes, bytes]:
    store = MemoryStore()
    stamp(store, NOW)
    return content(store)
