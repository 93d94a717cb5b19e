"""The offset tracker against a plain model, and its text form."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from odradek.workers.tracker import (
    METADATA_CHARS_MAX,
    OffsetTracker,
    Progress,
    Run,
    decode_metadata,
    encode_metadata,
)

steps = st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(0, 2)), max_size=120)


def finished_of(progress: Progress, end: int) -> set[int]:
    """What a successor would take to be finished."""
    return set(range(progress.offset)) | {o for run in progress.finished for o in range(run.first, run.end) if o < end}


@given(steps, st.integers(0, 3))
def test_a_successor_skips_exactly_what_was_finished(script: list[tuple[int, bool, int]], generations: int) -> None:
    """Whatever the order of takes, finishes and takeovers: finished offsets are skipped, all others come again."""
    tracker, done, gaps, position = OffsetTracker(0), set[int](), set[int](), 0
    open_offsets: list[int] = []
    for pick, take, gap in script:
        if take:
            gaps.update(range(position, position + gap))
            position += gap
            assert tracker.take(position) is (position not in done)
            if position not in done:
                open_offsets.append(position)
            position += 1
        elif open_offsets and pick < 50:
            offset = open_offsets.pop(pick % len(open_offsets))
            tracker.finish(offset)
            done.add(offset)
        elif generations:
            generations -= 1
            progress = tracker.progress()
            assert finished_of(progress, 10_000) >= done
            tracker, position, open_offsets = OffsetTracker(progress.offset, progress.finished), progress.offset, []
            gaps = {g for g in gaps if g < position}
    progress = tracker.progress()
    assert finished_of(progress, position) & set(open_offsets) == set()
    assert finished_of(progress, 10_000) >= done
    assert progress.offset == min(open_offsets, default=progress.offset)


@given(st.integers(0, 2**40), st.lists(st.tuples(st.integers(1, 300), st.integers(1, 2**20)), max_size=50), st.booleans())
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
