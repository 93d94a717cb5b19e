"""Each thing is broken on a real broker: ``doctor`` names it, ``--fix`` mends what it may, and it is well again."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from odradek.cli import main
from odradek.cli.topic_health import copies
from odradek.log import Log, TopicInfo, open_log
from odradek.log.namespace import create_namespace
from odradek.schemas.topics import Topics

pytestmark = pytest.mark.kafka

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


def test_topics_that_are_gone(patient: Patient) -> None:
    gone = [patient.topics.archive, patient.topics.dead_letter, patient.topics.visibility]
    patient.log.delete_topics(gone)
    texts = " ".join(finding["text"] for finding in patient.troubles())
    assert all(f"{name}: topic is missing" in texts for name in gone)
    assert sorted(json.loads(patient.doctor("--fix", "--yes").stdout)["mended"]) == sorted(
        f"make topic {name}" for name in gone
    )
    assert patient.troubles() == []


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
    assert health(3, "3") == [("warn", False)]
    assert health(3, "4") == [("fail", False)]
    assert health(1, "1") == [("warn", False), ("warn", False)]
    assert health(3, "2", leaderless=(1,), under_replicated=(1,)) == [("fail", False)]
    assert health(3, "2", under_replicated=(0, 2)) == [("warn", False)]
    assert health(3, "2", config={"unclean.leader.election.enable": "true"}) == [("fail", True)]
