"""Proxies between the processes and the brokers, whose connections can be cut, or swallow what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Thread
from typing import Final, Self

from odradek.testing.cluster import Door

READ_BYTES_MAX: Final = 65_536
TO_BROKER: Final = "to"
FROM_BROKER: Final = "from"
BOTH: Final = (TO_BROKER, FROM_BROKER)
CLOSE_SECONDS: Final = 0.2
"""For connections that are just being accepted."""


class Link:
    """One route to one broker. What it swallows it holds, as a network does that sends again when it can."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.is_cut = False
        self._server: asyncio.Server | None = None
        self._open = {direction: asyncio.Event() for direction in BOTH}
        self._connections: set[asyncio.StreamWriter] = set()
        for gate in self._open.values():
            gate.set()

    async def serve(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.door.advertised_port, limit=READ_BYTES_MAX
        )

    async def close(self) -> None:
        assert self._server is not None
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        await asyncio.sleep(0)  # asyncio leaves a connection open that it has accepted and whose server is gone by then
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Every connection is reset, and so is each new one."""
        self.is_cut = True
        self.reset()

    def swallow(self, directions: Iterable[str]) -> None:
        """Nothing that is sent in these directions arrives, and nobody is told."""
        for direction in directions:
            self._open[direction].clear()

    def reset(self) -> None:
        for connection in tuple(self._connections):
            connection.transport.abort()

    def heal(self) -> None:
        """What was held arrives now, where its connection still stands."""
        self.is_cut = False
        for gate in self._open.values():
            gate.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            if self.is_cut:
                return
            self._connections.add(writer)
            there, back = await asyncio.open_connection("127.0.0.1", self.door.port, limit=READ_BYTES_MAX)
            ends.add(back)
            self._connections.add(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, back, TO_BROKER))
                group.create_task(self._pass_on(there, writer, FROM_BROKER))
        except (OSError, asyncio.CancelledError):
            pass  # nobody waits for this task
        finally:
            self._connections -= ends
            for end in ends:
                end.transport.abort()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: str) -> None:
        gate = self._open[direction]
        with suppress(OSError):
            while data := await source.read(READ_BYTES_MAX):
                await gate.wait()
                target.write(data)
                await target.drain()
        await gate.wait()
        # The end of one direction is the end of both: neither Kafka nor its clients half-close.
        target.close()


class Network:
    """A proxy for each of the given doors that is to have one, in a thread of its own; a context manager."""

    def __init__(self, doors: Mapping[str, Sequence[Door]]) -> None:
        self._doors = doors
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="nemesis-network", daemon=True)
        self._links: dict[tuple[str, int], Link] = {}

    def cut(self, route: str, broker: int) -> None:
        self._do(self._links[route, broker].cut)

    def swallow(self, route: str, broker: int, directions: Iterable[str] = BOTH) -> None:
        self._do(self._links[route, broker].swallow, tuple(directions))

    def heal(self, route: str, broker: int, *, reset: bool = False) -> None:
        """With ``reset`` what was held is lost with its connections."""
        if reset:
            self._do(self._links[route, broker].reset)
        self._do(self._links[route, broker].heal)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, act: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(act, *arguments)

    async def _serve(self) -> None:
        for route, doors in self._doors.items():
            for door in doors:
                if door.advertised_port == door.port:
                    continue
                self._links[route, door.broker] = link = Link(door)
                await link.serve()

    async def _close(self) -> None:
        for link in self._links.values():
            await link.close()
        await asyncio.sleep(CLOSE_SECONDS)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)
