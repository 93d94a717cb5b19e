"""One run of everything: ``python -m tests.nemesis.scenario --minutes 10 --seed 1``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from odradek.client import Client
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.service import RPCError
from odradek.testing.cluster import LocalCluster
from tests.chaos.shop import PARTITIONS
from tests.nemesis.bank import QUEUE
from tests.nemesis.books import Books
from tests.nemesis.checker import (
    Topics,
    check_alarms,
    check_books,
    check_counter,
    check_operations,
    stale_answers,
    transfers,
)
from tests.nemesis.disk import NoSmallDisk, SmallDisk
from tests.nemesis.faults import CLIENTS, ROUTES, Nemesis, supervise
from tests.nemesis.fleet import ORCHESTRATORS, WORKERS, Member, NemesisFleet
from tests.nemesis.journal import OK, Journal
from tests.nemesis.load import ACCOUNTS, POLICY, UPDATE, Load
from tests.nemesis.network import Network

NAMESPACE: Final = "nemesis"
BROKER_DISK_MB: Final = 1500
STORE_DISK_MB: Final = 64
SETTLE_SECONDS_MAX: Final = 300
"""Workflows that were parked because of kills which they had not caused have had their trials by then."""
LOOK_AFTER_SECONDS: Final = 30
PROBLEMS_SHOWN: Final = 20


@dataclass
class Outcome:
    """What a run has shown; ``problems`` is empty when everything held."""

    seed: int
    folder: Path
    faults: Counter[str] = field(default_factory=Counter)
    fault_log: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    acknowledged: int = 0
    """Operations that were answered."""

    def __str__(self) -> str:
        text = [f"nemesis: seed {self.seed}, logs of all processes in {self.folder}", *self.figures]
        if self.problems:
            text += ["faults:", *self.fault_log, f"{len(self.problems)} problems:", *self.problems[:PROBLEMS_SHOWN]]
        return "\n".join(text)


class Scenario:
    """A cluster, a fleet and customers of their own, with everything in ``folder``; a context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.outcome = Outcome(seed, folder)
        self._stack = ExitStack()
        self._disks: dict[str, SmallDisk] = {}
        self._framed: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.cluster = LocalCluster(self.folder, routes=ROUTES)
            self._small_disk(stack, "broker", self.folder / "broker-3" / "data", BROKER_DISK_MB)
            self._small_disk(stack, "store", self.folder / f"{ORCHESTRATORS[0]}-store", STORE_DISK_MB)
            self.network = stack.enter_context(Network(self.cluster.doors))
            stack.enter_context(self.cluster)
            self.log = stack.enter_context(closing(open_log(f"kafka://{self.cluster.bootstrap}")))
            create_namespace(self.log, NAMESPACE, partitions=PARTITIONS, queues=(QUEUE,))
            self.books = stack.enter_context(closing(Books(self.folder / "books.db")))
            self.books.open_accounts(ACCOUNTS)
            self.fleet = NemesisFleet([self._member(name) for name in (*ORCHESTRATORS, *WORKERS)])
            stack.callback(self.fleet.kill)
            self.fleet.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def run(self, seconds: float, only: Sequence[str] = ()) -> Outcome:
        """Let things go wrong for so long, and then check."""
        journal = Journal()
        nemesis = Nemesis(self.fleet, self.cluster, self.network, self._disks, self.seed)
        supervisor = asyncio.create_task(supervise(self.fleet))
        address = self._address(CLIENTS)
        began = time.time()
        async with await Client.connect(address, namespace=NAMESPACE, request_policy=POLICY) as client:
            load = Load(client, journal, self.seed)
            customers = asyncio.create_task(load.run())
            operator = asyncio.create_task(asyncio.sleep(0))
            await nemesis.rage(began + seconds, only)
            raged = time.time()
            await nemesis.put_right()
            load.stop()
            try:
                async with asyncio.timeout(SETTLE_SECONDS_MAX):
                    operator = asyncio.create_task(self._find_the_framed(client, load))
                    await customers  # who may have asked a parked workflow for an update
                    await load.settle()
            except ExceptionGroup as errors:
                self.outcome.problems.append(f"the customers failed: {errors.exceptions!r}")
            except TimeoutError:
                self.outcome.problems.append(f"after {SETTLE_SECONDS_MAX} s without faults: open are {load.awaited}")
            settled = time.time()
            await _cancel(customers, operator, *load.tasks)
        await _cancel(supervisor)
        self.outcome.faults, self.outcome.fault_log = nemesis.counts, nemesis.log
        self.outcome.problems += self.fleet.unexpected()
        await asyncio.to_thread(self._check, journal, load)
        self._figures(journal, load, raged - began, settled - raged)
        self._keep(journal)
        return self.outcome

    async def _find_the_framed(self, client: Client, load: Load) -> None:
        """Whose code was about to run at three kills in a row, by chance: they free themselves."""
        await asyncio.sleep(LOOK_AFTER_SECONDS)
        children = [f"{name}-{number}" for name in load.awaited if name.startswith("payday-") for number in range(3)]
        for name in (*load.awaited, *children):
            with suppress(RPCError):
                found = await client.get_workflow_handle(name).describe()
                if found.parked is not None and found.parked.code == "ODR-088":
                    self._framed.append(name)

    # ------------------------------------------------------------------------------------------ parts

    def _small_disk(self, stack: ExitStack, name: str, folder: Path, size_mb: int) -> None:
        """Puts it where ``folder`` is to be, if there can be one."""
        try:
            disk = stack.enter_context(SmallDisk(self.folder / f"{name}-disk", size_mb))
        except NoSmallDisk as error:
            self.outcome.figures.append(f"left out: full disks, since none can be made here ({error})")
            return
        self._disks[name] = disk
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(disk.path)

    def _member(self, name: str) -> Member:
        store = self.folder / f"{name}-store" if name in ORCHESTRATORS else None
        if store is not None:
            store.mkdir(exist_ok=True)
        return Member(name, self.folder, self._address(name), NAMESPACE, store)

    def _address(self, route: str) -> str:
        return f"kafka://{self.cluster.bootstrap_through(route)}"

    # ------------------------------------------------------------------------------------------ what it showed

    def _check(self, journal: Journal, load: Load) -> None:
        found = self.outcome.problems
        found += check_operations(journal, load.results)
        found += check_books(self.books, load.results)
        found += check_alarms(load, journal)
        for name in load.counters:
            if name in load.results:
                found += check_counter(name, journal, load.results[name])
        topics = Topics(self.log, NAMESPACE)
        for check in (topics.check_timers, topics.check_ids, topics.check_answers, topics.check_evidence):
            found += check()
        self.outcome.figures.append(
            f"topics: {len(topics.archived)} runs, {len(topics.late_records())} late records, {topics.timers_fired} "
            f"timers, the latest {topics.late_seconds:.1f} s after its time"
        )

    def _figures(self, journal: Journal, load: Load, raged: float, settled: float) -> None:
        updates = sorted(each.seconds for each in journal.of(UPDATE) if each.outcome == OK) or [0.0]
        executions = Counter((each.key, each.attempt) for each in self.books.executions())
        money = Counter(result for _, result in transfers(load.results))
        self.outcome.acknowledged = sum(each.outcome == OK for each in journal.operations)
        sent_again = sum(each.attempts > 1 for each in journal.operations)
        self.outcome.figures += [
            f"faults for {raged:.0f} s, all settled {settled:.0f} s later: {self.outcome.faults.total()} faults",
            *(f"  {count:4} {kind}" for kind, count in sorted(self.outcome.faults.items())),
            f"operations: {len(journal.operations)}",
            *(f"  {kind}: {_counted(counts)}" for kind, counts in sorted(journal.counts().items())),
            f"updates: half within {updates[len(updates) // 2]:.2f} s, all within {updates[-1]:.1f} s",
            f"updates sent again by the customer: {sent_again}",
            f"transfers: {_counted(money)}; counted: {sum(len(load.results.get(n, [])) for n in load.counters)}",
            f"plain queries answered from before a failover: {stale_answers(journal, load.results)}",
            f"activities executed: {executions.total()}, of them again {executions.total() - len(executions)}",
            f"partitions taken over: {sum(member.claims() for member in self.fleet)}",
            f"processes that ended by themselves: {[f'{name}: {status}' for name, status, _ in self.fleet.ended]}",
            f"workflows that were parked because of kills which they had not caused: {self._framed}",
            f"processes that found no log to begin with: {self.fleet.gave_up}",
        ]

    def _keep(self, journal: Journal) -> None:
        journal.write(self.folder / "operations.jsonl")
        (self.folder / "faults.log").write_text("\n".join(self.outcome.fault_log) + "\n")
        (self.folder / "outcome.txt").write_text(f"{self.outcome}\n")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="0: one that is chosen, and printed")
    parser.add_argument("--only", action="append", default=[], help="Only faults of this kind; may be repeated.")
    parser.add_argument("--folder", type=Path, help="Where everything is kept. Default: a new one.")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="nemesis-"))
    seed = options.seed or time.time_ns() % 1_000_000
    with Scenario(folder, seed) as scenario:
        outcome = asyncio.run(scenario.run(options.minutes * 60, options.only))
    sys.stdout.write(f"{outcome}\n")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
