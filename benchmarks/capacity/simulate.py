"""A fleet as queues: processes that take in, in one turn, all that waits for them; appends that take their time.

From one seed. It knows costs, counts and delays, nothing of records.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from benchmarks.capacity.figures import STEPS, Turn, quantile
from odradek.log.assignment import assign
from odradek.log.partitioning import murmur2

RECORDS_PER_TURN = 1000
"""OrchestratorSettings.records_per_poll."""
LOG_THREADS = 3
"""Of a broker on the machine of the processes, and of their clients."""


@dataclass(frozen=True)
class Fleet:
    """``cores``: of one machine that all share, brokers too; None: each process has its own, brokers have enough."""

    orchestrators: int
    workers: int
    partitions: int
    task_partitions: int
    turns: dict[str, Turn]
    append_seconds: Sequence[float]
    """Drawn from, for each append."""
    concurrency: int = 1000
    """Activities of a worker at a time."""
    activity_seconds: float = 0.0
    steps: int = STEPS
    cores: float | None = None


@dataclass
class Outcome:
    steps_per_second: float
    latencies_ms: list[float]
    """From a start to its result, over the number of steps."""
    busy: dict[str, list[float]]
    """By role, the utilisation of each of its processes' threads."""
    records_per_turn: dict[str, float]

    def p(self, share: float) -> float:
        return quantile(self.latencies_ms, share) if self.latencies_ms else math.nan


class Server:
    """One thread. ``slots``: what it has taken in keeps one for ``hold`` seconds after the turn."""

    __slots__ = (
        "batch_max", "busy", "free_at", "held", "hold", "next_at", "number", "records", "role", "slots", "turn",
        "turns", "waiting",
    )  # fmt: skip

    def __init__(self, role: str, number: int, turn: Turn, batch_max: int, slots: int = 0, hold: float = 0.0) -> None:
        self.role, self.number, self.turn, self.batch_max = role, number, turn, batch_max
        self.slots, self.hold = slots, hold
        self.waiting: list[tuple[float, int, Workflow]] = []
        self.held: list[float] = []
        self.free_at, self.next_at = 0.0, math.inf
        self.busy, self.turns, self.records = 0.0, 0, 0


class Workflow:
    __slots__ = ("after", "began", "left", "owner")

    def __init__(self, owner: Server, left: int, began: float) -> None:
        self.owner, self.left, self.began = owner, left, began
        self.after = ARRIVED


ARRIVED, ACKNOWLEDGED, TASK, ANSWER = range(4)
"""Where a workflow goes next: to its owner as input, back there as an acknowledgement, to a worker, to its client."""


@dataclass
class Simulation:
    """``rate``: workflows per second that come at random; or ``open_workflows`` of them at any time."""

    fleet: Fleet
    seed: int = 0
    rate: float = 0.0
    open_workflows: int = 0
    _now: float = 0.0
    _count: int = 0
    _events: list[tuple[float, int]] = field(default_factory=list)
    _busy_until: list[float] = field(default_factory=list)

    def run(self, seconds: float, warm_up: float) -> Outcome:
        """Of ``seconds`` of its time after ``warm_up``."""
        self._set_up()
        self._from, self._till = warm_up, warm_up + seconds
        starts = 1 / self.rate if self.rate else 0.0
        next_start = self._random.expovariate(self.rate) if self.rate else math.inf
        for _ in range(self.open_workflows):
            self._begin(self._random.random() * 0.01)
        events, servers = self._events, self._servers
        while True:
            at = events[0][0] if events else math.inf
            if next_start <= at:
                if next_start > self._till:
                    break
                self._begin(next_start)
                next_start += self._random.expovariate(1.0) * starts
                continue
            at, number = heappop(events)
            if at > self._till:
                break
            server = servers[number]
            if at == server.next_at:
                self._turn(server, at)
        return self._outcome(seconds)

    def _set_up(self) -> None:
        fleet = self.fleet
        self._random = random.Random(self.seed)
        self._servers: list[Server] = []
        self._finished: list[float] = []
        self._steps = 0
        owners = self._make("orchestrator", fleet.orchestrators)
        workers = self._make("worker", fleet.workers)
        self._owners = _by_partition(owners, fleet.partitions)
        self._workers = _by_partition(workers, fleet.task_partitions)
        self._log = self._make("log", LOG_THREADS) if fleet.cores is not None else []

    def _make(self, role: str, count: int) -> list[Server]:
        slots, hold = (self.fleet.concurrency, self.fleet.activity_seconds) if role == "worker" else (0, 0.0)
        first, turn = len(self._servers), self.fleet.turns[role]
        made = [Server(role, first + n, turn, slots or RECORDS_PER_TURN, slots, hold) for n in range(count)]
        self._servers += made
        return made

    def _begin(self, at: float) -> None:
        key = b"%x-%d" % (self.seed, self._count)
        owner = self._owners[(murmur2(key) & 0x7FFFFFFF) % len(self._owners)]
        self._append(Workflow(owner, self.fleet.steps, at), at)

    def _append(self, workflow: Workflow, at: float) -> None:
        """On its way to where ``after`` says, through the log."""
        if self._log:
            self._push(self._log[self._count % len(self._log)], at, workflow)
        else:
            self._appended(workflow, at)

    def _appended(self, workflow: Workflow, at: float, spent: float = 0.0) -> None:
        """``spent``: what the append has taken already of the time of one that comes alone."""
        drawn = self.fleet.append_seconds[int(self._random.random() * len(self.fleet.append_seconds))]
        at += max(0.0, drawn - spent)
        if workflow.after == ANSWER:
            self._end(workflow, at)
        elif workflow.after == TASK:
            self._push(self._workers[int(self._random.random() * len(self._workers))], at, workflow)
        else:
            self._push(workflow.owner, at, workflow)

    def _push(self, server: Server, at: float, workflow: Workflow) -> None:
        self._count += 1
        heappush(server.waiting, (at, self._count, workflow))
        self._wake(server, max(at, server.free_at))

    def _wake(self, server: Server, at: float) -> None:
        if at < server.next_at:
            server.next_at = at
            heappush(self._events, (at, server.number))

    def _turn(self, server: Server, at: float) -> None:
        waiting, most = server.waiting, server.batch_max
        server.next_at = math.inf
        if server.hold:
            most = self._free_slots(server, at)
        taken: list[Workflow] = []
        while waiting and waiting[0][0] <= at and len(taken) < most:
            taken.append(heappop(waiting)[2])
        end = at
        if taken:
            cost = server.turn.seconds(len(taken))
            end = at + cost * self._slowdown(at, cost)
            server.free_at = end
            if at >= self._from:
                server.busy += end - at
                server.turns += 1
                server.records += len(taken)
            for workflow in taken:
                self._served(server, workflow, end)
        if waiting:
            again = max(end, waiting[0][0])
            if server.hold and len(server.held) >= server.slots:
                again = max(again, server.held[0])
            self._wake(server, again)

    def _served(self, server: Server, workflow: Workflow, at: float) -> None:
        if server.role == "log":
            self._appended(workflow, at, server.turn.seconds(1))
            return
        if server.role == "worker":
            workflow.left -= 1
            workflow.after = ARRIVED
            if at >= self._from:
                self._steps += 1
            if server.hold:
                at += server.hold
                heappush(server.held, at)
        elif workflow.after == ARRIVED:
            workflow.after = ACKNOWLEDGED
        else:
            workflow.after = TASK if workflow.left else ANSWER
        self._append(workflow, at)

    def _free_slots(self, server: Server, at: float) -> int:
        while server.held and server.held[0] <= at:
            heappop(server.held)
        return server.slots - len(server.held)

    def _slowdown(self, at: float, cost: float) -> float:
        """By how much a turn takes longer than its CPU time, where more threads run than there are cores."""
        if self.fleet.cores is None:
            return 1.0
        until = self._busy_until
        while until and until[0] <= at:
            heappop(until)
        slower = max(1.0, (len(until) + 1) / self.fleet.cores)
        heappush(until, at + cost * slower)
        return slower

    def _end(self, workflow: Workflow, at: float) -> None:
        if self._from <= at <= self._till:
            self._finished.append((at - workflow.began) / self.fleet.steps * 1000)
        if self.open_workflows:
            self._begin(at)

    def _outcome(self, seconds: float) -> Outcome:
        busy: dict[str, list[float]] = {}
        taken: dict[str, tuple[int, int]] = {}
        for server in self._servers:
            busy.setdefault(server.role, []).append(min(1.0, server.busy / seconds))
            records, turns = taken.get(server.role, (0, 0))
            taken[server.role] = records + server.records, turns + server.turns
        batches = {role: records / turns if turns else 0.0 for role, (records, turns) in taken.items()}
        return Outcome(self._steps / seconds, self._finished, busy, batches)


def _by_partition(servers: Sequence[Server], partitions: int) -> list[Server]:
    """As the consumer group shares them out."""
    shares = assign({f"{n:06}": () for n in range(len(servers))}, partitions)
    owners = {p: servers[int(name)] for name, owned in shares.items() for p in owned}
    return [owners[p] for p in range(partitions)]
