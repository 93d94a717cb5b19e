"""The life of an order: ordinary async Python, every await of which survives the death of the process that runs it."""

from __future__ import annotations

from datetime import timedelta

from examples.orders import activities
from examples.orders.models import Order, Receipt, Status
from odradek import workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError

STEP_SECONDS_MAX = timedelta(seconds=10)
CHARGE_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_attempts=20, non_retryable_error_types=["CardDeclined"]
)


@workflow.defn
class OrderWorkflow:
    """Reserve, charge, let the customer think again, ship, notify; a failure undoes what was done, last step first."""

    def __init__(self) -> None:
        self._status = Status.RECEIVED
        self._expedited = False

    @workflow.run
    async def run(self, order: Order) -> Receipt:
        try:
            await self._fulfil(order)
        except ActivityError as error:
            return self._receipt(order, Status.COMPENSATED, str(error.cause))
        return self._receipt(order, Status.COMPLETED)

    async def _fulfil(self, order: Order) -> None:
        limit = STEP_SECONDS_MAX
        async with workflow.saga(start_to_close_timeout=limit) as saga:
            saga.compensate(activities.release_stock, order)
            await workflow.execute_activity(activities.reserve_stock, order, start_to_close_timeout=limit)

            self._status = Status.CHARGING
            saga.compensate(activities.refund_card, order)
            await workflow.execute_activity(
                activities.charge_card, order, start_to_close_timeout=limit, retry_policy=CHARGE_RETRIES
            )

            self._status = Status.COOLING_OFF
            await self._cool_off(order.cool_off_seconds)

            self._status = Status.SHIPPING
            await workflow.execute_activity(activities.ship_parcel, order, start_to_close_timeout=limit)
        await workflow.execute_activity(activities.notify_customer, order, start_to_close_timeout=limit)

    async def _cool_off(self, seconds: float) -> None:
        """A durable timer: nothing runs meanwhile, and it fires even if every process was started anew."""
        try:
            await workflow.wait_condition(lambda: self._expedited, timeout=seconds, timeout_summary="cool-off")
        except TimeoutError:
            return

    def _receipt(self, order: Order, status: Status, reason: str = "") -> Receipt:
        self._status = status
        return Receipt(order_id=order.id, status=status, reason=reason, expedited=self._expedited)

    @workflow.signal
    def expedite(self) -> None:
        """The customer is sure: skip the rest of the cool-off."""
        self._expedited = True

    @workflow.query
    def status(self) -> Status:
        """Where the order stands."""
        return self._status
