"""A workflow that starts thousands of activities at once: everything comes back, and no record is very large."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

from odradek import activity, workflow
from odradek.client import Client
from odradek.log import Log, open_log
from odradek.log.namespace import create_namespace, read_to_end
from odradek.schemas.topics import Topics
from odradek.worker import Replayer, Worker

WIDTH = 2_000
PAYLOAD = "x" * 1_022
"""With its quotes 1 KiB."""
MESSAGE_BYTES_MAX = 1_000_000
"""A little below what a broker takes by default (``message.max.bytes``)."""


@activity.defn
async def same(value: str) -> str:
    return value


@workflow.defn
class Wide:
    @workflow.run
    async def run(self) -> int:
        limit = timedelta(minutes=5)
        calls = (workflow.execute_activity(same, PAYLOAD, start_to_close_timeout=limit) for _ in range(WIDTH))
        return sum(value == PAYLOAD for value in await asyncio.gather(*calls))


def largest(log: Log, topics: Topics) -> tuple[int, str]:
    """The size of the largest record of the namespace, and its topic."""
    sizes = [
        (len(record.key or b"") + len(record.value or b""), name)
        for name in log.topics(f"{topics.namespace}.")
        if (info := log.topic(name)) is not None
        for partition in range(info.partitions)
        for record in read_to_end(log, name, partition)
    ]
    return max(sizes)


def test_thousands_of_activities_at_once_make_no_large_record(address: str) -> None:
    """Their commands are one transition of more than two MiB, which is spread over records that any broker takes."""

    async def main() -> None:
        namespace = f"wide-{secrets.token_hex(3)}"
        log = open_log(address)
        create_namespace(log, namespace, partitions=4)
        log.close()
        async with (
            await Client.connect(address, namespace=namespace) as client,
            Worker(client, task_queue="q", workflows=[Wide], activities=[same], max_concurrent_activities=500),
        ):
            handle = await client.start_workflow(Wide.run, id="wide", task_queue="q")
            assert await handle.result() == WIDTH
            history = await handle.fetch_history()
            assert len(history.events) == 2 * WIDTH + 2
            await Replayer(workflows=[Wide]).replay_workflow(history)
            lane = client.connection.opened(namespace)
            assert lane is not None
            size, topic = await asyncio.to_thread(largest, lane.namespace.log, Topics(namespace))
            assert size <= MESSAGE_BYTES_MAX, f'a record of {size:,} bytes in "{topic}"'

    asyncio.run(main())
