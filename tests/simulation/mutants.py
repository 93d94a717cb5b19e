"""Copies of the product with one device taken away each: what the simulation must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Final
from unittest import mock

from odradek.client.pump import Pump
from odradek.orchestrator import host
from odradek.orchestrator.core import careful, shard, workflow
from odradek.orchestrator.core.attempts import Attempts
from odradek.orchestrator.core.closing import Closing
from odradek.orchestrator.core.decide import Decide
from odradek.orchestrator.core.inputs import Inputs
from odradek.orchestrator.core.run import Remembered
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import ShardState
from odradek.orchestrator.core.transitions import Transitions
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.orchestrator.outputs import Outputs
from odradek.schemas import records as r
from odradek.workers.intake import Intake
from odradek.workers.sender import Sender
from odradek.workflow.saga import saga

Mutant = Callable[[], AbstractContextManager[Any]]
MUTANTS: Final[dict[str, Mutant]] = {}


def _instead(owner: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What is decorated takes the place of a method; it gets the original first."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        whole = getattr(owner, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            return function(whole, *arguments, **named)

        MUTANTS[function.__name__] = partial(mock.patch.object, owner, name, replaced)
        return function

    return register


# ---------------------------------------------------------------------------------------------- ownership


@_instead(HistoryWriter, "acked")
def without_contiguity(whole: Any, writer: HistoryWriter, entry: Any, offset: int) -> None:
    if not writer.fenced:
        writer._check(entry, offset)


@_instead(HistoryWriter, "gap_read")
def claims_of_others_ignored(whole: Any, writer: HistoryWriter, records: Sequence[Any]) -> None:
    whole(writer, [(o, k, c) if c is not None and c <= writer.claim else (o, b"", None) for o, k, c in records])


@_instead(HistoryWriter, "append")
def emitted_before_acknowledged(whole: Any, writer: HistoryWriter, *arguments: Any, **named: Any) -> Any:
    entry = whole(writer, *arguments, **named)
    writer._release(entry.effects, writer.last)
    entry.effects = ()
    return entry


@_instead(HistoryWriter, "catch_up")
def nothing_emitted_again(whole: Any, writer: HistoryWriter, effects: Any, then: Any) -> None:
    whole(writer, [], lambda offset: None)


@_instead(workflow, "_best_chain")
def any_claim_wins(whole: Any, chunks: dict[tuple[int, int], Any]) -> Any:
    oldest = min((claim for _, claim in chunks), default=0)
    return whole({at: item for at, item in chunks.items() if at[1] == oldest})


@_instead(workflow, "_without_half_a_transition")
def half_a_transition_counts(whole: Any, chain: list[Any]) -> list[Any]:
    return chain


# ---------------------------------------------------------------------------------------------- watermarks and stores


@_instead(HistoryWriter, "taken_to")
def checkpoint_one_too_far(whole: Any, writer: HistoryWriter, x: int) -> None:
    whole(writer, x + 1)


@_instead(ShardState, "hold_x")
def x_passes_what_waits(whole: Any, state: ShardState, offset: int, held_bytes: int = 0) -> int:
    return int(whole(state, 1 << 60, held_bytes))


@_instead(HistoryWriter, "_hold_y")
def y_passes_what_is_not_out(whole: Any, writer: HistoryWriter, effects: Any, offset: int) -> None: ...


@_instead(ShardState, "flush_store")
def store_ahead_of_itself(whole: Any, state: ShardState) -> None:
    dirty = dict(state.dirty) if state.owns else {}
    whole(state)
    if dirty:
        position, v, x, y = (int(number) for number in (state.store.get(b"m") or b"").split())
        state.store.write({b"m": b"%d %d %d %d" % (position + 3, v + 3, x, y + 3)})


@_instead(HistoryWriter, "when_x")
def tombstones_before_x(whole: Any, writer: HistoryWriter, offset: int, action: Callable[[], None]) -> None:
    action()


@_instead(host.Orchestrator, "_delete_records")
def inbox_deleted_too_far(whole: Any, served: host.Orchestrator) -> None:
    for partition, one in served.owned.items():
        end = served.namespace.log.offsets(served._topics.inbox, partition).end
        if one.shard is not None and one.done_x >= 0:
            served.namespace.log.delete_records(served._topics.inbox, {partition: end})


# ---------------------------------------------------------------------------------------------- decisions


@_instead(Inputs, "answered_before")
def requests_taken_in_again(whole: Any, *arguments: Any) -> bool:
    return False


@_instead(Remembered, "has_message")
def messages_taken_in_again(whole: Any, remembered: Remembered, origin: r.MessageOrigin) -> bool:
    return False


@_instead(Attempts, "_current")
def results_of_any_attempt(whole: Any, owner: Attempts, live: Any, seq: int, attempt: int) -> Any:
    return live.run.activities.get(seq)


@_instead(Outputs, "dispatch_expiry_ms")
def tasks_issued_once(whole: Any, *arguments: Any) -> int:
    return 7 * 24 * 3_600_000


MUTANTS["suspects_parked_for_ever"] = partial(
    mock.patch.multiple, careful, TRIAL_MS=1 << 40, TRIAL_MS_MAX=1 << 40
)  # fmt: skip


@_instead(Decide, "accept")
def answered_before_durable(whole: Any, owner: Decide, live: Any, request: r.Request, **named: Any) -> None:
    owner.answer(request, r.Accepted(live.run.run_id))
    owner.writer.outbox += owner.behind
    owner.behind = []


@_instead(Decide, "leave_behind")
def repeats_answered_before_durable(whole: Any, owner: Decide, effect: Any) -> None:
    owner.writer.after_in_flight([effect])


@_instead(Closing, "summarise")
def closed_runs_forget_requests(whole: Any, closing: Closing, live: Any) -> r.Summary:
    summary: r.Summary = whole(closing, live)
    return replace(summary, requests=(), refusals=())


@_instead(Remembered, "forget_expired")
def requests_forgotten_early(whole: Any, remembered: Remembered, inbox_ms: int) -> None:
    whole(remembered, inbox_ms + 40_000)


@_instead(shard.Shard, "tick")
def timers_early(whole: Any, owner: Shard, now_ms: int) -> None:
    whole(owner, now_ms + 4_000)


@_instead(Transitions, "closing_checked")
def ended_before_its_outputs_are_out(whole: Any, owner: Transitions, live: Any, offset: int) -> None:
    begin = owner.writer.begin_closing

    def at_once(at: int, then: Callable[[], None]) -> Any:
        token = begin(at, lambda: None)
        owner.writer.then_in_flight(lambda _: then())
        return token

    with mock.patch.object(owner.writer, "begin_closing", at_once):
        whole(owner, live, offset)


@_instead(host.Orchestrator, "history_failed")
def failed_appends_ignored(whole: Any, *arguments: Any) -> None: ...


@_instead(saga, "_undo")
async def first_compensation_only(whole: Any, one: saga) -> list[Any]:
    one._steps = one._steps[-1:]
    found: list[Any] = await whole(one)
    return found


# ---------------------------------------------------------------------------------------------- worker and client


@_instead(Intake, "take")
def worker_commits_before_it_answers(whole: Any, intake: Intake, assignment: Any, record: Any) -> Any:
    attempt = whole(intake, assignment, record)
    assignment.tracker.finish(record.offset)
    return attempt


@_instead(Sender, "_retry")
def worker_drops_failed_answers(whole: Any, *arguments: Any) -> None: ...


@_instead(Pump, "_repeat")
def client_never_asks_again(whole: Any, *arguments: Any) -> None: ...
