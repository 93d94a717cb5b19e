"""How long a queue has been without a worker, in the log's time as one orchestrator has seen it pass."""

from __future__ import annotations

from odradek.orchestrator.leases import Leases
from odradek.schemas import records as r

LOST_MS = 7_000


class Topic:
    """The workers topic as this orchestrator reads it: its own beacon every two seconds, and what others say."""

    def __init__(self) -> None:
        self.now_ms = 1_800_000_000_000
        self.leases = Leases("me", 2_000, LOST_MS)
        self.beacon()

    def beacon(self) -> None:
        self.leases.fold(self.now_ms, r.Beacon("me"))

    def pass_seconds(self, seconds: int, *alive: r.WorkerLease) -> None:
        for _ in range(seconds // 2):
            self.now_ms += 2_000
            for lease in alive:
                self.leases.fold(self.now_ms, lease)
            self.beacon()

    def unserved_seconds(self, queue: str = "q") -> float | None:
        found = self.leases.unserved_ms(queue)
        return None if found is None else found / 1000


def lease(worker: str = "w", queue: str = "q", namespace: str = "", ended: bool = False) -> r.WorkerLease:
    return r.WorkerLease(worker, f"{worker}@host", queue, 0, ended, namespace)


def test_a_queue_that_never_had_a_worker() -> None:
    """Nothing is said before it could have been heard of one."""
    topic = Topic()
    assert topic.unserved_seconds() is None
    topic.pass_seconds(6)
    assert topic.unserved_seconds() is None
    topic.pass_seconds(54)
    assert topic.unserved_seconds() == 60


def test_one_worker_of_several_is_enough() -> None:
    topic = Topic()
    topic.pass_seconds(60, lease("a"), lease("b"))
    topic.pass_seconds(60, lease("b"))
    assert topic.unserved_seconds() is None
    assert topic.unserved_seconds("another") == 120


def test_a_worker_that_dies_and_one_that_says_goodbye() -> None:
    for last_words, silent_seconds in (([lease(ended=True)], 30), ([], 26)):  # one that died may just be slow at first
        topic = Topic()
        topic.pass_seconds(60, lease())
        for word in last_words:
            topic.leases.fold(topic.now_ms, word)
        topic.pass_seconds(30)
        assert topic.unserved_seconds() == silent_seconds
        topic.pass_seconds(2, lease("new"))
        assert topic.unserved_seconds() is None


def test_a_pause_of_this_process_is_no_silence() -> None:
    """It wakes after ten minutes: the leases of that time are read, and its beacons are missing."""
    topic = Topic()
    topic.pass_seconds(20, lease())
    for _ in range(300):
        topic.now_ms += 2_000
        topic.leases.fold(topic.now_ms, lease())
    topic.beacon()
    assert topic.unserved_seconds() is None
    assert not topic.leases.is_lost("w")


def test_an_outage_of_the_log_is_no_silence() -> None:
    """For ten minutes nobody could append anything; the worker's lease comes two seconds after our beacon."""
    topic = Topic()
    topic.pass_seconds(20, lease())
    topic.now_ms += 600_000
    topic.beacon()
    assert topic.unserved_seconds() is None
    topic.pass_seconds(2, lease())
    assert topic.unserved_seconds() is None
    assert not topic.leases.is_lost("w")


def test_a_worker_of_another_namespaces_queue_of_that_name_does_not_count() -> None:
    topic = Topic()
    topic.pass_seconds(60, lease(namespace="elsewhere"))
    assert topic.unserved_seconds() == 60


def test_nothing_is_known_of_queues_of_other_namespaces() -> None:
    topic = Topic()
    topic.pass_seconds(60)
    assert topic.unserved_seconds("elsewhere:q") is None
