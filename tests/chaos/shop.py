"""The orders example with its processes apart, so that each can be killed, frozen and started again by itself."""

from __future__ import annotations

import asyncio
import inspect
import re
import secrets
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final, Self

from examples.orders.activities import LEDGER_VARIABLE
from examples.orders.customers import TASK_QUEUE, Customers
from examples.orders.fleet import Fleet
from examples.orders.ledger import Audit, Ledger
from examples.orders.models import some_orders
from odradek.client import Client, RequestPolicy
from odradek.log import Log, open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics
from tests.chaos.sleepers import FOLDER_VARIABLE

Measured = Callable[[str, float], None]
"""Takes what was measured and how many seconds it took."""

ORDERS: Final = 1000
PARTITIONS: Final = 8
SESSION_SECONDS: Final = 2.0
WAIT_SECONDS_MAX: Final = 60.0
LOOK_SECONDS: Final = 0.02
ASK_AGAIN: Final = RequestPolicy(retry_seconds=1, retry_seconds_max=1)
WORKFLOWS: Final = ("examples.orders.workflows", "tests.chaos.sleepers", "tests.chaos.busy")
ACTIVITIES: Final = ("examples.orders.activities", "tests.chaos.sleepers", "tests.chaos.busy")


class Process(Fleet):
    """One process; ``start``, ``kill`` and ``stop`` as a fleet of one."""

    def freeze(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def ended(self) -> int | None:
        """Its exit status; None while it runs."""
        (process,) = self._processes.values()
        return process.poll()

    def start(self) -> None:
        """Start it, again if it has ended."""
        if self._processes and self.ended() is not None:
            self._processes.clear()
        self._printed_before = len(self.output())
        super().start()

    def output(self) -> str:
        """What it has printed, over all its lives."""
        (name,) = self._commands
        path = self._output(name)
        return path.read_text(errors="replace") if path.exists() else ""

    def latest_life(self) -> str:
        """What it has printed since it was started last."""
        return self.output()[self._printed_before :]

    def is_live(self) -> bool:
        """An orchestrator has taken every partition over."""
        output = self.latest_life()
        return all(f"partition {number}: live" in output for number in range(PARTITIONS))

    async def metric(self, name: str) -> float:
        """A metric's value, which it serves at a port of its choice."""
        ports = re.findall(r"http://127\.0\.0\.1:(\d+) has /healthz", self.output())
        if not ports:
            return 0.0
        text = await asyncio.to_thread(_fetch, f"http://127.0.0.1:{ports[-1]}/metrics")
        return sum(float(value) for value in re.findall(rf"^{name}{{.*}} (\S+)$", text, re.MULTILINE))

    def _send(self, number: int) -> None:
        for process in self._processes.values():
            process.send_signal(number)


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


class Shop:
    """A namespace of its own with the processes that serve it, and the ledger that testifies against them."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.topics = Topics(f"chaos-{secrets.token_hex(3)}")
        self.processes: list[Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.log: Log = self._stack.enter_context(closing(open_log(self.address)))
        create_namespace(self.log, self.topics.namespace, partitions=PARTITIONS, queues=(TASK_QUEUE,))
        self.ledger = self._stack.enter_context(closing(Ledger(self.folder / "ledger.db")))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        self._stack.close()

    # ------------------------------------------------------------------------------------------ processes

    def orchestrator(self, name: str = "orchestrator", *, stored: bool = False, entry: str = "odradek.cli") -> Process:
        """Start one; ``stored`` gives it a local store of its own, which it finds again when it is started again."""
        store = ["--store", str(self.folder / f"{name}-store")] if stored else []
        return self._start(name, entry, "orchestrator", *WORKFLOWS, *store)

    def worker(self, name: str = "worker", *, concurrent_max: int = 100) -> Process:
        limit = ("--max-concurrent", str(concurrent_max))
        return self._start(name, "odradek.cli", "worker", *ACTIVITIES, "--queue", TASK_QUEUE, *limit)

    def _start(self, name: str, entry: str, *arguments: str) -> Process:
        common = [
            *("--log", self.address, "--namespace", self.topics.namespace),
            *("--session-timeout", str(SESSION_SECONDS), "--health-port", "0"),
        ]
        command = ["-m", entry, *arguments, *common]
        environment = {LEDGER_VARIABLE: str(self.folder / "ledger.db"), FOLDER_VARIABLE: str(self.folder)}
        process = Process(self.folder, {name: command}, environment)
        process.start()
        self.processes.append(process)
        return process

    # ------------------------------------------------------------------------------------------ customers

    async def connect(self) -> Client:
        return await Client.connect(self.address, namespace=self.topics.namespace, request_policy=ASK_AGAIN)

    @asynccontextmanager
    async def ordering(self, count: int = ORDERS) -> AsyncIterator[Customers]:
        """All orders are placed at once; the block ends when each has its answer."""
        async with await self.connect() as client:
            customers = Customers(client, self.ledger, some_orders(count), count)
            everything = asyncio.create_task(customers.order_everything())
            try:
                yield customers
                await self.until(everything.done, f"answers to all of {count} orders")
            finally:
                everything.cancel()
                await asyncio.wait([everything])
            if not everything.cancelled():
                everything.result()

    async def until(self, holds: Callable[[], object], what: str, seconds: float = WAIT_SECONDS_MAX) -> None:
        """Wait for a condition; a process that ends meanwhile fails the test with its last words."""
        deadline = time.monotonic() + seconds
        while not (await found if inspect.isawaitable(found := holds()) else found):
            for process in self.processes:
                process.check()
            assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
            await asyncio.sleep(LOOK_SECONDS)

    async def audited(self, count: int = ORDERS) -> Audit:
        """The ledger's audit: nothing lost, nothing decided twice, every compensation complete and in order."""
        audit = await self.ledger.audit()
        assert audit.problems == []
        assert audit.asked == count
        assert audit.completed + audit.compensated == count
        assert audit.compensated == count // 10
        return audit
