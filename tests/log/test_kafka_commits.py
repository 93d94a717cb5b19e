"""Commits at a broker whose limit for the text beside them is lower than Kafka's default."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from odradek.log import open_log
from odradek.log.interface import Committed, Log, Membership
from odradek.schemas.topics import TopicSpec
from odradek.testing.broker import BrokerUnavailable, LocalBroker

pytestmark = pytest.mark.kafka
LIMIT_BYTES = 100
TEXT = "x" * (LIMIT_BYTES + 1)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    settings = f"offset.metadata.max.bytes={LIMIT_BYTES}\n"
    broker = LocalBroker(tmp_path_factory.mktemp("limited"), settings=settings)
    try:
        broker.start()
    except BrokerUnavailable as error:
        if os.environ.get("ODRADEK_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(str(error))
    log = open_log(f"kafka://{broker.bootstrap}")
    yield log
    log.close()
    broker.stop()


class Listener:
    """Commits a position with too long a text when its partitions go."""

    def __init__(self) -> None:
        self.held: set[int] = set()
        self.membership: Membership | None = None

    def assigned(self, partitions: Sequence[int]) -> None:
        self.held |= set(partitions)

    def revoked(self, partitions: Sequence[int]) -> None:
        assert self.membership is not None
        self.membership.commit({p: Committed(20 + p, TEXT) for p in partitions})
        self.held -= set(partitions)

    def lost(self, partitions: Sequence[int]) -> None:
        self.held -= set(partitions)


def poll_until(condition: Callable[[], object], *members: Membership) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        for member in members:
            member.poll()
        time.sleep(0.02)


def test_a_text_that_the_broker_refuses_is_left_out_and_the_position_stays(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nothing of the partition would be committed as long as its text is too long, and all of it run again."""
    log.create_topics([TopicSpec("limited", 2, "delete")])
    first, second = Listener(), Listener()
    first.membership = member = log.membership("g", "limited", first)
    poll_until(lambda: len(first.held) == 2, member)
    member.commit({0: Committed(10, TEXT), 1: Committed(11, "short")})

    def committed() -> dict[int, Committed]:
        return member.committed([0, 1])

    poll_until(lambda: committed() == {0: Committed(10, ""), 1: Committed(11, "short")}, member)
    assert "offset.metadata.max.bytes" in caplog.text
    second.membership = other = log.membership("g", "limited", second)
    poll_until(lambda: len(first.held) == len(second.held) == 1, member, other)
    (gone,) = second.held
    assert committed()[gone] == Committed(20 + gone, "")
    other.close()
    member.close()
