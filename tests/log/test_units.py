"""The pure parts: partitioning, assignment, the group's coordinator, compaction's rules, addresses, errors."""

from __future__ import annotations

import pickle
import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from odradek.log import (
    AccessDenied,
    AppendFailed,
    AppendQueueFull,
    CredentialsRefused,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    Offsets,
    RecordTooLarge,
    TopicCreationRefused,
    TopicMissing,
    open_log,
    partition_of,
)
from odradek.log.assignment import assign
from odradek.log.compaction import Entry, Pass, Rules, plan
from odradek.log.errors import AddressInvalid, OAuthCallbackUnusable, SettingFileUnreadable, SettingsContradict
from odradek.log.groups import Group
from odradek.log.kafka import KafkaLog
from odradek.log.kafka_access import _is_missing, _told
from odradek.log.memory import MemoryLog
from odradek.log.partitioning import murmur2
from odradek.schemas.access import Right
from odradek.schemas.topics import TopicSpec

NAMES = st.sampled_from("abcdef")


@pytest.mark.parametrize(
    ("key", "java_hash"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafkas_java_client(key: bytes, java_hash: int) -> None:
    """The vectors of Kafka's own test."""
    assert murmur2(key) == java_hash & 0xFFFFFFFF
    assert partition_of(key, 1000) == (java_hash & 0x7FFFFFFF) % 1000


@settings(deadline=None)
@given(st.dictionaries(NAMES, st.frozensets(st.integers(0, 20))), st.integers(0, 24))
def test_assignment_is_complete_balanced_and_sticky(owned: dict[str, frozenset[int]], partitions: int) -> None:
    """Everything is given out once, shares differ by one at most, and a member at or below its share keeps all."""
    result = assign(owned, partitions)
    assert result.keys() == owned.keys()
    if not owned:
        return
    given_out = [p for share in result.values() for p in share]
    assert sorted(given_out) == list(range(partitions))
    sizes = {len(share) for share in result.values()}
    assert max(sizes) - min(sizes) <= 1
    taken: set[int] = set()
    if sum(len(s) for s in owned.values()) == len(frozenset().union(*owned.values())):
        for name, share in owned.items():
            kept = {p for p in share if p < partitions}
            assert len(kept & result[name]) >= min(len(kept), partitions // len(owned))
            taken |= kept
    assert assign(result, partitions) == result


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["join", "beat", "leave", "sleep", "resize", "reload"]), NAMES, st.integers(0, 9)),
        max_size=60,
    )
)
def test_no_two_members_ever_hold_one_partition(steps: list[tuple[str, str, int]]) -> None:
    """Whoever joins, leaves or falls silent in whatever order; and in the end all is held again."""
    group, now, members = Group(6), 0, {}
    for step, name, number in steps:
        now += 1
        if step == "join":
            members[name] = f"{name}{now}"
            group.join(members[name], 10, now)
        elif step == "leave" and name in members:
            group.leave(members.pop(name))
        elif step == "beat" and name in members:
            _beat(group, members, name, now)
        elif step == "sleep":
            now += number
        elif step == "resize":
            group.resize(1 + number)
        else:
            group = Group.from_json(group.to_json())
        _check_one_holder(group)
    group.expire(now)
    members = {name: known for name, known in members.items() if known in group.members}
    stale = set(group.members) - set(members.values())
    for name in stale:
        group.leave(name)
    for _ in range(3):
        for name in list(members):
            _beat(group, members, name, now)
            _check_one_holder(group)
    if members:
        held = [p for m in group.members.values() for p in m.held]
        assert sorted(held) == list(range(group.partitions))


def _beat(group: Group, members: dict[str, str], name: str, now: int) -> None:
    answer = group.heartbeat(members[name], now)
    if not answer.known:
        del members[name]
    elif answer.to_release:
        group.release(members[name], answer.to_release, now)


def _check_one_holder(group: Group) -> None:
    held = [p for member in group.members.values() for p in member.held]
    assert len(held) == len(set(held))


ENTRIES = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.booleans(), st.integers(0, 3)), max_size=30)


@settings(deadline=None)
@given(ENTRIES, st.integers(0, 5), st.integers(0, 5), st.lists(st.integers(0, 4), max_size=6))
def test_compaction_never_changes_what_a_reader_concludes(
    shape: list[tuple[bytes, bool, int]], lag: int, retention: int, waits: list[int]
) -> None:
    """After any number of passes, reading the rest gives every key the value that reading all of it gives."""
    time_ms, entries = 0, []
    for offset, (key, is_tombstone, wait) in enumerate(shape):
        time_ms += wait
        entries.append(Entry(offset, time_ms, key, is_tombstone))
    truth = {e.key: e.offset for e in entries}
    truth = {key: offset for key, offset in truth.items() if not entries[offset].is_tombstone}
    rules, now, passes, rest = Rules(lag, retention), time_ms, list[Pass](), entries
    for wait in waits:
        now += wait
        before = rest
        result = plan(rest, passes, rules, now)
        passes = result.passes
        rest = [e for e in rest if e.offset not in result.drop]
        state = {e.key: e for e in rest}
        assert {key: e.offset for key, e in state.items() if not e.is_tombstone} == truth
        # A reader in the middle of the old contents, which goes on in the new ones within the retention, is not misled.
        if retention > 0:
            for position in range(len(shape) + 1):
                seen = {
                    e.key: e
                    for e in [*(e for e in before if e.offset < position), *(e for e in rest if e.offset >= position)]
                }
                assert {key: e.offset for key, e in seen.items() if not e.is_tombstone} == truth


def test_a_tombstone_waits_from_the_pass_that_reached_it() -> None:
    """However old it is: the values before it have only just gone."""
    entries = [Entry(0, 0, b"k", False), Entry(1, 1, b"k", True), Entry(2, 2, b"x", False)]
    rules = Rules(lag_ms=0, delete_retention_ms=100)
    first = plan(entries, [], rules, now_ms=10_000)
    assert first.drop == [0]
    assert plan(entries[1:], first.passes, rules, now_ms=10_050).drop == []
    assert plan(entries[1:], first.passes, rules, now_ms=10_100).drop == [1]


def test_what_brokers_do_not_tell_of_rights_counts_as_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role begins, though a broker does not answer the question, or not in time."""
    right, log = Right("Read", "group", "g"), KafkaLog("127.0.0.1:1", {})
    for error, lacking in ((AccessDenied("a", "b", ()), True), (LogUnavailable("a", "b"), False)):

        def asked(*_: object, error: LogError = error) -> None:
            raise error

        monkeypatch.setattr("odradek.log.kafka.committed_of_group", asked)
        assert log._lacks_group(right) is lacking
    unanswered: Future[Any] = Future()
    assert _told(unanswered, 0) is None
    assert not _is_missing(Right("Read", "topic", "t"), None)
    assert not _is_missing(Right("Read", "topic", "t"), frozenset({"READ"}))
    assert _is_missing(Right("Read", "topic", "t"), frozenset())


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("localhost:9092", "no scheme"),
        ("redis://x", "nobody knows"),
        ("kafka://", "no broker"),
        ("kafka://host", '"host" is not host:port'),
        ("kafka://a:1,b", '"b" is not host:port'),
        ("kafka://me:secret@host:9092", "credentials belong in the config"),
        ("kafka://host:9092?sasl.password=secret", '"host:9092?…" is not host:port'),
        ("kafka://a:1,b:2?x=a,secret", '"b:2?…" is not host:port'),
        ("sqlite://me:secret@host/x.db", "three slashes"),
        ("me:secret@host:9092", "no scheme"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite:///", "three slashes"),
    ],
)
def test_an_address_that_cannot_be_understood(address: str, complaint: str) -> None:
    """The message says what is wrong, and never repeats a password."""
    with pytest.raises(AddressInvalid, match="ODR-010") as caught:
        open_log(address)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


def test_sqlite_addresses_are_those_of_sqlalchemy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three slashes: relative; four: absolute."""
    monkeypatch.chdir(tmp_path)
    relative, absolute = open_log("sqlite:///a/log.db"), open_log(f"sqlite:///{tmp_path}/b/log.db")
    assert relative.address == "sqlite:///a/log.db"
    assert absolute.address == f"sqlite:///{tmp_path}/b/log.db"
    for log in (relative, absolute):
        log.topics("")
        log.close()
    assert (tmp_path / "a" / "log.db").exists()
    assert (tmp_path / "b" / "log.db").exists()


def test_memory_logs_are_shared_by_name_and_private_without() -> None:
    """``memory://`` alone is a new one each time."""
    name = "memory://test-units-shared"
    open_log(name).create_topics([TopicSpec("t", 1, "delete")])
    assert open_log(name).topics("") == ["t"]
    assert open_log("memory://").topics("") == []


def test_a_memory_log_can_be_given_a_clock() -> None:
    """Retention and compaction then follow that clock."""
    now = 1_000_000
    log = MemoryLog(now_ms=lambda: now)
    log.create_topics([TopicSpec("t", 1, "delete", retention_ms=1000)])
    appender = log.appender()
    for _ in range(600):
        appender.append("t", 0, b"k", b"v")
    now += 5000
    for _ in range(400):
        appender.append("t", 0, b"k", b"v")
    assert log.offsets("t", 0) == (600, 1000)
    appender.flush(1)


@pytest.mark.parametrize(
    "error",
    [
        AddressInvalid("x", "no scheme"),
        LogUnavailable("kafka://h:1", "refused"),
        CredentialsRefused("kafka://h:1", "wrong password"),
        AccessDenied("kafka://h:1", 'Read topic "t"', ("kafka-acls.sh …",)),
        SettingsContradict("sasl.username", "is not set", "set it"),
        SettingFileUnreadable("ssl.ca.location", "/ca.pem", "no such file"),
        OAuthCallbackUnusable("m:f", "it is no function"),
        TopicMissing("t"),
        TopicMissing("t", 3),
        TopicCreationRefused("t", "not allowed"),
        OffsetOutOfRange("t", 1, 2, 3, 4),
        RecordTooLarge("t", 1, 2000, None),
        AppendQueueFull("t", 5),
        AppendFailed("t", 1, "why", fatal=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: LogError) -> None:
    """Fields and text come back, and the text begins with a code."""
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert re.match(r"ODR-(01|22)\d: ", str(error))


@pytest.mark.parametrize(
    "code", [KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.KAFKA_STORAGE_ERROR, KafkaError.NOT_LEADER_FOR_PARTITION]
)
def test_what_passes_while_brokers_change_places_is_asked_again(code: int) -> None:
    """A leader that does not know yet how far it may answer will know, and one whose disk has failed is replaced."""
    log = KafkaLog("127.0.0.1:9", {})
    answers: list[Future[int]] = [Future(), Future()]
    answers[0].set_exception(KafkaException(KafkaError(code)))
    answers[1].set_result(7)
    assert log._ask(lambda _: answers.pop(0), Right("Describe", "topic", "t")) == 7
    log.close()


class Answering(KafkaLog):
    """The offsets that its brokers answer with, one request after the other."""

    def __init__(self, *offsets: int) -> None:
        super().__init__("127.0.0.1:9", {})
        self._offsets = list(offsets)

    def _ask_offsets(self, asked: dict[TopicPartition, OffsetSpec]) -> dict[TopicPartition, Future[Any]]:
        answer: Future[Any] = Future()
        answer.set_result(ListOffsetsResultInfo(self._offsets.pop(0), -1, 0))
        return dict.fromkeys(asked, answer)


def test_an_offset_that_no_broker_has_answered_with_is_asked_for_again() -> None:
    """Where a broker has gone the client answers -1001, without an error: a partition would seem to be empty."""
    log = Answering(5, -1001, 7)
    assert log.offsets("topic", 0) == Offsets(5, 7)
    log.close()
