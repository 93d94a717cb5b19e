"""What a simulated process stands on: time, chance, threads that are no threads, and an event loop that never waits.

Nothing here knows odradek. One ``Hosts`` belongs to one seed; while it is entered the clock, the IDs and the chance of
the interpreter are its own.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self
from unittest import mock

from odradek.log.clock import Clock

EPOCH_MS: Final = 1_800_000_000_000
TRACED: Final = 5000
DEPTH_MAX: Final = 4
"""How deep turns may stand in turns: one that waits lets others go on meanwhile."""


class Trace:
    """The last events, in words only when somebody wants to read them."""

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[tuple[int, float, str, str, tuple[Any, ...]]] = deque(maxlen=TRACED)

    def add(self, at: float, who: str, what: str, facts: tuple[Any, ...]) -> None:
        self.count += 1
        self._last.append((self.count, at, who, what, facts))

    def lines(self, count: int = 300) -> list[str]:
        return [
            f"{number:6d} {at:12.3f} s  {who:<22} {what} {' '.join(map(str, facts))}".rstrip()
            for number, at, who, what, facts in list(self._last)[-count:]
        ]


class Died(BaseException):
    """The process died in the middle of this call."""


class Actor:
    """What a thread of a process does, one turn at a time."""

    def __init__(self, process: Process, name: str, turn: Callable[[], None], wanted: Callable[[], bool]) -> None:
        self.process = process
        self.name = name
        self.turn = turn
        self.wanted = wanted
        """Whether a turn would do anything."""
        self.busy = False

    @property
    def is_over(self) -> bool:
        return self not in self.process.actors

    def end(self) -> None:
        if not self.is_over:
            self.process.actors.remove(self)


class Process:
    """A process that may pause, wake late and die. Its clock is not the clock of others."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self.hosts = hosts
        self.name = name
        self.skew_ms = hosts.chance.randrange(-1500, 1500)
        self.alive = True
        self.paused_until = 0.0
        self.slow = False
        """Reads little at a time."""
        self.actors: list[Actor] = []
        self.clock = ProcessClock(self)
        self.loop = SimulatedLoop(self)
        self.do("loop", self.loop.turn, self.loop.is_due)
        self.dies_in: int | None = None
        """It dies when it has called the log or its store this often."""
        self.on_death: list[Callable[[], None]] = []
        self.on_pause: list[Callable[[bool], None]] = []
        hosts.processes.append(self)

    @property
    def runs(self) -> bool:
        return self.alive and self.paused_until <= self.hosts.now

    def now_ms(self) -> int:
        return EPOCH_MS + int(self.hosts.now * 1000) + self.skew_ms

    def do(self, name: str, turn: Callable[[], None], wanted: Callable[[], bool] = lambda: True) -> Actor:
        actor = Actor(self, name, turn, wanted)
        self.actors.append(actor)
        return actor

    def note(self, what: str, *facts: Any) -> None:
        self.hosts.trace.add(self.hosts.now, self.name, what, facts)

    def pause(self, seconds: float) -> None:
        self.note("PAUSED for", f"{seconds:.1f} s")
        self.paused_until = self.hosts.now + seconds
        for told in self.on_pause:
            told(True)

    def wake(self) -> None:
        self.paused_until = 0.0
        for told in self.on_pause:
            told(False)

    def touch(self) -> None:
        """It calls something outside of it. Raises ``Died`` when it is dead, or dies with this."""
        if not self.alive:
            raise Died
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                self.note("DIES in the middle of its work")
                self.die()
                raise Died

    def die(self) -> None:
        """At once; what the network has of it may still arrive."""
        if self.alive:
            self.alive = False
            self.hosts.processes.remove(self)
            self.hosts.graves.append(self)
            for told in self.on_death:
                told()


class ProcessClock(Clock):
    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return self._process.now_ms()


class Hosts:
    """Time, chance and the processes of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self._ids = random.Random(seed)
        self.now = 100.0
        self.trace = Trace()
        self.processes: list[Process] = []
        self.graves: list[Process] = []
        """What the dead held: code that a collector ends would run in the middle of other code."""
        self.current: Process | None = None
        self.happened: Counter[str] = Counter()
        """How often each kind of trouble came about."""
        self.failure: BaseException | None = None
        """What a callback of an event loop raised, so that nobody else heard of it."""
        self.network: Callable[[], bool] = lambda: False
        """One move of what is on its way."""
        self._depth = 0
        self._entered = ExitStack()

    # ------------------------------------------------------------------------------------------ the interpreter

    def __enter__(self) -> Self:
        enter = self._entered.enter_context
        gc.disable()
        self._entered.callback(gc.enable)
        for name, fake in {
            "monotonic": lambda: self.now,
            "time": lambda: self._wall_ms() / 1000,
            "time_ns": lambda: self._wall_ms() * 1_000_000,
            "sleep": self.wait,
        }.items():
            enter(mock.patch.object(time, name, fake))
        enter(mock.patch.object(uuid, "uuid4", self._id))
        chance = random.getstate()
        self._entered.callback(random.setstate, chance)
        random.seed(self.seed)
        disabled = logging.root.manager.disable
        self._entered.callback(logging.disable, disabled)
        logging.disable(logging.CRITICAL)
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.close()

    def _id(self) -> uuid.UUID:
        return uuid.UUID(int=self._ids.getrandbits(128), version=4)

    def _wall_ms(self) -> int:
        return self.current.now_ms() if self.current else EPOCH_MS + int(self.now * 1000)

    # ------------------------------------------------------------------------------------------ turns

    def note(self, what: str, *facts: Any) -> None:
        self.trace.add(self.now, "world", what, facts)

    def run(self, actor: Actor) -> None:
        """One turn, as if the thread of this actor had its share of time."""
        before, self.current = self.current, actor.process
        actor.busy = True
        self._depth += 1
        try:
            actor.turn()
        except Died:
            if actor.process.alive:
                raise
        finally:
            self._depth -= 1
            actor.busy = False
            self.current = before

    def ready(self) -> list[Actor]:
        return [
            actor
            for process in self.processes
            if process.runs
            for actor in process.actors
            if not actor.busy and actor.wanted()
        ]

    def wait(self, seconds: float) -> None:
        """Somebody blocks: meanwhile time passes, the network goes on, and perhaps others."""
        self.now += seconds
        if self.current is not None:
            self.current.touch()
        self.network()
        if self._depth < DEPTH_MAX and (ready := self._in_reach()):
            self.apart(self.chance.choice(ready))

    def _in_reach(self) -> list[Actor]:
        """Mostly the threads of the process that waits, since it waits for them."""
        ready = self.ready()
        own = [actor for actor in ready if actor.process is self.current]
        return own if own and self.chance.random() < 0.8 else ready

    def apart(self, actor: Actor) -> None:
        """A turn within a turn; each has an event loop of its own running, or none."""
        loop = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self.run(actor)
        finally:
            asyncio._set_running_loop(loop)


class _NoSelector:
    def select(self, timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None: ...


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop of one process: a turn runs what is due, threads are calls, and nothing ever waits."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process
        self._selector = _NoSelector()
        self.set_exception_handler(self._failed)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and not isinstance(error, Died):
            self._process.hosts.failure = self._process.hosts.failure or error

    def time(self) -> float:
        return self._process.hosts.now

    def is_due(self) -> bool:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        return bool(ready or (scheduled and scheduled[0].when() <= self.time()))

    def turn(self) -> None:
        asyncio._set_running_loop(self)
        try:
            self._run_once()  # type: ignore[attr-defined]
        finally:
            asyncio._set_running_loop(None)

    @property
    def due(self) -> float | None:
        """When it has something to do next."""
        if self._ready:  # type: ignore[attr-defined]
            return self.time()
        scheduled = [handle.when() for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        return min(scheduled, default=None)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        asyncio._set_running_loop(None)
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        finally:
            asyncio._set_running_loop(self)
        return future

    def _process_events(self, event_list: Sequence[Any]) -> None: ...

    def _write_to_self(self) -> None: ...

    def end(self) -> None:
        """Close what is suspended here, and what that begins; what awaits something on its way out is closed again."""
        asyncio._set_running_loop(self)
        closed: set[asyncio.Task[Any]] = set()
        while left := asyncio.all_tasks(self) - closed:
            closed |= left
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                for _ in range(10):
                    try:
                        task.get_coro().close()
                        break
                    except (Exception, Died):
                        continue
        asyncio._set_running_loop(None)
        self.close()
