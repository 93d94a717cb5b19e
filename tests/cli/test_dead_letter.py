"""``odradek dead-letter``: listed, shown without secrets, and sent again once, on an embedded log and a broker."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.client import Client
from odradek.log import open_log
from odradek.log.dead_letters import read_letters
from odradek.log.namespace import Namespace, create_namespace, open_namespace, read_to_end
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.schemas import records as r
from odradek.schemas.dead_letters import dead_letter
from odradek.worker import Worker
from tests.cli.conftest import run_command
from tests.cli.shop import Quick, charge

SECRET = "the code of the safe"
HOUR_MS = 3_600_000
SETTINGS = OrchestratorSettings(checkpoint_seconds=0.1, session_timeout_seconds=6)


class Site:
    """A namespace with a worker that runs while something is waited for."""

    def __init__(self, address: str) -> None:
        self.address, self.name = address, f"shop-{uuid.uuid4().hex[:8]}"
        self.log = open_log(address)
        create_namespace(self.log, self.name, partitions=2, queues=("orders",))
        self.namespace: Namespace = open_namespace(self.log, self.name)

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        appender = self.log.appender()
        appender.append(topic, partition, key, value)
        appender.close()

    def start(self, workflow_id: str, request: r.Request, partition: int) -> None:
        start = r.StartWorkflow(request, "Quick", "orders", [r.Payload("json/plain", json.dumps(SECRET).encode())])
        value = self.namespace.codec.encode(r.InboxRecord(0, start))
        self.append(self.namespace.topics.inbox, partition, workflow_id.encode(), value)

    def work_until(self, holds: Callable[[], bool]) -> None:
        async def work() -> None:
            async with (
                await Client.connect(self.address, namespace=self.name) as client,
                Worker(
                    client,
                    task_queue="orders",
                    workflows=[Quick],
                    activities=[charge],
                    orchestrator_settings=SETTINGS,
                ),
            ):
                deadline = time.monotonic() + 40
                while not await asyncio.to_thread(holds):
                    assert time.monotonic() < deadline, "it did not happen in time"
                    await asyncio.sleep(0.05)

        asyncio.run(work())

    def letters(self) -> int:
        return len(read_letters(self.namespace))

    def put(self, letter: r.DeadLetterRecord) -> None:
        self.append(self.namespace.topics.dead_letter, 0, letter.key, self.namespace.codec.encode(letter))

    def run(self, *arguments: str) -> Any:
        return run_command("--log", self.address, "--namespace", self.name, "dead-letter", *arguments)

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments, "--json")
        assert result.exit_code in (0, 1, 7), result.output
        return json.loads(result.stdout)

    def status(self, workflow_id: str) -> str:
        result = run_command("--log", self.address, "--namespace", self.name, "workflow", "list", "--json")
        found = [run for run in json.loads(result.stdout) if workflow_id in run.values()]
        assert len(found) <= 1, "a second run"
        return str(found[0]["status"]).lower() if found else ""


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.kafka)])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "sqlite":
        address = f"sqlite:///{tmp_path}/log.db"
    else:
        address = f"kafka://{request.getfixturevalue('kafka_broker')}"
    site = Site(address)
    yield site
    site.log.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Site]:
    site = Site(f"sqlite:///{tmp_path}/log.db")
    yield site
    site.log.close()


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_record_is_set_aside_listed_shown_and_sent_again_once(site: Site) -> None:
    """It ends as if it had stood in the right place from the beginning, however often it is sent."""
    partition = 1 - site.namespace.partition("misplaced")
    site.start("misplaced", r.Request("request-1", now_ms() + HOUR_MS, "nobody", -1), partition)
    site.append(site.namespace.topics.inbox, 0, b"\xff", b"garbage")
    site.work_until(lambda: site.letters() == 2)

    listed = {letter["code"]: letter for letter in site.json("list")}
    assert set(listed) == {"ODR-002", "ODR-165"}
    found = listed["ODR-165"]
    assert (found["topic"], found["partition"]) == (site.namespace.topics.inbox, partition)
    assert (found["type"], found["workflow_id"], found["sent_again"]) == ("StartWorkflow", "misplaced", None)
    assert "ODR-165" in site.run("list", "--pending").stdout

    shown = site.run("show", found["id"])
    assert shown.exit_code == 0, shown.output
    assert SECRET not in shown.output
    assert f"json, {len(json.dumps(SECRET))} bytes" in shown.output
    assert "Quick" in shown.output
    assert SECRET in site.run("show", found["id"], "--payloads").output
    assert "67 61 72 62 61 67 65" in site.run("show", listed["ODR-002"]["id"]).output

    result = site.run("redrive", found["id"])
    assert result.exit_code == 0, result.output
    assert "1 sent" in result.output
    site.work_until(lambda: site.status("misplaced") == "completed")

    again = site.run("redrive", found["id"])
    assert again.exit_code == 7
    assert "ODR-169" in again.output
    assert [letter["code"] for letter in site.json("list", "--pending")] == ["ODR-002"]
    assert site.run("redrive", found["id"], "--force").exit_code == 0
    behind = next(f"behind-{n}" for n in range(99) if site.namespace.partition(f"behind-{n}") == 1 - partition)
    request = r.Request("request-2", now_ms() + HOUR_MS, "nobody", -1)
    site.start(behind, request, 1 - partition)
    site.work_until(lambda: site.status(behind) == "completed")
    assert site.status("misplaced") == "completed"
    assert site.letters() == 2


def test_what_cannot_be_sent_again(local: Site) -> None:
    topics = local.namespace.topics
    expired = r.InboxRecord(0, r.CancelWorkflow(request=r.Request("old", 1, "nobody", -1)))
    late = r.TaskRecord(local.name, "w", "r", "W", 0, 1, 1, "1", "charge", "orders", 0, 0, 1)
    encode = local.namespace.codec.encode
    local.put(r.DeadLetterRecord("ODR-002", "ODR-002: damaged", topics.history, 0, 1, 0, b"w\0r\0c1\0" + b"0", b"?"))
    local.put(r.DeadLetterRecord("ODR-002", "ODR-002: empty", topics.inbox, 0, 2, 0, b"w", None))
    local.put(r.DeadLetterRecord("ODR-002", "ODR-002: nobody", topics.inbox, 0, 3, 0, None, b"?"))
    local.put(dead_letter(4096, "ODR-105", "ODR-105: large", topics.inbox, 0, 4, 0, b"w", b"x" * 9999))
    local.put(r.DeadLetterRecord("ODR-166", "ODR-166: old", topics.inbox, 0, 5, 0, b"w", encode(expired)))
    local.put(r.DeadLetterRecord("ODR-164", "ODR-164: old", topics.tasks("orders"), 0, 6, 0, b"w", encode(late)))
    local.put(r.DeadLetterRecord("ODR-164", "ODR-164: gone", topics.tasks("orders"), 99, 7, 0, b"w", encode(late)))
    before = [local.log.offsets(topic, p) for topic in (topics.inbox, topics.history) for p in range(2)]
    result = local.run("redrive", "--all", "--yes")
    assert result.exit_code == 0, result.output
    assert "7 refused" in result.output
    assert result.output.count("ODR-208") == 7
    assert before == [local.log.offsets(topic, p) for topic in (topics.inbox, topics.history) for p in range(2)]
    assert local.run("redrive", "0-0").exit_code == 1
    renewed = local.json("redrive", "0-4", "--renew")
    assert [one["outcome"] for one in renewed] == ["sent"]
    (sent,) = [record for p in range(2) for record in read_to_end(local.log, topics.inbox, p)]
    request = local.namespace.codec.decode(r.InboxRecord, sent.value or b"").body.request  # type: ignore[union-attr]
    assert request is not None
    assert request.id == "old"
    assert request.expires_ms > now_ms()
    assert sent.partition == local.namespace.partition("w")


def test_filters_choose(local: Site) -> None:
    topics = local.namespace.topics
    value = local.namespace.codec.encode(r.InboxRecord(0, r.CancelWorkflow()))
    for offset, code in enumerate(["ODR-164", "ODR-166", "ODR-166"]):
        local.put(r.DeadLetterRecord(code, f"{code}: why", topics.inbox, 0, offset, 0, b"w", value))
    assert len(local.json("list")) == 3
    assert len(local.json("list", "--code", "ODR-166")) == 2
    assert len(local.json("list", "--topic", topics.history)) == 0
    assert [letter["id"] for letter in local.json("list", "--limit", "1")] == ["0-2"]
    assert "2 sent" in local.run("redrive", "--all", "--code", "ODR-166", "--yes").output
    assert [letter["code"] for letter in local.json("list", "--pending")] == ["ODR-164"]
    again = local.run("redrive", "--all", "--code", "ODR-166", "--yes")
    assert (again.exit_code, again.output.strip()) == (0, "0 sent")
    assert "2 sent" in local.run("redrive", "--all", "--code", "ODR-166", "--yes", "--force").output


def test_repeated_copies_of_one_record_are_one(local: Site) -> None:
    for _ in range(3):
        local.put(r.DeadLetterRecord("ODR-002", "ODR-002: why", local.namespace.topics.inbox, 0, 1, 0, b"w", b"?"))
    local.append(local.namespace.topics.dead_letter, 0, b"w", b"garbage")
    assert [letter["id"] for letter in local.json("list")] == ["0-0"]


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (("show", "9-9"), "ODR-168", 3),
        (("redrive", "9-9"), "ODR-168", 3),
        (("redrive",), "ODR-209", 2),
        (("redrive", "0-0", "--all"), "ODR-209", 2),
        (("redrive", "--all"), "ODR-187", 2),
    ],
)
def test_misunderstandings(local: Site, arguments: tuple[str, ...], code: str, exit_code: int) -> None:
    local.put(r.DeadLetterRecord("ODR-002", "ODR-002: why", local.namespace.topics.inbox, 0, 1, 0, b"w", b"?"))
    result = local.run(*arguments)
    assert code in result.output
    assert result.exit_code == exit_code


def test_unreadable_bytes_are_shown_in_part_only(local: Site) -> None:
    """They may be the payload of a record that was cut off."""
    value = b"\xff" * 40 + SECRET.encode() + b"\0" * 10_000
    local.put(r.DeadLetterRecord("ODR-002", "ODR-002: why", local.namespace.topics.inbox, 0, 1, 0, b"w", value))
    shown, whole = local.run("show", "0-0").output, local.run("show", "0-0", "--payloads").output
    assert "ff ff" in shown
    assert "safe" not in shown
    assert "safe" in whole.replace("\n", "")[:2000] or "the code of the" in whole
    assert whole.count("\n") < 300


def test_an_empty_list(local: Site) -> None:
    result = local.run("list")
    assert result.exit_code == 0
    assert "No dead letters" in result.output
    assert local.json("list") == []
