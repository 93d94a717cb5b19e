"""A thousand orders through an orchestrator and a worker that are killed half-way: ``python -m examples.orders.demo``.

Starts and stops everything itself. Ends with status 0 only if the ledger shows nothing lost and nothing done twice.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from examples.orders.activities import LEDGER_VARIABLE
from examples.orders.customers import TASK_QUEUE, Customers
from examples.orders.display import Bar, audit_table, effects_table, print_problems
from examples.orders.fleet import Fleet, ProcessEnded
from examples.orders.ledger import Audit, Ledger
from examples.orders.models import Order, some_orders, steps_of
from odradek.cli.history_view import history_table
from odradek.client import Client, RequestPolicy, WorkflowHistory
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.testing.broker import BrokerUnavailable, LocalBroker

PARTITIONS: Final = 8
AT_ONCE_MAX: Final = 400
LOOK_SECONDS: Final = 0.1
SESSION_SECONDS: Final = 2.0
"""A dead process is noticed after this long. Brokers allow 6 s and more unless they are told otherwise."""
SESSION_SECONDS_ELSEWHERE: Final = 6.0
ASK_AGAIN_SECONDS: Final = 1.0
"""Results are asked for again this often: who dies takes the list of those who wait with it."""
IN_FLIGHT_SECONDS: Final = 0.5
"""After the kill, answers may come that were given before it."""
STALLED_SECONDS: Final = 60.0
"""Without any answer for so long, what is unanswered counts as lost."""
WIDTH_WITHOUT_TERMINAL: Final = 120


@dataclass
class Times:
    """Monotonic moments of a run; ``killed`` is wall-clock too, to compare with the ledger's."""

    began: float = field(default_factory=time.monotonic)
    killed: float | None = None
    killed_wall: float | None = None
    answered_again: float | None = None
    ended: float = 0.0


@dataclass
class Outcome:
    audit: Audit
    times: Times
    first_execution_seconds: float | None
    """From the kill to the first activity executed after it."""
    history: WorkflowHistory | None
    failures: list[str]


class Demo:
    """One run of the orders against one log."""

    def __init__(self, address: str, namespace: str, folder: Path, console: Console, *, session_seconds: float) -> None:
        self._address = address
        self._namespace = namespace
        self._folder = folder
        self._console = console
        self._session_seconds = session_seconds
        self._ledger_path = folder / "ledger.db"
        self._times = Times()
        self._running_when_killed: set[str] = set()

    async def run(self, orders: list[Order], *, kill: bool) -> Outcome:
        """Raises ``ProcessEnded`` when the orchestrator or the worker ends by itself."""
        policy = RequestPolicy(retry_seconds=ASK_AGAIN_SECONDS, retry_seconds_max=ASK_AGAIN_SECONDS)
        with closing(Ledger(self._ledger_path)) as ledger, self._fleet() as fleet:
            async with await Client.connect(self._address, namespace=self._namespace, request_policy=policy) as client:
                customers = Customers(client, ledger, orders, min(AT_ONCE_MAX, max(1, len(orders) // 3)))
                with Bar(self._console, customers) as bar:
                    await self._serve(customers, fleet, bar, kill=kill)
                self._times.ended = time.monotonic()
                shown = customers.a_compensated_order(self._running_when_killed)
                history = await client.get_workflow_handle(shown).fetch_history() if shown else None
            after = self._times.killed_wall
            first = await ledger.first_execution_after(after) if after is not None else None
            again = first - after if first is not None and after is not None else None
            failures = [f"{order_id}: {error}" for order_id, error in customers.failed.items()]
            return Outcome(await ledger.audit(), self._times, again, history, failures)

    async def _serve(self, customers: Customers, fleet: Fleet, bar: Bar, *, kill: bool) -> None:
        """Look after the processes until every order has its answer."""
        async with asyncio.TaskGroup() as group:
            ordering = group.create_task(customers.order_everything())
            asking = group.create_task(_ask(customers, bar))
            while not ordering.done():
                fleet.check()
                if kill and self._times.killed is None and len(customers.answered) * 2 >= customers.total:
                    self._kill(customers, fleet, bar)
                self._notice_life(customers, bar)
                bar.update()
                if time.monotonic() - customers.last_answer > STALLED_SECONDS:
                    bar.say(f"no answer for {STALLED_SECONDS:g} s: given up")
                    ordering.cancel()
                await asyncio.wait([ordering], timeout=LOOK_SECONDS)
            asking.cancel()

    def _kill(self, customers: Customers, fleet: Fleet, bar: Bar) -> None:
        self._running_when_killed = set(customers.running)
        self._times.killed, self._times.killed_wall = time.monotonic(), time.time()
        pids = fleet.kill()
        fleet.start()
        bar.say(
            f"[bold red]SIGKILL[/] to orchestrator and worker ({pids[0]}, {pids[1]}), "
            f"{len(customers.running)} orders on their way; both start again"
        )

    def _notice_life(self, customers: Customers, bar: Bar) -> None:
        times = self._times
        if times.killed is None or times.answered_again is not None:
            return
        seconds = customers.last_answer - times.killed
        if seconds > IN_FLIGHT_SECONDS:
            times.answered_again = customers.last_answer
            bar.say(f"the first answer after the kill, {seconds:.1f} s later")

    def _fleet(self) -> Fleet:
        common = [
            *("--log", self._address, "--namespace", self._namespace),
            *("--session-timeout", str(self._session_seconds), "--health-port", "off"),
        ]
        cli = ["-m", "odradek.cli"]
        commands = {
            "orchestrator": [*cli, "orchestrator", "examples.orders.workflows", *common],
            "worker": [*cli, "worker", "examples.orders.activities", "--queue", TASK_QUEUE, *common],
        }
        return Fleet(self._folder, commands, {LEDGER_VARIABLE: str(self._ledger_path)})


async def _ask(customers: Customers, bar: Bar) -> None:
    """Query a running order now and then."""
    while True:
        await asyncio.sleep(1)
        status = await customers.ask_status()
        if status is not None:
            bar.set_note(status)


# ---------------------------------------------------------------------------------------------------- the command


@click.command()
@click.option(
    "--log", default="sqlite", show_default=True, help="sqlite, kafka (a broker is started) or kafka://host:port"
)
@click.option("--orders", default=1000, show_default=True, type=click.IntRange(1, 100_000), help="How many orders.")
@click.option("--kill/--no-kill", default=True, show_default=True, help="SIGKILL to both processes half-way.")
@click.option(
    "--session-seconds", type=float, help="After which a dead process is noticed; a broker may set a minimum."
)
@click.option("--keep", is_flag=True, help="Leave the data, and the processes' output, in place and say where.")
def main(log: str, orders: int, kill: bool, session_seconds: float | None, keep: bool) -> None:
    """Run orders through an orchestrator and a worker, and kill both of them half-way.

    Ends with status 0 if nothing was lost and nothing was done twice, 1 if something was, 2 if it could not run.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(_folder(console, keep=keep))
            address, own = _log(log, folder, console, stack)
            session_seconds = session_seconds or (SESSION_SECONDS if own else SESSION_SECONDS_ELSEWHERE)
            namespace = stack.enter_context(_namespace(address, delete=not own and not keep))
            demo = Demo(address, namespace, folder, console, session_seconds=session_seconds)
            console.print(f"{orders} orders on {address}: one orchestrator process, one worker process")
            outcome = _run(demo, some_orders(orders), kill=kill)
    except (ProcessEnded, BrokerUnavailable) as error:
        console.print(f"[red]{error}[/]")
        sys.exit(2)
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped")
        sys.exit(130)
    _report(console, outcome, some_orders(orders))
    sys.exit(1 if outcome.audit.problems else 0)


def _run(demo: Demo, orders: list[Order], *, kill: bool) -> Outcome:
    async def run() -> Outcome:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await demo.run(orders, kill=kill)

    try:
        return asyncio.run(run())
    except ExceptionGroup as group:
        # A group of one task's failure: what the processes or the client said.
        raise group.exceptions[0] from None


@contextmanager
def _folder(console: Console, *, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="odradek-orders-"))
    try:
        yield folder
    finally:
        if keep:
            console.print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _log(log: str, folder: Path, console: Console, stack: ExitStack) -> tuple[str, bool]:
    """The log's address, and whether it is one of our own."""
    if log == "sqlite":
        return f"sqlite:///{folder / 'log.db'}", True
    if log == "kafka":
        with console.status("starting a broker"):
            broker = stack.enter_context(LocalBroker(folder / "broker", quick_start=False, eager_cleaning=False))
        return f"kafka://{broker.bootstrap}", True
    if log.startswith(("kafka://", "sqlite://")):
        return log, False
    raise click.BadParameter(f'"{log}" is neither sqlite nor kafka nor kafka://host:port', param_hint="--log")


@contextmanager
def _namespace(address: str, *, delete: bool) -> Iterator[str]:
    """A namespace of its own, with its topics."""
    name = f"orders-{secrets.token_hex(3)}"
    with closing(open_log(address)) as log:
        create_namespace(log, name, partitions=PARTITIONS, queues=(TASK_QUEUE,))
        try:
            yield name
        finally:
            if delete:
                log.delete_topics(log.topics(f"{name}."))


def _report(console: Console, outcome: Outcome, orders: list[Order]) -> None:
    audit, times = outcome.audit, outcome.times
    seconds = times.ended - times.began
    steps = sum(steps_of(order) for order in orders)
    durations = [("time", f"{seconds:.1f} s"), ("steps per second", f"{steps / seconds:,.0f}, pauses included")]
    if times.killed is not None:
        durations.append(("killed after", f"{times.killed - times.began:.1f} s"))
        if outcome.first_execution_seconds is not None:
            durations.append(("next activity ran", f"{outcome.first_execution_seconds:.1f} s after the kill"))
        if times.answered_again is not None:
            durations.append(("next answer came", f"{times.answered_again - times.killed:.1f} s after the kill"))
    console.print()
    console.print(audit_table(audit, durations))
    console.print(effects_table(audit))
    print_problems(console, [*audit.problems, *outcome.failures])
    if outcome.history is not None:
        console.print(history_table(outcome.history))


if __name__ == "__main__":
    main()
