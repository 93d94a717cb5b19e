"""Random workflows from one seed, driven by random interleavings; what must hold of them is checked in ``World.check``.

python -m tests.orchestrator.random_workflows 1234          one seed, with what went wrong
python -m tests.orchestrator.random_workflows 0 10000       many
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from odradek import workflow
from odradek.common import RetryPolicy
from odradek.converter import DataConverter
from odradek.exceptions import ApplicationError, FailureError
from odradek.orchestrator.core import effects as fx
from odradek.orchestrator.core.instance import COMMANDS, WorkflowInstance
from odradek.orchestrator.core.state import Room
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.workflow.definition import Definition
from tests.orchestrator.partition import Owner, Partition

Node = list[Any]
KINDS = (
    "sleep", "act", "act", "act", "step", "step", "chance", "seq", "gather", "group", "race", "completed", "timeout",
    "shield", "await", "locked", "queue", "cancel", "cleanup", "catch", "child", "barrier",
)  # fmt: skip
LEAVES = KINDS[:7]
CANCELLATION_TYPES = [str(kind) for kind in workflow.ActivityCancellationType]
COMMAND_TYPES = COMMANDS.__args__


def node(chance: Random, depth: int) -> Node:
    """A random program: a tree of what asyncio and workflows can do."""
    kind = chance.choice(KINDS if depth else LEAVES)
    return shaped(kind, chance, lambda: node(chance, depth - 1))


def shaped(kind: str, chance: Random, below: Callable[[], Node]) -> Node:
    """A program of this kind; ``below`` makes what stands inside of it."""
    if kind in ("sleep", "await"):
        return [kind, chance.randrange(1, 20)]
    if kind in ("act", "step"):
        return [kind, chance.choice(CANCELLATION_TYPES), chance.randrange(100)]
    if kind in ("chance", "queue"):
        return [kind, chance.randrange(1, 4)]
    if kind in ("seq", "gather", "group", "race", "completed", "barrier"):
        return [kind, [below() for _ in range(chance.randrange(1, 4))]]
    return [kind, below(), chance.randrange(1, 20)]


@workflow.defn
class Program:
    """Runs a random program, and says what it saw."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.signals = 0
        self.lock = asyncio.Lock()

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def poke(self, seconds: int) -> None:
        self.signals += 1
        await asyncio.sleep(seconds)
        self.say("poked")

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)  # type: ignore[arg-type]
    async def change(self, n: int) -> int:
        async with self.lock:
            await workflow.step(lambda: n, name="changing")
        self.say(f"changed {n}")
        return self.signals

    @workflow.query
    def heard(self) -> list[str]:
        return self.log

    def say(self, what: str) -> None:
        self.log.append(f"{what} at {workflow.time():.0f}")

    @workflow.run
    async def run(self, program: Node) -> list[str]:
        try:
            await self.do(program)
        except (BaseExceptionGroup, TimeoutError) as error:
            raise ApplicationError(type(error).__name__) from None
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise ApplicationError("cancelled within") from None
            raise
        return self.log

    async def do(self, program: Node) -> None:
        kind, rest = program[0], program[1:]
        await getattr(self, f"do_{kind}")(*rest)
        self.say(kind)

    async def do_sleep(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    async def do_act(self, kind: str, n: int) -> None:
        cancellation_type = workflow.ActivityCancellationType(kind)
        found = await workflow.execute_activity(
            "work", n, cancellation_type=cancellation_type, start_to_close_timeout=timedelta(seconds=500),
            retry_policy=RetryPolicy(maximum_attempts=2),
        )  # fmt: skip
        self.say(f"worked {found}")

    async def do_step(self, kind: str, n: int) -> None:
        cancellation_type = workflow.ActivityCancellationType(kind)
        found = await workflow.step(work, n, cancellation_type=cancellation_type)
        self.say(f"stepped {found}")

    async def do_chance(self, count: int) -> None:
        for _ in range(count):
            self.say(f"{workflow.random().random()} {workflow.uuid4()}")
        if workflow.random().random() < 0.1:
            raise ApplicationError("bad luck")

    async def do_seq(self, programs: list[Node]) -> None:
        for program in programs:
            await self.do(program)

    async def do_gather(self, programs: list[Node]) -> None:
        found = await asyncio.gather(*map(self.do, programs), return_exceptions=len(programs) > 1)
        self.say(str([type(item).__name__ for item in found]))

    async def do_group(self, programs: list[Node]) -> None:
        async with asyncio.TaskGroup() as group:
            for program in programs:
                group.create_task(self.do(program))

    async def do_race(self, programs: list[Node]) -> None:
        tasks = {asyncio.create_task(self.do(program)) for program in programs}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        self.say(str([type(item).__name__ for item in found]))

    async def do_completed(self, programs: list[Node]) -> None:
        for first in workflow.as_completed([self.do(program) for program in programs], timeout=30):
            await first
            self.say("one of them")

    async def do_timeout(self, program: Node, seconds: int) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.do(program)
        except TimeoutError:
            self.say("late")

    async def do_shield(self, program: Node, seconds: int) -> None:
        task = asyncio.create_task(self.do(program))
        try:
            await asyncio.wait_for(asyncio.shield(task), seconds)
        except TimeoutError:
            self.say("outside is late")
            await task

    async def do_await(self, seconds: int) -> None:
        wanted = self.signals + 1
        try:
            await workflow.wait_condition(lambda: self.signals >= wanted, timeout=3 * seconds)
        except TimeoutError:
            self.say("nobody poked")

    async def do_locked(self, program: Node, seconds: int) -> None:
        async with asyncio.Lock() if self.lock.locked() else self.lock:
            await self.do(program)

    async def do_queue(self, count: int) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def fill() -> None:
            for n in range(count):
                await asyncio.sleep(1)
                await queue.put(n)

        filling = asyncio.create_task(fill())
        for _ in range(count):
            self.say(f"took {await queue.get()}")
        await filling

    async def do_barrier(self, programs: list[Node]) -> None:
        barrier = asyncio.Barrier(len(programs))

        async def meet(program: Node) -> None:
            try:
                await self.do(program)
            except FailureError:
                self.say("met though it failed")
            await barrier.wait()

        await asyncio.gather(*map(meet, programs))

    async def do_cancel(self, program: Node, seconds: int) -> None:
        task = asyncio.create_task(self.do(program))
        await asyncio.wait([task], timeout=seconds)
        task.cancel()
        await asyncio.wait([task])
        self.say("cancelled" if task.cancelled() else type(task.exception()).__name__)

    async def do_cleanup(self, program: Node, n: int) -> None:
        try:
            await self.do(program)
        finally:
            await self.do_step(CANCELLATION_TYPES[n % 3], n)

    async def do_catch(self, program: Node, n: int) -> None:
        try:
            await self.do(program)
        except FailureError as error:
            self.say(f"caught {type(error).__name__} from {type(error.__cause__).__name__}")

    async def do_child(self, program: Node, n: int) -> None:
        found = await workflow.execute_child_workflow(
            Program.run, program, cancellation_type=list(workflow.ChildWorkflowCancellationType)[n % 4]
        )
        self.say(f"child saw {len(found)}")


def work(n: int) -> int:
    if n % 7 == 0:
        raise ValueError(f"{n} is bad")
    return n


class World:
    """One random program with one random interleaving. ``memory``: how many runs keep their code in memory."""

    def __init__(self, seed: int, *, memory: int = 1000, takeovers: bool = False) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.takeovers = takeovers
        self.partition = Partition([Program], room=Room(instances=memory), chunk_bytes=self.chance.choice([200, 2048]))
        self.program = node(self.chance, 3)
        self.owner = self._owner()
        self.seen = 0
        self.tasks: dict[tuple[str, int, int], r.TaskRecord] = {}
        self.partition.start("main", "Program", self.program)

    def _owner(self) -> Owner:
        owner = Owner(self.partition)
        owner.activities = None
        owner.hold_steps = True
        return owner

    def run(self) -> World:
        for _ in range(40):
            self.act(self.chance.random())
        for _ in range(300):
            if not any(wf.live for wf in self.owner.shard.workflows.values()):
                break
            self.act(0.0 if self.chance.random() < 0.7 else 0.4)
        if self.owner.shard.workflow("main").live is not None:
            self.partition.send("main", r.TerminateWorkflow(self.partition.request(), "enough"))
        self.settle()
        self.drop()
        return self

    def drop(self) -> None:
        """As a host does when a partition goes: code that is left to the collector runs in the middle of other code."""
        for live in list(self.owner.shard.instances.values()):
            self.owner.shard.drop_instance(live)
        self.owner.shard.closed_runs.clear()

    def act(self, what: float) -> None:
        partition, chance = self.partition, self.chance
        self.settle()
        if what < 0.35:
            self.end_something()
        elif what < 0.65:
            self.owner.pass_time(chance.choice([0.5, 1, 2, 5, 20]))
        elif what < 0.75:
            self.send(r.SignalWorkflow("poke", [partition.payload(chance.randrange(5))], request=partition.request()))
        elif what < 0.82:
            update = [partition.payload(chance.randrange(9))]
            self.send(r.UpdateWorkflow(partition.request(), f"u{chance.randrange(10**6)}", "change", update))
        elif what < 0.86:
            self.send(r.CancelWorkflow("please", request=partition.request()))
        elif what < 0.95:
            self.send(r.QueryWorkflow(partition.request(), "heard"))
        elif self.takeovers:
            self.drop()
            self.owner = self._owner()
            self.owner.run()
            self.owner.pass_time(0)

    def send(self, body: Any) -> None:
        self.partition.send("main", body)

    def settle(self) -> None:
        """Let everything that is on its way arrive."""
        self.owner.run()
        for effect in self.partition.emitted[self.seen :]:
            if isinstance(effect, fx.SendTask) and effect.task is not None:
                task = effect.task
                self.tasks[task.run_id, task.seq, task.attempt] = task
        self.seen = len(self.partition.emitted)
        assert not self.owner.shard.parked, [live.parked for live in self.owner.shard.parked.values()]

    def end_something(self) -> None:
        """An activity or a step, whichever; failures and cancellations among them."""
        steps = self.owner.held_steps
        choices = len(self.tasks) + len(steps)
        if not choices:
            self.owner.pass_time(1)
            return
        place = self.chance.randrange(choices)
        if place < len(steps):
            self.owner.end_step(steps.pop(place))
            return
        key = list(self.tasks)[place - len(steps)]
        self._end_activity(self.tasks.pop(key))

    def _end_activity(self, task: r.TaskRecord) -> None:
        partition, luck = self.partition, self.chance.random()
        result, failure = None, None
        if luck < 0.7:
            result = partition.payload(int(luck * 1000))
        elif luck < 0.8:
            failure = r.Failure(r.FailureKind.CANCELLED, "Cancelled")
        else:
            failure = r.Failure(r.FailureKind.APPLICATION, "bad", "Bad", non_retryable=luck < 0.9)
        body = r.ActivityResult(task.run_id, task.seq, task.attempt, "worker", partition.now_ms, result, failure)
        partition.send(task.workflow_id, body)

    # ------------------------------------------------------------------------------------------ what must hold

    def histories(self) -> dict[tuple[str, str], list[r.Event]]:
        found: dict[tuple[str, str], bytes] = {}
        for record, blocks in self.partition.archive:
            found[record.workflow_id, record.run_id] = found.get((record.workflow_id, record.run_id), b"") + blocks
        return {key: Codec().decode_events(blocks) for key, blocks in found.items()}

    def digest(self) -> str:
        """Of all histories: what a process with other hashes must find, too."""
        told = hashlib.sha256()
        for (workflow_id, run_id), events in sorted(self.histories().items()):
            told.update(f"{workflow_id} {run_id}".encode())
            told.update(Codec().encode_events(events))
        return told.hexdigest()

    def check(self) -> None:
        """Each history, replayed from scratch, gives exactly the commands that it records."""
        histories = self.histories()
        assert any(workflow_id == "main" for workflow_id, _ in histories)
        for (workflow_id, run_id), events in histories.items():
            assert replayed(Program, workflow_id, run_id, events) == recorded(events), workflow_id


def recorded(events: Sequence[r.Event]) -> list[bytes]:
    return [encoded(event.body) for event in events if isinstance(event.body, COMMAND_TYPES)]


def replayed(code: type, workflow_id: str, run_id: str, events: Sequence[r.Event]) -> list[bytes]:
    converter = DataConverter.default
    instance = WorkflowInstance(
        Definition.of(code), workflow_id, run_id, "test", converter.payload_converter, converter.failure_converter
    )
    made: list[bytes] = []
    apply = instance.apply

    def noting(event: Any, time_ms: int) -> list[Any]:
        commands = apply(event, time_ms)
        made.extend(encoded(command) for command in commands)
        return commands

    instance.apply = noting  # type: ignore[method-assign]
    try:
        ended_from_outside = isinstance(events[-1].body, r.RunTerminated | r.RunTimedOut)
        instance.replay(events[:-1] if ended_from_outside else events)
    finally:
        del instance.apply
        instance.close()
    return made


def encoded(body: Any) -> bytes:
    return Codec().encode_events([r.Event(0, 0, body)])


def check_seed(seed: int) -> str:
    """Raises ``AssertionError`` unless code kept, code evicted at every point, and a replay from scratch agree."""
    kept = World(seed).run()
    kept.check()
    evicted = World(seed, memory=0).run()
    assert evicted.digest() == kept.digest(), "a run that is evicted after each of its steps goes another way"
    World(seed, memory=seed % 2, takeovers=True).run().check()
    return kept.digest()


def main(first: int, count: int) -> int:
    failed = []
    for seed in range(first, first + count):
        try:
            check_seed(seed)
        except Exception as error:
            failed.append(seed)
            print(f"seed {seed}: {type(error).__name__}: {error}\n  {command(seed)}", flush=True)  # noqa: T201
            if count == 1:
                raise
    print(f"{count} seeds from {first}: {len(failed)} failed {failed[:20]}")  # noqa: T201
    return 1 if failed else 0


def command(seed: int) -> str:
    """What repeats one seed."""
    return f"make properties FIRST={seed} SEEDS=1"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
