"""A shop that never closes, for a fleet that is to be watched: ``python -m examples.orders.shop --rate 2``.

Places orders at a rate until it is stopped. The fleet is somebody else's: `docker compose up` starts one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from itertools import count
from pathlib import Path

import click
from prometheus_client import start_http_server

from examples.orders.activities import LEDGER_VARIABLE
from examples.orders.customers import Customers
from examples.orders.ledger import Ledger
from examples.orders.models import Order, Status, some_orders
from odradek.client import Client

EACH_ROUND = 20
"""One of each kind of trouble: see ``some_orders``."""


async def sell(address: str, namespace: str, ledger: Ledger, rate: float, rounds: int | None) -> Counter[Status]:
    """How the orders ended, after so many rounds of twenty; None: for ever."""
    ended: Counter[Status] = Counter()

    async def sell_one(order: Order) -> None:
        customers = Customers(client, ledger, [order], 1)
        await customers.order_everything()
        ended.update(customers.by_status)

    async with await Client.connect(address, namespace=namespace) as client, asyncio.TaskGroup() as shop:
        for number in count() if rounds is None else range(rounds):
            for order in some_orders(EACH_ROUND):
                order.id = f"{time.time():.0f}-{number}-{order.id}"
                shop.create_task(sell_one(order))
                await asyncio.sleep(1 / rate)
    return ended


@click.command()
@click.option("--log", envvar="ODRADEK_LOG", required=True)
@click.option("--namespace", envvar="ODRADEK_NAMESPACE", default="default", show_default=True)
@click.option(
    "--rate", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Orders a second."
)
@click.option("--rounds", type=click.IntRange(1), help="Of twenty orders each. Default: for ever.")
@click.option("--metrics-port", type=int, help="Serves the metrics of the client.")
def main(log: str, namespace: str, rate: float, rounds: int | None, metrics_port: int | None) -> None:
    if metrics_port is not None:
        start_http_server(metrics_port)
    ledger = Ledger(Path(os.environ[LEDGER_VARIABLE]))
    try:
        ended = asyncio.run(sell(log, namespace, ledger, rate, rounds))
    finally:
        ledger.close()
    for status, number in ended.items():
        click.echo(f"{number} {status}")


if __name__ == "__main__":
    main()
