"""What an orchestrator finds when it takes a partition over: its own store, a copy of another's, or only the log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
import redis

from odradek.client import Client
from odradek.client.connection import Connection
from odradek.log import Appender, OnAppended
from odradek.log.clock import Clock
from odradek.log.namespace import Namespace
from odradek.orchestrator.core.store import Store
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.rocks import StoreIdentity, stamp
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.testing.redis import LocalRedis
from tests.orchestrator.test_host import SETTINGS, eventually, in_thread, opened
from tests.orchestrator.test_shard import Waiter

T = TypeVar("T")
OFTEN = replace(SETTINGS, store_flush_seconds=0.1)


class MovableClock(Clock):
    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class SlowAppender(Appender):
    """One whose acknowledgements can be held up."""

    def __init__(self, inner: Appender) -> None:
        self._inner = inner
        self.held = False

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, on_appended: OnAppended | None = None
    ) -> None:
        self._inner.append(topic, partition, key, value, on_appended)

    def poll(self, timeout_seconds: float = 0) -> int:
        return 0 if self.held else self._inner.poll(timeout_seconds)

    @property
    def in_flight(self) -> int:
        return self._inner.in_flight

    def flush(self, timeout_seconds: float) -> int:
        return self._inner.flush(timeout_seconds)

    def discard(self) -> None:
        self._inner.discard()

    def close(self, timeout_seconds: float = 5) -> None:
        self._inner.close(timeout_seconds)


class Serving:
    """An orchestrator in a thread, for as long as the block runs."""

    def __init__(
        self, namespace: Namespace, settings: OrchestratorSettings = OFTEN, clock: Clock | None = None
    ) -> None:
        registry = Registry()
        registry.add([Waiter])
        self.orchestrator = Orchestrator(namespace, registry, settings=settings, clock=clock or Clock())

    def __enter__(self) -> Orchestrator:
        self._thread, self._failures = in_thread(self.orchestrator)
        eventually(self.orchestrator.ready.is_set, "it is live")
        return self.orchestrator

    def __exit__(self, *_: object) -> None:
        self.orchestrator.stop()
        self._thread.join(20)
        assert self._failures == []


def stamped_ms(served: Orchestrator, partition: int = 0) -> int:
    store = served.owned[partition].store
    raw = store.get(b"i") if store is not None else None
    return 0 if raw is None else int(json.loads(raw)["time_ms"])


def test_a_store_is_no_younger_than_what_the_log_has_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner was paused for two hours: what others wrote meanwhile, and removed, it has not seen."""
    clock, stamps = MovableClock(), []

    def noted(store: Store, identity: StoreIdentity) -> None:
        stamp(store, identity)
        stamps.append((store, identity.time_ms))

    monkeypatch.setattr("odradek.orchestrator.owned.stamp", noted)
    _, namespace = opened()
    with Serving(namespace, clock=clock) as served:
        store = served.owned[0].store
        eventually(lambda: stamped_ms(served) > 0, "the store has been stamped")
        clock.ahead_ms = 11 * 60_000
        appender = served.history = SlowAppender(served.history)
        appender.held = True
        eventually(lambda: appender.in_flight == 4, "checkpoints are on their way")
        stamps.clear()
        asleep_ms = clock.now_ms()
        clock.ahead_ms += 2 * 3_600_000
        appender.held = False
        eventually(lambda: stamped_ms(served) > asleep_ms, "a later one has been confirmed")
        first, *_, last = [time_ms for stamped, time_ms in stamps if stamped is store]
        assert first <= asleep_ms < last


def test_an_idle_partition_keeps_its_store_young() -> None:
    clock = MovableClock()
    _, namespace = opened()
    with Serving(namespace, clock=clock) as served:

        def are_stamped_since(due_ms: int) -> bool:
            return all(stamped_ms(served, partition) >= due_ms for partition in range(4))

        for _ in range(4):
            clock.ahead_ms += 11 * 60_000
            eventually(partial(are_stamped_since, clock.now_ms()), "the stores are stamped again")


async def _started(client: Client) -> None:
    for n in range(40):
        handle = await client.start_workflow(Waiter.run, 2, id=f"w{n}", task_queue="q")
        await handle.signal(Waiter.say, "one")


async def _ended(client: Client) -> list[list[str]]:
    handles = [client.get_workflow_handle_for(Waiter.run, f"w{n}") for n in range(40)]
    for handle in handles:
        await handle.signal(Waiter.say, "two")
    return [await handle.result() for handle in handles]


def _call(log: Any, what: Callable[[Client], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Client(Connection(log), namespace="host") as client:
            return await what(client)

    return asyncio.run(main())


@pytest.mark.parametrize("trouble", ["", "away", "garbage"])
def test_a_machine_without_a_store_resumes_from_redis(
    local_redis: LocalRedis, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    log, namespace = opened()
    caplog.set_level(logging.INFO, "odradek")
    settings = replace(OFTEN, redis=local_redis.url)
    with Serving(namespace, settings):
        _call(log, _started)
    with redis.Redis.from_url(local_redis.url) as client:
        keys = sorted(client.keys())
        assert len(keys) == 4
        for key in keys if trouble == "garbage" else ():
            client.hset(key, "#number", "many")
    if trouble == "away":
        local_redis.pause()
    caplog.clear()
    with Serving(namespace, settings):
        if trouble == "away":
            local_redis.resume()
        assert _call(log, _ended) == [["one", "two"]] * 40
    text = caplog.text
    resumed = [int(offset) for offset in re.findall(r"restoring from (\d+)", text)]
    assert len(resumed) == 4
    assert all(resumed) if not trouble else not any(resumed)
    assert ("ODR-146" in text) is (trouble == "away")
    assert ("in Redis is none" in text) is (trouble == "garbage")
