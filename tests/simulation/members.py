"""The processes of the simulation: orchestrators, workers, customers. Each is the real thing on a simulated host."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, TypeVar

from odradek.client import Client, WorkflowFailureError
from odradek.client.connection import Connection
from odradek.client.policy import RequestPolicy
from odradek.common import WorkflowIDReusePolicy
from odradek.exceptions import OdradekError, WorkflowAlreadyStartedError
from odradek.log.namespace import Namespace, open_namespace
from odradek.orchestrator.core.state import ShardConfig
from odradek.orchestrator.host import Orchestrator
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.service import RPCError, RPCStatusCode
from odradek.workers.settings import WorkerSettings
from odradek.workers.worker import ActivityWorker
from tests.simulation.host import Hosts, Process
from tests.simulation.log import Broker, SimulatedLog
from tests.simulation.programs import ACTIVITIES, QUEUE, Life

NAMESPACE: Final = "test"
ORCHESTRATOR: Final = OrchestratorSettings(
    session_timeout_seconds=6,
    poll_seconds=0.5,
    checkpoint_seconds=2,
    store_flush_seconds=3,
    delete_records_seconds=7,
    takeover_seconds_max=10,
    store_age_seconds_max=15,
    beacon_seconds=4,
    worker_lost_seconds=15,
    workers_lost_max=0,
    workflows_in_memory_max=0,
    instances_in_memory_max=1,
    deadlock_timeout_seconds=0,
    crashes_max=3,
)
WORKER: Final = WorkerSettings(session_timeout_seconds=6, lease_seconds=4, poll_seconds=0.5, commit_seconds=2)
POLICY: Final = RequestPolicy(close_timeout_seconds=1)
SHORT_LIVED: Final = replace(POLICY, lifetime_seconds=25)
"""Requests that expire, and are forgotten, while a seed lasts."""


M = TypeVar("M", "SimulatedOrchestrator", "SimulatedWorker", "Customer")


class SmallOrchestrator(Orchestrator):
    """Its chunks and records are small, so that short runs have several of them."""

    sizes: Mapping[str, Any]

    def shard_config(self, partition: int) -> ShardConfig:
        return replace(super().shard_config(partition), **self.sizes)


class SimulatedOrchestrator:
    """``rounds`` is what ``Orchestrator.run`` does, round by round."""

    def __init__(self, process: Process, namespace: Namespace, registry: Registry, sizes: Mapping[str, int]) -> None:
        self.process = process
        self.orchestrator = SmallOrchestrator(
            namespace, registry, identity=process.name, settings=ORCHESTRATOR, clock=process.clock,
            steps_loop=process.loop,
        )  # fmt: skip
        self.orchestrator.sizes = sizes
        rounds = self._rounds()

        def turn() -> None:
            if next(rounds, None) is None:
                actor.end()

        actor = process.do("serve", turn)

    def _rounds(self) -> Any:
        served = self.orchestrator
        served._open()
        while not served._stop.is_set():
            served._turn()
            yield True
        served._close()
        self.process.note("has LEFT in order")
        self.process.die()

    def due(self) -> float | None:
        """When time brings something about here, in seconds from now."""
        shards = [o.shard for o in self.orchestrator.owned.values() if o.shard is not None]
        due_ms = min((shard.next_tick_ms() for shard in shards), default=None)
        return None if due_ms is None else max(0.0, (due_ms - self.process.now_ms()) / 1000)


class SimulatedWorker:
    def __init__(self, process: Process, namespace: Namespace) -> None:
        self.process = process
        self.worker = ActivityWorker(
            namespace, QUEUE, ACTIVITIES, identity=process.name, settings=WORKER, clock=process.clock,
            max_concurrent_activities=4,
        )  # fmt: skip
        self.task = process.loop.create_task(self._run())

    async def _run(self) -> None:
        await self.worker.run()
        self.process.note("has LEFT in order")
        self.process.die()

    def stop(self) -> None:
        self.process.loop.create_task(self.worker.shutdown())


@dataclass
class Ledger:
    """What customers have asked for, and what they were told."""

    programs: dict[str, list[Any]] = field(default_factory=dict)
    started: dict[str, set[str]] = field(default_factory=dict)
    """Run IDs that customers were told of, by workflow."""
    signals: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By workflow and sender: the numbers that were accepted."""
    cancelled: set[str] = field(default_factory=set)
    """Workflows of which a cancel request was accepted."""
    terminated: set[str] = field(default_factory=set)
    updates: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """By workflow and update ID, which counts once in a run: what customers were told that it came to."""
    results: dict[str, Any] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    """Errands that nobody has done yet: what a customer dies over is taken up by the next one."""


class Customer:
    """A client process with errands, each an ``async`` function."""

    def __init__(
        self, process: Process, log: SimulatedLog, chance: Random, ledger: Ledger, policy: RequestPolicy
    ) -> None:
        self.process, self.chance, self.ledger = process, chance, ledger
        self.client = Client(
            Connection(log, request_policy=policy, clock=process.clock), namespace=NAMESPACE, identity=process.name
        )
        self.errands = 0

    def do(self, errand: Coroutine[Any, Any, None]) -> None:
        self.errands += 1
        task = self.process.loop.create_task(errand)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.errands -= 1
        if not task.cancelled() and task.exception() is not None:
            raise AssertionError("an errand failed") from task.exception()

    # ------------------------------------------------------------------------------------------ errands

    async def run(self, workflow_id: str) -> None:
        """Start it, or find it started, and wait for its end."""
        program, turns, bug = self.ledger.programs[workflow_id]
        while workflow_id not in self.ledger.started:
            try:
                handle = await self.client.start_workflow(
                    Life.run,
                    args=[program, turns, bug],
                    id=workflow_id,
                    task_queue=QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,  # it may have begun and ended unheard of
                )
                self._told_of(workflow_id, handle.first_execution_run_id)
            except WorkflowAlreadyStartedError:
                self._told_of(workflow_id, None)
            except RPCError as error:
                self._check_error(error)
        await self._result(workflow_id)

    async def _result(self, workflow_id: str) -> None:
        while True:
            try:
                result: Any = await self.client.get_workflow_handle(workflow_id).result()
            except WorkflowFailureError as error:
                result = type(error.cause).__name__
            except RPCError as error:
                self._check_error(error)
                continue
            known = self.ledger.results.setdefault(workflow_id, result)
            assert known == result, f"two results of {workflow_id}: {known} and {result}"
            return

    def _told_of(self, workflow_id: str, run_id: str | None) -> None:
        self.ledger.started.setdefault(workflow_id, set()).update([run_id] if run_id else [])
        self.process.note("was told that it runs:", workflow_id, run_id)

    def _check_error(self, error: RPCError) -> None:
        self.process.note("got an error:", error)
        assert error.status in (
            RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNAVAILABLE, RPCStatusCode.NOT_FOUND,
            RPCStatusCode.FAILED_PRECONDITION,
        ), repr(error)  # fmt: skip

    async def signal(self, workflow_id: str, sender: str, count: int) -> None:
        """In a row: each when the one before is accepted, or nobody answers."""
        accepted = self.ledger.signals.setdefault((workflow_id, sender), [])
        handle = self.client.get_workflow_handle(workflow_id)
        for number in range(count):
            try:
                await handle.signal("hear", args=[sender, number])
                accepted.append(number)
                self.process.note("was told that its signal is taken in:", workflow_id, sender, number)
            except RPCError as error:
                self._check_error(error)
            await asyncio.sleep(self.chance.random() * 3)

    async def update(self, workflow_id: str, number: int, update_id: str) -> None:
        handle = self.client.get_workflow_handle(workflow_id)
        for _ in range(2):
            try:
                result: Any = await handle.execute_update("ask", number, id=update_id)
            except RPCError as error:
                self._check_error(error)
                continue
            except OdradekError as error:
                result = type(error).__name__
            self.ledger.updates.setdefault((workflow_id, update_id), []).append(result)
            self.process.note("was told what its update came to:", workflow_id, update_id, result)

    async def ask(self, workflow_id: str) -> None:
        try:
            assert isinstance(await self.client.get_workflow_handle(workflow_id).query("heard"), list)
        except OdradekError as error:
            self.process.note("asked in vain:", workflow_id, error)

    async def cancel(self, workflow_id: str) -> None:
        try:
            await self.client.get_workflow_handle(workflow_id).cancel()
            self.ledger.cancelled.add(workflow_id)
        except RPCError as error:
            self._check_error(error)

    async def terminate(self, workflow_id: str) -> None:
        try:
            await self.client.get_workflow_handle(workflow_id).terminate("enough")
            self.ledger.terminated.add(workflow_id)
        except RPCError as error:
            self._check_error(error)


class Fleet:
    """Starts processes, and knows which there are."""

    def __init__(
        self,
        hosts: Hosts,
        broker: Broker,
        mount: Callable[[str], None],
        ledger: Ledger,
        sizes: Mapping[str, int],
    ) -> None:
        self.hosts, self.broker, self.ledger, self.sizes = hosts, broker, ledger, sizes
        self._mount = mount
        self._numbers = 0
        self._registry = Registry()
        self._registry.add([Life], QUEUE)
        self.orchestrators: list[SimulatedOrchestrator] = []
        self.workers: list[SimulatedWorker] = []
        self.customers: list[Customer] = []
        self.gone: list[Any] = []
        self.policy = POLICY
        self.logs: dict[str, SimulatedLog] = {}
        """By process."""

    def _process(self, role: str) -> tuple[Process, SimulatedLog]:
        self._numbers += 1
        process = Process(self.hosts, f"{role}-{self._numbers}")
        self.hosts.current = process
        log = self.logs[process.name] = SimulatedLog(self.broker, process)
        return process, log

    def orchestrator(self) -> SimulatedOrchestrator:
        process, log = self._process("orchestrator")
        self._mount(process.name)
        made = SimulatedOrchestrator(process, open_namespace(log, NAMESPACE), self._registry, self.sizes)
        return self._began(made, self.orchestrators)

    def worker(self) -> SimulatedWorker:
        process, log = self._process("worker")
        return self._began(SimulatedWorker(process, open_namespace(log, NAMESPACE)), self.workers)

    def customer(self) -> Customer:
        process, log = self._process("customer")
        return self._began(Customer(process, log, self.hosts.chance, self.ledger, self.policy), self.customers)

    def _began(self, member: M, members: list[M]) -> M:
        self.hosts.current = None
        self.gone += [other for other in members if not other.process.alive]
        members[:] = [other for other in members if other.process.alive] + [member]
        return member
