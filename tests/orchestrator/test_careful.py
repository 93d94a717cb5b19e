"""A workflow that takes its process down is found by the owners that follow, and parked; nobody else is."""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.careful import CAREFUL_MS, TRIAL_MS, TRIAL_MS_MAX, Careful, Turns, is_suspect
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.core.workflow import Workflow
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.partition import Owner, Partition


class Process:
    """What the deadly code does: asyncio's tasks let this exception pass, and the owner is dropped at once."""

    deadly = True

    @classmethod
    def dies(cls) -> None:
        if cls.deadly:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def unmended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Process, "deadly", True)


@workflow.defn
class Killer:
    @workflow.run
    async def run(self) -> str:
        Process.dies()
        return "survived"


@workflow.defn
class Waiting:
    def __init__(self) -> None:
        self._count = 0

    @workflow.run
    async def run(self, enough: int) -> int:
        await workflow.wait_condition(lambda: self._count >= enough)
        return self._count

    @workflow.signal
    def go(self) -> None:
        self._count += 1


def partition(**limits: Any) -> Partition:
    return Partition([Killer, Waiting], **{"crashes_max": 3, "replays_each_activation": False, **limits})


def dies(at: Partition) -> bool:
    """A new owner takes over and works until nothing is left to do, or its process is no more."""
    try:
        Owner(at).run()
    except KeyboardInterrupt:
        return True
    return False


def notes(at: Partition) -> dict[str, int]:
    """Workflows that the log names as suspects, as a reader of the whole of it finds them."""
    last = {record[0]: record[1] for record in at.history if record}
    found: dict[str, int] = {}
    for key, value in last.items():
        parsed = keys.parse(key)
        if parsed is not None and parsed.kind == "x" and value is not None:
            body = Codec().decode(r.HistoryRecord, value).body
            assert isinstance(body, r.Suspect)
            found[parsed.workflow_id] = max(body.crashes, found.get(parsed.workflow_id, 0))
    return found


def go(at: Partition, name: str) -> None:
    at.send(name, r.SignalWorkflow("go", ()))


def test_workflow_that_takes_its_process_down_is_parked_after_three_crashes() -> None:
    at = partition()
    others = [at.start(f"waiting-{n}", "Waiting", 1) for n in range(5)]
    assert not dies(at)
    for n in range(5):
        go(at, f"waiting-{n}")
    at.start("killer", "Killer")
    assert [dies(at) for _ in range(4)] == [True, True, False, False]
    assert [at.result(other) for other in others] == [1] * 5
    assert notes(at) == {"killer": 2}
    owner = Owner(at)
    owner.run()
    owner.pass_time(1)
    live = owner.shard.workflow("killer").live
    assert live is not None
    assert live.parked is not None
    assert live.parked.code == "ODR-088"
    assert live.run.deferred == 1, "its input waits for mended code"


def test_mended_workflow_is_run_again_and_forgotten() -> None:
    at = partition()
    assert not dies(at)
    started = at.start("killer", "Killer")
    while dies(at):
        pass
    Process.deadly = False
    at.limits["retries_suspects"] = True
    owner = Owner(at)
    owner.run()
    owner.pass_time(1)
    assert at.result(started) == "survived"
    assert notes(at) == {}


def test_orderly_end_costs_the_next_owner_no_notes() -> None:
    at = partition()
    at.start("waiting", "Waiting", 2)
    owner = Owner(at)
    owner.run()
    owner.shard.end()
    owner.run()
    before = len(at.history)
    go(at, "waiting")
    after = Owner(at)
    after.run()
    assert after.shard.careful is None
    assert not [record for record in at.history[before:] if record and record[0].startswith(b"waiting\0\0x")]


def test_notes_end_with_what_the_former_owner_left() -> None:
    at = partition()
    at.start("waiting", "Waiting", 3)
    Owner(at).run()
    go(at, "waiting")
    owner = Owner(at)
    owner.run()
    assert notes(at) == {}
    assert owner.shard.careful is not None
    owner.pass_time(11)
    go(at, "waiting")
    owner.run()
    assert owner.shard.careful is None


def test_note_comes_before_the_code_runs() -> None:
    at = partition()
    at.start("waiting", "Waiting", 1)
    Owner(at).run()
    go(at, "waiting")
    owner = Owner(at)
    owner.read()
    live = owner.shard.workflow("waiting").live
    assert live is not None
    assert live.instance is None
    assert [entry.key for entry in owner.shard.writer.to_send if b"\0x0\0" in entry.key] == [
        keys.suspect("waiting", owner.shard.writer.claim)
    ]


def test_late_note_of_a_zombie_blames_nobody() -> None:
    """Found by the owner it is buried, and found by the next one it is seen to be late."""
    at = partition()
    at.start("waiting", "Waiting", 9)
    zombie = Owner(at)
    zombie.run()
    note = Codec().encode_history(zombie.shard.writer.claim, -1, -1, -1, r.Suspect(7), None)
    key = keys.suspect("waiting", zombie.shard.writer.claim)
    owner = Owner(at)
    owner.run()
    at.land(key, note)
    go(at, "waiting")
    owner.run()
    assert notes(at) == {}
    at.land(key, note)
    for _ in range(3):
        go(at, "waiting")
        assert not dies(at)
    assert notes(at) == {}


def test_failed_claim_of_a_process_that_lives_blames_nobody() -> None:
    """Notes of one's own earlier claim are no crashes."""
    at = partition(survived=set())
    at.start("waiting", "Waiting", 9)
    Owner(at).run()
    at.limits["survived"] = set()  # another process
    for _ in range(5):
        go(at, "waiting")
        owner = Owner(at)
        owner.read()
        owner.send()
        for entry in owner.in_flight:  # landed, and never acknowledged
            at.land(entry.key, entry.value)
    last = Owner(at)
    last.run()
    live = last.shard.workflow("waiting").live
    assert live is not None
    assert live.parked is None
    assert notes(at) == {}


def test_local_store_remembers_an_orderly_end() -> None:
    at = partition()
    owner = Owner(at)
    owner.run()
    owner.shard.end()
    owner.run()
    assert Shard(at.config(), owner.store)._ended_claim == owner.shard.writer.claim


# ------------------------------------------------------------------------------------------------------- turns


def some_careful() -> Careful:
    return Careful(Shard(partition().config(), MemoryStore()))


def test_suspects_run_one_at_a_time_in_the_order_in_which_they_came() -> None:
    turns, (first, second), began = Turns(), (some_careful(), some_careful()), list[str]()
    turns.take(first, lambda: began.append("a"))
    turns.take(second, lambda: began.append("b"))
    turns.take(first, lambda: began.append("c"))
    assert began == ["a"]
    turns.give(second)
    assert began == ["a"]
    turns.give(first)
    assert began == ["a", "b"]
    turns.give(second)
    assert began == ["a", "b", "c"]


def test_a_partition_that_goes_takes_its_turns_with_it() -> None:
    turns, (first, second), began = Turns(), (some_careful(), some_careful()), list[str]()
    turns.take(first, lambda: began.append("a"))
    turns.take(first, lambda: began.append("never"))
    turns.take(second, lambda: began.append("b"))
    turns.take(second, lambda: began.append("c"))
    turns.forget(first)
    assert began == ["a", "b"]
    turns.give(second)
    assert began == ["a", "b", "c"]


def test_a_partition_that_goes_lets_the_suspects_of_others_run() -> None:
    at, elsewhere, turns = partition(), partition(), Turns()
    for of in (at, elsewhere):
        assert not dies(of)
        of.start("killer", "Killer")
        assert dies(of)
        of.limits["turns"] = turns
    Process.deadly = False
    first = Owner(at)
    first.read()
    second = Owner(elsewhere)
    assert second.shard.careful is not None
    second.run()
    assert elsewhere.emitted == []
    assert first.shard.careful is not None
    first.shard.careful.close()
    second.run()
    assert [e.body.status for e in elsewhere.emitted if isinstance(e, fx.Reply) and hasattr(e.body, "status")] == [
        "completed"
    ]
    assert notes(elsewhere) == {}


def test_workflows_nobody_suspects_are_noted_together() -> None:
    at = partition()
    for name in ("a", "b"):
        at.start(name, "Waiting", 2)
    Owner(at).run()
    for name in ("a", "b", "a"):
        go(at, name)
    owner = Owner(at)
    owner.read()
    noted = [entry.key for entry in owner.shard.writer.to_send if b"\0x0\0" in entry.key]
    assert noted == [keys.suspect(name, owner.shard.writer.claim) for name in ("a", "b")]
    assert owner.shard.decided_x() < 2, "what waits for its note is not decided"
    owner.run()
    assert owner.shard.decided_x() == 4
    assert [owner.shard.workflow(name).live is None for name in ("a", "b")] == [True, False]
    assert notes(at) == {}


def test_care_ends_some_time_after_everything_that_was_left_has_been_taken_in() -> None:
    at = partition()
    at.start("waiting", "Waiting", 9)
    Owner(at).run()
    owner = Owner(at)
    careful = owner.shard.careful
    assert careful is not None
    at.now_ms += 60_000
    owner.shard.tick(at.now_ms)
    assert owner.shard.careful is careful
    owner.run()
    at.now_ms += CAREFUL_MS - 1
    owner.shard.tick(at.now_ms)
    assert owner.shard.careful is careful
    go(at, "waiting")
    owner.read()
    at.now_ms += 1
    owner.shard.tick(at.now_ms)
    assert owner.shard.careful is careful, "somebody waits for its note"
    owner.run()
    assert owner.shard.careful is None


@pytest.mark.parametrize(
    ("crashes_max", "retries", "crashes", "suspected"),
    [
        (3, False, 1, False), (3, False, 2, True), (3, True, 2, False), (0, False, 9, False),
        (1, False, 0, False), (1, False, 1, True), (2, False, 1, True), (2, False, 0, False),
    ],
)  # fmt: skip
def test_how_many_crashes_are_too_many(crashes_max: int, crashes: int, *, retries: bool, suspected: bool) -> None:
    at = Partition(crashes_max=crashes_max, retries_suspects=retries)
    shard = Shard(at.config(), MemoryStore())
    wf = Workflow("w", suspects={5: crashes} if crashes else {})
    assert is_suspect(shard, wf) is suspected


def test_suspects_that_are_tried_again_are_counted_anew() -> None:
    at = partition()
    assert not dies(at)
    at.start("killer", "Killer")
    assert [dies(at) for _ in range(3)] == [True, True, False]
    assert notes(at) == {"killer": 2}
    at.limits["retries_suspects"] = True
    owner = Owner(at)
    with pytest.raises(KeyboardInterrupt):
        owner.pass_time(1)
    claim = max(key.claim for record in at.history if record and (key := keys.parse(record[0])) and key.kind == "x")
    value = next(record[1] for record in at.history if record and record[0] == keys.suspect("killer", claim))
    body = Codec().decode(r.HistoryRecord, value or b"").body
    assert body == r.Suspect(1)


def test_what_the_former_owner_left_is_sent_again_when_nobody_waits_for_a_note() -> None:
    at = partition()
    at.start("waiting", "Waiting", 9)
    Owner(at).run()
    idle = Owner(at)
    idle.inbox_at = idle.inbox_end
    idle.read()
    assert idle.shard.writer.caught_up
    go(at, "waiting")
    owner = Owner(at)
    owner.read()
    assert owner.live
    assert not owner.shard.writer.caught_up
    owner.run()
    assert owner.shard.writer.caught_up


# -------------------------------------------------------------------------------------------- when care is taken


def taken_over(ended: set[int], claims: int, **limits: Any) -> Shard:
    """A new owner of a partition with so many claims, of which some have ended in order."""
    at = partition(**limits)
    shard = Shard(at.config(), MemoryStore())
    encode, offset = Codec().encode_history, 0
    for number in range(claims):
        body = r.HistoryRecord(0, -1, -1, -1, r.Claim(f"owner-{number}", 0))
        shard.restore(offset, keys.claim(f"owner-{number}"), Codec().encode(body))
        shard.restore(offset + 1, keys.mark(offset), encode(offset, -1, -1, -1, r.Mark(1)))
        if number in ended:
            shard.restore(offset + 2, keys.mark(offset), encode(offset, -1, -1, -1, r.Mark(0)))
        offset += 3
    shard.restore(offset, keys.claim("heir"), b"")
    shard.begin(offset, 0)
    return shard


@pytest.mark.parametrize(
    ("claims", "ended", "is_careful"),
    [(0, set(), False), (1, set(), True), (1, {0}, False), (2, {0}, True), (2, {1}, False), (11, {10}, False)],
)
def test_care_is_taken_unless_the_last_owner_ended_in_order(claims: int, ended: set[int], *, is_careful: bool) -> None:
    assert (taken_over(ended, claims).careful is not None) is is_careful


def test_care_is_taken_when_suspects_are_tried_again_and_never_without_a_limit() -> None:
    assert taken_over({0}, 1, retries_suspects=True).careful is not None
    at = Partition(crashes_max=0)
    first, second = Owner(at), Owner(at)
    assert (first.shard.careful, second.shard.careful) == (None, None)


def test_a_process_that_claims_again_has_not_died() -> None:
    at = partition(survived=set())
    Owner(at)
    assert Owner(at).shard.careful is None
    at.limits["survived"] = set()
    assert Owner(at).shard.careful is not None


# ----------------------------------------------------------------------------------------------- trials of suspects


def killed_while_noted(at: Partition) -> None:
    """Something else ends the process when the log says whose code is about to run."""
    owner = Owner(at)
    owner.read()
    owner.send()
    for entry in owner.in_flight:
        at.land(entry.key, entry.value)


def framed(at: Partition, name: str) -> r.Request:
    """A workflow that does nothing wrong, and whose code was about to run each time when a process was killed."""
    started = at.start(name, "Waiting", 2)
    Owner(at).run()
    go(at, name)
    for _ in range(2):
        killed_while_noted(at)
    return started


def parked(owner: Owner, name: str) -> r.Parked | None:
    live = owner.shard.workflow(name).live
    return None if live is None else live.parked


def test_innocent_suspect_is_tried_again_and_goes_on() -> None:
    at = partition()
    started = framed(at, "innocent")
    owner = Owner(at)
    owner.run()
    owner.pass_time(1)
    why = parked(owner, "innocent")
    assert why is not None
    assert (why.code, why.retry_at_ms) == ("ODR-088", at.now_ms - 1000 + TRIAL_MS)
    go(at, "innocent")
    owner.run()
    owner.pass_time(58)
    assert parked(owner, "innocent") == why
    owner.pass_time(1)
    assert parked(owner, "innocent") is None
    assert at.result(started) == 2
    assert notes(at) == {}
    assert owner.shard.suspended == {}
    owner.pass_time(1)
    assert owner.shard.careful is None, "care was taken for the trial only"


def test_trial_is_noted_before_code_runs_and_what_comes_meanwhile_waits_for_it() -> None:
    at = partition()
    started = framed(at, "innocent")
    owner = Owner(at)
    owner.run()
    at.now_ms += TRIAL_MS
    owner.shard.tick(at.now_ms)
    live = owner.shard.workflow("innocent").live
    assert live is not None
    assert live.instance is None
    owner.send()
    assert keys.suspect("innocent", owner.shard.writer.claim) in [entry.key for entry in owner.in_flight]
    go(at, "innocent")
    owner.read()
    assert live.run.deferred == 1, "the second one waits"
    owner.run()
    assert at.result(started) == 2


def deaths(at: Partition, hours: float) -> list[float]:
    """After how many seconds a process has died, each time; another takes over at once."""
    began, found = at.now_ms, list[float]()
    while at.now_ms < began + hours * 3_600_000:
        try:
            owner = Owner(at)
            owner.run()
            while at.now_ms < began + hours * 3_600_000:
                owner.pass_time(5)
        except KeyboardInterrupt:
            found.append((at.now_ms - began) / 1000)
    return found


def test_trials_of_code_that_kills_become_rare() -> None:
    at = partition()
    assert not dies(at)
    at.start("killer", "Killer")
    assert [dies(at) for _ in range(2)] == [True, True]
    died = deaths(at, 6)
    waits = [after - before for before, after in zip([0.0, *died], died, strict=False)]
    assert [wait // 60 for wait in waits] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert notes(at) == {"killer": 2 + len(died)}
    left = {record[0]: record[1] for record in at.history if record and record[0].startswith(b"killer\0\0x")}
    assert len([value for value in left.values() if value is not None]) <= 2, "one note says how often"


def test_many_killers_cost_no_more_than_one_and_set_the_innocent_free() -> None:
    at = partition()
    started = framed(at, "innocent")
    for number in range(4):
        at.start(f"killer-{number}", "Killer")
        while dies(at):
            pass
    assert sorted(notes(at).values()) == [2, 2, 2, 2, 2]
    go(at, "innocent")
    assert len(deaths(at, 6)) <= 10
    assert at.result(started) == 2
    assert "innocent" not in notes(at)


def test_mended_killer_is_freed_without_anybody_doing_anything() -> None:
    at = partition()
    assert not dies(at)
    at.start("killer", "Killer")
    while dies(at):
        pass
    assert len(deaths(at, 1)) == 5
    Process.deadly = False
    assert deaths(at, 1.1) == []
    assert [summary.status for summary in Owner(at).shard.workflow("killer").closed.values()] == ["completed"]
    assert notes(at) == {}


def test_owner_that_ended_in_order_leaves_suspects_on_trial() -> None:
    at = partition()
    framed(at, "innocent")
    owner = Owner(at)
    owner.run()
    owner.shard.end()
    owner.run()
    go(at, "innocent")
    after = Owner(at)
    assert after.shard.careful is None
    after.run()
    after.pass_time(1)
    assert parked(after, "innocent") is not None
    after.pass_time(61)
    assert [summary.status for summary in after.shard.workflow("innocent").closed.values()] == ["completed"]


def test_suspect_behind_a_barrier_has_not_been_tried() -> None:
    """Its note is struck out, and what was known of it still holds."""
    at = partition()
    framed(at, "innocent")
    owner = Owner(at)
    owner.run()
    at.now_ms += TRIAL_MS
    owner.shard.tick(at.now_ms)
    live = owner.shard.workflow("innocent").live
    assert live is not None
    live.barrier = True
    owner.run()
    assert owner.shard.workflow("innocent").crashes() == 2
    assert notes(at) == {"innocent": 2}
    live.barrier = False
    owner.shard.reschedule(owner.shard.workflow("innocent"))
    owner.pass_time(1)
    assert parked(owner, "innocent") is None
    assert notes(at) == {}


def test_partition_that_goes_during_a_trial_gives_its_turn_on() -> None:
    """Also when only the tombstone of its note is missing: care has been taken then, and the turn is not given yet."""
    at, turns = partition(), Turns()
    framed(at, "innocent")
    at.limits["turns"] = turns
    owner = Owner(at)
    owner.run()
    at.now_ms += TRIAL_MS
    owner.shard.tick(at.now_ms)
    owner.land_all()
    owner.shard.tick(at.now_ms + 1000)
    assert parked(owner, "innocent") is None
    careful, began = owner.shard.careful, list[str]()
    assert careful is not None
    careful.close()
    turns.take(some_careful(), lambda: began.append("next"))
    assert began == ["next"]


def test_closed_run_is_asked_again_after_the_longest_wait() -> None:
    at = partition()
    at.start("done", "Waiting", 0)
    owner = Owner(at)
    owner.run()
    at.send("done", r.QueryWorkflow(asked := at.request(), "nothing", []))
    for _ in range(2):
        killed_while_noted(at)
    owner = Owner(at)
    owner.run()
    (refused,) = at.replies(asked)
    assert "ODR-088" in refused.message
    owner.pass_time(TRIAL_MS_MAX / 1000)
    at.send("done", r.QueryWorkflow(again := at.request(), "nothing", []))
    owner.run()
    (answer,) = at.replies(again)
    assert answer.code == "ODR-107", "its code was asked, and has no such query"
    assert notes(at) == {}
