"""``odradek topics``: golden files for what is exported, and what differs for what is checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from odradek.cli.topic_check import differences
from odradek.cli.topic_export import strimzi
from odradek.log import TopicInfo
from odradek.schemas.topics import Topics, TopicSpec
from tests.cli.conftest import run_command
from tests.schemas.registry_server import FakeRegistry

GOLDEN = Path(__file__).parent / "golden"
WRITE = bool(os.environ.get("ODRADEK_WRITE_GOLDEN"))


@pytest.mark.parametrize(("form", "file"), [("strimzi", "topics.yaml"), ("terraform", "topics.tf")])
def test_export(form: str, file: str) -> None:
    """After a wanted change: ODRADEK_WRITE_GOLDEN=1 pytest tests/cli, and read the difference."""
    command = ["topics", "export", "--format", form, "--queue", "orders", "--partitions", "12", "--cluster", "main"]
    found = run_command("--namespace", "shop", *command)
    assert found.exit_code == 0
    if WRITE:
        (GOLDEN / file).write_text(found.stdout)
    assert found.stdout == (GOLDEN / file).read_text()


def test_names_that_kubernetes_forbids_stay_unique() -> None:
    specs = [TopicSpec(name, 1, "delete") for name in ("Shop.inbox", "shop.inbox", "shop_x", "shop-x")]
    names = [line.split()[1] for line in strimzi(specs, "main").splitlines() if line.startswith("  name:")]
    assert len(set(names)) == 4
    assert all(name == name.lower() and "_" not in name for name in names)


def test_create_then_check(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "shop")
    made = run_command(*where, "topics", "create", "--queue", "orders", "--partitions", "3", "--json")
    assert made.exit_code == 0, made.output
    topics = {row["topic"]: row for row in json.loads(made.stdout)}
    assert topics["shop.tasks.orders"] == {"topic": "shop.tasks.orders", "partitions": 3, "made": True}
    again = run_command(*where, "topics", "create", "--partitions", "5")
    assert "was there" in again.stdout
    assert "made with 3 partitions" in again.stderr
    checked = run_command(*where, "topics", "check")
    assert (checked.exit_code, checked.stdout) == (0, "")


def test_check_of_a_namespace_that_is_not_there(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db")
    assert run_command(*where, "topics", "check").exit_code == 3
    assert run_command(*where, "topics", "create").exit_code == 0
    missing = run_command(*where, "--namespace", "shop", "topics", "check", "--json")
    assert missing.exit_code == 1
    assert {difference["found"] for difference in json.loads(missing.stdout)} == {"missing"}


HISTORY = next(spec for spec in Topics("shop").specs(4) if spec.policy == "compact" and "history" in spec.name)


def found_with(changes: Mapping[str, str], **fields: int) -> TopicInfo:
    settings = {**HISTORY.settings(), **changes}
    return replace(TopicInfo(HISTORY.name, "id", HISTORY.partitions, 0, settings, 3), **fields)  # type: ignore[arg-type]


def test_a_topic_as_it_should_be_has_no_differences() -> None:
    longer = {"min.compaction.lag.ms": "9999999999", "max.message.bytes": "9999999", "retention.ms": "5"}
    assert differences([HISTORY], {HISTORY.name: found_with(longer)}) == []


@pytest.mark.parametrize(
    ("setting", "value", "matters"),
    [
        ("cleanup.policy", "compact,delete", True),
        ("min.compaction.lag.ms", "0", True),
        ("delete.retention.ms", "1000", True),
        ("max.message.bytes", "1048588", True),
        ("message.timestamp.type", "CreateTime", True),
        ("segment.bytes", "1073741824", False),
    ],
)
def test_settings_that_differ(setting: str, value: str, matters: bool) -> None:
    (difference,) = differences([HISTORY], {HISTORY.name: found_with({setting: value})})
    assert (difference.setting, difference.found, difference.matters) == (setting, value, matters)


def test_retention_may_be_longer_and_not_shorter() -> None:
    archive = next(spec for spec in Topics("shop").specs(4) if spec.name == "shop.archive")
    for retention, expected in (("-1", 0), ("99999999999", 0), ("1000", 1)):
        info = TopicInfo(archive.name, "id", 4, 0, {"retention.ms": retention})
        assert len(differences([archive], {archive.name: info})) == expected


def test_partitions_and_copies_that_differ() -> None:
    wanted = replace(HISTORY, replication=3)
    found = differences([wanted], {wanted.name: found_with({}, partitions=5, replication=1)})
    assert [(d.setting, d.found, d.wanted) for d in found] == [("partitions", "5", "4"), ("replication", "1", "3")]


@pytest.mark.kafka
def test_create_check_and_doctor_on_kafka(kafka_broker: str) -> None:
    where = ("--log", f"kafka://{kafka_broker}", "--namespace", f"cli-{os.getpid()}")
    command = ("topics", "create", "--queue", "orders", "--partitions", "2", "--replication", "1")
    made = run_command(*where, *command)
    assert made.exit_code == 0, made.output
    checked = run_command(*where, "topics", "check", "--replication", "1")
    assert checked.exit_code == 0, checked.output
    wrong = run_command(*where, "topics", "check", "--replication", "3")
    assert (wrong.exit_code, "replication" in wrong.stdout) == (1, True)
    found = run_command(*where, "doctor", "--json")
    levels = {finding["check"]: finding["level"] for finding in json.loads(found.stdout)}
    assert found.exit_code == 1
    assert levels["orchestrators"] == "fail"
    assert levels["replication"] == "warn"
    assert levels["topics"] == levels["clock"] == levels["partitions"] == "ok", found.stdout


def test_schema_registry_of_every_command(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "shop")
    with FakeRegistry() as registry:
        named = (*where, "--schema-registry", registry.url)
        assert run_command(*named, "topics", "create", "--partitions", "1").exit_code == 0
        assert "odradek.WorkersRecord" in registry.subjects
        found = run_command(*where, "doctor", "--json", env={"ODRADEK_SCHEMA_REGISTRY": registry.url})
        levels = {finding["check"]: finding["level"] for finding in json.loads(found.stdout)}
        assert (levels["registry"], levels["partitions"]) == ("ok", "ok")
    gone = ("--schema-registry", "http://127.0.0.1:1")
    refused = run_command(*where, *gone, "workflow", "list")
    assert (refused.exit_code, "ODR-005" in refused.stderr, "Traceback" in refused.stderr) == (6, True, False)
    checked = json.loads(run_command(*where, *gone, "doctor", "--json").stdout)
    assert [finding["level"] for finding in checked if finding["check"] == "registry"] == ["fail"]
