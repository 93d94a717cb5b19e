"""The nemesis: chooses what goes wrong next, lets it, and puts it right again; from one seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from odradek.testing.cluster import REPLICATION, ClusterBroker, LocalCluster
from tests.nemesis.disk import SmallDisk
from tests.nemesis.fleet import ORCHESTRATORS, SESSION_SECONDS, WORKERS, Member, NemesisFleet
from tests.nemesis.network import BOTH, FROM_BROKER, TO_BROKER, Network

CLIENTS: Final = "clients"
ROUTES: Final = (*ORCHESTRATORS, *WORKERS, CLIENTS, REPLICATION)
BREATH_SECONDS_MAX: Final = 3.0
"""Between two faults of the same kind of victim."""
BUILD_MAX: Final = 6
KILLS_IN_SUCCESSION: Final = 3
"""Before the last one: the first leaves no notes, as many as this park."""
SERVING_SECONDS_MAX: Final = 12.0

Fault = Callable[[], Awaitable[None]]


class Nemesis:
    """Two things may go wrong at once: one with the fleet, one with the brokers and the network."""

    def __init__(
        self, fleet: NemesisFleet, cluster: LocalCluster, network: Network, disks: dict[str, SmallDisk], seed: int
    ) -> None:
        self._fleet, self._cluster, self._network, self._disks = fleet, cluster, network, disks
        self._chance = random.Random(f"faults {seed}")
        self._began = time.time()
        self._build = 1
        self.log: list[str] = []
        self.counts: Counter[str] = Counter()

    async def rage(self, deadline: float, only: Sequence[str] = ()) -> None:
        """Until ``deadline`` by the host's clock, each kind once if there is time; ``only``: nothing but these."""
        fleet: dict[str, Fault] = {
            "orchestrator killed": lambda: self._kill(ORCHESTRATORS),
            "worker killed": lambda: self._kill(WORKERS),
            "orchestrator stopped for a moment": lambda: self._freeze(ORCHESTRATORS, 0.2, SESSION_SECONDS * 0.8),
            "worker stopped for a moment": lambda: self._freeze(WORKERS, 0.2, SESSION_SECONDS * 0.8),
            "orchestrator's session expired": lambda: self._freeze(ORCHESTRATORS, SESSION_SECONDS * 1.3, 9),
            "worker's session expired": lambda: self._freeze(WORKERS, SESSION_SECONDS * 1.3, 9),
            "orchestrators killed together": self._kill_orchestrators,
            "orchestrators killed again and again": self._kill_in_succession,
            "orchestrator ended in order": lambda: self._end_in_order(ORCHESTRATORS),
            "worker ended in order": lambda: self._end_in_order(WORKERS),
            "store deleted, process killed": self._delete_store,
            "store deleted in use": self._delete_store_in_use,
            "fleet rolled to a new build": self._roll,
        }
        brokers: dict[str, Fault] = {
            "broker killed": self._kill_broker,
            "two brokers killed": self._kill_two_brokers,
            "broker stopped for a moment": lambda: self._freeze_broker(0.2, 2.5),
            "broker stopped until it is replaced": lambda: self._freeze_broker(7, 12),
            "connections cut": self._cut,
            "connections silent": self._swallow,
            "appends held back until another owns the partitions": self._hold_back,
            "replication cut": self._cut_replication,
        }
        if "broker" in self._disks:
            brokers["broker's disk full"] = self._fill_broker_disk
        if "store" in self._disks:
            fleet["store's disk full"] = self._fill_store_disk
        await asyncio.gather(
            *(
                self._lane({n: f for n, f in lane.items() if not only or n in only}, deadline)
                for lane in (fleet, brokers)
            )
        )

    async def put_right(self) -> None:
        """Nothing is wrong any more, and everybody is of the last build or one that is being started."""
        for disk in self._disks.values():
            await asyncio.to_thread(disk.free)
        for route in ROUTES:
            for broker in self._cluster.brokers:
                self._network.heal(route, broker.number)
        for broker in self._cluster.brokers:
            if broker.runs:
                broker.resume()
            else:
                await asyncio.to_thread(broker.kill)
                broker.launch()
        for member in self._fleet:
            if not member.runs:
                member.start()
            member.thaw()
        await asyncio.to_thread(self._cluster.await_all)
        self._note("everything is put right")

    # ------------------------------------------------------------------------------------------ choosing

    async def _lane(self, faults: dict[str, Fault], deadline: float) -> None:
        kinds = list(faults)
        self._chance.shuffle(kinds)
        while faults and time.time() < deadline:
            kind = kinds.pop() if kinds else self._chance.choice(list(faults))
            self.counts[kind] += 1
            self._note(f"{kind} …")
            await faults[kind]()
            await self._pause(0, BREATH_SECONDS_MAX)

    def _note(self, text: str) -> None:
        self.log.append(f"{time.time():.3f} {time.time() - self._began:7.1f} s  {text}")

    async def _pause(self, least: float, most: float) -> None:
        await asyncio.sleep(self._chance.uniform(least, most))

    def _one(self, names: Sequence[str]) -> Member:
        member = self._fleet[self._chance.choice(names)]
        self._note(f"  {member.name}")
        return member

    # ------------------------------------------------------------------------------------------ the fleet

    async def _kill(self, names: Sequence[str]) -> None:
        member = self._one(names)
        member.kill()
        await self._pause(0, 3)
        self._start(member)

    async def _kill_orchestrators(self) -> None:
        for name in ORCHESTRATORS:
            self._fleet[name].kill()
            await self._pause(0, 0.5)
        await self._pause(0, 2)
        for name in ORCHESTRATORS:
            self._start(self._fleet[name])

    async def _kill_in_succession(self) -> None:
        """While they note whose code is about to run: who is noted each time is parked, and must be freed."""
        for _ in range(KILLS_IN_SUCCESSION):
            await self._kill_orchestrators()
            await self._serving(SERVING_SECONDS_MAX)
            await self._pause(0, 1)
        await self._kill_orchestrators()

    async def _serving(self, seconds: float) -> None:
        """Until an orchestrator serves, or for so long where none can."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not any(self._fleet[name].has_served() for name in ORCHESTRATORS):  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _freeze(self, names: Sequence[str], least: float, most: float) -> None:
        member = self._one(names)
        member.freeze()
        await self._pause(least, most)
        member.thaw()
        self._note(f"  {member.name} goes on")

    async def _end_in_order(self, names: Sequence[str]) -> None:
        member = self._one(names)
        await self._stop(member)
        self._start(member)

    async def _delete_store(self) -> None:
        member = self._one(ORCHESTRATORS)
        member.kill()
        member.delete_store()
        self._start(member)
        await self._pause(0, 2)

    async def _delete_store_in_use(self) -> None:
        member = self._one(ORCHESTRATORS)
        member.delete_store()
        await self._pause(2, 6)

    async def _fill_store_disk(self) -> None:
        """It runs out of space, or is started without any."""
        member, disk = self._fleet[ORCHESTRATORS[0]], self._disks["store"]
        if self._chance.random() < 0.5:
            await self._fill(disk, 5, 15)
            return
        member.kill()
        await asyncio.to_thread(disk.fill)
        self._start(member)
        await self._pause(5, 15)
        await asyncio.to_thread(disk.free)
        self._note("  there is space again")

    async def _roll(self) -> None:
        self._build = min(self._build + 1, BUILD_MAX)
        self._note(f"  build {self._build}")
        for member in sorted(self._fleet, key=lambda member: member.name, reverse=True):
            member.build = self._build
            if self._chance.random() < 0.3:
                member.kill()
            else:
                await self._stop(member)
            self._start(member)
            await self._pause(1, 4)

    async def _stop(self, member: Member) -> None:
        member.leaving = True
        await asyncio.to_thread(member.stop)

    def _start(self, member: Member) -> None:
        member.leaving = False
        member.start()
        self._note(f"  {member.name} is started")

    # ------------------------------------------------------------------------------------------ brokers and network

    def _broker(self) -> ClusterBroker:
        broker = self._chance.choice(self._cluster.brokers)
        self._note(f"  broker {broker.number}")
        return broker

    async def _kill_broker(self) -> None:
        await self._kill_brokers([self._broker()], 0, 8)

    async def _kill_two_brokers(self) -> None:
        await self._kill_brokers(self._chance.sample(self._cluster.brokers, 2), 0, 3)

    async def _kill_brokers(self, brokers: Sequence[ClusterBroker], least: float, most: float) -> None:
        for broker in brokers:
            await asyncio.to_thread(broker.kill)
        await self._pause(least, most)
        for broker in brokers:
            await asyncio.to_thread(broker.launch)
        await asyncio.to_thread(self._cluster.await_all)
        self._note(f"  brokers {', '.join(str(broker.number) for broker in brokers)} are back")

    async def _freeze_broker(self, least: float, most: float) -> None:
        broker = self._broker()
        broker.pause()
        await self._pause(least, most)
        broker.resume()
        self._note(f"  broker {broker.number} goes on")

    async def _fill_broker_disk(self) -> None:
        broker = self._cluster.brokers[-1]
        await self._fill(self._disks["broker"], 4, 8)
        if not broker.runs:
            self._note(f"  broker {broker.number} had ended")
            await self._kill_brokers([broker], 0, 0)

    async def _fill(self, disk: SmallDisk, least: float, most: float) -> None:
        await asyncio.to_thread(disk.fill)
        await self._pause(least, most)
        await asyncio.to_thread(disk.free)
        self._note("  there is space again")

    async def _cut(self) -> None:
        route, brokers = self._some_connections()
        for broker in brokers:
            self._network.cut(route, broker)
        await self._pause(0.1, 6)
        self._heal(route, brokers, reset=False)

    async def _swallow(self) -> None:
        route, brokers = self._some_connections()
        directions = self._chance.choice([BOTH, (TO_BROKER,), (FROM_BROKER,)])
        self._note(f"  {' and '.join(directions)} the brokers")
        for broker in brokers:
            self._network.swallow(route, broker, directions)
        await self._pause(0.5, 12)
        self._heal(route, brokers, reset=self._chance.random() < 0.5)

    async def _hold_back(self) -> None:
        route = self._chance.choice(ORCHESTRATORS)
        self._note(f"  {route}")
        brokers = [broker.number for broker in self._cluster.brokers]
        for broker in brokers:
            self._network.swallow(route, broker, (TO_BROKER,))
        await self._pause(SESSION_SECONDS * 1.5, SESSION_SECONDS * 3)
        self._heal(route, brokers, reset=False)

    async def _cut_replication(self) -> None:
        broker = self._broker()
        self._network.cut(REPLICATION, broker.number)
        await self._pause(1, 9)
        self._heal(REPLICATION, [broker.number], reset=False)

    def _some_connections(self) -> tuple[str, list[int]]:
        route = self._chance.choice([route for route in ROUTES if route != REPLICATION])
        all_of_them = [broker.number for broker in self._cluster.brokers]
        brokers = self._chance.choice([all_of_them, [self._chance.choice(all_of_them)]])
        self._note(f"  {route} to {brokers}")
        return route, brokers

    def _heal(self, route: str, brokers: Sequence[int], *, reset: bool) -> None:
        for broker in brokers:
            self._network.heal(route, broker, reset=reset)
        self._note(f"  healed{', what was held is lost' if reset else ''}")


async def supervise(fleet: NemesisFleet) -> None:
    """Until it is cancelled."""
    with suppress(asyncio.CancelledError):
        while True:
            fleet.supervise()
            await asyncio.sleep(0.5)
