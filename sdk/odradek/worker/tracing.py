"""A workflow instance that remembers where in the user's code each command was made. For replays that explain."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, SupportsIndex

from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.orchestrator.core.loop import DeterministicLoop

_OURS = tuple(f"{folder}/" for folder in sys.modules["odradek"].__path__)
_STDLIB = sysconfig.get_path("stdlib") + "/"


class TracedInstance(WorkflowInstance):
    """``current`` are the commands that the code answered the latest input with, ``input`` that input."""

    input: Any = None
    current: TracedCommands | None = None

    def apply(self, event: Any, time_ms: int) -> list[Any]:
        self.input = event
        super().apply(event, time_ms)
        assert self.current is not None
        self.current = TracedCommands(self.current, self.current.places)
        return self.current

    @property
    def _commands(self) -> list[Any]:
        assert self.current is not None
        return self.current

    @_commands.setter
    def _commands(self, commands: list[Any]) -> None:
        self.current = TracedCommands(commands)

    def waits_at(self) -> str:
        """Where the main method waits now; empty when it is over."""
        main = self._main
        return "" if main is None or main.done() else _place_of_task(main)

    def stands_at(self) -> str:
        """Where the main method begins."""
        return _place(self.definition.run.__code__, self.definition.run.__code__.co_firstlineno)


class TracedCommands(list[Any]):
    """The commands of one activation, each with the place in the user's code where it was made."""

    def __init__(self, commands: list[Any], places: dict[int, str] | None = None) -> None:
        super().__init__(commands)
        self.places: dict[int, str] = places or {}
        """By the identity of the command."""
        self.taken: list[Any] = []
        """What has been compared with history so far."""
        self.exhausted = False
        """History had more to compare."""

    def append(self, command: Any) -> None:
        self.places[id(command)] = _calling_place()
        super().append(command)

    def __setitem__(self, place: SupportsIndex | slice, command: Any) -> None:
        if not isinstance(place, slice):
            self.places[id(command)] = self.places.get(id(self[place]), "")
        super().__setitem__(place, command)

    def __iter__(self) -> Iterator[Any]:
        for command in super().__iter__():
            self.taken.append(command)
            yield command
        self.exhausted = True

    def place(self, command: Any) -> str:
        """``file:line, in function``; empty for what the user's code did not ask for by itself."""
        return self.places.get(id(command), "")


def _calling_place() -> str:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if not _is_ours(frame.f_code):
            return _place(frame.f_code, frame.f_lineno)
        if frame.f_code is _RUN_READY:
            return ""  # what lies below is not the workflow
        frame = frame.f_back
    return ""


def _place_of_task(task: asyncio.Task[Any]) -> str:
    """The innermost frame of the user's code in the chain of awaits."""
    found = ""
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not _is_ours(frame.f_code):
            found = _place(frame.f_code, frame.f_lineno)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found


def _is_ours(code: CodeType) -> bool:
    """The engine's code, the workflow API's, and the standard library's: no place that the user could change."""
    name = code.co_filename
    return name.startswith(_OURS) or (name.startswith(_STDLIB) and "site-packages" not in name)


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_filename}:{line}, in {code.co_qualname}"


_RUN_READY = DeterministicLoop.run_ready.__code__
