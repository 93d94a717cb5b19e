"""What only a real broker does: it crashes, its partitions change leaders, and it has limits of its own."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from odradek.log import (
    AppendFailed,
    Log,
    LogUnavailable,
    SettingsInvalid,
    TopicCreationRefused,
    TopicMissing,
    open_log,
)
from odradek.log.kafka_settings import appender_settings
from odradek.schemas.topics import Topics, TopicSpec
from odradek.testing.broker import LocalBroker
from tests.log.conftest import eventually

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker that a test may kill."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        pytest.skip("only a broker started here can be killed; it needs java and mvn")
    with LocalBroker(tmp_path_factory.mktemp("broker"), settings="broker.session.timeout.ms=1500\n") as made:
        yield made


@pytest.fixture
def log(broker: LocalBroker) -> Iterator[Log]:
    opened = open_log(f"kafka://{broker.bootstrap}")
    yield opened
    opened.close()


def _topic(log: Log, partitions: int = 1) -> str:
    name = f"t-{uuid.uuid4().hex[:12]}"
    log.create_topics([TopicSpec(name, partitions, "delete")])
    return name


def test_a_broker_killed_under_load_leaves_no_hole_and_no_repetition(broker: LocalBroker, log: Log) -> None:
    """With tens of thousands of appends in flight through a crash, every offset is known, contiguous and in order."""
    topic, count = _topic(log), 60_000
    appender, reader = log.appender(), log.reader()
    offsets: list[int | None] = []
    failures: list[Exception] = []

    def appended(offset: int | None, error: Exception | None) -> None:
        offsets.append(offset)
        if error is not None:
            failures.append(error)

    for number in range(count):
        appender.append(topic, 0, b"k", number.to_bytes(4, "big"), appended)
        if number == 20_000:
            appender.poll(0.05)
        if number == 30_000:
            assert appender.in_flight > 5_000
            broker.kill()
    assert appender.in_flight > 25_000
    broker.start()
    assert appender.flush(60) == 0
    assert failures == []
    assert offsets == list(range(count))
    reader.assign(topic, 0, 0)
    seen: list[int] = []
    while len(seen) < count:
        seen += [int.from_bytes(r.value or b"", "big") for r in reader.poll(10)]
    assert seen == list(range(count))
    appender.close()
    reader.close()


def test_clients_live_through_a_restart_and_the_leader_epoch_rises(broker: LocalBroker, log: Log) -> None:
    """Readers and admins go on by themselves; a store sees by the epoch that the leader has changed."""
    topic = _topic(log)
    appender, reader = log.appender(), log.reader()
    appender.append(topic, 0, b"k", b"before")
    assert appender.flush(10) == 0
    reader.assign(topic, 0, 0)
    assert [r.value for r in reader.poll(10)] == [b"before"]
    epoch = log.leader_epoch(topic, 0)
    broker.kill()
    broker.start()
    assert log.offsets(topic, 0) == (0, 1)
    assert log.leader_epoch(topic, 0) > epoch
    appender.append(topic, 0, b"k", b"after")
    eventually(lambda: [r.value for r in reader.poll(1)] == [b"after"], "the reader to go on")
    assert appender.flush(10) == 0
    appender.close()
    reader.close()


def test_a_paused_broker_answers_later(broker: LocalBroker, log: Log) -> None:
    """Nothing fails, nothing is lost, and a poll keeps to its time."""
    topic = _topic(log)
    appender = log.appender()
    offsets: list[int | None] = []
    appender.append(topic, 0, b"k", b"1", lambda offset, _: offsets.append(offset))
    assert appender.flush(10) == 0
    broker.pause()
    try:
        appender.append(topic, 0, b"k", b"2", lambda offset, _: offsets.append(offset))
        begun = time.monotonic()
        assert appender.flush(0.3) == 1
        assert time.monotonic() - begun < 2
    finally:
        broker.resume()
    assert appender.flush(20) == 0
    assert offsets == [0, 1]
    appender.close()


def test_a_member_of_the_newer_protocol(kafka_broker: str) -> None:
    """``group.protocol=consumer`` reaches the group's client, and only that one."""
    log = open_log(f"kafka://{kafka_broker}", {"group.protocol": "consumer"})
    topic = _topic(log, 2)

    class Listener:
        def assigned(self, partitions: Sequence[int]) -> None: ...
        def revoked(self, partitions: Sequence[int]) -> None: ...
        def lost(self, partitions: Sequence[int]) -> None: ...

    member = log.membership(f"g-{topic}", topic, Listener())

    def joined() -> bool:
        member.poll()
        return member.partitions == {0, 1}

    eventually(joined, "the assignment")
    member.close()
    log.reader().close()
    log.close()


def test_the_topics_of_a_namespace_can_be_made(kafka_broker: str) -> None:
    """The specifications are what a real broker accepts."""
    log = open_log(f"kafka://{kafka_broker}")
    topics = Topics(f"n{uuid.uuid4().hex[:8]}")
    specs = [*topics.specs(4), topics.tasks_spec("default", 4)]
    log.create_topics(specs)
    assert set(log.topics(topics.namespace + ".")) == {spec.name for spec in specs}
    history = log.topic(topics.history)
    assert history is not None
    assert history.config["cleanup.policy"] == "compact"
    assert history.config["min.compaction.lag.ms"] == "3600000"
    assert history.record_bytes_max == 4 * 1024 * 1024
    inbox = log.topic(topics.inbox)
    assert inbox is not None
    assert inbox.config["retention.ms"] == "-1"
    log.delete_topics([spec.name for spec in specs])
    log.close()


def test_what_the_cluster_refuses_is_said(kafka_broker: str) -> None:
    """The reason is the broker's own."""
    log = open_log(f"kafka://{kafka_broker}")
    with pytest.raises(TopicCreationRefused, match="replication") as caught:
        log.create_topics([TopicSpec("t-refused", 1, "delete", replication=5)])
    assert caught.value.topic == "t-refused"
    log.close()


def test_a_setting_that_is_only_tuning_gives_way(kafka_broker: str) -> None:
    """A cluster that refuses a segment size or a record size decides these itself."""
    log = open_log(f"kafka://{kafka_broker}")
    name = f"t-{uuid.uuid4().hex[:12]}"
    log.create_topics([TopicSpec(name, 1, "compact", config={"segment.bytes": "1"})])
    found = log.topic(name)
    assert found is not None
    assert found.config["cleanup.policy"] == "compact"
    assert found.record_bytes_max == 8 * 1024 * 1024
    log.close()


def test_nobody_there_is_an_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a limit, not for ever."""
    monkeypatch.setattr("odradek.log.kafka.ADMIN_SECONDS_MAX", 0.5)
    monkeypatch.setattr("odradek.log.kafka.ADMIN_REQUEST_SECONDS", 0.5)
    log = open_log("kafka://127.0.0.1:1")
    with pytest.raises(LogUnavailable, match=r"127\.0\.0\.1:1"):
        log.topics("")
    with pytest.raises(LogUnavailable):
        log.topic("t")
    log.close()


def test_settings_that_the_client_refuses_are_named() -> None:
    """A wrong key is found when the first client is made."""
    with pytest.raises(SettingsInvalid, match=r"ODR-225.*no\.such\.key"):
        open_log("kafka://127.0.0.1:1", {"no.such.key": "x"}).reader()


def test_durability_cannot_be_configured_away() -> None:
    """What exactly-once rests on is not for the user to change; the rest is."""
    settings = appender_settings(
        "h:1", {"message.timeout.ms": "5", "acks": "1", "linger.ms": "5", "sasl.password": "p"}
    )
    assert settings["message.timeout.ms"] == 0
    assert settings["acks"] == "all"
    assert settings["enable.idempotence"] is True
    assert settings["linger.ms"] == "5"
    assert settings["sasl.password"] == "p"


def test_an_append_that_never_lands_is_discarded_quickly() -> None:
    """Giving up on an unreachable broker neither blocks nor calls back."""
    log = open_log("kafka://127.0.0.1:1")
    appender = log.appender()
    heard: list[object] = []
    for _ in range(1000):
        appender.append("t", 0, b"k", b"v", lambda *answer: heard.append(answer))
    assert appender.in_flight >= 1000
    begun = time.monotonic()
    appender.discard()
    assert time.monotonic() - begun < 0.5
    assert heard == []
    log.close()


def test_append_errors_keep_their_kind() -> None:
    """Callers tell them apart by class and fields, not by text."""
    assert AppendFailed("t", 1, "r", fatal=True).fatal
    assert TopicMissing("t").partition is None


def test_a_crashed_download_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Maven failing is said with what it wrote, and the cache holds no folder that looks complete."""
    from odradek.testing import broker as module

    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "java").write_text("#!/bin/sh\n")
    (fake / "mvn").write_text("#!/bin/sh\nmkdir jars; touch jars/half.jar; echo cut off; exit 1\n")
    for program in ("java", "mvn"):
        (fake / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:/usr/bin:/bin")
    monkeypatch.setenv("ODRADEK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(module.BrokerUnavailable, match="cut off"):
        module.kafka_jars()
    assert list((tmp_path / "cache").iterdir()) == []
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(module.BrokerUnavailable, match='"java" is not installed'):
        module.kafka_jars()
