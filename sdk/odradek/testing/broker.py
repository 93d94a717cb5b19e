"""A Kafka broker for tests and demos: one that is named, one in Docker, or one that this module fetches and starts.

Nothing here is for production: a single node that keeps one copy of everything. Three of them: ``testing/cluster.py``.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, Self, cast

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

KAFKA_VERSION: Final = "4.2.0"
LOG4J_VERSION: Final = "2.25.1"
CONTAINER_IMAGE: Final = "confluentinc/cp-kafka:8.2.0"
"""Confluent's build of the same version, since testcontainers knows how to start it."""
START_SECONDS_MAX: Final = 60
STOP_SECONDS_MAX: Final = 15
DOCKER_SECONDS_MAX: Final = 10
CLUSTER_ID: Final = "odradek-test-cluster00"

_POM: Final = """\
<project><modelVersion>4.0.0</modelVersion>
<groupId>odradek</groupId><artifactId>broker</artifactId><version>1</version>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{kafka}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{kafka}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{log4j}</version></dependency>
<dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>{log4j}</version></dependency>
</dependencies></project>
"""

_LOGGING: Final = """\
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
"""

_SETTINGS: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
num.network.threads=2
num.io.threads=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=250
"""

_CLUSTER_SETTINGS: Final = """\
auto.create.topics.enable=false
message.max.bytes=8388608
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=1000
log.cleaner.dedupe.buffer.size=33554432
"""

_EAGER_CLEANING: Final = """\
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=100
log.cleaner.min.cleanable.ratio=0.01
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=500
"""


class BrokerUnavailable(Exception):
    """No broker can be found or started; the message says what to install or to set."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"ODR-020: no Kafka broker for tests: {reason}. Set ODRADEK_KAFKA=host:port, start Docker, "
            f'or install Java 17 and Maven (Debian: "apt-get install openjdk-17-jre-headless maven").'
        )
        self.reason = reason

    def __reduce__(self) -> tuple[type[BrokerUnavailable], tuple[str]]:
        return type(self), (self.reason,)


@contextmanager
def kafka_broker(folder: Path | None = None) -> Iterator[str]:
    """The ``host:port`` of a broker, for as long as the block runs.

    It is the one that ``ODRADEK_KAFKA`` names, else one in Docker, else one fetched through Maven and started here with
    its data in ``folder``. Raises ``BrokerUnavailable``.
    """
    named = os.environ.get("ODRADEK_KAFKA")
    if named:
        yield named
        return
    container = _start_container()
    if container is not None:
        try:
            yield container.get_bootstrap_server()
        finally:
            container.stop()
        return
    with (
        tempfile.TemporaryDirectory(prefix="odradek-kafka-") as scratch,
        LocalBroker(folder or Path(scratch)) as broker,
    ):
        yield broker.bootstrap


class LocalBroker:
    """A broker process of this host, with what tests want to do to it; a context manager that starts and stops it.

    ``folder`` holds its data and its output (``broker.log``); started again there it is the same one on the
    same port. ``quick_start`` limits the JVM to its quick compiler: do not measure with it. ``eager_cleaning`` makes
    compaction and retention act within a second or so where a topic's settings allow it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        heap_mb: int = 512,
        quick_start: bool = True,
        eager_cleaning: bool = True,
        settings: str = "",
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.controller_port = free_port()
        self._heap_mb = heap_mb
        self._quick_start = quick_start
        self._settings = settings + (_EAGER_CLEANING if eager_cleaning else "")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process ID, for measuring; raises ``RuntimeError`` when the broker does not run."""
        return self._running().pid

    @property
    def runs(self) -> bool:
        """Its process has not ended; it may be paused."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start its process, and do not wait for it."""
        if self.runs:
            raise RuntimeError("the broker runs already")
        jars = kafka_jars()
        settings = self._prepare(jars)
        self._process = self._java(jars, "kafka.Kafka", str(settings))
        atexit.register(self.kill)

    def kill(self) -> None:
        """SIGKILL, as a crash of the process does it; what the broker wrote stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def stop(self) -> None:
        """An orderly end; SIGKILL if that takes too long."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same data and port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: its connections stay, it does not answer. Returns once it has stopped."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the broker does not run")
        return self._process

    def _forget(self) -> None:
        self._process = None
        atexit.unregister(self.kill)

    def _prepare(self, jars: Path) -> Path:
        data = self.folder / "data"
        settings = self.folder / "server.properties"
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        settings.write_text(self._of_node(data) + _CLUSTER_SETTINGS + self._settings)
        if not (data / "meta.properties").exists():
            tool = self._java(jars, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings))
            if tool.wait(START_SECONDS_MAX) != 0:
                raise BrokerUnavailable(f"its data folder could not be made, see {self._output}")
        return settings

    def _of_node(self, data: Path) -> str:
        """The settings that differ from node to node."""
        return _SETTINGS.format(port=self.port, controller_port=self.controller_port, data=data)

    @property
    def _output(self) -> Path:
        return self.folder / "broker.log"

    def _java(self, jars: Path, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        options = [
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
        ]
        if self._quick_start:
            options.append("-XX:TieredStopAtLevel=1")
        command = [_program("java"), *options, "-cp", f"{jars}/*", main_class, *arguments]
        with self._output.open("ab") as output:
            # In a group of its own: Ctrl-C is for whoever uses the broker, which stops it last.
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)

    def await_ready(self) -> None:
        """Wait until it answers. Raises ``BrokerUnavailable``."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._running().poll() is not None:
                self._forget()
                raise BrokerUnavailable(f"it ended at once, see {self._output}")
            if _answers(self.port):
                return
            time.sleep(0.05)
        self.kill()
        raise BrokerUnavailable(f"it did not answer within {START_SECONDS_MAX} s, see {self._output}")


def kafka_jars() -> Path:
    """The folder of Kafka's jars, fetched through Maven when it is not there yet. Raises ``BrokerUnavailable``."""
    cache = Path(os.environ.get("ODRADEK_CACHE") or Path.home() / ".cache" / "odradek")
    jars = cache / f"kafka-{KAFKA_VERSION}"
    _program("java")
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache), tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
        if not jars.is_dir():
            _fetch_jars(Path(scratch))
            (Path(scratch) / "jars").rename(jars)
    return jars


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """For one process at a time, as Maven's own cache wants it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fetch_jars(folder: Path) -> None:
    (folder / "pom.xml").write_text(_POM.format(kafka=KAFKA_VERSION, log4j=LOG4J_VERSION))
    fetch = [_program("mvn"), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars"]
    done = subprocess.run(fetch, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BrokerUnavailable(f"Maven could not fetch Kafka {KAFKA_VERSION}: {done.stdout[-500:]}")


class _Container(Protocol):
    def get_bootstrap_server(self) -> str: ...

    def stop(self) -> None: ...


def _start_container() -> _Container | None:
    if not docker_answers():
        return None
    try:
        from testcontainers.community.kafka import KafkaContainer
    except ImportError:
        return None
    container = KafkaContainer(CONTAINER_IMAGE).with_kraft()
    for line in (_CLUSTER_SETTINGS + _EAGER_CLEANING).split():
        name, _, value = line.partition("=")
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    container.start()
    return cast("_Container", container)


def docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    asked = [docker, "version", "--format", "{{.Server.Version}}"]
    try:
        return subprocess.run(asked, capture_output=True, timeout=DOCKER_SECONDS_MAX, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BrokerUnavailable(f'the program "{name}" is not installed')
    return path


def free_port() -> int:
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many different ones. Raises ``BrokerUnavailable``."""
    # Below the range that systems give to outgoing connections: they must still be free when a broker is started again.
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(15_000, 32_000), 50 + 5 * count):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
            if len(ports) == count:
                return ports
    raise BrokerUnavailable("no free port was found between 15000 and 32000")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    try:
        AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}).list_topics(timeout=5)
    except KafkaException:
        return False
    return True
