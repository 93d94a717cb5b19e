"""Three Kafka brokers on this host, set as production sets them, each of which may be killed, paused and cut off.

What is acknowledged stands on two of them. Nothing here is for production: they share one machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.testing.broker import BrokerUnavailable, LocalBroker, free_ports

JOIN_SECONDS_MAX: Final = 90
REPLICATION: Final = "replication"
"""The route of this name, where there is one, is the way of the brokers to each other."""
_DIRECT: Final = "direct"

_NODE: Final = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
inter.broker.listener.name=REPLICATION
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}
log.dirs={data}
num.network.threads=1
num.io.threads=2
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
controller.quorum.fetch.timeout.ms=4000
"""

_CLUSTER: Final = """\
default.replication.factor={copies}
min.insync.replicas={copies_min}
unclean.leader.election.enable=false
replica.lag.time.max.ms=6000
offsets.topic.replication.factor={copies}
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={copies_min}
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={copies_min}
"""


@dataclass(frozen=True, slots=True)
class Door:
    """Where one broker listens for one route, and where it tells the clients of that route to come."""

    broker: int
    port: int
    advertised_port: int


class ClusterBroker(LocalBroker):
    """One broker of a cluster, which is a controller, too; ``data`` may lie on a file system of its own."""

    def __init__(self, cluster: LocalCluster, number: int, *, heap_mb: int, quick_start: bool, settings: str) -> None:
        folder = cluster.folder / f"broker-{number}"
        super().__init__(folder, heap_mb=heap_mb, quick_start=quick_start, settings=settings, eager_cleaning=False)
        self.number = number
        self.port = cluster.doors[_DIRECT][number - 1].port
        self._cluster = cluster

    def _of_node(self, data: Path) -> str:
        doors = {name: doors[self.number - 1] for name, doors in self._cluster.doors.items()}
        voters = (f"{broker.number}@127.0.0.1:{broker.controller_port}" for broker in self._cluster.brokers)
        return _NODE.format(
            number=self.number,
            voters=",".join(voters),
            listeners=",".join(f"{listener(name)}://127.0.0.1:{door.port}" for name, door in doors.items()),
            advertised=",".join(f"{listener(name)}://127.0.0.1:{door.advertised_port}" for name, door in doors.items()),
            protocols=",".join(f"{listener(name)}:PLAINTEXT" for name in doors),
            controller_port=self.controller_port,
            data=data,
        )


class LocalCluster:
    """Brokers 1 to ``size``, each a controller, too; a context manager that starts and stops them.

    Topics get a copy on each broker, ``min.insync.replicas`` is a majority, an unclean election never happens. A broker
    that says nothing for 6 s loses its leaderships, one whose copies lag for 6 s is no longer waited for. ``folder``
    gets a folder for each broker, ``broker-1`` and so on, which may exist already. ``quick_start`` as for
    ``LocalBroker``.

    ``routes`` are names of further ways to the brokers. The clients of a route are sent to ``advertised_port`` of its
    ``doors``, where the caller's proxy has to listen, which passes on to ``port``: so whole groups of clients can be
    cut off from single brokers. A route named ``REPLICATION`` stands between the brokers themselves.

    Three brokers take about 1 GB of memory and, on two cores, ten seconds until they answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int = 3,
        heap_mb: int = 256,
        quick_start: bool = True,
        routes: Sequence[str] = (),
        settings: str = "",
    ) -> None:
        self.folder = folder
        names = (_DIRECT, REPLICATION, *(name for name in routes if name != REPLICATION))
        ports = iter(free_ports(2 * size * len(names)))
        self.doors: Mapping[str, Sequence[Door]] = {
            name: [_door(number, next(ports), next(ports) if name in routes else None) for number in range(1, size + 1)]
            for name in names
        }
        copies = _CLUSTER.format(copies=size, copies_min=size // 2 + 1)
        self.brokers = [
            ClusterBroker(self, number, heap_mb=heap_mb, quick_start=quick_start, settings=copies + settings)
            for number in range(1, size + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """Every broker's own ``host:port``, past all proxies."""
        return self.bootstrap_through(_DIRECT)

    def bootstrap_through(self, route: str) -> str:
        return ",".join(f"127.0.0.1:{door.advertised_port}" for door in self.doors[route])

    def start(self) -> None:
        """Start those that do not run, and wait until all know of each other. Raises ``BrokerUnavailable``."""
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(ClusterBroker.launch, [broker for broker in self.brokers if not broker.runs]))
        self.await_all()

    def await_all(self, seconds: float = JOIN_SECONDS_MAX) -> None:
        """Wait until each broker is known to the others. Raises ``BrokerUnavailable``."""
        deadline = time.monotonic() + seconds
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        while _members(client) < len(self.brokers):
            ended = [broker for broker in self.brokers if not broker.runs]
            if ended or time.monotonic() > deadline:
                reason = f"broker {ended[0].number} ended" if ended else f"they did not join within {seconds:g} s"
                raise BrokerUnavailable(f"{reason}, see broker-*/broker.log in {self.folder}")
            time.sleep(0.1)

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()

    def stop(self) -> None:
        """At once: in order, the last ones would wait in vain for a controller."""
        self.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def listener(route: str) -> str:
    """The name of a route's listener in the brokers' settings."""
    return route.replace("-", "_").upper()


def _door(broker: int, port: int, proxy: int | None) -> Door:
    return Door(broker, port, port if proxy is None else proxy)


def _members(client: AdminClient) -> int:
    try:
        return len(client.list_topics(timeout=5).brokers)
    except KafkaException:
        return 0
