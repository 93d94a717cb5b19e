"""What of the inbox has been read and is not decided yet: holds and turns."""

from __future__ import annotations

from odradek.orchestrator.core.intake import Holds, Intake
from odradek.orchestrator.core.state import WAITING_BYTES, InboxItem
from odradek.schemas import records as r


def test_holds_know_how_many_bytes_wait_and_where_the_first_stands() -> None:
    holds = Holds()
    assert (len(holds), holds.bytes, holds.first()) == (0, 0, None)
    late, early, same = holds.add(7, 100), holds.add(3, 20), holds.add(3, 5)
    assert (len(holds), holds.bytes, holds.first()) == (3, 125, 3)
    holds.release(early)
    assert (len(holds), holds.bytes, holds.first()) == (2, 105, 3)
    holds.release(same)
    assert (len(holds), holds.bytes, holds.first()) == (1, 100, 7)
    holds.release(late)
    assert (len(holds), holds.bytes, holds.first()) == (0, 0, None)


def test_turns_are_counted_until_the_batch_is_written_down() -> None:
    intake = Intake()
    for name in "aab":
        intake.count(name)
    assert (intake.taken, intake.total) == ({"a": 2, "b": 1}, 3)
    intake.flushed()
    assert (intake.taken, intake.total) == ({}, 0)


def test_what_waits_undecoded_takes_the_room_of_its_bytes_too() -> None:
    assert InboxItem(0, 0, "w", b"x" * 100).held_bytes == WAITING_BYTES + 100
    record = r.InboxRecord(0, r.DescribeWorkflow(r.Request("q", 1, "client", 0)))
    assert InboxItem(0, 0, "w", record).held_bytes == WAITING_BYTES
