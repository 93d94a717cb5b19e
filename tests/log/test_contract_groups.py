"""Topics, groups and commits: the same on every log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from odradek.log import Committed, Membership, TopicMissing
from odradek.log.memory import MemoryMembership
from odradek.log.sqlite_storage import Storage
from odradek.schemas.topics import TopicSpec
from tests.log.conftest import Bench, eventually

SESSION_SECONDS = 2.0


class Ledger:
    """Who holds what, as the members were told; a partition in two hands is an error at once."""

    def __init__(self) -> None:
        self.holder: dict[int, str] = {}
        self.moves = 0


class Member:
    """A listener with its membership."""

    def __init__(
        self, bench: Bench, ledger: Ledger, name: str, group: str, topic: str, session_seconds: float = SESSION_SECONDS
    ) -> None:
        self.name = name
        self.ledger = ledger
        self.heard: list[str] = []
        self.before_release: Callable[[Sequence[int]], None] = lambda partitions: None
        self.membership: Membership = bench.log.membership(group, topic, self, session_timeout_seconds=session_seconds)

    def assigned(self, partitions: Sequence[int]) -> None:
        self.heard.append("assigned")
        for partition in partitions:
            assert partition not in self.ledger.holder, (
                f"{partition} is in the hands of {self.ledger.holder[partition]}"
            )
            self.ledger.holder[partition] = self.name
            self.ledger.moves += 1

    def revoked(self, partitions: Sequence[int]) -> None:
        self.heard.append("revoked")
        self.before_release(partitions)
        self._let_go(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        self.heard.append("lost")
        self._let_go(partitions)

    def _let_go(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if self.ledger.holder.get(partition) == self.name:
                del self.ledger.holder[partition]


def _poll(*members: Member) -> None:
    for member in members:
        member.membership.poll()


def _settle(members: Sequence[Member], counts: Sequence[int]) -> None:
    def settled() -> bool:
        _poll(*members)
        return sorted(len(m.membership.partitions) for m in members) == sorted(counts)

    eventually(settled, f"shares of {counts}")


def _group() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


def test_one_member_gets_everything_and_hands_it_back(bench: Bench) -> None:
    """An orderly end calls ``revoked``, so that whoever listens can finish its work."""
    topic, group, ledger = bench.topic(4), _group(), Ledger()
    member = Member(bench, ledger, "a", group, topic)
    _settle([member], [4])
    assert member.membership.partitions == {0, 1, 2, 3}
    assert set(ledger.holder) == {0, 1, 2, 3}
    member.membership.close()
    assert member.heard[-1] == "revoked"
    assert ledger.holder == {}
    assert member.membership.partitions == frozenset()
    member.membership.close()


def test_members_share_and_move_as_little_as_possible(bench: Bench) -> None:
    """A newcomer gets its share from those who have most; whoever leaves gives to those who stay; nobody shares one."""
    topic, group, ledger = bench.topic(6), _group(), Ledger()
    first = Member(bench, ledger, "a", group, topic)
    _settle([first], [6])
    second = Member(bench, ledger, "b", group, topic)
    _settle([first, second], [3, 3])
    assert ledger.moves == 6 + 3
    third = Member(bench, ledger, "c", group, topic)
    _settle([first, second, third], [2, 2, 2])
    assert ledger.moves == 6 + 3 + 2
    kept = first.membership.partitions, second.membership.partitions
    third.membership.close()
    _settle([first, second], [3, 3])
    assert ledger.moves == 6 + 3 + 2 + 2
    assert kept[0] <= first.membership.partitions
    assert kept[1] <= second.membership.partitions
    first.membership.close()
    second.membership.close()
    assert "lost" not in first.heard + second.heard + third.heard


def test_commits_come_back_whole(bench: Bench) -> None:
    """Offset and metadata, up to 3,000 bytes of it; a partition without a commit is left out."""
    topic, group, ledger = bench.topic(4), _group(), Ledger()
    member = Member(bench, ledger, "a", group, topic)
    _settle([member], [4])
    assert member.membership.committed([0, 1, 2, 3]) == {}
    long = "0123456789" * 300
    member.membership.commit({0: Committed(5, "first"), 1: Committed(0, "")})
    member.membership.commit({0: Committed(7, long)})
    member.membership.flush_commits(10)
    assert member.membership.committed([0, 1, 2]) == {0: Committed(7, long), 1: Committed(0, "")}
    member.membership.close()
    again = Member(bench, ledger, "b", group, topic)
    _settle([again], [4])
    assert again.membership.committed([0]) == {0: Committed(7, long)}
    again.membership.close()


def test_what_is_committed_while_handing_over_reaches_the_next_holder(bench: Bench) -> None:
    """The listener's last commit is there before the partition moves."""
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    first = Member(bench, ledger, "a", group, topic)
    _settle([first], [2])

    def commit_and_wait(partitions: Sequence[int]) -> None:
        first.membership.commit({p: Committed(40 + p, "last") for p in partitions})
        first.membership.flush_commits(5)

    first.before_release = commit_and_wait
    second = Member(bench, ledger, "b", group, topic)
    _settle([first, second], [1, 1])
    (moved,) = second.membership.partitions
    assert second.membership.committed([moved]) == {moved: Committed(40 + moved, "last")}
    first.membership.close()
    _settle([second], [2])
    assert second.membership.committed([0, 1]) == {0: Committed(40, "last"), 1: Committed(41, "last")}
    second.membership.close()


def test_what_a_member_commits_while_others_come_and_go_is_kept(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Even what the group's coordinator reads only when the next generation has begun; nobody commits it again."""
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    first = Member(bench, ledger, "a", group, topic)
    _settle([first], [2])
    offset = 0
    for name in ("b", "c", "d"):
        guest = Member(bench, ledger, name, group, topic)

        def shared(guest: Member = guest) -> bool:
            nonlocal offset
            offset += 1
            first.membership.commit({p: Committed(offset, "") for p in first.membership.partitions})
            _poll(first, guest)
            return len(guest.membership.partitions) == 1

        eventually(shared, "a guest's share")
        guest.membership.close()
    (kept,) = first.membership.partitions

    def arrived() -> bool:
        _poll(first)
        return first.membership.committed([kept]) == {kept: Committed(offset, "")}

    eventually(arrived, "the last commit")
    assert "dropped" not in caplog.text
    first.membership.close()


def test_a_member_that_leaves_while_another_joins_keeps_its_last_commit(bench: Bench) -> None:
    """Wherever the group is on its way: it is asked, joins, hands over, or joins again."""
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    leaver = Member(bench, ledger, "0", group, topic)
    _settle([leaver], [2])
    for round, milliseconds in enumerate((0, 50, 300, 500, 520, 550, 600, 800), 1):

        def commit(partitions: Sequence[int], member: Member = leaver, offset: int = 100 * round) -> None:
            member.membership.commit({p: Committed(offset + p, "") for p in partitions})

        leaver.before_release = commit
        successor = Member(bench, ledger, f"{round}", group, topic)
        ends_at = time.monotonic() + milliseconds / 1000
        while time.monotonic() < ends_at:
            _poll(leaver, successor)
        leaver.membership.close()
        _settle([successor], [2])
        assert successor.membership.committed([0, 1]) == {p: Committed(100 * round + p, "") for p in (0, 1)}
        leaver = successor
    leaver.membership.close()


def test_a_member_without_partitions_leaves_at_once(bench: Bench) -> None:
    """Else whoever joins next would wait until the session of the one that left has ended."""
    topic, group, ledger = bench.topic(1), _group(), Ledger()
    first, spare = (Member(bench, ledger, name, group, topic, session_seconds=60) for name in "ab")
    _settle([first, spare], [1, 0])
    ends_at = time.monotonic() + 2
    while time.monotonic() < ends_at:  # nothing tells that a member has joined and got nothing
        _poll(first, spare)
    (idle,) = (member for member in (first, spare) if not member.membership.partitions)
    (busy,) = (member for member in (first, spare) if member.membership.partitions)
    idle.membership.close()
    newcomer = Member(bench, ledger, "c", group, topic, session_seconds=60)
    busy.membership.close()
    _settle([newcomer], [1])
    newcomer.membership.close()


def test_lag_is_what_lies_behind_the_commit(bench: Bench) -> None:
    """A partition without a commit lags by all that it holds."""
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    bench.append(topic, *[(b"k", b"v")] * 10)
    bench.append(topic, *[(b"k", b"v")] * 4, partition=1)
    member = Member(bench, ledger, "a", group, topic)
    _settle([member], [2])
    member.membership.commit({0: Committed(7, "")})
    member.membership.flush_commits(10)
    assert bench.log.lag(group, topic) == {0: 3, 1: 4}
    member.membership.close()


def test_a_stopped_member_loses_its_partitions_and_hears_of_it(bench: Bench) -> None:
    """When it wakes up it is told ``lost``, what it commits then is dropped, and it joins again."""
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    if bench.kind == "memory":
        _stopped_member_in_memory(bench, topic, group, ledger)
        return
    with _member_process(bench, group, topic) as (process, heard):
        eventually(lambda: "assigned 0 1" in heard(), "the other process to get all")
        _stop(process, bench)
        here = Member(bench, ledger, "here", group, topic)
        _settle([here], [2])
        here.membership.commit({0: Committed(9, "mine"), 1: Committed(9, "mine")})
        here.membership.flush_commits(10)
        os.kill(process.pid, signal.SIGCONT)

        def back() -> bool:
            _poll(here)
            return len(here.membership.partitions) == 1 and len(heard()) == 3

        eventually(back, "the other one to come back")
        assert heard()[:2] == ["assigned 0 1", "lost 0 1"]
        assert heard()[2].startswith("assigned")
        here.membership.close()


def _stop(process: subprocess.Popen[bytes], bench: Bench) -> None:
    """SIGSTOP; between two writes where a stopped writer would hold up everybody."""
    os.kill(process.pid, signal.SIGSTOP)
    if bench.kind != "sqlite":
        return
    storage = Storage(Path(bench.address.removeprefix("sqlite:///")))
    while not storage.try_lock(0.2):
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(process.pid, signal.SIGSTOP)
    storage.unlock()
    storage.close()


def _stopped_member_in_memory(bench: Bench, topic: str, group: str, ledger: Ledger) -> None:
    stopped = Member(bench, ledger, "a", group, topic)
    _settle([stopped], [2])
    membership = stopped.membership
    assert isinstance(membership, MemoryMembership)
    membership.fall_silent()
    ledger.holder.clear()
    here = Member(bench, ledger, "b", group, topic)
    _settle([here], [2])
    here.membership.commit({0: Committed(9, "mine")})
    membership.commit({0: Committed(1, "stale")})
    assert here.membership.committed([0]) == {0: Committed(9, "mine")}
    membership.fall_silent(False)
    _settle([stopped, here], [1, 1])
    assert stopped.heard == ["assigned", "lost", "assigned"]
    stopped.membership.close()
    here.membership.close()


def test_a_killed_member_is_replaced_after_its_session(bench: Bench) -> None:
    """A crash is noticed without anybody's help."""
    if bench.kind == "memory":
        pytest.skip("nothing outlives the process")
    topic, group, ledger = bench.topic(2), _group(), Ledger()
    with _member_process(bench, group, topic) as (process, heard):
        eventually(lambda: "assigned 0 1" in heard(), "the other process to get all")
        here = Member(bench, ledger, "here", group, topic)
        process.kill()
        killed = time.monotonic()
        _settle([here], [2])
        assert time.monotonic() - killed < 3 * SESSION_SECONDS + 2
        here.membership.close()


@contextmanager
def _member_process(
    bench: Bench, group: str, topic: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], list[str]]]]:
    output = Path(os.environ.get("TMPDIR", "/tmp")) / f"member-{uuid.uuid4().hex}"  # removed below
    command = [sys.executable, str(Path(__file__).with_name("member.py")), bench.address, group, topic]
    with output.open("wb") as out:
        process = subprocess.Popen(
            [*command, str(SESSION_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=out,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    try:
        yield process, lambda: output.read_text().splitlines()
    finally:
        process.kill()
        process.communicate()
        output.unlink()


def test_creating_topics_again_changes_nothing(bench: Bench) -> None:
    """What exists is left alone, whatever the specification says now."""
    topic = bench.topic(3, config={"min.insync.replicas": "1"})
    found = bench.log.topic(topic)
    assert found is not None
    assert (found.name, found.partitions, found.record_bytes_max) == (topic, 3, 4 * 1024 * 1024)
    assert found.config["min.insync.replicas"] == "1"
    bench.log.create_topics([TopicSpec(topic, 5, "delete")])
    assert bench.log.topic(topic) == found
    assert topic in bench.log.topics("t-")
    assert bench.log.topics(topic + "-none") == []


def test_a_topic_made_anew_has_a_new_identity(bench: Bench) -> None:
    """Whoever kept anything by the topic's name can see that it is not the same."""
    topic = bench.topic(2)
    bench.append(topic, (b"k", b"old"))
    before = bench.log.topic(topic)
    bench.log.delete_topics([topic])
    assert bench.log.topic(topic) is None
    bench.log.create_topics([TopicSpec(topic, 2, "delete")])
    after = bench.log.topic(topic)
    assert before is not None
    assert after is not None
    assert before.topic_id != after.topic_id
    assert bench.log.offsets(topic, 0) == (0, 0)
    bench.log.delete_topics(["never-made"])


def test_leader_epoch_is_a_number_that_does_not_fall(bench: Bench) -> None:
    """Constant where there are no leaders; what raises it on Kafka is tested with a broker of its own."""
    topic = bench.topic()
    assert bench.log.leader_epoch(topic, 0) == bench.log.leader_epoch(topic, 0) >= 0


def test_what_is_not_there_is_named(bench: Bench) -> None:
    """Asking for a missing topic or partition raises; it does not wait."""
    topic = bench.topic()
    with pytest.raises(TopicMissing):
        bench.log.offsets("no-such-topic", 0)
    with pytest.raises(TopicMissing):
        bench.log.offsets(topic, 9)
    with pytest.raises(TopicMissing):
        bench.log.lag("g", "no-such-topic")
