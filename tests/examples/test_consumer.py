"""The example of a consumer: once per message, in order by customer."""

from __future__ import annotations

from collections.abc import AsyncIterator

from examples.consumer import QUEUE, Message, consume
from odradek import activity
from odradek.client import ActivityExecutionStatus
from odradek.exceptions import ApplicationError
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker

MESSAGES = [Message(0, offset, customer, f"order-{offset}", 995) for offset, customer in enumerate("ABABA")]


async def of(messages: list[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message


async def test_messages_that_come_again_after_a_crash(odradek_env: WorkflowEnvironment) -> None:
    written: list[str] = []

    @activity.defn(name="write_invoice")
    async def flaky(message: Message) -> None:
        if activity.info().attempt == 1:
            raise ApplicationError("the service is down")
        written.append(message.order)

    client = odradek_env.client
    async with Worker(client, task_queue=QUEUE, activities=[flaky]):
        await consume(client, of(MESSAGES[:3]))
        await consume(client, of(MESSAGES))  # nothing was committed
        for message in MESSAGES:
            await client.get_activity_handle(f"orders-0-{message.offset}").result()
        shown = [one async for one in client.list_activities()]
    assert {one.status for one in shown} == {ActivityExecutionStatus.COMPLETED}
    assert sorted(written) == [message.order for message in MESSAGES]
    for customer in ("A", "B"):
        wanted = [message.order for message in MESSAGES if message.customer == customer]
        assert [order for order in written if order in wanted] == wanted
