"""Each thing is broken on a real broker: ``doctor`` names it, ``--fix`` mends what it may, and it is well again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from odradek.cli import checkup, main
from odradek.cli.findings import Finding
from odradek.cli.options import Common
from odradek.cli.topic_check import differences
from odradek.cli.topic_health import copies, drifted
from odradek.log import ClusterInfo, Log, LogUnavailable, TopicInfo, open_log
from odradek.log.memory import MemoryLog
from odradek.log.namespace import create_namespace
from odradek.schemas.codec import Codec
from odradek.schemas.records import Beacon, WorkersRecord
from odradek.schemas.topics import DAY_MS, Topics

NAMES = itertools.count()


@dataclass
class Patient:
    address: str
    topics: Topics
    log: Log

    def doctor(self, *options: str) -> Result:
        where = ("--log", self.address, "--namespace", self.topics.namespace)
        return CliRunner().invoke(main, [*where, "doctor", "--json", *options], prog_name="odradek")

    def troubles(self) -> list[dict[str, Any]]:
        """Beside those that a namespace of one broker always has."""
        found = json.loads(self.doctor().stdout)
        return [f for f in found if f["level"] != "ok" and f["check"] not in ("orchestrators", "replication")]


@pytest.fixture
def patient(kafka_broker: str) -> Iterator[Patient]:
    address = f"kafka://{kafka_broker}"
    log = open_log(address)
    name = f"doctor-{os.getpid()}-{next(NAMES)}"
    create_namespace(log, name, partitions=2, replication=1, queues=("orders",))
    patient = Patient(address, Topics(name), log)
    assert patient.troubles() == []
    yield patient
    log.close()


class Embedded:
    """A namespace in memory, and what is found in it."""

    def __init__(self) -> None:
        self.topics = Topics("shop")
        self.log: Log = MemoryLog("")
        create_namespace(self.log, "shop", partitions=2, queues=("orders",))

    def found(self) -> dict[str, Finding]:
        """The last of each check."""
        return {f.check: f for f in checkup._Namespace(self.log, "shop", None).findings()}

    def append(self, topic: str, key: bytes, value: bytes, times: int = 1) -> None:
        appender = self.log.appender()
        for _ in range(times):
            appender.append(topic, 0, key, value)
        appender.close()

    def beat(self) -> None:
        """As an orchestrator does."""
        self.append(self.topics.workers, b"one", Codec().encode(WorkersRecord(Beacon("one"))))


@pytest.fixture
def embedded() -> Iterator[Embedded]:
    made = Embedded()
    yield made
    made.log.close()


class HostClock:
    """What ``checkup`` takes for this host's time."""

    def __init__(self, ahead_seconds: float) -> None:
        self.monotonic, self._ahead_seconds = time.monotonic, ahead_seconds

    def time(self) -> float:
        return time.time() + self._ahead_seconds


@pytest.mark.parametrize(("ahead", "level"), [(0, "ok"), (5, "warn"), (-5, "warn"), (60, "fail"), (-60, "fail")])
def test_a_clock_that_is_wrong(embedded: Embedded, ahead: int, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measured against the log's; who lives is judged by that one."""
    embedded.beat()
    monkeypatch.setattr(checkup, "time", HostClock(ahead))
    found = embedded.found()
    assert found["clock"].level == level
    assert ahead == 0 or f"differ by {abs(ahead)}.0 s" in found["clock"].text
    assert found["orchestrators"].text == "1 at work"


def test_a_clock_that_cannot_be_asked(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead do not count as living because of that."""
    embedded.beat()

    def refused(_: object, topic: str) -> None:
        raise LogUnavailable("memory://", "no")

    monkeypatch.setattr(checkup._Namespace, "_time_of", refused)
    assert embedded.found()["orchestrators"].level == "ok"
    monkeypatch.setattr(checkup, "time", HostClock(checkup.SILENT_SECONDS + 5))
    found = embedded.found()
    assert (found["clock"].level, found["orchestrators"].level) == ("fail", "fail")


def test_records_with_their_writers_times_say_nothing_of_the_clock(
    embedded: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = type(embedded.log).topic

    def topic(log: Log, name: str) -> TopicInfo | None:
        info = real(log, name)
        return info and dataclasses.replace(info, config={**info.config, "message.timestamp.type": "CreateTime"})

    monkeypatch.setattr(type(embedded.log), "topic", topic)
    clock = embedded.found()["clock"]
    assert (clock.level, "writers' times" in clock.text) == ("warn", True)


def test_what_waits(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embedded.found()["inbox"].level == embedded.found()["queues"].level == "ok"
    embedded.append(embedded.topics.inbox, b"order-1", b"?", times=3)
    embedded.append(embedded.topics.tasks("orders"), b"order-1", b"?", times=2)
    found = embedded.found()
    assert (found["inbox"].level, "3 records wait" in found["inbox"].text) == ("fail", True)
    assert (found["queues"].level, "2 tasks wait or run, 0 workers" in found["queues"].text) == ("fail", True)
    assert "ODR-205" in found["queues"].advice
    embedded.beat()
    assert embedded.found()["inbox"].level == "ok"
    monkeypatch.setattr(checkup, "LAG_RECORDS_WARN", 3)
    assert embedded.found()["inbox"].level == "warn"


@pytest.mark.parametrize(
    ("config", "level", "said"),
    [
        ({"offsets.retention.minutes": "10080"}, "ok", "brokers (k1:9092)"),
        ({"offsets.retention.minutes": "1440"}, "warn", "they forget a group's offsets after 24 h"),
        ({}, "ok", "they do not tell this principal how long they keep the offsets"),
        ({"node.id": "1", "offsets.retention.minutes": "10080"}, "ok", "Kafka 2.8 or newer"),
        (None, "fail", "not today"),
    ],
)
def test_brokers(config: dict[str, str] | None, level: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ones that do not even say who they are end nothing."""

    def cluster(_: Log) -> ClusterInfo:
        if config is None:
            raise LogUnavailable("memory://", "not today")
        return ClusterInfo("c", ("k1:9092",), config)

    monkeypatch.setattr(MemoryLog, "cluster", cluster)
    log = MemoryLog("")
    (found,) = checkup._looked("cluster", lambda: checkup._cluster(log))
    assert (found.level, said in found.text) == (level, True)


@pytest.mark.parametrize(
    ("address", "config", "level", "said"),
    [
        ("kafka://127.0.0.1:9092,localhost:9093,[::1]:9094", {}, "ok", "PLAINTEXT"),
        ("kafka://127.0.0.1:9092,k1:9092", {}, "warn", "everybody on the network"),
        (
            "kafka://k1:9093",
            {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
            "ok",
            "SASL_SSL with PLAIN",
        ),
        ("kafka://k1:9093", {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}, "warn", "the password"),
        ("kafka://k1:9093", {"security.protocol": "SSL"}, "ok", "SSL"),
        (
            "kafka://k1:9093",
            {"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"},
            "warn",
            "nobody looks at",
        ),
    ],
)
def test_how_brokers_are_spoken_to(address: str, config: dict[str, str], level: str, said: str) -> None:
    (found,) = checkup._security(Common(address, given_log_config=config))
    assert (found.level, said in found.text) == (level, True)


def test_for_how_long_topics_keep_what_they_hold() -> None:
    """Operators choose it, as with "topics retention"; what may still be needed is not for them to forget."""
    topics = Topics("shop")
    specs = {spec.name: spec for spec in [*topics.specs(2), topics.tasks_spec("orders")]}

    def findings(name: str, retention_ms: int) -> list[tuple[str, bool]]:
        spec = specs[name]
        info = TopicInfo(name, "id", spec.partitions, 0, {**spec.settings(), "retention.ms": str(retention_ms)})
        return [(str(f.level), f.repair is not None) for f in drifted(differences([spec], {name: info}))]

    assert findings(topics.archive, 2 * DAY_MS) == findings(topics.dead_letter, DAY_MS) == [("warn", False)]
    assert findings(topics.tasks("orders"), 2 * DAY_MS) == [("warn", False)]
    assert findings(topics.tasks("orders"), DAY_MS // 2) == [("fail", True)]
    assert findings(topics.replies, 60_000) == [("fail", True)]
    assert findings(topics.inbox, 6 * DAY_MS) == [("fail", True)]  # an outage may be longer
    assert findings(topics.inbox, 14 * DAY_MS) == [("warn", True)]
    assert findings(topics.archive, -1) == findings(topics.tasks("orders"), 30 * DAY_MS) == []


DRIFT = {
    "history is deleted": ("history", {"cleanup.policy": "delete"}),
    "history is compacted at once": ("history", {"min.compaction.lag.ms": "0"}),
    "tombstones go soon": ("history", {"delete.retention.ms": "1000"}),
    "requests are forgotten": ("inbox", {"retention.ms": "3600000"}),
    "tasks are forgotten": ("tasks.orders", {"retention.ms": "60000"}),
    "small records only": ("archive", {"max.message.bytes": "100000"}),
    "clients' clocks": ("replies", {"message.timestamp.type": "CreateTime"}),
    "two at once": ("visibility", {"cleanup.policy": "delete", "max.message.bytes": "100000"}),
    "large segments": ("workers", {"segment.bytes": "1073741824"}),
}


@pytest.mark.kafka
@pytest.mark.parametrize(("topic", "config"), DRIFT.values(), ids=DRIFT)
def test_settings_that_drifted(patient: Patient, topic: str, config: dict[str, str]) -> None:
    name = f"{patient.topics.namespace}.{topic}"
    patient.log.alter_topic(name, config)
    found = patient.troubles()
    assert sorted(finding["text"].partition(" is ")[0] for finding in found) == sorted(f"{name}: {c}" for c in config)
    assert all("--fix" in finding["advice"] for finding in found)

    refused = patient.doctor("--fix")  # no terminal to ask on
    assert (refused.exit_code, "ODR-187" in refused.stderr, f"of {name} to" in refused.stderr) == (2, True, True)
    assert patient.troubles() == found

    mended = json.loads(patient.doctor("--fix", "--yes").stdout)
    assert len(mended["mended"]) == len(config)
    assert patient.troubles() == []


@pytest.mark.kafka
def test_topics_that_are_gone(patient: Patient) -> None:
    gone = [patient.topics.archive, patient.topics.dead_letter, patient.topics.visibility]
    patient.log.delete_topics(gone)
    texts = " ".join(finding["text"] for finding in patient.troubles())
    assert all(f"{name}: topic is missing" in texts for name in gone)
    assert sorted(json.loads(patient.doctor("--fix", "--yes").stdout)["mended"]) == sorted(
        f"make topic {name}" for name in gone
    )
    assert patient.troubles() == []


@pytest.mark.kafka
def test_what_is_never_mended(patient: Patient, kafka_broker: str) -> None:
    """Partitions: their number decides where everything is looked for."""
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient({"bootstrap.servers": kafka_broker})
    for future in admin.create_partitions([NewPartitions(patient.topics.history, 5)]).values():
        future.result(10)
    found = [finding["text"] for finding in patient.troubles()]
    assert found == [f"{patient.topics.history}: partitions is 5, should be 2"]
    nothing = patient.doctor("--fix", "--yes")
    assert (nothing.exit_code, json.loads(nothing.stdout)["mended"]) == (1, [])
    info = patient.log.topic(patient.topics.history)
    assert info is not None
    assert info.partitions == 5


@pytest.mark.kafka
def test_copies_that_are_few_and_brokers_that_are_known(patient: Patient) -> None:
    found = {finding["check"]: finding for finding in json.loads(patient.doctor().stdout)}
    assert found["replication"]["level"] == "warn"
    assert "1 brokers (" in found["cluster"]["text"]
    assert "Kafka 3.7 or newer" in found["cluster"]["text"]


def health(replication: int, in_sync: str, **rest: Any) -> list[tuple[str, bool]]:
    info = TopicInfo("t", "id", 3, 100, {"min.insync.replicas": in_sync, **rest.pop("config", {})}, replication, **rest)
    return [(str(finding.level), finding.repair is not None) for finding in copies({"t": info})]


def test_copies() -> None:
    """What one broker alone cannot show."""
    assert health(3, "2") == [("ok", False)]
    assert health(3, "1") == [("warn", True)]
    assert health(3, "1", under_replicated=(0,)) == [("warn", False), ("warn", False)]  # or nothing could be appended
    assert [(f.level, "does not tell" in f.text) for f in copies({"t": TopicInfo("t", "id", 3, 100, {}, 3)})] == [
        ("warn", True)
    ]
    assert health(3, "3") == [("warn", False)]
    assert health(3, "4") == [("fail", False)]
    assert health(1, "1") == [("warn", False), ("warn", False)]
    assert health(3, "2", leaderless=(1,), under_replicated=(1,)) == [("fail", False)]
    assert health(3, "2", under_replicated=(0, 2)) == [("warn", False)]
    assert health(3, "2", config={"unclean.leader.election.enable": "true"}) == [("fail", True)]
