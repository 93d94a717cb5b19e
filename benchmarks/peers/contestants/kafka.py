"""odradek on a broker: one that syncs as Kafka does by default, one that flushes each append, or three of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from benchmarks.peers.client import LoadClient
from benchmarks.peers.contestants.base import Contestant
from benchmarks.peers.install import Cache, Unavailable
from benchmarks.peers.works import WORKS
from benchmarks.processes import await_ready
from odradek.log import open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics
from odradek.testing.broker import KAFKA_VERSION, BrokerUnavailable, LocalBroker, free_ports, kafka_jars
from odradek.testing.cluster import LocalCluster

APP = "benchmarks.peers.apps.odradek"
QUEUE = "bench"
PARTITIONS = 4
"""As many as Restate's server has here."""
STEPS = {
    "remote": "activity: through the log to a worker process and back",
    "local": "workflow.step: an async function in the orchestrator, its result appended",
}
HEAP_MB = 1024


class SharedBroker:
    """One broker for the contestants that follow one another: it is warm only once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.running: LocalBroker | None = None
        self._is_cold = True

    def is_cold(self) -> bool:
        """Only when it is asked for the first time: whoever asks warms it up."""
        was, self._is_cold = self._is_cold, False
        return was

    def start(self) -> LocalBroker:
        if self.running is None:
            self.running = LocalBroker(self._folder, quick_start=False, eager_cleaning=False, heap_mb=HEAP_MB)
            self.running.start()
            self._is_cold = True
        return self.running

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None


class Odradek(Contestant):
    """What all of ours have in common: a namespace, an orchestrator, a worker and a client on some log."""

    kinds: ClassVar[Mapping[str, str]] = STEPS
    partitions: ClassVar[int] = PARTITIONS
    replication: ClassVar[int | None] = None

    def start(self) -> None:
        self.address = self.open_log()
        self.namespace = f"{self.name.replace('-', '')}{time.time_ns()}"
        log = open_log(self.address)
        try:
            create_namespace(
                log, self.namespace, partitions=self.partitions, queues=(QUEUE,), replication=self.replication
            )
        finally:
            log.close()
        self.configure()
        self.launch()

    def open_log(self) -> str:
        """The address of the log, which runs then."""
        raise NotImplementedError

    def configure(self) -> None:
        """Change topics before anything uses them."""

    def launch(self) -> None:
        self._ports = dict(zip(("engine", "worker"), free_ports(2), strict=True))
        self.revive("engine")
        self.revive("worker")
        for role, port in self._ports.items():
            self.processes.wait_for_port(role, port)
            await_ready(port, self.processes.process(role))
        command = [sys.executable, "-m", APP, self.address, self.namespace]
        self.client = LoadClient(self.processes, command, self.env)

    def revive(self, victim: str) -> None:
        roles = {
            "engine": ["orchestrator", APP, "--store", str(self.folder / f"store-{self.namespace}")],
            "worker": ["worker", APP, "--queue", QUEUE, "--max-concurrent", "1000"],
        }
        common = [sys.executable, "-m", "odradek.cli", "--log", self.address, "--namespace", self.namespace]
        port = ["--health-port", str(self._ports[victim]), "--health-host", "127.0.0.1"]
        self.processes.spawn(victim, [*common, *roles[victim], *port], self.env)


class OnBroker(Odradek):
    name = "odradek"
    title = "odradek on Kafka"
    durability = (
        "one broker, acks=all, Kafka's default: in the page cache when acknowledged, flushed later "
        "(production relies on copies for that)"
    )
    works = frozenset(WORKS)

    def __init__(self, cache: Cache, folder: Path, broker: SharedBroker) -> None:
        super().__init__(cache, folder)
        self._broker = broker

    def install(self) -> dict[str, str]:
        return kafka_versions()

    def is_cold(self) -> bool:
        return self._broker.is_cold()

    def open_log(self) -> str:
        broker = self._broker.start()
        self.processes.adopt("broker", broker.pid)
        return f"kafka://{broker.bootstrap}"


class Flushed(OnBroker):
    name = "odradek-fsync"
    title = "odradek on Kafka, flushed"
    durability = "one broker, acks=all, every append flushed to the disk before it is acknowledged (flush.messages=1)"
    works = frozenset({"chain", "latency", "half_load", "equal_load"})

    def configure(self) -> None:
        from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

        topics = Topics(self.namespace)
        names = (topics.inbox, topics.history, topics.replies, topics.archive, topics.visibility, topics.tasks(QUEUE))
        entry = ConfigEntry("flush.messages", "1", incremental_operation=AlterConfigOpType.SET)
        wanted = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names]
        admin = AdminClient({"bootstrap.servers": self._broker.start().bootstrap})
        for done in admin.incremental_alter_configs(wanted).values():
            done.result(30)


class Replicated(Odradek):
    name = "odradek-3"
    title = "odradek on three brokers"
    durability = "three brokers on this machine, three copies, acks=all, min.insync.replicas=2; flushed later"
    works = frozenset({"chain", "latency", "half_load", "equal_load", "crowd"})
    partitions = 3 * PARTITIONS
    """With a single one on each connection, clients spin while they wait for the acknowledgement: decision 0004."""
    replication = 3

    def is_cold(self) -> bool:
        return True

    def install(self) -> dict[str, str]:
        return kafka_versions()

    def open_log(self) -> str:
        self._cluster = LocalCluster(self.folder / "cluster", heap_mb=512, quick_start=False)
        self._cluster.start()
        for broker in self._cluster.brokers:
            self.processes.adopt(f"broker-{broker.number}", broker.pid)
        return f"kafka://{self._cluster.bootstrap}"

    def stop(self) -> None:
        super().stop()
        if hasattr(self, "_cluster"):
            self._cluster.stop()


class OnSqlite(Odradek):
    name = "odradek-sqlite"
    title = "odradek on SQLite"
    durability = "one file, WAL, synchronous=FULL: flushed to the disk before it is acknowledged"

    def install(self) -> dict[str, str]:
        import sqlite3

        return {"odradek": our_version(), "SQLite": sqlite3.sqlite_version}

    def open_log(self) -> str:
        return f"sqlite:///{self.folder / 'bench.db'}"


class RawLoop(OnBroker):
    name = "raw"
    title = "raw loop on Kafka"
    kinds: ClassVar[Mapping[str, str]] = {"remote": "the same messages, copied on by two processes: no workflow code"}
    works = frozenset({"chain", "latency"})
    victims = ()

    def launch(self) -> None:
        for role, name in (("orchestrator", "engine"), ("worker", "worker")):
            command = [sys.executable, "-m", "benchmarks.raw_loop", role, "--log", self.address]
            self.processes.spawn(name, [*command, "--namespace", self.namespace, "--queue", QUEUE, "--steps", "5"])
            self.processes.wait_for_line(name)
        command = [sys.executable, "-m", "benchmarks.peers.apps.raw", self.address, self.namespace]
        self.client = LoadClient(self.processes, command, self.env)

    def revive(self, victim: str) -> None:
        raise NotImplementedError(victim)


def kafka_versions() -> dict[str, str]:
    try:
        kafka_jars()
    except BrokerUnavailable as error:
        raise Unavailable(str(error)) from error
    return {"odradek": our_version(), "Kafka": KAFKA_VERSION}


def our_version() -> str:
    from importlib.metadata import version

    return version("odradek")
