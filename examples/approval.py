"""Human approval: a purchase waits up to 14 days for somebody to decide; an update decides, and answers who did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from odradek import activity, workflow

DEADLINE = timedelta(days=14)


@dataclass
class Purchase:
    id: str
    requester: str
    cents: int


@dataclass
class Decision:
    by: str
    approved: bool
    comment: str = ""


@activity.defn
async def tell(person: str, text: str) -> None:
    print(f"to {person}: {text}")


@workflow.defn
class Approval:
    """Ends as ``approved``, ``rejected`` or ``expired``."""

    @workflow.init
    def __init__(self, purchase: Purchase) -> None:
        self.purchase = purchase
        self.decision: Decision | None = None

    @workflow.run
    async def run(self, purchase: Purchase) -> str:
        try:
            await workflow.wait_condition(
                lambda: self.decision is not None, timeout=DEADLINE, timeout_summary="the approver's 14 days"
            )
        except TimeoutError:
            await self._tell(f"nobody decided on {purchase.id} within {DEADLINE.days} days")
            return "expired"
        assert self.decision is not None
        outcome = "approved" if self.decision.approved else "rejected"
        await self._tell(f"{purchase.id} was {outcome} by {self.decision.by}")
        await workflow.wait_condition(workflow.all_handlers_finished)
        return outcome

    async def _tell(self, text: str) -> None:
        await workflow.execute_activity(
            tell, args=[self.purchase.requester, text], start_to_close_timeout=timedelta(minutes=1)
        )

    @workflow.update
    def decide(self, decision: Decision) -> str:
        """Decide once; the answer says whose decision counts."""
        if self.decision is None:
            self.decision = decision
        return self.decision.by

    @decide.validator
    def check(self, decision: Decision) -> None:
        if decision.by == self.purchase.requester:
            raise ValueError("nobody approves a purchase of their own")

    @workflow.query
    def pending(self) -> bool:
        return self.decision is None
