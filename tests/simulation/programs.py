"""The user code of the simulation: random trees of everything that a workflow can do, and activities that chance fails.

Whatever a workflow decides carries the time of its decision: two decisions on one input can be told apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, Final

from odradek import activity, workflow
from odradek.common import RetryPolicy
from odradek.exceptions import ApplicationError, FailureError
from tests.orchestrator.random_workflows import KINDS, LEAVES, Node, Program, shaped, work

QUEUE: Final = "work"
OWN_KINDS: Final = ("saga", "saga", "tell", "tell", "act", "child", "cancel_other", "spawn")
LIMITS: Final[dict[str, Any]] = {"start_to_close_timeout": timedelta(seconds=30)}


@dataclass
class Stage:
    """What user code touches of the world that it runs in."""

    chance: Random = field(default_factory=Random)
    bugs: set[str] = field(default_factory=set)
    """Which defects the code has now."""
    began: Callable[[activity.Info, Any], int] = lambda info, what: 0
    """Told of each attempt that begins; its number."""


STAGE: Final = Stage()


def tree(chance: Random, depth: int, peers: list[str]) -> Node:
    """A random program; ``peers`` are workflows that it may send something to."""
    kinds = (*LEAVES, "saga", "tell") if depth == 0 else (*KINDS, *OWN_KINDS)
    kind = chance.choice(kinds)
    if kind == "saga":
        return [kind, chance.randrange(1, 4), chance.random() < 0.5]
    if kind in ("tell", "cancel_other"):
        return [kind, chance.choice(peers), chance.randrange(1, 4)]
    if kind == "spawn":
        return [kind, tree(chance, depth - 1, peers), chance.randrange(3)]
    return shaped(kind, chance, lambda: tree(chance, depth - 1, peers))


@workflow.defn
class Life(Program):
    """A program with sagas, messages to others, children, continue-as-new, and defects that are mended one day."""

    def __init__(self) -> None:
        super().__init__()
        self.heard_of: list[list[Any]] = []
        self.sagas = 0

    @workflow.signal
    def hear(self, sender: str, number: int) -> None:
        self.heard_of.append([sender, number, workflow.time_ns()])

    @workflow.signal
    def trip(self, bug: str) -> None:
        if bug in STAGE.bugs:
            raise RuntimeError(bug)

    @workflow.update
    async def ask(self, number: int) -> list[Any]:
        await asyncio.sleep(number % 3)
        return [number, workflow.time_ns()]

    @ask.validator
    def check(self, number: int) -> None:
        if number % 5 == 0:
            raise ApplicationError("not this one")

    @workflow.run
    async def run(self, program: Node, turns: int = 0, bug: str = "") -> list[str]:
        try:
            await super().run(program)
        finally:
            await self._sagas_over()
        if bug in STAGE.bugs:
            raise RuntimeError(bug)
        await workflow.wait_condition(workflow.all_handlers_finished)
        if turns:
            workflow.continue_as_new(args=[program, turns - 1])
        return self.log

    async def _sagas_over(self) -> None:
        """What is half undone is undone, also where the code that began it is not waited for any more."""
        while self.sagas:
            with suppress(asyncio.CancelledError):
                await workflow.wait_condition(lambda: not self.sagas)

    async def do_act(self, kind: str, n: int) -> None:
        found = await workflow.execute_activity(
            act,
            args=[n, workflow.time_ns()],
            cancellation_type=workflow.ActivityCancellationType(kind),
            heartbeat_timeout=timedelta(seconds=8) if n % 3 == 0 else None,
            retry_policy=RetryPolicy(maximum_attempts=3),
            **LIMITS,
        )
        self.say(f"acted {found}")

    async def do_step(self, kind: str, n: int) -> None:
        found = await workflow.step(
            work,
            n,
            cancellation_type=workflow.ActivityCancellationType(kind),
            retry_policy=RetryPolicy(maximum_attempts=2),
        )
        self.say(f"stepped {found}")

    async def do_saga(self, steps: int, fails: bool) -> None:
        key = str(workflow.uuid4())
        self.sagas += 1
        try:
            async with workflow.saga(**LIMITS) as saga:
                for step in range(steps):
                    saga.compensate(undo, key, step)
                    await workflow.execute_activity(do, args=[key, step, workflow.time_ns()], **LIMITS)
                if fails:
                    raise ApplicationError("changed its mind")
        except FailureError as error:
            self.say(f"undone {type(error).__name__}")
        finally:
            self.sagas -= 1

    async def do_tell(self, other: str, count: int) -> None:
        sender = str(workflow.uuid4())
        for number in range(count):
            try:
                await workflow.get_external_workflow_handle(other).signal("hear", args=[sender, number])
            except FailureError as error:
                self.say(f"not heard {type(error).__name__}")

    async def do_cancel_other(self, other: str, n: int) -> None:
        if n > 1:
            return
        try:
            await workflow.get_external_workflow_handle(other).cancel()
        except FailureError as error:
            self.say(f"not cancelled {type(error).__name__}")

    async def do_child(self, program: Node, n: int) -> None:
        found = await workflow.execute_child_workflow(
            Life.run,
            args=[program, int(n % 7 == 0)],
            cancellation_type=list(workflow.ChildWorkflowCancellationType)[n % 4],
            parent_close_policy=list(workflow.ParentClosePolicy)[n % 3],
        )
        self.say(f"child saw {len(found)}")

    async def do_spawn(self, program: Node, n: int) -> None:
        """A child that may outlive its parent."""
        child = await workflow.start_child_workflow(
            Life.run, args=[program], parent_close_policy=list(workflow.ParentClosePolicy)[n % 3]
        )
        for number in range(n):
            await child.signal("hear", args=[f"parent of {child.id}", number])


@activity.defn
async def act(n: int, decided_ns: int) -> int:
    """Takes nothing, a moment, or so long that it is handed over; now and then it fails."""
    info, luck = activity.info(), STAGE.chance.random()
    number = STAGE.began(info, decided_ns)
    if luck < 0.1:
        raise ApplicationError("flaky")
    if luck < 0.13:
        raise ApplicationError("never", non_retryable=True)
    if luck < 0.3:
        for _ in range(STAGE.chance.randrange(1, 6)):
            activity.heartbeat(number)
            await asyncio.sleep(1 + STAGE.chance.random())
    elif luck < 0.5:
        await asyncio.sleep(STAGE.chance.random() / 5)
    return number


@activity.defn
async def do(key: str, step: int, decided_ns: int) -> int:
    number = STAGE.began(activity.info(), [key, step, decided_ns])
    if STAGE.chance.random() < 0.1:
        raise ApplicationError("no", non_retryable=STAGE.chance.random() < 0.5)
    return number


@activity.defn
async def undo(key: str, step: int) -> int:
    number = STAGE.began(activity.info(), [key, step])
    if STAGE.chance.random() < 0.1:
        raise ApplicationError("not yet")
    return number


ACTIVITIES: Final[list[Callable[..., Any]]] = [act, do, undo]
