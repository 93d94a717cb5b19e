"""An asynchronous callback: a partner is asked to do something and calls back days later, or never.

``on_callback`` is what a web handler does with the partner's call: the workflow's ID travelled with the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from odradek import activity, workflow
from odradek.client import Client
from odradek.service import RPCError, RPCStatusCode

PATIENCE = timedelta(days=5)


@dataclass
class Callback:
    status: str
    reference: str


@activity.defn
async def ask_partner(what: str, callback_id: str) -> None:
    print(f"POST https://partner.example/jobs {what}, call back with {callback_id}")


@activity.defn
async def withdraw(callback_id: str) -> None:
    print(f"DELETE https://partner.example/jobs/{callback_id}")


@workflow.defn
class PartnerJob:
    def __init__(self) -> None:
        self.answer: Callback | None = None

    @workflow.run
    async def run(self, what: str) -> str:
        own_id, soon = workflow.info().workflow_id, timedelta(minutes=1)
        await workflow.execute_activity(ask_partner, args=[what, own_id], start_to_close_timeout=soon)
        try:
            await workflow.wait_condition(lambda: self.answer is not None, timeout=PATIENCE)
        except TimeoutError:
            await workflow.execute_activity(withdraw, own_id, start_to_close_timeout=soon)
            return "withdrawn"
        assert self.answer is not None
        return f"{self.answer.status} ({self.answer.reference})"

    @workflow.signal
    def called_back(self, callback: Callback) -> None:
        if self.answer is None:  # partners call twice
            self.answer = callback


async def on_callback(client: Client, callback_id: str, callback: Callback) -> None:
    """Returns when the callback is durable, or comes too late to matter, so that the handler may answer 200."""
    try:
        await client.get_workflow_handle_for(PartnerJob.run, callback_id).signal(PartnerJob.called_back, callback)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
