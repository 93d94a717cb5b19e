"""When outputs leave, and what y says of them."""

from __future__ import annotations

from odradek.orchestrator.core.effects import Effect, InboxDone, SendTask
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.schemas import records as r
from odradek.schemas.codec import Codec


def writer() -> HistoryWriter:
    made = HistoryWriter(0, -1, -1, -1, Codec(), lambda entry: None, lambda late: None)
    made.settled = made.caught_up = True
    return made


def test_y_waits_for_an_output_that_rides_on_a_later_append() -> None:
    """A retry's task leaves behind the last append of its turn: who takes over in between must still send it."""
    history = writer()
    own = history.append(b"k\0r\0p1\x000", r.Progress(1, 2, 0))
    another = history.append(b"l\0r\0p1\x000", r.Progress(1, 2, 0))
    task = SendTask()
    history.after_in_flight([task])
    history.acked(own, 1)
    assert history.y == 0
    history.acked(another, 2)
    assert history.outbox == [task]
    assert history.y == 0
    assert task.token is not None
    history.emitted(task.token)
    assert history.y == 2


def test_y_waits_for_what_is_decided_while_an_append_is_checked() -> None:
    """An output of the append that is being checked holds y below it, whatever began to wait before."""
    history = writer()
    effects: list[Effect] = [InboxDone(1), SendTask()]
    first = history.append(b"k\0r\0p1\x000", r.Progress(1, 2, 0))
    later = SendTask()

    def checked(offset: int) -> None:
        history.append(b"l\0r\0p1\x000", r.Progress(1, 2, 0))
        history.after_in_flight([later])
        history.begin_emitting(offset).outstanding += 1

    first.then = checked
    first.effects = effects
    history.acked(first, 1)
    assert history.y == 0
