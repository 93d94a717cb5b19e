"""One seed: what is started, which trouble comes when, and how it ends.

python -m tests.simulation 1234            one seed, with what happened
python -m tests.simulation 0 10000         many, on all cores
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from odradek import activity
from odradek.client import pump
from odradek.log.namespace import create_namespace
from odradek.log.partitioning import partition_of
from odradek.orchestrator import copies as copies_module
from odradek.orchestrator import owned as owned_module
from odradek.orchestrator.core import closing as closing_module
from odradek.orchestrator.core import run as run_module
from odradek.schemas.topics import Topics
from tests.simulation.counting import WRONG, counted
from tests.simulation.disk import Disks
from tests.simulation.ending import check_end
from tests.simulation.host import Hosts, Process
from tests.simulation.log import TASKS_KEPT_BRIEFLY_SECONDS, Broker, SimulatedLog
from tests.simulation.members import NAMESPACE, SHORT_LIVED, Customer, Fleet, Ledger, SimulatedOrchestrator
from tests.simulation.programs import QUEUE, STAGE, tree
from tests.simulation.threads import simulated_threads
from tests.simulation.trouble import Weather
from tests.simulation.witness import SKEW_MS_MAX, Violated, Witness

PARTITIONS = 2
END_SECONDS_MAX = 600
STILL_SECONDS_MAX = 3.0
"""The longest that time jumps when nothing happens."""


class World:
    def __init__(self, seed: int, *, roots: int = 3, steps: int = 2500, calm: bool = False) -> None:
        self.seed, self.roots, self.steps, self.calm = seed, roots, steps, calm
        self.hosts = Hosts(seed)
        self.chance = self.hosts.chance
        self.broker = Broker(self.hosts)
        self.disks = Disks(self.hosts)
        self.ledger = Ledger()
        self.witness = Witness(self.hosts, Topics(NAMESPACE))
        self.broker.on_landed = self.witness.landed
        sizes = {"chunk_bytes": self.chance.choice((200, 400, 2048))}
        if self.chance.random() < 0.3:
            sizes["record_bytes_max"] = 1350  # spreads transitions over several chunks
        self.fleet = Fleet(self.hosts, self.broker, self.disks.mount, self.ledger, sizes)
        if seed % 2:  # not always: what has been lost is issued again then, whatever lost it
            self.broker.tasks_kept_seconds = TASKS_KEPT_BRIEFLY_SECONDS
        if seed % 4 == 0:
            self.fleet.policy = SHORT_LIVED
        self.bugs = {"bug"} if self.chance.random() < 0.3 else set[str]()
        self.weather = Weather(self)
        self.attempts: list[tuple[str, int, int]] = []
        """Each that a worker began: run, activity, attempt. Its number is what it returns."""
        self._still = 0
        self._traffic = 0
        self._told: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------------------------------ life

    def run(self) -> World:
        with self._entered():
            try:
                self._set_up()
                for number in range(self.steps):
                    if not self.calm:
                        self.weather.strike()
                        self._customers_again()
                    self.step()
                    if number % 50 == 0 and self._is_over():
                        break
                self._calm_down()
                self._finish()
                check_end(self)
            except BaseException as error:
                error.add_note("\n".join([*self.hosts.trace.lines(100), f"Repeat it: {command(self.seed)}"]))
                raise
            finally:
                self._clear_away()
        return self

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with ExitStack() as entered:
            entered.enter_context(self.hosts)
            entered.enter_context(simulated_threads(self.hosts))
            entered.enter_context(counted(self.hosts))
            entered.enter_context(mock.patch.object(copies_module, "open_store", self.disks.open))
            for module in (run_module, closing_module):
                entered.enter_context(mock.patch.object(module, "CLOCK_SKEW_MS_MAX", 2 * SKEW_MS_MAX))
            STAGE.chance, STAGE.bugs, STAGE.began = self.chance, self.bugs, self._began
            yield

    def _set_up(self) -> None:
        setter = Process(self.hosts, "setter")
        setter.actors.clear()
        create_namespace(SimulatedLog(self.broker, setter), NAMESPACE, partitions=PARTITIONS, queues=(QUEUE,))
        setter.die()
        self.fleet.orchestrator()
        self.fleet.worker()
        names = [f"wf-{number}" for number in range(20)]
        peers = [
            next(
                n for n in names if partition_of(n.encode(), PARTITIONS) == number % PARTITIONS and not names.remove(n)
            )
            for number in range(self.roots)
        ]
        for workflow_id in peers:
            turns, bug = int(self.chance.random() < 0.2), "bug" if self.chance.random() < 0.3 else ""
            program = ["seq", [tree(self.chance, 2, peers) for _ in range(self.chance.randrange(1, 4))]]
            self.ledger.programs[workflow_id] = [program, turns, bug]
        self._errands(self.fleet.customer(), peers)

    def _errands(self, customer: Customer, peers: list[str]) -> None:
        chance = self.chance
        for workflow_id in peers:
            customer.do(customer.run(workflow_id))
        for number in range(chance.randrange(3)):
            customer.do(customer.signal(chance.choice(peers), f"customer {number}", chance.randrange(1, 4)))
        for number in range(chance.randrange(3)):
            customer.do(customer.update(chance.choice(peers), chance.randrange(9), f"update {number}"))
        customer.do(customer.ask(chance.choice(peers)))
        if chance.random() < 0.2:
            customer.do(customer.cancel(chance.choice(peers)))
        if chance.random() < 0.05:
            customer.do(customer.terminate(chance.choice(peers)))

    def _began(self, info: activity.Info, what: object) -> int:
        self.attempts.append((info.workflow_run_id or "", int(info.activity_id), info.attempt))
        return len(self.attempts) - 1

    # ------------------------------------------------------------------------------------------ one step

    def step(self) -> None:
        """Something arrives, or somebody does something; when nothing happens for a while, time jumps."""
        if self.hosts.failure is not None:
            raise self.hosts.failure
        if self._traffic % 16 == 0 and (wrong := [what for what in self.hosts.happened if what.startswith(WRONG)]):
            raise Violated("\n".join(wrong))
        self._wake_up()
        if self.chance.random() < 0.3 and self.broker.move():
            return
        ready = self.hosts.ready()
        if ready:
            self.hosts.run(self.chance.choice(ready))
        if self.broker.traffic != self._traffic:
            self._traffic, self._still = self.broker.traffic, 0
            return
        self._still += 1
        if self._still > 2 * len(ready):
            self._still = 0
            self.hosts.now += min(self._until_due(), STILL_SECONDS_MAX * self.chance.random())

    def _wake_up(self) -> None:
        for process in self.hosts.processes:
            if process.paused_until and process.runs:
                process.wake()

    def _until_due(self) -> float:
        loops = (process.loop.due for process in self.hosts.processes if process.runs)
        dues = [due - self.hosts.now for due in loops if due is not None]
        dues += [due for member in self.fleet.orchestrators if (due := member.due()) is not None]
        return max(0.001, min(dues, default=STILL_SECONDS_MAX))

    def _customers_again(self) -> None:
        """There is always somebody who waits for the results."""
        if not any(customer.process.alive for customer in self.fleet.customers):
            self._wait_again()

    def _wait_again(self) -> None:
        customer = self.fleet.customer()
        for workflow_id in self.ledger.programs:
            customer.do(customer.run(workflow_id))

    # ------------------------------------------------------------------------------------------ the end

    def _calm_down(self) -> None:
        """No more trouble, and what is wrong with the code is mended."""
        self.hosts.note("FROM NOW ON nothing goes wrong any more")
        self.bugs.clear()
        for process in list(self.hosts.processes):
            process.slow = False
            process.dies_in = None
            if process.paused_until:
                process.wake()

    def _fill_places(self) -> None:
        """There is somebody for everything; who was asked to leave before goes now."""
        if not any(m.process.alive and not m.orchestrator._stop.is_set() for m in self.fleet.orchestrators):
            self.fleet.orchestrator()
        if not any(m.process.alive and not m.worker._stop.is_set() for m in self.fleet.workers):
            self.fleet.worker()
        if not any(customer.process.alive for customer in self.fleet.customers):
            self._wait_again()

    def _finish(self) -> None:
        until = self.hosts.now + END_SECONDS_MAX
        while self.hosts.now < until:
            self._fill_places()
            for _ in range(50):
                self.step()
            if self._is_over():
                return
        raise Violated(f"not finished after {END_SECONDS_MAX} s without trouble: {self._open()}")

    def _open(self) -> list[str]:
        """What is left to be done."""
        left = [f"{customer.errands} errands of {customer.process.name}" for customer in self._customers()]
        for member in self.fleet.orchestrators:
            for owned in member.orchestrator.owned.values():
                workflows = {} if owned.shard is None else owned.shard.workflows
                left += [f"partition {owned.partition} is {owned.phase}"] if owned.shard is None else []
                left += [f"{wf.id}: {wf.live and wf.live.run}" for wf in workflows.values() if wf.live or wf.ending]
        return left

    def _customers(self) -> list[Customer]:
        return [customer for customer in self.fleet.customers if customer.process.alive and customer.errands]

    def _is_over(self) -> bool:
        if self._customers() or set(self.ledger.programs) - set(self.ledger.results):
            return False
        if any(self.witness.parts.values()):
            return False
        begun = {(said[2], said[1]) for said in self.witness.said if said[0] == "run"}
        return all(self._is_closed(workflow_id) for workflow_id, _ in sorted(begun - self.witness.archive.keys()))

    def _is_closed(self, workflow_id: str) -> bool:
        """Its owner says so; runs that are not archived then have never been, by the reader's rule."""
        partition = partition_of(workflow_id.encode(), PARTITIONS)
        owners = [
            owned
            for member in self.fleet.orchestrators
            if member.process.alive and (owned := member.orchestrator.owned.get(partition)) is not None
        ]
        owned = max(owners, key=lambda owned: owned._claim, default=None)  # the others do not know yet that it is over
        if owned is None or owned.shard is None or owned.phase is not owned_module.Phase.LIVE:
            return False
        wf = owned.shard.workflow(workflow_id)
        return wf.live is None and not wf.ending

    def _clear_away(self) -> None:
        """In order: code that is left to a collector would run in the middle of other code."""
        for member in (*self.fleet.orchestrators, *self.fleet.gone):
            for owned in member.orchestrator.owned.values() if isinstance(member, SimulatedOrchestrator) else ():
                if owned.shard is not None:
                    for live in list(owned.shard.instances.values()):
                        owned.shard.drop_instance(live)
                    owned.shard.closed_runs.clear()
        for process in (*self.hosts.processes, *self.hosts.graves):
            process.alive = True  # on its way out it may call others
            process.loop.end()
        pump._running.clear()  # those whose threads have never been


def command(seed: int) -> str:
    """What repeats one seed."""
    return f"make simulate FIRST={seed} SEEDS=1"
