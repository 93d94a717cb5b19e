"""Compaction forgets nothing that counts."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from examples.orders.customers import TASK_QUEUE
from odradek.log import Record
from odradek.log.namespace import Namespace, open_namespace, read_to_end
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.core.workflow import Workflow
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.schemas import records as r
from odradek.testing.broker import LocalBroker
from tests.chaos.shop import ORDERS, PARTITIONS, Shop
from tests.chaos.sleepers import Holder
from tests.chaos.test_takeover import describe, put_to_sleep, wake

pytestmark = pytest.mark.kafka
EAGER = {
    "min.compaction.lag.ms": "0",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "50",
    "delete.retention.ms": "0",
}
FILLER = keys.mark(0)
CLEANING_SECONDS_MAX = 30

Histories = list[list[Record]]


def configure(broker: LocalBroker, topic: str, settings: Mapping[str, str | None]) -> None:
    """Set a topic's settings; None puts one back to what the topic was made with."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(10)


class History:
    """The history topic of a shop that nobody serves at the moment."""

    def __init__(self, shop: Shop, broker: LocalBroker) -> None:
        self._broker = broker
        self._namespace: Namespace = open_namespace(shop.log, shop.topics.namespace)
        self._topic = shop.topics.history

    def read(self) -> Histories:
        return [read_to_end(self._namespace.log, self._topic, partition) for partition in range(PARTITIONS)]

    def compact(self) -> Histories:
        """Have the broker clean everything that stands there now; what is left of it."""
        info = self._namespace.log.topic(self._topic)
        assert info is not None
        configure(self._broker, self._topic, EAGER)
        ends = [self._namespace.log.offsets(self._topic, partition).end for partition in range(PARTITIONS)]
        deadline = time.monotonic() + CLEANING_SECONDS_MAX
        while True:
            self._fill()
            left = [[r for r in found if r.offset < end] for found, end in zip(self.read(), ends, strict=True)]
            if all(_is_compact(records) for records in left):
                configure(self._broker, self._topic, {name: info.config[name] for name in EAGER})
                return left
            assert time.monotonic() < deadline, "the cleaner did not come to an end"

    def _fill(self) -> None:
        """The cleaner leaves the newest segment alone: a filler makes one."""
        filler = self._namespace.codec.encode(r.HistoryRecord(0, -1, -1, -1, r.Mark(1)))
        appender = self._namespace.log.appender()
        for partition in range(PARTITIONS):
            appender.append(self._topic, partition, FILLER, filler)
        appender.close()

    def restored(self, histories: Histories) -> dict[str, dict[str, Any]]:
        """What each workflow is to an owner that reads this."""
        host = Orchestrator(self._namespace, Registry())
        found: dict[str, dict[str, Any]] = {}
        for partition, records in enumerate(histories):
            shard = Shard(host.shard_config(partition), MemoryStore())
            for record in records:
                shard.restore(record.offset, record.key or b"", record.value)
            shard.flush_store()
            assert shard.lost_records == []
            found |= {name: _what_counts(shard.workflow(name)) for name in _workflow_ids(records)}
        return {name: state for name, state in found.items() if any(state.values())}


def _is_compact(records: Sequence[Record]) -> bool:
    counts = Counter(record.key for record in records)
    return all(count == 1 for count in counts.values()) and all(record.value is not None for record in records)


def _workflow_ids(records: Sequence[Record]) -> set[str]:
    parsed = [keys.parse(record.key or b"") for record in records]
    return {key.workflow_id for key in parsed if key is not None}


def _what_counts(wf: Workflow) -> dict[str, Any]:
    """Everything but the keys that wait for their tombstones: compaction may have been quicker."""
    runs = [*wf.ending.values(), *([wf.live] if wf.live else [])]
    return {
        "runs": [
            (dataclasses.asdict(live.run), live.chain, live.chunk, live.chunk_claim, live.blocks, sorted(live.due))
            for live in runs
        ],
        "closed": wf.closed,
        "claims": wf.summary_claims,
        "places": wf.offsets,
    }


async def test_compacted_history_restores_to_the_same_state(broker: LocalBroker, shop: Shop) -> None:
    """Runs, timers, activities and summaries are the same from what the cleaner left; a takeover goes on from it."""
    orchestrator = shop.orchestrator("first")
    shop.worker()
    async with await shop.connect() as client, shop.ordering() as customers:
        sleepers = await put_to_sleep(client)
        held = await client.start_workflow(Holder.run, "held", id="held", task_queue=TASK_QUEUE)
        await shop.until(lambda: len(customers.answered) >= ORDERS // 20, "the first answers")
        orchestrator.kill()
        orchestrator.start()
        await shop.until(lambda: len(customers.answered) >= ORDERS // 4, "more answers")
        before = await describe(sleepers)
        orchestrator.kill()
        shop.processes.remove(orchestrator)

        history = History(shop, broker)
        full = await asyncio.to_thread(history.read)
        compacted = await asyncio.to_thread(history.compact)
        assert sum(map(len, compacted)) < sum(map(len, full)) / 2
        expected = history.restored(full)
        assert len([state for state in expected.values() if state["runs"]]) > len(sleepers)
        assert len([state for state in expected.values() if state["closed"]]) >= ORDERS // 10
        assert history.restored(compacted) == expected

        shop.orchestrator("second")
        assert await describe(sleepers) == before
        assert len(await wake(sleepers)) == len(sleepers)
        (shop.folder / "let-go").touch()
        assert await held.result() == 1
    await shop.audited()
