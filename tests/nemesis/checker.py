"""Whether what was promised holds: compares what clients heard with the books, the results and the topics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from odradek.log import Log
from odradek.schemas import records as r
from tests.chaos.evidence import Evidence
from tests.nemesis.bank import COMPENSATED, COMPLETED, QUEUE, REFUSED
from tests.nemesis.books import OPENING_BALANCE, Books
from tests.nemesis.journal import FAILED, OK, Journal, Operation
from tests.nemesis.load import ADDITIONS, CONSISTENT, QUERY, START, Load

ENTRIES: Final = {
    COMPLETED: {"withdrawal", "deposit"},
    COMPENSATED: {"withdrawal", "refund"},
    REFUSED: {"withdrawal"},
}
Problems = Iterator[str]


def check_operations(journal: Journal, results: Mapping[str, Any]) -> Problems:
    """No request is refused, and what was started ends."""
    for operation in journal.operations:
        if operation.outcome == FAILED:
            yield f"refused: {operation}"
    for operation in journal.of(START):
        if operation.outcome == OK and operation.subject not in results:
            yield f"{operation.subject} was started and has not ended: {operation}"


# ---------------------------------------------------------------------------------------------------- the bank


def check_books(books: Books, results: Mapping[str, Any]) -> Problems:
    """Money is neither made nor lost, and each transfer is complete, undone, or never was."""
    balances, entries = books.balances(), books.entries()
    moved: Counter[int] = Counter()
    by_transfer: dict[str, dict[str, int]] = defaultdict(dict)
    for entry in entries:
        moved[entry.account] += entry.amount
        by_transfer[entry.transfer][entry.kind] = entry.amount
    if sum(balances.values()) != OPENING_BALANCE * len(balances):
        yield f"there is {sum(balances.values())} in {len(balances)} accounts that began with {OPENING_BALANCE} each"
    for account, balance in balances.items():
        if balance != OPENING_BALANCE + moved[account]:
            yield f"account {account} has {balance}, and its entries make {OPENING_BALANCE + moved[account]}"
    told = dict(transfers(results))
    for transfer, result in told.items():
        yield from _check_transfer(transfer, result, by_transfer.pop(transfer, {}))
    for transfer, found in by_transfer.items():
        yield f"transfer {transfer} has entries and no result: {found}"


def _check_transfer(transfer: str, result: str, amounts: dict[str, int]) -> Problems:
    if amounts.keys() != ENTRIES[result]:
        yield f"transfer {transfer} is {result}, and its entries are {amounts}"
    elif (result == REFUSED) != (amounts["withdrawal"] == 0) or (result != REFUSED and sum(amounts.values()) != 0):
        yield f"transfer {transfer} is {result}, and its amounts are {amounts}"


def transfers(results: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """How each transfer ended, as its workflow or that of its payday says."""
    for name, result in results.items():
        if name.startswith("transfer-"):
            yield name, result
        elif name.startswith("payday-"):
            for number, each in enumerate(result):
                yield f"{name}-{number}", each


# ---------------------------------------------------------------------------------------------------- counters


def check_counter(name: str, journal: Journal, taken_in: list[int]) -> Problems:
    """Each addition counts once, at one moment between its request and its answer; questions see those before them."""
    added = {operation.number: operation for operation in journal.of(*ADDITIONS, subject=name)}
    places = {number: place for place, number in enumerate(taken_in, 1)}
    for number, times in Counter(taken_in).items():
        if times > 1 or number not in added:
            yield f"{name} took {number} in {times} times: {added.get(number)}"
    for number, operation in added.items():
        if operation.outcome == OK and number not in places:
            yield f"{name} has lost {operation}"
        if operation.outcome == OK and operation.value not in (None, places.get(number)):
            yield f"{name} has it at place {places.get(number)}: {operation}"
    yield from _check_order(name, [added[number] for number in taken_in if number in added])
    for question in journal.of(CONSISTENT, QUERY, subject=name):
        if question.outcome == OK:
            yield from _check_answer(name, question, added, places)


def _check_order(name: str, taken_in: list[Operation]) -> Problems:
    latest: Operation | None = None
    for operation in taken_in:
        if latest is not None and latest.began > operation.ended:
            yield f"{name} took in {latest} before {operation}, which had been answered before the former began"
        if latest is None or operation.began > latest.began:
            latest = operation


def _check_answer(name: str, question: Operation, added: dict[int, Operation], places: dict[int, int]) -> Problems:
    for number, place in places.items():
        operation = added.get(number)
        if operation is None:
            continue
        if place <= question.value and operation.began > question.ended:
            yield f"{name} answered {question}, and this began later: {operation}"
        if question.kind == CONSISTENT and place > question.value and operation.ended < question.began:
            yield f"{name} answered {question} without {operation} at place {place}"


def stale_answers(journal: Journal, results: Mapping[str, Any]) -> int:
    """Plain queries that were answered from before what had been acknowledged, as they may be in a failover."""
    stale = 0
    for question in journal.of(QUERY):
        taken_in = results.get(question.subject, [])
        ended = {each.number: each.ended for each in journal.of(*ADDITIONS, subject=question.subject)}
        if question.outcome == OK:
            stale += any(ended.get(number, question.ended) < question.began for number in taken_in[question.value :])
    return stale


# ---------------------------------------------------------------------------------------------------- timers, histories


def check_alarms(load: Load, journal: Journal) -> Problems:
    """No sleep is shorter than it was asked to be, by the workflow's clock and by the customer's."""
    began = {operation.subject: operation.began for operation in reversed(journal.of(START))}
    for name, (asked, answered) in load.alarms.items():
        slept = load.results.get(name)
        if slept is None:
            continue
        if len(slept) != len(asked) or any(s < a - 0.001 for s, a in zip(slept, asked, strict=False)):
            yield f"{name} was to sleep {asked} and slept {slept}"
        if answered - began[name] < max(asked) - 0.001:
            yield f"{name} was to sleep {max(asked)} s and was over after {answered - began[name]}"


class Topics(Evidence):
    """What the topics say; the checks find problems."""

    def __init__(self, log: Log, namespace: str) -> None:
        super().__init__(log, namespace)
        self.timers_fired = 0
        self.late_seconds = 0.0
        """Of the timer that fired latest after its time."""

    def check_timers(self) -> Problems:
        """Each timer of a completed alarm fired once, and not before its time."""
        for run_id, events in self.archived.items():
            due = {e.body.seq: e.body.due_ms for e in events if isinstance(e.body, r.TimerStarted)}
            fired = [(e.body.seq, e.time_ms) for e in events if isinstance(e.body, r.TimerFired)]
            if sorted(seq for seq, _ in fired) != sorted(due):
                yield f"run {run_id} started timers {sorted(due)}, and {sorted(seq for seq, _ in fired)} fired"
            for seq, time_ms in fired:
                self.timers_fired += 1
                self.late_seconds = max(self.late_seconds, (time_ms - due.get(seq, time_ms)) / 1000)
                if time_ms < due.get(seq, 0):
                    yield f"timer {seq} of run {run_id} fired {due[seq] - time_ms} ms early"

    def check_ids(self) -> Problems:
        """Each workflow ran once: one run, or a chain in which each names the next."""
        begun: dict[str, list[str]] = defaultdict(list)
        for run_id, events in self.archived.items():
            if not isinstance(events[-1].body, r.RunCompleted | r.RunContinued):
                yield f"run {run_id} ended with {events[-1].body}"
            if not isinstance(events[-1].body, r.RunContinued):
                begun[self.workflow_ids[run_id]].append(run_id)
        for workflow_id, runs in begun.items():
            if len(runs) > 1:
                yield f"workflow {workflow_id} was decided {len(runs)} times: {runs}"

    def check_answers(self) -> Problems:
        """Each outcome that was sent is that of the run's history."""
        for reply in self.decoded(self.topics.replies, r.ReplyRecord):
            if isinstance(reply.body, r.RunOutcome) and reply.body.next_run_id is None:
                run_id, result = reply.body.run_id, reply.body.result
                events = self.archived.get(run_id)
                closing = events[-1].body if events else None
                if not isinstance(closing, r.RunCompleted) or closing.result != result:
                    yield f"run {run_id} is answered with {result}, and its history ends with {closing}"

    def check_evidence(self) -> Problems:
        for check in (self.check_late_records_are_removed, lambda: self.check_tasks(QUEUE)):
            try:
                check()
            except AssertionError as error:
                yield str(error)
