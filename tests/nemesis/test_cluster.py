"""The cluster of the tests keeps the promises that production's keeps: what the others are tested with."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from threading import Timer

import pytest

from examples.orders.fleet import REPOSITORY
from odradek.log import Log, Offsets, OnAppended, open_log
from odradek.log.namespace import read_to_end
from odradek.schemas.topics import TopicSpec
from odradek.testing.cluster import LocalCluster

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]
TOPIC = TopicSpec("promises", 3, "delete", None, None)


@pytest.fixture(scope="module")
def cluster(jars: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


class Appends:
    """Acknowledgements of appended numbers, as they come."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._appender = log.appender()
        self.acknowledged: list[int] = []
        self.failed: list[Exception] = []
        self.count = 0

    def append(self, count: int) -> None:
        for number in range(self.count, self.count + count):
            self._appender.append(TOPIC.name, number % 3, None, b"%d" % number, self._answer(number))
        self.count += count

    def await_acknowledged(self, count: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while len(self.acknowledged) < count and time.monotonic() < deadline:
            self._appender.poll(0.05)
        return len(self.acknowledged) >= count

    def read(self) -> list[int]:
        return sorted(int(r.value or b"") for p in range(3) for r in read_to_end(self._log, TOPIC.name, p))

    def close(self) -> None:
        self._appender.close()

    def _answer(self, number: int) -> OnAppended:
        def appended(offset: int | None, error: Exception | None) -> None:
            if error is None:
                self.acknowledged.append(number)
            else:
                self.failed.append(error)

        return appended


def test_one_broker_may_die_and_two_are_waited_for(cluster: LocalCluster) -> None:
    """With one broker gone all is acknowledged, with two nothing, and nothing acknowledged is lost by it."""
    with closing(open_log(f"kafka://{cluster.bootstrap}")) as log:
        log.create_topics([TOPIC])
        info = log.topic(TOPIC.name)
        assert info is not None
        assert (info.replication, info.config["min.insync.replicas"]) == (3, "2")
        assert _lagging(log) == 0
        assert info.config["unclean.leader.election.enable"] == "false"
        with closing(Appends(log)) as appends:
            first, second, _ = cluster.brokers
            first.kill()
            appends.append(300)
            assert appends.await_acknowledged(300, 60)
            until = time.monotonic() + 30
            while not _lagging(log):  # brokers hear of it one after the other
                assert time.monotonic() < until, "the copies of the broker that died are missed"
                time.sleep(0.1)
            second.pause()
            appends.append(300)
            assert not appends.await_acknowledged(301, 5)
            first.launch()
            second.resume()
            cluster.await_all()
            assert appends.await_acknowledged(600, 60)
            assert appends.failed == []
            assert appends.read() == list(range(600))


def _lagging(log: Log) -> int:
    info = log.topic(TOPIC.name)
    assert info is not None
    return len(info.under_replicated)


def test_what_is_there_can_be_asked_whichever_broker_dies(cluster: LocalCluster) -> None:
    """Also when it is the one that the admin client asks, which hears of no other by itself."""
    with closing(open_log(f"kafka://{cluster.bootstrap}")) as log:
        log.create_topics([replace(TOPIC, name="described")])
        for broker in cluster.brokers:
            broker.kill()
            assert log.topic("described") is not None
            broker.launch()
            cluster.await_all()


def test_asking_where_groups_stand_survives_the_loss_of_their_coordinators(cluster: LocalCluster) -> None:
    """The admin client's way to ask ends the process with SIGSEGV when a coordinator has just moved."""
    with closing(open_log(f"kafka://{cluster.bootstrap}")) as log:
        log.create_topics([replace(TOPIC, name="asked")])
    command = [sys.executable, "-m", "tests.nemesis.asking", f"kafka://{cluster.bootstrap}", "asked"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        for broker in cluster.brokers:
            assert asking.stdout.readline() == b"3 partitions\n"
            broker.kill()
            broker.launch()
            cluster.await_all()
        for _ in range(100):
            assert asking.stdout.readline() == b"3 partitions\n"
        asking.kill()


def test_a_new_topic_is_found_whichever_broker_is_asked(cluster: LocalCluster) -> None:
    """Also while one of them has not heard of it yet."""
    with closing(open_log(f"kafka://{cluster.bootstrap}")) as log:
        for number in range(9):
            late = cluster.brokers[number % 3]
            late.pause()
            Timer(1.5, late.resume).start()
            name = f"new-{number}"
            log.create_topics([replace(TOPIC, name=name)])
            found = log.topic(name)
            assert found is not None
            assert found.partitions == 3
            assert [log.offsets(name, partition) for partition in range(3)] == [Offsets(0, 0)] * 3
            late.resume()
