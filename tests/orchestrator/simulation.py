"""A seeded simulation of one partition: real shards as owners and zombies over a log that resends, loses
acknowledgements, and compacts.

Owners have clocks of their own, and every decision depends on the clock: two decisions on one input can be told apart.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any

from odradek import workflow
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core import keys
from odradek.orchestrator.core.children import child_run_id
from odradek.orchestrator.core.run import UPDATE_CANNOT_END
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.state import Room
from odradek.orchestrator.core.store import MemoryStore, Store
from odradek.orchestrator.core.writer import Entry
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from tests.orchestrator.partition import Partition

SOON = {"start_to_close_timeout": timedelta(seconds=60)}


@workflow.defn
class Trip:
    """Activities in a row and side by side, timers, signals, a saga; everything it asks for carries the time of its
    decision.
    """

    def __init__(self) -> None:
        self.signals: list[str] = []
        self.asked: list[str] = []

    @workflow.signal
    def note(self, text: str) -> None:
        self.signals.append(text)

    @workflow.update
    async def ask(self, text: str) -> list[Any]:
        self.asked.append(text)
        await asyncio.sleep(len(self.asked))
        return [workflow.time_ns(), *self.asked]

    @ask.validator
    def enough(self, text: str) -> None:
        if len(self.asked) >= 2:
            raise ApplicationError("enough")

    @workflow.query
    def notes(self) -> list[str]:
        return self.signals

    @workflow.run
    async def run(self, steps: int, signals: int, fails: bool) -> list[Any]:
        async with workflow.saga(**SOON) as saga:
            for step in range(steps):
                saga.compensate("undo", step)
                await workflow.execute_activity("do", args=[step, workflow.time_ns()], **SOON)
            await asyncio.sleep(5)
            await asyncio.gather(
                *(workflow.execute_activity("do", args=[100 + i, workflow.time_ns()], **SOON) for i in range(2))
            )
            await workflow.wait_condition(lambda: len(self.signals) >= signals)
            if fails:
                await workflow.execute_activity("fail", workflow.time_ns(), **SOON)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return [workflow.time_ns(), *self.signals]


@workflow.defn
class Household:
    """Children that take trips of their own, signals to them, and how they ended."""

    @workflow.run
    async def run(self, fails: list[bool]) -> list[str]:
        own = workflow.info().workflow_id
        handles = [
            await workflow.start_child_workflow("Trip", args=[1, 1, fail], id=f"{own}/{number}")
            for number, fail in enumerate(fails)
        ]
        await asyncio.gather(*(handle.signal("note", f"{handle.id}/note") for handle in handles))
        ends = await asyncio.gather(*handles, return_exceptions=True)
        return [type(end).__name__ for end in ends]


class SimulatedOwner:
    """A process that may be paused, may wake as a zombie, and may die; ``pipe`` is what its producer has not landed
    yet.
    """

    def __init__(self, world: World, number: int, store: Store) -> None:
        self.world = world
        self.number = number
        self.store = store
        self.skew_ms = world.random.randrange(-2000, 2000)
        self.pipe: list[Entry] = []
        self.landed: list[tuple[Entry, int]] = []
        self.shard: Shard | None = None
        self.alive = True
        self.live = False
        self.inbox_at = 0
        self.token = f"owner-{number}"
        claim = r.HistoryRecord(0, -1, -1, -1, r.Claim(self.token, self.now_ms))
        self.pipe.append(Entry(keys.claim(self.token), Codec().encode(claim), 0, 0))

    @property
    def now_ms(self) -> int:
        return self.world.partition.now_ms + self.skew_ms

    def land(self) -> None:
        entry = self.pipe.pop(0)
        self.landed.append((entry, self.world.partition.land(entry.key, entry.value)))

    def resend(self) -> None:
        """The producer lost the acknowledgements and sends its window again."""
        self.pipe = [entry for entry, _ in self.landed] + self.pipe
        self.landed = []

    def acknowledge(self) -> None:
        entry, offset = self.landed.pop(0)
        if self.shard is None:
            self._take_over(offset)
        else:
            self.shard.acked(entry, offset)
            if not self.loading:
                self.shard.flush()
        self.settle()

    def _take_over(self, offset: int) -> None:
        partition = self.world.partition
        shard = Shard(partition.config(), self.store)
        for at in range(shard.restore_from, offset + 1):
            record = partition.history[at]
            if record is not None:
                shard.restore(at, *record)
        shard.begin(offset, self.now_ms)
        self.shard = shard

    @property
    def loading(self) -> bool:
        return self.shard is not None and self.shard.to_load is not None

    def load(self) -> None:
        assert self.shard is not None
        if self.shard.load(1):
            self.inbox_at, self.inbox_end = self.shard.x0 + 1, len(self.world.partition.inbox)
        self.settle()

    def read(self, count: int) -> None:
        assert self.shard is not None
        items = self.world.partition.inbox[self.inbox_at : self.inbox_at + count]
        self.inbox_at += len(items)
        self.shard.take(items, self.now_ms)
        if not self.live and self.inbox_at >= self.inbox_end:
            self.live = True
            self.shard.go_live(self.now_ms)
        self.settle()

    def tick(self) -> None:
        assert self.shard is not None
        self.shard.tick(self.now_ms, self.world.random.choice((1, 200)))
        self.settle()

    def go_on(self) -> None:
        assert self.shard is not None
        self.shard.go_on(self.now_ms)
        self.settle()

    def checkpoint(self) -> None:
        assert self.shard is not None
        self.shard.checkpoint(self.now_ms)
        self.settle()

    def evict(self) -> None:
        """Memory is short: every workflow that can be had again from the store is dropped."""
        assert self.shard is not None
        self.shard.evict_workflows()
        self.settle()

    def settle(self) -> None:
        """Hand appends to the producer and effects to the world."""
        assert self.shard is not None
        writer = self.shard.writer
        while (writer.to_send or writer.outbox) and self.alive:
            self.pipe += writer.to_send
            writer.to_send = []
            effects, writer.outbox = writer.outbox, []
            for effect in effects:
                self._carry_out(effect)

    def _carry_out(self, effect: fx.Effect) -> None:
        assert self.shard is not None
        world, writer = self.world, self.shard.writer
        match effect:
            case fx.Fenced():
                self.die()
            case fx.ReadGap(first=first, end=end):
                writer.gap_read(list(world.partition.gap(first, end)))
                if not self.loading:
                    self.shard.flush()
            case fx.ReadArchive(parts=parts, on_read=on_read):
                blocks = b"".join(world.partition.archive[part.offset][1] for part in parts)
                on_read(list(Codec().decode_events(blocks)))
            case fx.InboxDone() | fx.RunStep() | fx.CancelStep():
                pass
            case _:
                world.emitted(effect)
                if isinstance(effect, fx.Archive) and effect.on_stored is not None:
                    effect.on_stored(0, len(world.partition.archive) - 1)
                if effect.token is not None:
                    writer.emitted(effect.token)

    def die(self) -> None:
        """Gone at once; what its producer holds may still land, or not."""
        self.alive = False
        if self.pipe and self.world.random.random() < 0.5:
            self.world.orphans.append(self.pipe)
        self.pipe, self.landed = [], []
        if self in self.world.owners:
            self.world.owners.remove(self)


class World:
    """The log, the owners, the workers and the clients of one seed, and what must hold at any time."""

    def __init__(self, seed: int, workflows: int = 6, chunk_bytes: int = 400) -> None:
        self.random = random.Random(seed)
        record_bytes = self.random.choice((4_000_000, 1350))  # the small one spreads transitions over several chunks
        self.partition = Partition(
            [Trip, Household],
            chunk_bytes=chunk_bytes,
            record_bytes_max=record_bytes,
            room=Room(2, 2),
            crashes_max=1000,  # notes are made at every takeover, and none parks a run
            inputs_per_turn=self.random.choice((1, 2, 100)),
        )
        self.owners: list[SimulatedOwner] = []
        self.orphans: list[list[Entry]] = []
        self.tasks: list[r.TaskRecord] = []
        self.decided: dict[tuple[str, int], Any] = {}
        self.outcomes: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}
        self.updated: dict[str, r.UpdateOutcome] = {}
        """The final answer to each request about an update."""
        self.effects: Counter[tuple[str, int]] = Counter()
        self.requests: dict[str, tuple[str, Any]] = {}
        self.started: dict[str, r.Request] = {}
        self.households: dict[str, list[bool]] = {}
        self.messages: dict[tuple[type, str, int], bytes] = {}
        self.numbers = 0
        self.stores: list[MemoryStore] = []
        for number in range(workflows):
            self._start(f"wf-{number}")
        for number in range(self.random.choice((0, 1, 2))):
            self._start_household(f"house-{number}")

    # ------------------------------------------------------------------------------------------ clients and workers

    def _start(self, workflow_id: str) -> None:
        fails, signals = self.random.random() < 0.3, self.random.randrange(3)
        arguments = [self.random.randrange(1, 4), signals, fails]
        self.started[workflow_id] = self.partition.start(workflow_id, "Trip", *arguments)
        for number in range(signals):
            self.signal(workflow_id, f"{workflow_id}/{number}")
        for _ in range(self.random.randrange(4)):
            self.update(workflow_id, f"update-{self.random.randrange(4)}")

    def _start_household(self, workflow_id: str) -> None:
        fails = self.households[workflow_id] = [self.random.random() < 0.3 for _ in range(self.random.randrange(1, 4))]
        self.partition.start(workflow_id, "Household", fails)

    def signal(self, workflow_id: str, text: str) -> None:
        request = self.partition.request()
        body = r.SignalWorkflow("note", [self.partition.payload(text)], request=request)
        self.requests[request.id] = (workflow_id, text)
        for _ in range(self.random.choice((1, 1, 2))):  # clients send again when no answer comes
            self.partition.send(workflow_id, body)

    def update(self, workflow_id: str, update_id: str) -> None:
        """Sent again like a signal, and now and then anew with the same update ID."""
        request = self.partition.request()
        body = r.UpdateWorkflow(
            request, update_id, "ask", [self.partition.payload(update_id)], wait_completed=self.random.random() < 0.5
        )
        for _ in range(self.random.choice((1, 1, 2))):
            self.partition.send(workflow_id, body)
        if self.random.random() < 0.5:
            self.partition.send(workflow_id, r.AwaitUpdate(self.partition.request(), update_id))

    def work(self, task: r.TaskRecord) -> None:
        partition = self.partition
        failure = None
        if task.activity_type == "fail":
            failure = r.Failure(r.FailureKind.APPLICATION, "no", "No", non_retryable=True)
        elif self.random.random() < 0.15 and task.attempt == 1:
            failure = r.Failure(r.FailureKind.APPLICATION, "try again", "Flaky")
        else:
            self.effects[task.run_id, task.seq] += 1
        result = None if failure else partition.payload(task.seq)
        answer = r.ActivityResult(task.run_id, task.seq, task.attempt, "w", partition.now_ms, result, failure)
        for _ in range(self.random.choice((1, 1, 1, 2))):
            partition.send(task.workflow_id, answer)

    # ------------------------------------------------------------------------------------------ what must hold

    def emitted(self, effect: fx.Effect) -> None:
        match effect:
            case fx.SendTask(task=task):
                assert task is not None
                decided = (task.activity_type, [p.data for p in task.input])
                known = self.decided.setdefault((task.run_id, task.seq), decided)
                assert known == decided, f"decided twice: {known} and {decided}"
                self.tasks.append(task)
            case fx.Reply(request_id=request_id, body=r.RunOutcome() as outcome):
                known = self.outcomes.setdefault(outcome.run_id, outcome)
                assert known == outcome, "two outcomes of one run"
            case fx.Reply(request_id=request_id, body=r.UpdateOutcome() as outcome):
                if outcome.completed:
                    known = self.updated.setdefault(request_id, outcome)
                    assert known == outcome, f"two answers to an update: {known} and {outcome}"
            case fx.Reply(request_id=request_id, body=body) if request_id:
                known = self.answers.setdefault(request_id, body)
                assert type(known) is type(body), f"two answers: {known} and {body}"
                assert known.run_id == body.run_id, f"two answers: {known} and {body}"
            case fx.Archive(record=record, blocks=blocks):
                assert record is not None
                self.partition.archive.append((record, blocks))
            case fx.SendMessage(workflow_id=workflow_id, record=r.InboxRecord(body=body)):
                self._deliver(workflow_id, body)

    def _deliver(self, workflow_id: str, body: Any) -> None:
        """A message is the same whoever sends it, and however often."""
        about = getattr(body, "origin", None) or body
        written = Codec().encode(r.InboxRecord(0, body))
        known = self.messages.setdefault((type(body), about.run_id, about.number), written)
        assert known == written, f"decided twice: {body}"
        for _ in range(self.random.choice((1, 1, 1, 2))):
            self.partition.send(workflow_id, body)

    # ------------------------------------------------------------------------------------------ chance

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        self.finish()

    def step(self) -> None:
        choose = self.random.random
        if not self.owners or (len(self.owners) < 3 and choose() < 0.01):
            self.join()
        owner = self.random.choice(self.owners)
        chance = choose()
        if chance < 0.004:
            owner.die()
        elif chance < 0.012 and owner.landed:
            owner.resend()
        elif chance < 0.02 and self.orphans:
            self.land_orphan()
        elif chance < 0.05:
            self.partition.now_ms += self.random.randrange(3000)
        elif chance < 0.052:
            self.compact()
        elif chance < 0.15 and self.tasks:
            self.work(self.tasks.pop(self.random.randrange(len(self.tasks))))
        else:
            self.move(owner)

    def join(self) -> None:
        """A new owner: with an empty store, or with the one that a dead process left."""
        used = {id(owner.store) for owner in self.owners}
        free = [store for store in self.stores if id(store) not in used]
        store = self.random.choice(free) if free and self.random.random() < 0.5 else MemoryStore()
        if store not in self.stores:
            self.stores.append(store)
        self.numbers += 1
        self.owners.append(SimulatedOwner(self, self.numbers, store))

    def move(self, owner: SimulatedOwner) -> None:
        moves = []
        if owner.pipe:
            moves += [owner.land] * 3
        if owner.landed:
            moves += [owner.acknowledge] * 3
        if owner.loading:
            moves.append(owner.load)
        elif owner.shard is not None:
            moves += [lambda: owner.read(self.random.randrange(1, 5)), owner.tick, owner.go_on]
            if self.random.random() < 0.1:
                moves += [owner.checkpoint, owner.evict]
        self.random.choice(moves)()

    def land_orphan(self) -> None:
        pipe = self.random.choice(self.orphans)
        entry = pipe.pop(0)
        self.partition.land(entry.key, entry.value)
        self.orphans = [pipe for pipe in self.orphans if pipe]

    def compact(self) -> None:
        """Compaction respects the lag: it does not touch what a takeover or a gap may still have to read."""
        if any(owner.shard is None or owner.landed or owner.pipe for owner in self.owners) or self.orphans:
            return
        self.partition.compact()

    def finish(self) -> None:
        """No more trouble: one owner brings everything to its end."""
        for owner in list(self.owners):
            owner.die()
        while self.orphans:
            self.land_orphan()
        self.numbers += 1
        owner = SimulatedOwner(self, self.numbers, MemoryStore())
        self.owners = [owner]
        for turn in range(400):
            if not owner.alive:
                raise AssertionError("the last owner was fenced")
            while owner.pipe:
                owner.land()
            while owner.landed:
                owner.acknowledge()
            while owner.loading:
                owner.load()
            owner.read(100)
            owner.go_on()
            while self.tasks:
                self.work(self.tasks.pop(0))
            self.partition.now_ms += 500
            owner.tick()
            if turn % 5 == 0:
                owner.checkpoint()
        self.check(owner)

    def check(self, owner: SimulatedOwner) -> None:
        codec = Codec()
        archived: dict[str, dict[int, Any]] = {}
        for record, blocks in self.partition.archive:
            for place, event in enumerate(codec.decode_events(blocks), record.first_event):
                known = archived.setdefault(record.workflow_id, {}).setdefault(place, event.body)
                assert known == event.body, "two histories of one run were archived"
        events = {workflow_id: [found[at] for at in range(len(found))] for workflow_id, found in archived.items()}
        for workflow_id in self.started:
            assert workflow_id in events, f"{workflow_id} is not finished: {owner.shard.workflow(workflow_id)}"  # type: ignore[union-attr]
            self.check_run(workflow_id, events[workflow_id])
        for workflow_id in self.households:
            self.check_household(workflow_id, events)

    def check_household(self, workflow_id: str, events: dict[str, list[Any]]) -> None:
        """One run for each child, told of once, ended as its parent heard, and signalled once."""
        assert workflow_id in events, f"{workflow_id} is not finished"
        bodies, convert = events[workflow_id], self.partition.converter.payload_converter
        assert isinstance(bodies[-1], r.RunCompleted)
        run_id = bodies[0].first_run_id
        for number, scheduled in enumerate(b for b in bodies if isinstance(b, r.ChildScheduled)):
            child = events[f"{workflow_id}/{number}"]
            assert child[0].first_run_id == child_run_id(run_id, scheduled.seq), "a second child"
            told = [b for b in bodies if isinstance(b, r.ChildStarted | r.ChildClosed) and b.seq == scheduled.seq]
            assert [type(b) for b in told] == [r.ChildStarted, r.ChildClosed], "told twice, or not at all"
            ended = r.RunFailed if self.households[workflow_id][number] else r.RunCompleted
            assert isinstance(child[-1], ended)
            assert getattr(told[1], "status", "") == ("failed" if ended is r.RunFailed else "completed")
            notes = [convert.from_payload(b.input[0]) for b in child if isinstance(b, r.SignalReceived)]
            assert notes == [f"{workflow_id}/{number}/note"], "a message between workflows was lost or came twice"

    def check_updates(self, run_id: str, bodies: list[Any]) -> None:
        """Each was accepted once, and answered with what its handler returned; or it stands there as rejected."""
        accepted = [b.update_id for b in bodies if isinstance(b, r.UpdateAccepted)]
        assert len(accepted) == len(set(accepted)) <= 2, "an update was accepted twice"
        completed = {b.update_id: (b.result, b.failure) for b in bodies if isinstance(b, r.UpdateCompleted)}
        assert set(completed) <= set(accepted)
        rejected = [(b.update_id, b.failure) for b in bodies if isinstance(b, r.UpdateRejected)]
        for outcome in self.updated.values():
            if outcome.run_id == run_id and (outcome.update_id, outcome.failure) not in rejected:
                ended = (None, UPDATE_CANNOT_END) if outcome.update_id in accepted else None
                assert completed.get(outcome.update_id, ended) == (outcome.result, outcome.failure)

    def check_run(self, workflow_id: str, bodies: list[Any]) -> None:
        run_id = bodies[0].first_run_id
        scheduled = {
            b.seq: (b.activity_type, [p.data for p in b.input]) for b in bodies if isinstance(b, r.ActivityScheduled)
        }
        emitted = {seq: decided for (run, seq), decided in self.decided.items() if run == run_id}
        assert scheduled == emitted, "what was emitted is not what the history says"
        texts = [
            self.partition.converter.payload_converter.from_payload(b.input[0])
            for b in bodies
            if isinstance(b, r.SignalReceived)
        ]
        wanted = [text for wf, text in self.requests.values() if wf == workflow_id]
        taken = [
            text for request_id, (wf, text) in self.requests.items()
            if wf == workflow_id and isinstance(self.answers.get(request_id), r.Accepted)
        ]  # fmt: skip
        assert len(texts) == len(set(texts)), "a signal was taken in twice"
        assert set(taken) <= set(texts) <= set(wanted), "an acknowledged signal is lost"
        self.check_updates(run_id, bodies)
        kinds = [b.activity_type for b in bodies if isinstance(b, r.ActivityScheduled)]
        if isinstance(bodies[-1], r.RunFailed):
            undone = [
                b.input[0].data for b in bodies if isinstance(b, r.ActivityScheduled) and b.activity_type == "undo"
            ]
            assert undone == sorted(undone, reverse=True), "compensations out of order"
            assert len(undone) == kinds.count("do") - 2, "a compensation is missing"
        else:
            assert isinstance(bodies[-1], r.RunCompleted)
            assert "undo" not in kinds
