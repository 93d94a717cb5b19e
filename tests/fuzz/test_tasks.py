"""Whatever stands in a task queue's topic and beside its group's commits: valid tasks run, and no offset stays open."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from odradek.log import Committed
from odradek.log.memory import MemoryLog
from odradek.log.namespace import read_to_end
from odradek.log.progress import Progress, Run, decode_metadata, encode_metadata
from odradek.schemas.records import DeadLetterRecord
from tests.fuzz.tasks import check_seed, echo
from tests.fuzz.test_inbox import FUZZED
from tests.workers.fake import QUEUE, Orchestrator, until


@settings(FUZZED, max_examples=15)
@given(seed=st.integers(0, 10**9))
def test_valid_tasks_run_whatever_stands_beside_them(seed: int) -> None:
    check_seed(seed)


@settings(FUZZED)
@given(offset=st.integers(0, 2**62), metadata=st.text(max_size=200))
@example(7, "1-" + "/" * 4094)
@example(7, "1c=")
@example(7, "1-\ud800")
def test_any_text_beside_a_commit(offset: int, metadata: str) -> None:
    """It is a position, and runs of finished offsets above it in their order."""
    progress = decode_metadata(offset, metadata)
    assert progress.offset == offset
    bounds = [bound for run in progress.finished for bound in run]
    assert bounds == sorted(bounds)


async def test_an_answer_that_has_nowhere_to_go() -> None:
    """Its task is kept, and its offset does not stay open."""
    orchestrator = Orchestrator()
    async with orchestrator.worker(echo):
        orchestrator.send(replace(orchestrator.task("echo", "lost"), inbox_partition=99))
        assert await orchestrator.value(orchestrator.start("echo", "next")) == "next"
        await until(lambda: orchestrator.committed().offset == 2)
        dead = orchestrator.namespace.topics.dead_letter
        await until(lambda: orchestrator.log.offsets(dead, 0).end == 1)
    (record,) = read_to_end(orchestrator.log, dead, 0)
    letter = orchestrator.namespace.codec.decode(DeadLetterRecord, record.value or b"")
    assert (letter.code, letter.topic, letter.offset) == ("ODR-164", orchestrator.topic, 0)
    assert "no partition 99" in letter.reason


async def test_a_commit_of_what_is_not_there_yet() -> None:
    """It says that the next tasks are finished: they run nevertheless."""
    orchestrator = Orchestrator()
    assert isinstance(orchestrator.log, MemoryLog)
    group = orchestrator.namespace.topics.queue_group(QUEUE)
    forged = Committed(0, encode_metadata(Progress(0, (Run(0, 2**60),))))
    orchestrator.log._store.commits[group, orchestrator.topic] = {0: forged}
    async with orchestrator.worker(echo):
        assert await orchestrator.value(orchestrator.start("echo", "next")) == "next"
