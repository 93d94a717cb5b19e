"""A subscription: an entity that lives for years, charges once a month, and begins a new history now and then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from odradek import activity, workflow

PERIOD = timedelta(days=30)


@dataclass
class Subscription:
    customer: str
    plan: str
    periods_paid: int = 0
    cancelled: bool = False


@activity.defn
async def charge(customer: str, plan: str, idempotency_key: str) -> None:
    print(f"charged {customer} for {plan} ({idempotency_key})")


@workflow.defn
class SubscriptionWorkflow:
    """Its whole state is its argument, so it can continue as new at any time."""

    @workflow.init
    def __init__(self, subscription: Subscription) -> None:
        self.state = subscription

    @workflow.run
    async def run(self, subscription: Subscription) -> int:
        while not self.state.cancelled:
            key = f"{workflow.info().workflow_id}/{self.state.periods_paid}"
            await workflow.execute_activity(
                charge, args=[self.state.customer, self.state.plan, key], start_to_close_timeout=timedelta(minutes=5)
            )
            self.state.periods_paid += 1
            try:
                await workflow.wait_condition(lambda: self.state.cancelled, timeout=PERIOD)
            except TimeoutError:
                if workflow.info().is_continue_as_new_suggested() or self.state.periods_paid % 12 == 0:
                    await workflow.wait_condition(workflow.all_handlers_finished)
                    workflow.continue_as_new(self.state)
        return self.state.periods_paid

    @workflow.signal
    def cancel(self) -> None:
        self.state.cancelled = True

    @workflow.update
    def change_plan(self, plan: str) -> Subscription:
        """The new plan counts from the next charge on."""
        self.state.plan = plan
        return self.state

    @workflow.query
    def state_now(self) -> Subscription:
        return self.state
