"""The threads of the product as actors: what is one round of each, and what stands in for what they wait on.

A thread that is not named here cannot be started: nothing of a seed may depend on the operating system.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

from odradek.client.pump import Pump
from odradek.orchestrator import archives
from odradek.workers.fetcher import Fetcher
from odradek.workers.sender import Sender
from tests.simulation.host import Actor, Hosts

Rounds = Iterator[None]
UNSTEPPED = ("odradek-orchestrator-watch",)
"""It sets gauges, and decides nothing."""


class SimulatedEvent:
    """``threading.Event`` among actors: who waits lets others go on."""

    hosts: Hosts

    def __init__(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._is_set:
            self.hosts.wait(min(timeout or 0.0, 0.01))
        return self._is_set


class SimulatedQueue:
    """``queue.SimpleQueue``: who finds it empty has waited for a moment."""

    hosts: Hosts

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not self._items:
            self.hosts.now += min(timeout or 0.0, 0.001)
            self.hosts.network()
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def empty(self) -> bool:
        return not self._items

    def qsize(self) -> int:
        return len(self._items)


class SimulatedThreads:
    """A pool whose work is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        function(*arguments)
        return Future()

    def shutdown(self, **_: Any) -> None: ...


def fetching(fetcher: Fetcher) -> Rounds:
    with ExitStack() as readers:
        membership = fetcher._join(readers)
        while not fetcher._closing:
            fetcher._guarded_round(membership)
            yield
        fetcher._leave(membership)


def sending(sender: Sender) -> Rounds:
    sender._appender = sender._homes.own.namespace.log.appender()
    while not sender._closing:
        sender._step()
        yield
    sender._say_goodbye()


def reading_replies(pump: Pump) -> Rounds:
    reader = pump._log.reader()
    pump._wake_reader = reader.wake
    while not pump._stopping.is_set():
        pump._guarded_round(reader)
        yield
    reader.close()


def hearing_of_appends(pump: Pump) -> Rounds:
    while not pump._stopping.is_set():
        if pump._unacknowledged.is_set() and not pump._hear()[1]:
            pump._unacknowledged.clear()
        yield
    pump._close_appender()


def rounds_of(thread: threading.Thread) -> tuple[Rounds, Callable[[], bool]] | None:
    always = lambda: True  # noqa: E731
    if isinstance(thread, Fetcher):
        return fetching(thread), always
    if isinstance(thread, Sender):
        return sending(thread), always
    target: Any = thread._target  # type: ignore[attr-defined]
    pump: Any = getattr(target, "__self__", None)
    if thread.name == "odradek-client-replies":
        return reading_replies(pump), always
    if thread.name == "odradek-client-acks":
        return hearing_of_appends(pump), lambda: pump._unacknowledged.is_set() or pump._stopping.is_set()
    assert thread.name in UNSTEPPED, f"a thread that nobody steps: {thread.name}"
    return None


def stepped(actor_of: dict[threading.Thread, Actor], hosts: Hosts, thread: threading.Thread) -> None:
    """In place of ``Thread.start``."""
    found, process = rounds_of(thread), hosts.current
    assert process is not None
    if found is None:
        return
    rounds, wanted = found

    def turn() -> None:
        try:
            next(rounds)
        except StopIteration:
            actor.end()

    actor = actor_of[thread] = process.do(thread.name.partition("-")[2], turn, wanted)


def joined(
    actor_of: dict[threading.Thread, Actor], hosts: Hosts, thread: threading.Thread, timeout: float | None = None
) -> None:
    """In place of ``Thread.join``: nothing else is worth waiting for, so that one goes on."""
    actor = actor_of.get(thread)
    until = hosts.now + (60 if timeout is None else timeout)
    while actor is not None and not actor.is_over and hosts.now < until:
        if actor.process.alive and not actor.busy:
            hosts.apart(actor)
        hosts.wait(0.001)


def _method(function: Callable[..., None]) -> Callable[..., None]:
    def method(thread: threading.Thread, *arguments: Any) -> None:
        function(thread, *arguments)

    return method


def simulated_threads(hosts: Hosts) -> ExitStack:
    """While this is open the product's threads are actors."""
    patched, actor_of = ExitStack(), dict[threading.Thread, Actor]()
    SimulatedEvent.hosts = SimulatedQueue.hosts = hosts
    for target, name, stand_in in (
        (threading, "Event", SimulatedEvent),
        (queue, "SimpleQueue", SimulatedQueue),
        (archives, "ThreadPoolExecutor", SimulatedThreads),
    ):
        patched.enter_context(mock.patch.object(target, name, stand_in))
    start, join = partial(stepped, actor_of, hosts), partial(joined, actor_of, hosts)
    for name, function in (("start", start), ("join", join)):
        patched.enter_context(mock.patch.object(threading.Thread, name, _method(function)))
    return patched
