"""The customers: they move money, count and set alarms all the time, and write down what they are told."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from odradek.client import Client, RequestPolicy, WorkflowHandle
from odradek.common import WorkflowIDReusePolicy
from odradek.exceptions import WorkflowAlreadyStartedError
from tests.nemesis.bank import QUEUE, Order, Payday, Transfer
from tests.nemesis.entities import Alarm
from tests.nemesis.entities import Counter as CounterWorkflow
from tests.nemesis.journal import UNKNOWN, Journal, Operation

ACCOUNTS: Final = 40
COUNTERS: Final = 6
USERS_PER_COUNTER: Final = 2
TELLERS: Final = 4
OPEN_MAX: Final = 60
"""Workflows that a customer has started and has no result of."""
PATIENCE: Final = timedelta(seconds=120)
IMPATIENCE: Final = timedelta(seconds=1.5)
IMPATIENT_ONE_IN: Final = 8
ALARM_SECONDS_MAX: Final = 15.0
POLICY: Final = RequestPolicy(retry_seconds=1, retry_seconds_max=4)

START: Final = "start"
RESULT: Final = "result"
SIGNAL: Final = "signal"
UPDATE: Final = "update"
AUDITED: Final = "audited update"
QUERY: Final = "query"
CONSISTENT: Final = "consistent query"
ADDITIONS: Final = (SIGNAL, UPDATE, AUDITED)


class Load:
    """``run`` until ``stop``, then ``settle``."""

    def __init__(self, client: Client, journal: Journal, seed: int) -> None:
        self._client = client
        self._journal = journal
        self._chance = random.Random(f"load {seed}")
        self._stopped = asyncio.Event()
        self._open = asyncio.Semaphore(OPEN_MAX)
        self._unknown: list[tuple[Operation, Callable[..., Awaitable[Any]], Any]] = []
        self._awaited: dict[str, asyncio.Task[None]] = {}
        self.results: dict[str, Any] = {}
        self.alarms: dict[str, tuple[list[float], float]] = {}
        """The durations that were asked for, and when the answer came; by workflow ID."""
        self.counters = [f"counter-{number}" for number in range(COUNTERS)]

    async def run(self) -> None:
        for name in self.counters:
            await self._start(CounterWorkflow.run, [], name)
        async with asyncio.TaskGroup() as customers:
            for _ in range(TELLERS):
                customers.create_task(self._move_money())
            customers.create_task(self._set_alarms())
            for name in self.counters * USERS_PER_COUNTER:
                customers.create_task(self._count(self._client.get_workflow_handle_for(CounterWorkflow.run, name)))

    def stop(self) -> None:
        """Everybody ends what he is at."""
        self._stopped.set()

    async def settle(self) -> None:
        """Insist on every start; close the counters; wait for all results."""
        for operation, run, argument in self._unknown:
            await self._start(run, argument, operation.subject, insisting=True)
        for name in self.counters:
            with self._journal.operation("close", name):
                await self._client.get_workflow_handle(name).signal(CounterWorkflow.close, rpc_timeout=PATIENCE)
        await asyncio.gather(*self._awaited.values())

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return list(self._awaited.values())

    @property
    def awaited(self) -> list[str]:
        """Workflows that have not ended yet, as far as is known."""
        return [name for name, task in self._awaited.items() if not task.done()]

    # ------------------------------------------------------------------------------------------ customers

    async def _move_money(self) -> None:
        while not self._stopped.is_set():
            number = len(self._journal.operations)
            if self._chance.random() < 0.1:
                await self._start(Payday.run, [self._order() for _ in range(3)], f"payday-{number}")
            else:
                await self._start(Transfer.run, self._order(), f"transfer-{number}")
            await self._pause(0.6)

    def _order(self) -> Order:
        source, target = self._chance.sample(range(ACCOUNTS), 2)
        return Order(source, target, self._chance.randint(1, 400))

    async def _set_alarms(self) -> None:
        while not self._stopped.is_set():
            name = f"alarm-{len(self._journal.operations)}"
            seconds = [self._chance.uniform(0.05, ALARM_SECONDS_MAX) for _ in range(self._chance.randint(1, 6))]
            self.alarms[name] = seconds, 0.0
            await self._start(Alarm.run, seconds, name)
            await self._pause(0.8)

    async def _count(self, counter: WorkflowHandle[CounterWorkflow, list[int]]) -> None:
        while not self._stopped.is_set():
            match self._chance.choice([SIGNAL, UPDATE, UPDATE, AUDITED, QUERY, CONSISTENT]):
                case "signal":
                    with self._journal.operation(SIGNAL, counter.id) as operation:
                        await counter.signal(CounterWorkflow.add, operation.number, rpc_timeout=self._patience())
                case "update":
                    await self._update(counter, UPDATE, CounterWorkflow.add_and_tell)
                case "audited update":
                    await self._update(counter, AUDITED, CounterWorkflow.add_when_audited)
                case kind:
                    with self._journal.operation(kind, counter.id) as operation:
                        operation.value = await counter.query(
                            CounterWorkflow.total, consistent=kind == CONSISTENT, rpc_timeout=self._patience()
                        )
            await self._pause(0.6)

    async def _update(self, counter: WorkflowHandle[Any, Any], kind: str, update: Any) -> None:
        """Sent again under the same ID, most times, when nothing was heard of it; not when all is over."""
        with self._journal.operation(kind, counter.id) as operation:
            name = f"update-{operation.number}"
            patience = self._patience()
            operation.value = await counter.execute_update(update, operation.number, id=name, rpc_timeout=patience)
        while operation.outcome == UNKNOWN and not self._stopped.is_set() and self._chance.random() < 0.8:
            operation.attempts += 1
            with self._journal.attempt(operation):
                operation.value = await counter.execute_update(update, operation.number, id=name, rpc_timeout=PATIENCE)

    # ------------------------------------------------------------------------------------------ starts and results

    async def _start(self, run: Any, argument: Any, name: str, *, insisting: bool = False) -> None:
        patient = insisting or name in self.counters
        with self._journal.operation(START, name) as operation:
            try:
                await self._client.start_workflow(
                    run,
                    argument,
                    id=name,
                    task_queue=QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    rpc_timeout=PATIENCE if patient else self._patience(),
                )
            except WorkflowAlreadyStartedError:
                if not insisting:
                    raise
        if operation.outcome == UNKNOWN and not insisting:
            self._unknown.append((operation, run, argument))
        else:
            await self._open.acquire()
            self._awaited[name] = asyncio.create_task(self._await_result(run, name))

    async def _await_result(self, run: Any, name: str) -> None:
        with self._journal.operation(RESULT, name):
            self.results[name] = await self._client.get_workflow_handle_for(run, name).result()
            if name in self.alarms:
                self.alarms[name] = self.alarms[name][0], time.time()
        self._open.release()

    def _patience(self) -> timedelta:
        return IMPATIENCE if self._chance.randrange(IMPATIENT_ONE_IN) == 0 else PATIENCE

    async def _pause(self, seconds_max: float) -> None:
        await asyncio.sleep(self._chance.uniform(0, seconds_max))
