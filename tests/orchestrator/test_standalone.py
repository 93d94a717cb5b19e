"""Standalone activities in the orchestrator: the built-in workflows, and order by key whatever dies."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from odradek import workflow
from odradek.common.standalone import StandaloneOptions, workflow_id_of, workflow_type_of
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.state import Room
from odradek.orchestrator.core.store import MemoryStore
from odradek.orchestrator.registry import Registry
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition, InvalidWorkflow
from tests.orchestrator.partition import Owner, Partition
from tests.orchestrator.test_children_crashes import CarefulOwner

SEEDS = int(os.environ.get("ODRADEK_SEEDS", "100"))
RETRY = r.RetryPolicy(1000, 2.0, None, 3)


class Standalone(Partition):
    """Hosts what every orchestrator does."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.registry = Registry()

    def definition(self, queue: str, name: str, version: str | None) -> Definition | None:
        return self.registry.find(queue, name, version)

    def begin(self, id: str, *args: Any, key: str = "", request: r.Request | None = None) -> r.Request:
        """What a client sends."""
        request = request or self.request()
        options = StandaloneOptions(r.ActivityTimeouts(start_to_close_ms=60_000), RETRY, key)
        update = r.UpdateWorkflow(request, f"admitted-{id}", "admitted", wait_completed=True) if key else None
        input = (options.to_payload(), *map(self.payload, args))
        body = r.StartWorkflow(
            request, workflow_type_of("work"), "queue", input, wait_result=not key, update=update,
            id_conflict_policy="use-existing",
        )  # fmt: skip
        self.send(workflow_id_of(id), body)
        return request

    def tasks(self) -> list[r.TaskRecord]:
        """All that workers were given."""
        return [effect.task for effect in self.emitted if isinstance(effect, fx.SendTask) and effect.task]

    def admitted(self, request: r.Request) -> bool:
        return any(isinstance(body, r.UpdateOutcome) and body.completed for body in self.replies(request))

    def outcome(self, owner: Owner, id: str) -> r.RunOutcome:
        asked = r.AwaitResult(self.request())
        self.send(workflow_id_of(id), asked)
        owner.run()
        [found] = [body for body in self.replies(asked.request) if isinstance(body, r.RunOutcome)]
        return found


def test_one_activity_is_one_run_with_three_transitions() -> None:
    partition = Standalone()
    owner = Owner(partition)
    owner.activities = {"work": lambda a, b: a + b}
    request = partition.begin("sum", 20, 22)
    owner.run()
    assert partition.result(request) == 42
    [(_, blocks)] = partition.archive
    events = list(Codec().decode_events(blocks))
    kinds = [type(event.body).__name__ for event in events]
    assert kinds == ["RunStarted", "ActivityScheduled", "ActivityCompleted", "RunCompleted"]
    scheduled = events[1].body
    assert isinstance(scheduled, r.ActivityScheduled)
    assert (scheduled.activity_id, scheduled.cancellation_type) == ("sum", "wait-cancellation-completed")


def test_a_retry_and_a_failure() -> None:
    partition = Standalone()
    owner = Owner(partition)
    attempts = itertools.count(1)

    def work() -> None:
        raise ValueError(f"attempt {next(attempts)}")

    owner.activities = {"work": work}
    request = partition.begin("fails")
    owner.run()
    owner.pass_time(1)
    owner.pass_time(2)
    [outcome] = [body for body in partition.replies(request) if isinstance(body, r.RunOutcome)]
    assert outcome.status == "failed"
    assert outcome.failure is not None
    assert outcome.failure.cause is not None
    assert outcome.failure.cause.message == "attempt 3"


@workflow.defn(name="__activity:mine")
class Reserved:
    @workflow.run
    async def run(self) -> None: ...


def test_built_in_names_are_reserved() -> None:
    with pytest.raises(InvalidWorkflow, match="reserved"):
        Registry().add([Reserved])
    assert Registry().hosted() == []


# -------------------------------------------------------------------------------------------------------- order by key


def test_a_lane_lives_while_somebody_is_in_it() -> None:
    partition = Standalone()
    owner = Owner(partition)
    done: list[int] = []
    owner.activities = {"work": done.append}
    for number in range(5):
        partition.begin(f"a-{number}", number, key="k")
        owner.run()
    assert done == [0, 1, 2, 3, 4]
    lanes = [record for record, _ in partition.archive if record.workflow_id == "__lane:k"]
    assert [lane.status for lane in lanes] == ["completed"] * 5


def test_a_busy_lane_goes_on_in_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history does not grow for ever, and nobody loses the place."""
    monkeypatch.setattr(workflow.Info, "is_continue_as_new_suggested", lambda info: True)
    partition = Standalone()
    owner = Owner(partition)
    done: list[int] = []
    owner.activities = {"work": done.append}
    for number in range(5):
        partition.begin(f"a-{number}", number, key="k")
    owner.run()
    assert done == [0, 1, 2, 3, 4]
    lanes = [record.status for record, _ in partition.archive if record.workflow_id == "__lane:k"]
    assert lanes == ["continued-as-new"] * 4 + ["completed"]


def test_a_lane_that_somebody_ended_is_made_anew() -> None:
    partition = Standalone()
    owner = Owner(partition, activities=False)
    requests = [partition.begin(f"a-{number}", number, key="k") for number in range(3)]
    owner.run()
    assert all(map(partition.admitted, requests))
    partition.send("__lane:k", r.TerminateWorkflow(partition.request(), "by mistake"))
    owner.run()
    [held] = partition.tasks()
    owner.activities = {"work": lambda number: number}
    owner.work(held)
    for _ in range(3):
        owner.pass_time(16)
    assert [partition.outcome(owner, f"a-{number}").status for number in range(3)] == ["completed"] * 3


class SlowWorker(CarefulOwner):
    """Its tasks wait for a worker, which is slow, takes any of them, and drops what it has done before."""

    held: list[r.TaskRecord]
    known: set[tuple[str, int, int]]
    chance: random.Random

    def work(self, task: r.TaskRecord) -> None:
        attempt = task.run_id, task.seq, task.attempt
        if attempt not in self.known:
            self.known.add(attempt)
            self.held.append(task)

    def moves(self) -> list[Callable[[], object]]:
        found = super().moves()
        if self.held and (not found or self.chance.random() < 0.03):
            return [self.do_one]
        return found

    def do_one(self) -> None:
        super().work(self.held.pop(self.chance.randrange(len(self.held))))


class Ordering:
    """One client that starts activities one after the other, each once the one before was taken in; owners that die."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.partition = Standalone(chunk_bytes=400, room=Room(2, 2))
        self.done: list[int] = []
        self.tasks: list[r.TaskRecord] = []
        self.known: set[tuple[str, int, int]] = set()
        self.wanted = iter(range(4))
        self.number = 0
        self.request: r.Request | None = None
        self.take_over(MemoryStore())

    def take_over(self, store: MemoryStore) -> None:
        self.store = store
        self.owner = SlowWorker(self.partition, store)
        self.owner.chance = self.chance
        self.owner.known = self.known
        self.owner.held = self.tasks  # the queue outlives its owner
        self.owner.activities = {"work": self.done.append}
        if self.request is not None:  # clients are told of a new owner, and ask again
            self.partition.begin(f"a-{self.number}", self.number, key="k", request=self.request)

    def crash(self) -> None:
        self.owner.crash(self.chance)
        self.take_over(self.store if self.chance.random() < 0.5 else MemoryStore())

    def move(self) -> bool:
        self.client()
        possible = self.owner.moves()
        if possible:
            self.chance.choice(possible)()
        return bool(possible)

    def client(self) -> None:
        if self.request is not None and not self.partition.admitted(self.request):
            return
        number = next(self.wanted, None)
        if number is not None:
            self.number = number
            self.request = self.partition.begin(f"a-{number}", number, key="k")
        else:
            self.request = None

    def end(self) -> None:
        for _ in range(12):
            while self.move():
                pass
            self.partition.now_ms += 31_000  # what was lost on its way is sent again
            self.owner.shard.tick(self.partition.now_ms)


@pytest.mark.parametrize("first", range(0, SEEDS, 25))
def test_order_holds_whatever_dies(first: int) -> None:
    """One at a time, in the order in which the starts were taken in; a dead owner may have an attempt run again."""
    for seed in range(first, min(first + 25, SEEDS)):
        world = Ordering(random.Random(seed))
        for _ in range(world.chance.randrange(1, 6)):
            for _ in range(world.chance.randrange(1, 60)):
                if not world.move():
                    break
            world.crash()
        world.end()
        ran = [number for number, _ in itertools.groupby(world.done)]
        assert ran == [0, 1, 2, 3], f"seed {seed}: {world.done}"
