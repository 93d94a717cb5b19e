"""One claim's appends: contiguity, watermarks, and what may leave when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.effects import Effect, Fenced, InboxDone, ReadGap, Reply, SendTask
from odradek.orchestrator.core.writer import Entry, HistoryWriter, LateRecord, chain_then
from odradek.schemas import records as r
from odradek.schemas.codec import Codec

CLAIM, V, X, Y = 10, 3, 4, 2
KEY = keys.progress("w", "run", 1, CLAIM)
OLDER = keys.progress("w", "run", 1, 5)


class Owner:
    """A writer under claim 10 whose predecessor left v 3, x 4, y 2; what it tells is noted."""

    def __init__(self, *, settled: bool = True, caught_up: bool = True) -> None:
        self.checked: list[tuple[bytes, int]] = []
        self.late: list[LateRecord] = []
        self.writer = HistoryWriter(CLAIM, V, X, Y, Codec(), self._checked, self.late.append)
        self.writer.settled, self.writer.caught_up = settled, caught_up

        self.on_checked: Callable[[], None] = lambda: None

    def _checked(self, entry: Entry) -> None:
        self.checked.append((entry.key, entry.offset))
        self.on_checked()

    def append(self, *effects: Effect, key: bytes = KEY, then: Callable[[int], None] | None = None) -> Entry:
        return self.writer.append(key, r.Progress(1, 1, 0), effects=effects, then=then)

    def emitted(self) -> list[Effect]:
        out, self.writer.outbox = self.writer.outbox, []
        return out


def watermarks(entry: Entry) -> tuple[int, int, int]:
    """v, x and y as the record carries them."""
    assert entry.value is not None
    claim, v, x, y = Codec().watermarks(entry.value)
    assert claim == CLAIM
    return v, x, y


def token(output: SendTask) -> Any:
    assert output.token is not None
    return output.token


# ---------------------------------------------------------------------------------------------------- watermarks


def test_v_is_what_was_acknowledged_when_the_oldest_open_append_was_sent() -> None:
    """Whatever the producer may send again lies above it."""
    owner = Owner()
    first, second = owner.append(), owner.append()
    assert watermarks(first)[0] == 10
    owner.writer.acked(first, 11)
    third = owner.append()
    assert watermarks(third)[0] == 10
    assert owner.writer.v == 10
    owner.writer.acked(second, 12)
    assert owner.writer.v == 11
    owner.writer.acked(third, 13)
    assert owner.writer.v == 13
    assert watermarks(owner.append())[0] == 13


def test_watermarks_of_the_predecessor_hold_until_what_it_left_is_in_order() -> None:
    """v until everything above it is said again under this claim, y until what it had not emitted is out."""
    owner = Owner(settled=False, caught_up=False)
    first = owner.append()
    assert watermarks(first) == (V, X, Y)
    owner.writer.acked(first, 11)
    assert watermarks(owner.append()) == (V, X, Y)
    owner.writer.settled = True
    assert watermarks(owner.append()) == (11, X, Y)
    owner.writer.caught_up = True
    assert watermarks(owner.append()) == (11, X, 11)


def test_a_new_claim_has_neither_settled_nor_caught_up() -> None:
    writer = HistoryWriter(CLAIM, V, X, Y, Codec(), lambda entry: None, lambda late: None)
    assert (writer.v, writer.x, writer.y, writer.last) == (V, X, Y, CLAIM)
    assert (writer.settled, writer.caught_up, writer.fenced) == (False, False, False)


def test_x_follows_the_append_that_decides_the_input() -> None:
    owner = Owner()
    first = owner.append()
    owner.writer.taken_to(7)
    second = owner.append()
    owner.writer.taken_to(9)
    third = owner.append()  # decides nothing more
    assert owner.writer.x == X
    assert [watermarks(entry)[1] for entry in (first, second, third)] == [X, X, X]
    owner.writer.acked(first, 11)
    assert owner.writer.x == 7
    owner.writer.acked(second, 12)
    owner.writer.acked(third, 13)
    assert owner.writer.x == 9
    assert watermarks(owner.append())[1] == 9


def test_x_rises_at_once_when_nothing_is_in_flight_and_never_falls() -> None:
    owner = Owner()
    owner.writer.taken_to(8)
    assert owner.writer.x == 8
    owner.writer.taken_to(6)
    assert owner.writer.x == 8
    entry = owner.append()
    owner.writer.taken_to(5)
    owner.writer.acked(entry, 11)
    assert owner.writer.x == 8


def test_y_waits_for_the_outputs_of_the_oldest_offset() -> None:
    owner = Owner()
    tasks = SendTask(), SendTask(), SendTask()
    owner.writer.acked(owner.append(tasks[0], tasks[1]), 11)
    owner.writer.acked(owner.append(), 12)
    owner.writer.acked(owner.append(tasks[2]), 13)
    assert owner.writer.y == 10
    owner.writer.emitted(token(tasks[2]))
    owner.writer.emitted(token(tasks[0]))
    assert owner.writer.y == 10
    owner.writer.emitted(token(tasks[1]))
    assert owner.writer.y == 13


def test_y_rises_to_the_next_output_that_is_not_out() -> None:
    owner = Owner()
    first, second = SendTask(), SendTask()
    owner.writer.acked(owner.append(first), 11)
    owner.writer.acked(owner.append(second), 12)
    owner.writer.acked(owner.append(), 13)
    owner.writer.emitted(token(first))
    assert owner.writer.y == 11
    owner.writer.emitted(token(second))
    assert owner.writer.y == 13


def test_an_answer_to_a_client_holds_y_back_for_nobody() -> None:
    """It asks again."""
    owner = Owner()
    answer = Reply()
    owner.writer.acked(owner.append(answer), 11)
    assert owner.emitted() == [answer]
    assert answer.token is None
    assert owner.writer.y == 11


# ---------------------------------------------------------------------------------------------------- contiguity


def test_records_of_this_claim_in_a_gap_are_its_own_repeated() -> None:
    owner = Owner()
    first, second = owner.append(SendTask()), owner.append()
    owner.writer.acked(first, 11)
    owner.emitted()
    owner.writer.acked(second, 14)
    assert owner.emitted() == [ReadGap(12, 14)]
    assert owner.writer.last == 11
    owner.writer.gap_read([(12, KEY, CLAIM), (13, b"unreadable", None)])
    assert owner.late == []
    assert owner.writer.last == 14
    assert owner.checked == [(KEY, 11), (KEY, 14)]
    assert owner.writer.v == 14


def test_nothing_leaves_while_a_gap_is_read_and_then_in_order() -> None:
    owner = Owner()
    tasks = [SendTask() for _ in range(3)]
    entries = [owner.append(task) for task in tasks]
    owner.writer.acked(entries[0], 12)
    owner.writer.acked(entries[1], 13)
    owner.writer.acked(entries[2], 16)
    assert owner.emitted() == [ReadGap(11, 12)]
    assert owner.checked == []
    owner.writer.gap_read([(11, KEY, CLAIM)])
    assert owner.emitted() == [*tasks[:2], ReadGap(14, 16)]
    assert owner.writer.last == 13
    more = owner.append()
    owner.writer.acked(more, 17)
    assert owner.emitted() == []
    owner.writer.gap_read([(14, KEY, CLAIM), (15, KEY, CLAIM)])
    assert owner.emitted() == [tasks[2]]
    assert owner.writer.last == 17
    assert not owner.writer.in_flight


def test_a_claim_in_a_gap_ends_this_one() -> None:
    owner = Owner()
    owner.writer.acked(owner.append(SendTask()), 13)
    owner.emitted()
    owner.append()
    owner.writer.gap_read([(11, OLDER, 5), (12, keys.claim("another"), None)])
    (fenced,) = owner.emitted()
    assert isinstance(fenced, Fenced)
    assert "another owner claimed the partition before offset 13" in fenced.reason
    assert owner.writer.fenced
    assert owner.writer.to_send == []
    assert owner.writer.last == CLAIM
    assert owner.checked == []


def test_a_record_of_a_newer_claim_in_a_gap_ends_this_one() -> None:
    """Compaction may have taken that claim itself."""
    owner = Owner()
    owner.writer.acked(owner.append(SendTask()), 12)
    owner.emitted()
    owner.writer.gap_read([(11, keys.mark(CLAIM + 1), CLAIM + 1)])
    assert [type(effect) for effect in owner.emitted()] == [Fenced]


def test_a_gap_of_which_records_are_gone_ends_the_claim() -> None:
    """One of them may have been another claim."""
    owner = Owner()
    owner.writer.acked(owner.append(SendTask()), 13)
    owner.emitted()
    owner.writer.gap_read([(11, KEY, CLAIM)])
    (fenced,) = owner.emitted()
    assert isinstance(fenced, Fenced)
    assert "compaction has taken records between offsets 11 and 13" in fenced.reason
    assert owner.checked == []


def test_a_gap_of_which_records_are_gone_is_not_answered() -> None:
    """This claim may be over: it writes nothing any more."""
    owner = Owner()
    owner.writer.acked(owner.append(), 13)
    owner.writer.gap_read([(11, OLDER, 5)])
    assert owner.late == []
    assert owner.writer.last == 10


def test_bytes_on_their_way_are_counted() -> None:
    owner = Owner()
    first, second = owner.append(), owner.writer.append(OLDER, None)
    assert owner.writer.bytes_in_flight == len(first.value or b"") > 0
    owner.writer.acked(first, 11)
    assert owner.writer.bytes_in_flight == 0
    owner.writer.acked(second, 12)
    assert owner.writer.bytes_in_flight == 0


@pytest.mark.parametrize("offset", [10, 4])
def test_an_offset_that_is_behind_ends_the_claim(offset: int) -> None:
    owner = Owner()
    entry, following = owner.append(SendTask()), owner.append(SendTask())
    owner.writer.acked(entry, offset)
    assert [type(effect) for effect in owner.emitted()] == [Fenced]
    owner.writer.acked(following, 11)
    owner.writer.mark_if_idle()
    assert owner.emitted() == []
    assert owner.checked == []


def test_the_first_reason_is_the_one_that_is_told() -> None:
    owner = Owner()
    owner.writer.fence("first")
    assert owner.emitted() == [Fenced("first")]
    owner.writer.fence("second")
    assert owner.emitted() == []


def test_what_was_to_leave_stays_when_the_claim_ends() -> None:
    owner = Owner()
    owner.writer.acked(owner.append(SendTask()), 11)
    owner.writer.fence("over")
    assert owner.emitted() == [Fenced("over")]


def test_fencing_while_held_acknowledgements_are_read_answers_none_of_the_rest() -> None:
    """The first of them is found to be behind; nothing of the next one leaves."""
    owner = Owner()
    entries = [owner.append(SendTask()) for _ in range(3)]
    owner.writer.acked(entries[0], 13)
    owner.writer.acked(entries[1], 13)
    owner.writer.acked(entries[2], 14)
    owner.emitted()
    owner.writer.gap_read([(11, KEY, CLAIM), (12, KEY, CLAIM)])
    assert [type(effect) for effect in owner.emitted()] == [Fenced]
    assert owner.checked == [(KEY, 13)]


# -------------------------------------------------------------------------------------------------- late records


def test_v_and_y_stop_before_a_late_record_until_it_is_dealt_with() -> None:
    owner = Owner()
    owner.writer.acked(owner.append(), 15)
    owner.writer.gap_read([(11, KEY, CLAIM), (12, OLDER, 5), (13, OLDER, 9), (14, KEY, CLAIM)])
    assert [(late.key, late.offset) for late in owner.late] == [(OLDER, 12), (OLDER, 13)]
    assert (owner.writer.v, owner.writer.y, owner.writer.last) == (11, 11, 15)
    owner.writer.late_done(12)
    assert (owner.writer.v, owner.writer.y) == (12, 12)
    owner.writer.late_done(13)
    assert (owner.writer.v, owner.writer.y) == (15, 15)


def test_a_late_record_does_not_raise_what_waits_for_something_earlier() -> None:
    owner = Owner()
    task = SendTask()
    owner.writer.acked(owner.append(task), 11)
    open_append = owner.append()
    owner.writer.acked(open_append, 14)
    owner.writer.gap_read([(12, OLDER, 5), (13, KEY, CLAIM)])
    assert owner.writer.y == 10
    assert owner.writer.v == 11


# ---------------------------------------------------------------------------------------------------- emission


def test_an_effect_without_an_append_leaves_behind_those_in_flight() -> None:
    owner = Owner()
    own, ridden, rider = SendTask(), SendTask(), Reply()
    first, second = owner.append(own), owner.append(ridden)
    owner.writer.after_in_flight([rider])
    owner.writer.acked(first, 11)
    assert owner.emitted() == [own]
    owner.writer.acked(second, 12)
    assert owner.emitted() == [ridden, rider]
    owner.writer.after_in_flight([rider])
    assert owner.emitted() == [rider]


def test_an_output_that_rides_on_later_appends_holds_y_below_all_of_them() -> None:
    """Any of them may be what it was decided by."""
    owner = Owner()
    first, second, rider = owner.append(), owner.append(), SendTask()
    owner.writer.after_in_flight([rider])
    assert owner.writer.y == 10
    owner.writer.acked(first, 11)
    assert owner.writer.y == 10
    owner.writer.acked(second, 12)
    assert owner.writer.y == 10
    owner.writer.emitted(token(rider))
    assert owner.writer.y == 12


def test_an_output_that_leaves_at_once_holds_y_below_the_last_record() -> None:
    """Which record decided it is not known: it may be the last one."""
    owner = Owner()
    owner.writer.acked(owner.append(), 11)
    task = SendTask()
    owner.writer.after_in_flight([task])
    assert owner.writer.y == 10
    owner.writer.emitted(token(task))
    assert owner.writer.y == 11


def test_an_output_behind_what_is_in_flight_holds_y_below_all_of_that() -> None:
    """Which of these records decided it is not known: it may be the first one."""
    owner = Owner()
    first, second = owner.append(), owner.append()
    task = SendTask()
    owner.writer.after_in_flight([task])
    owner.writer.acked(first, 11)
    owner.writer.acked(second, 12)
    assert owner.writer.y == 10
    owner.writer.emitted(token(task))
    assert owner.writer.y == 12


def test_an_output_that_leaves_with_a_record_holds_y_below_it_whatever_began_to_wait_before() -> None:
    owner = Owner()
    later, own = SendTask(), SendTask()
    first, second = owner.append(own), owner.append()
    owner.on_checked = lambda: owner.writer.after_in_flight([later])
    owner.writer.acked(first, 11)
    assert owner.writer.y == 10
    owner.on_checked = lambda: None
    owner.writer.acked(second, 12)
    owner.writer.emitted(token(later))
    assert owner.writer.y == 10
    owner.writer.emitted(token(own))
    assert owner.writer.y == 12


def test_actions_behind_what_is_in_flight_run_in_order() -> None:
    owner = Owner()
    called: list[tuple[str, int]] = []
    first, second = owner.append(), owner.append(then=lambda offset: called.append(("own", offset)))
    owner.writer.then_in_flight(lambda offset: called.append(("then", offset)))
    owner.writer.acked(first, 11)
    assert called == []
    owner.writer.acked(second, 12)
    owner.writer.then_in_flight(lambda offset: called.append(("at once", offset)))
    assert called == [("own", 12), ("then", 12), ("at once", 12)]


def test_a_chain_needs_no_first_link() -> None:
    called: list[int] = []
    entry = Entry(KEY, None, 0, 0)
    chain_then(entry, called.append)
    chain_then(entry, called.append)
    assert entry.then is not None
    entry.then(7)
    assert called == [7, 7]


def test_effects_leave_before_what_follows_the_append() -> None:
    owner = Owner()
    order: list[str] = []
    task = SendTask()
    entry = owner.append(task, then=lambda _: order.append(f"then, after {len(owner.writer.outbox)} effects"))
    owner.writer.acked(entry, 11)
    assert order == ["then, after 1 effects"]
    assert entry.offset == 11


def test_the_predecessors_outputs_hold_y_until_they_are_out() -> None:
    owner = Owner(caught_up=False)
    called: list[int] = []
    pending = owner.append()
    tasks = [SendTask(), SendTask()]
    owner.writer.catch_up(tasks, called.append)
    assert called == []
    owner.writer.acked(pending, 11)
    assert owner.emitted() == tasks
    assert called == [11]
    later = SendTask()
    owner.writer.acked(owner.append(later), 12)
    owner.writer.emitted(token(tasks[0]))
    assert owner.writer.y == Y
    owner.writer.emitted(token(tasks[1]))
    assert owner.writer.y == 11
    owner.writer.emitted(token(later))
    assert owner.writer.y == 12


def test_outputs_of_this_claim_do_not_let_y_pass_those_of_the_predecessor() -> None:
    owner = Owner(caught_up=False)
    own, pending = SendTask(), SendTask()
    owner.writer.acked(owner.append(own), 11)
    owner.writer.catch_up([pending], lambda _: None)
    assert owner.writer.y == Y
    owner.writer.emitted(token(own))
    assert owner.writer.y == Y
    owner.writer.emitted(token(pending))
    assert owner.writer.y == 11


def test_an_owner_with_nothing_to_catch_up_with_has_emitted_everything() -> None:
    owner = Owner(caught_up=False)
    called: list[int] = []
    owner.writer.catch_up([], called.append)
    assert called == [10]
    assert owner.writer.y == 10


def test_y_waits_for_what_follows_the_predecessors_outputs() -> None:
    """Runs that it had closed are closed again from there, under tokens of their own."""
    owner = Owner(caught_up=False)
    closing: list[Any] = []
    owner.writer.catch_up([], lambda _: closing.append(owner.writer.begin_closing(Y + 1, lambda: None)))
    assert owner.writer.y == Y
    owner.writer.emitted(closing[0])
    assert owner.writer.y == 10


def test_a_closing_ends_once_everything_under_it_is_out() -> None:
    owner = Owner()
    ended: list[int] = []
    entry = owner.append()
    owner.writer.acked(entry, 11)
    closing = owner.writer.begin_closing(11, lambda: ended.append(1))
    task, answer = SendTask(), Reply()
    owner.writer.emit_under(closing, [task, answer])
    assert owner.emitted() == [task, answer]
    assert task.token is closing
    assert answer.token is None
    owner.writer.acked(owner.append(), 12)
    owner.writer.emitted(closing)
    assert (ended, owner.writer.y) == ([], 10)
    owner.writer.emitted(closing)
    assert (ended, owner.writer.y) == ([1], 12)


def test_a_closing_that_begins_late_holds_y_all_the_same() -> None:
    """Of a run whose closing record is older than outputs that are on their way already."""
    owner = Owner()
    task = SendTask()
    owner.writer.acked(owner.append(), 11)
    owner.writer.acked(owner.append(task), 12)
    older = owner.writer.begin_closing(11, lambda: None)
    newer = owner.writer.begin_closing(13, lambda: None)
    assert owner.writer.y == 10
    owner.writer.emitted(token(task))
    assert owner.writer.y == 10
    owner.writer.emitted(older)
    assert owner.writer.y == 12
    owner.writer.emitted(newer)
    assert owner.writer.y == 12


def test_a_closing_does_not_let_y_pass_older_outputs() -> None:
    owner = Owner()
    older, same = SendTask(), SendTask()
    owner.writer.acked(owner.append(older), 11)
    owner.writer.acked(owner.append(same), 12)
    closing = owner.writer.begin_closing(12, lambda: None)
    assert owner.writer.y == 10
    owner.writer.emitted(closing)
    assert owner.writer.y == 10
    owner.writer.emitted(token(older))
    assert owner.writer.y == 11


def test_outputs_do_not_join_a_closing() -> None:
    """It would end too late, and call what follows it too late."""
    owner = Owner()
    ended: list[int] = []
    owner.writer.acked(owner.append(), 11)
    closing = owner.writer.begin_closing(11, lambda: ended.append(1))
    task = SendTask()
    owner.writer.after_in_flight([task])
    assert task.token is not closing
    owner.writer.emitted(closing)
    assert ended == [1]
    assert owner.writer.y == 10
    owner.writer.emitted(token(task))
    assert owner.writer.y == 11


# ---------------------------------------------------------------------------------------------- waiting for x


def test_who_waits_for_x_waits_for_a_record_that_carries_it() -> None:
    """x itself may be past it: only what stands in the log binds a successor."""
    owner = Owner()
    called: list[int] = []
    entry = owner.append()
    owner.writer.taken_to(6)
    for offset in (6, 5, 7):
        owner.writer.when_x(offset, lambda offset=offset: called.append(offset))  # type: ignore[misc]
    owner.writer.mark_if_idle()
    assert list(owner.writer.in_flight) == [entry]
    owner.writer.acked(entry, 11)
    assert (owner.writer.x, called) == (6, [])
    owner.writer.mark_if_idle()
    mark = owner.writer.in_flight[0]
    assert mark.key == keys.mark(CLAIM)
    owner.writer.acked(mark, 12)
    assert called == [5, 6]


def test_no_mark_is_written_for_an_x_that_is_not_reached() -> None:
    owner = Owner()
    owner.writer.when_x(X + 1, lambda: None)
    owner.writer.when_x(X + 2, lambda: None)
    owner.writer.mark_if_idle()
    assert (owner.writer.to_send, owner.writer.waiting_for_x) == ([], 2)
    owner.writer.taken_to(X + 1)
    owner.writer.mark_if_idle()
    (mark,) = owner.writer.to_send
    owner.writer.acked(mark, 11)
    assert owner.writer.waiting_for_x == 1


def test_those_who_wait_for_the_same_x_are_called_in_order() -> None:
    owner = Owner()
    called: list[str] = []
    for name in ("b", "a", "c"):
        owner.writer.when_x(X, lambda name=name: called.append(name))  # type: ignore[misc]
    owner.writer.acked(owner.append(), 11)
    assert called == ["b", "a", "c"]


def test_nobody_waits_and_no_mark_is_written() -> None:
    owner = Owner()
    owner.writer.mark_if_idle()
    assert owner.writer.to_send == []
    owner.writer.when_x(X, lambda: None)
    owner.writer.fence("over")
    owner.writer.mark_if_idle()
    assert owner.writer.to_send == []


def test_marks_are_counted_from_one() -> None:
    """Number 0 says that the claim ended in order."""
    owner = Owner()
    marks = [owner.writer.mark(), owner.writer.mark()]
    bodies = [Codec().decode(r.HistoryRecord, entry.value).body for entry in marks if entry.value]
    assert bodies == [r.Mark(1), r.Mark(2)]


def test_the_inbox_may_be_deleted_up_to_what_an_acknowledged_checkpoint_says() -> None:
    owner = Owner()
    owner.writer.taken_to(8)
    told: list[int] = []
    owner.writer.checkpoint(1234, told.append)
    (entry,) = owner.writer.to_send
    owner.writer.taken_to(9)
    assert entry.key == keys.checkpoint(CLAIM)
    assert entry.value is not None
    assert Codec().decode(r.HistoryRecord, entry.value).body == r.Checkpoint(1234)
    assert owner.emitted() == []
    owner.writer.acked(entry, 11)
    assert owner.emitted() == [InboxDone(8)]
    assert told == [11]


def test_a_tombstone_has_no_value() -> None:
    owner = Owner()
    entry = owner.writer.append(OLDER, None)
    assert (entry.key, entry.value) == (OLDER, None)
    assert owner.writer.to_send == [entry]
