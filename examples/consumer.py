"""A consumer that hands its messages over: each starts an activity without a workflow, and is committed then.

Retries, time limits, order by customer and "once per message" are the activity's options; the consumer waits for none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from odradek import activity
from odradek.client import Client
from odradek.common import ActivityIDReusePolicy, RetryPolicy
from odradek.exceptions import ActivityAlreadyStartedError

QUEUE = "invoices"


@dataclass
class Message:
    """As it came from the topic ``orders``."""

    partition: int
    offset: int
    customer: str
    order: str
    cents: int


@activity.defn
async def write_invoice(message: Message) -> str:
    """Calls a service that may be down; the key lets it notice what it has done already."""
    key = activity.info().idempotency_key
    print(f"invoice of {message.order} for {message.customer}: {message.cents / 100:.2f} ({key})")
    return f"invoice of {message.order}"


async def consume(client: Client, messages: AsyncIterator[Message]) -> None:
    """Takes messages in, in their order. One that comes again, after a crash before its commit, starts nothing."""
    async for message in messages:
        try:
            await client.start_activity(
                write_invoice,
                message,
                id=f"orders-{message.partition}-{message.offset}",
                task_queue=QUEUE,
                ordering_key=message.customer,
                start_to_close_timeout=timedelta(seconds=30),
                schedule_to_close_timeout=timedelta(days=1),
                retry_policy=RetryPolicy(maximum_interval=timedelta(minutes=5)),
                id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE,
            )
        except ActivityAlreadyStartedError:
            print(f"{message.order} was taken in before")
        # Here a consumer of Kafka stores or commits the offset.
