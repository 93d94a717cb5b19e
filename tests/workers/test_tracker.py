"""The offset tracker against a plain model, and its text form."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from odradek.log.progress import METADATA_CHARS_MAX, Progress, Run, decode_metadata, encode_metadata
from odradek.workers.tracker import OffsetTracker

gaps = st.lists(st.integers(0, 2), min_size=1, max_size=60)
steps = st.lists(st.one_of(st.just("take"), st.just("hand over"), st.integers(0, 1000)), max_size=120)


def finished_of(progress: Progress, end: int) -> set[int]:
    """What a successor would take to be finished."""
    return set(range(progress.offset)) | {o for run in progress.finished for o in range(run.first, run.end) if o < end}


@given(gaps, steps)
def test_a_successor_skips_exactly_what_was_finished(gaps_before: list[int], script: list[str | int]) -> None:
    """Whatever the order of takes, finishes and takeovers: finished offsets are skipped, all others come again."""
    records = [n + sum(gaps_before[: n + 1]) for n in range(len(gaps_before))]
    tracker, unread = OffsetTracker(0), list(records)
    running: list[int] = []
    done: set[int] = set()
    for step in script:
        if step == "take" and unread:
            offset = unread.pop(0)
            assert tracker.take(offset) is (offset not in done)
            running += [offset] if offset not in done else []
        elif step == "hand over":
            before = tracker.progress()
            progress = decode_metadata(before.offset, encode_metadata(before))
            tracker, running = OffsetTracker(progress.offset, progress.finished), []
            unread = [offset for offset in records if offset >= progress.offset]
        elif isinstance(step, int) and running:
            offset = running.pop(step % len(running))
            tracker.finish(offset)
            done.add(offset)
        known = finished_of(tracker.progress(), records[-1] + 1)
        assert {offset for offset in records if offset in known} == done


@given(
    st.integers(0, 2**40), st.lists(st.tuples(st.integers(1, 300), st.integers(1, 2**20)), max_size=50), st.booleans()
)
def test_the_text_says_the_same(offset: int, lengths: list[tuple[int, int]], clean: bool) -> None:
    at, runs = offset, []
    for unfinished, finished in lengths:
        runs.append(Run(at + unfinished, at + unfinished + finished))
        at = runs[-1].end
    progress = Progress(offset, tuple(runs), clean)
    assert decode_metadata(offset, encode_metadata(progress)) == progress


def test_what_does_not_fit_is_dropped_from_the_end() -> None:
    """Above the broker's limit the text says less, never something wrong."""
    offsets = sorted(random.Random(1).sample(range(100_000), 20_000))
    runs = tuple(Run(o, o + 1) for o in offsets if o)
    text = encode_metadata(Progress(0, runs, True))
    assert METADATA_CHARS_MAX - 8 < len(text.encode()) <= METADATA_CHARS_MAX
    decoded = decode_metadata(0, text)
    assert decoded.clean
    assert decoded.finished == runs[: len(decoded.finished)]
    assert len(decoded.finished) > 1_000


@given(st.text(max_size=40))
def test_unknown_text_means_nothing_is_known(text: str) -> None:
    progress = decode_metadata(7, text)
    assert progress.offset == 7
    assert all(run.first >= 7 for run in progress.finished)


def test_text_of_another_version_is_ignored() -> None:
    assert decode_metadata(7, "2c" + encode_metadata(Progress(7, (Run(8, 9),)))[2:]) == Progress(7)


def test_one_slow_task_among_many_costs_a_few_characters() -> None:
    tracker = OffsetTracker(0)
    for offset in range(10_000):
        assert tracker.take(offset)
    for offset in range(1, 10_000):
        tracker.finish(offset)
    progress = tracker.progress()
    assert progress == Progress(0, (Run(1, 10_000),))
    assert len(encode_metadata(progress)) < 10


def test_a_record_that_is_put_back_holds_the_position() -> None:
    tracker = OffsetTracker(5)
    assert tracker.take(5)
    assert tracker.take(6)
    tracker.put_back(6)
    tracker.finish(5)
    assert tracker.progress() == Progress(6)
