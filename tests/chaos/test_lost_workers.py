"""Workers that die, freeze, or only seem to: what they ran is done elsewhere soon, and nobody is given up wrongly."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

from examples.orders.customers import TASK_QUEUE
from odradek.client import Client, WorkflowFailureError, WorkflowHandle
from odradek.exceptions import ActivityError, ApplicationError
from odradek.log.namespace import open_namespace, read_to_end
from odradek.schemas import records as r
from odradek.testing.broker import LocalBroker
from tests.chaos.busy import Crowd, Deadly, Shorts
from tests.chaos.shop import Measured, Shop

pytestmark = pytest.mark.kafka
RUNNING = 200
RETRIED_SECONDS_MAX = 10.0
OUTAGE_SECONDS = 15.0
WORKERS_LOST_MAX = 5

B = TypeVar("B")
Crowded = WorkflowHandle[Crowd, list[int]]


class Begun(NamedTuple):
    name: str
    attempt: int
    pid: int
    at: float


def noted(folder: Path, file: str) -> list[Begun]:
    path = folder / file
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [Begun(line[0], int(line[1]), int(line[2]), float(line[3])) for line in lines if len(line) == 4]


async def crowd(shop: Shop, client: Client, count: int = RUNNING) -> Crowded:
    """A workflow whose activities all run, and are watched.

    With their offsets committed no group delivers them again: only their worker's silence does.
    """
    handle = await client.start_workflow(Crowd.run, count, id="crowd", task_queue=TASK_QUEUE)
    await shop.until(lambda: len(noted(shop.folder, "begun")) == count, f"{count} running activities")
    await shop.until(lambda: len(reported(shop, r.ActivityStarted)) == count, "them to be handed over")
    group, topic = shop.topics.queue_group(TASK_QUEUE), shop.topics.tasks(TASK_QUEUE)
    await shop.until(lambda: not any(shop.log.lag(group, topic).values()), "their offsets to be committed")
    return handle


def reported(shop: Shop, kind: type[B]) -> list[B]:
    """What workers have said so far, of one kind."""
    namespace = open_namespace(shop.log, shop.topics.namespace)
    records = [x for p in range(namespace.partitions) for x in read_to_end(shop.log, namespace.topics.inbox, p)]
    bodies = [namespace.codec.decode(r.InboxRecord, record.value).body for record in records if record.value]
    return [body for body in bodies if isinstance(body, kind)]


def retried(shop: Shop) -> list[Begun]:
    return [begun for begun in noted(shop.folder, "begun") if begun.attempt > 1]


async def all_end(shop: Shop, handle: Crowded) -> list[int]:
    (shop.folder / "let-go").touch()
    return await handle.result()


async def test_what_a_killed_worker_ran_begins_elsewhere_within_ten_seconds(shop: Shop, measured: Measured) -> None:
    """Whatever the start-to-close timeout of each is: a minute, an hour, a month."""
    shop.orchestrator()
    victim = shop.worker("victim", concurrent_max=RUNNING)
    async with await shop.connect() as client:
        handle = await crowd(shop, client)
        shop.worker("other", concurrent_max=RUNNING)
        killed = time.time()
        victim.kill()
        shop.processes.remove(victim)
        await shop.until(lambda: len(retried(shop)) == RUNNING, "all to be begun again")
        delays = sorted(begun.at - killed for begun in retried(shop))
        assert delays[-1] <= RETRIED_SECONDS_MAX
        for what, seconds in (("first", delays[0]), ("median", statistics.median(delays)), ("last", delays[-1])):
            measured(f"from SIGKILL to the {what} of {RUNNING} second attempts", seconds)
        assert await all_end(shop, handle) == [2] * RUNNING


async def test_a_worker_that_was_frozen_is_not_heard_any_more(shop: Shop) -> None:
    """Its results come after others have taken over: they do not count, and no activity has two ends."""
    shop.orchestrator()
    frozen = shop.worker("frozen", concurrent_max=RUNNING)
    async with await shop.connect() as client:
        handle = await crowd(shop, client, 20)
        frozen.freeze()
        shop.worker("other", concurrent_max=RUNNING)
        await shop.until(lambda: len(retried(shop)) == 20, "all to be begun again")
        frozen.thaw()
        (shop.folder / "let-go").touch()
        assert await handle.result() == [2] * 20
        await shop.until(lambda: len(noted(shop.folder, "ended")) >= 20, "the second attempts to end")
        history = await handle.fetch_history()
        ended = [e.body.seq for e in history.events if isinstance(e.body, r.ActivityCompleted)]
        assert sorted(ended) == sorted(set(ended))
        assert len(ended) == 20


async def test_a_frozen_orchestrator_gives_up_nobody(shop: Shop) -> None:
    """Silence is measured in the log's time against its own beacon, which was silent as well."""
    orchestrator = shop.orchestrator()
    shop.worker(concurrent_max=RUNNING)
    async with await shop.connect() as client:
        handle = await crowd(shop, client, 20)
        orchestrator.freeze()
        await asyncio.sleep(OUTAGE_SECONDS)
        orchestrator.thaw()
        await handle.describe()
        await asyncio.sleep(5)  # longer than a silent worker has after the beacon goes on
        assert retried(shop) == []
        assert await all_end(shop, handle) == [1] * 20


@pytest.mark.timeout(300)
async def test_an_outage_of_the_broker_gives_up_nobody(broker: LocalBroker, shop: Shop) -> None:
    """Nobody can say that it lives, and nobody is taken for dead."""
    shop.orchestrator()
    shop.worker(concurrent_max=RUNNING)
    async with await shop.connect() as client:
        handle = await crowd(shop, client, 20)
        broker.pause()
        await asyncio.sleep(OUTAGE_SECONDS)
        broker.resume()
        await handle.describe(rpc_timeout=timedelta(seconds=180))
        await asyncio.sleep(5)
        assert retried(shop) == []
        assert await all_end(shop, handle) == [1] * 20


async def test_a_task_that_kills_its_process_is_stopped_and_the_queue_goes_on(shop: Shop, measured: Measured) -> None:
    """After so many workers in succession it fails with that reason; everything else on the queue completes."""
    shop.orchestrator()
    worker = shop.worker()
    shop.processes.remove(worker)
    async with await shop.connect() as client:
        shorts = await client.start_workflow(Shorts.run, 500, id="shorts", task_queue=TASK_QUEUE)
        began = time.time()
        poison = await client.start_workflow(Deadly.run, id="deadly", task_queue=TASK_QUEUE)
        result = asyncio.create_task(poison.result())
        later = await client.start_workflow(Shorts.run, 500, id="later", task_queue=TASK_QUEUE)
        lives = 1
        while not result.done():
            if worker.ended() is not None:
                worker.start()
                lives += 1
                assert lives <= 2 * WORKERS_LOST_MAX + 2, "it takes down one worker after the other"
            await asyncio.sleep(0.05)
        with pytest.raises(WorkflowFailureError) as failed:
            await result
        measured(f"until the task that killed {WORKERS_LOST_MAX} workers was stopped", time.time() - began)
        cause = failed.value.cause
        assert isinstance(cause, ActivityError)
        assert isinstance(cause.cause, ApplicationError)
        assert (cause.cause.type, cause.cause.message[:7]) == ("WorkersLost", "ODR-118")
        deaths = (shop.folder / "deaths").read_text().split()
        assert len(deaths) >= WORKERS_LOST_MAX
        if worker.ended() is not None:
            worker.start()
        assert await shorts.result() == await later.result() == sum(range(500))
    worker.kill()
