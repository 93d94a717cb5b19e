"""What asyncio offers and a workflow cannot have, since no replay could repeat it; each with what to write instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NoReturn

_STEP = "call it as a step (workflow.step) or an activity"
_OUTSIDE = "the outside world is for steps (workflow.step) and activities"
_THREAD = "another thread reaches a workflow by a signal or an update of its handle in the client"
_RUNS = "the workflow's loop runs already: await the coroutine, or start it with asyncio.create_task"
_LOOP = "the loop belongs to the run: leave it as it is"

INSTEAD: Final = {
    "run_in_executor": _STEP,
    "set_default_executor": _STEP,
    "shutdown_default_executor": _LOOP,
    "call_soon_threadsafe": _THREAD,
    "run_until_complete": _RUNS,
    "run_forever": _RUNS,
    "stop": _LOOP,
    "set_task_factory": _LOOP,
    "set_exception_handler": _LOOP,
    "set_debug": _LOOP,
    "shutdown_asyncgens": _LOOP,
    "add_signal_handler": _OUTSIDE,
    "remove_signal_handler": _OUTSIDE,
    "add_reader": _OUTSIDE,
    "remove_reader": _OUTSIDE,
    "add_writer": _OUTSIDE,
    "remove_writer": _OUTSIDE,
    "getaddrinfo": _OUTSIDE,
    "getnameinfo": _OUTSIDE,
    "create_connection": _OUTSIDE,
    "create_server": _OUTSIDE,
    "create_datagram_endpoint": _OUTSIDE,
    "create_unix_connection": _OUTSIDE,
    "create_unix_server": _OUTSIDE,
    "connect_accepted_socket": _OUTSIDE,
    "connect_read_pipe": _OUTSIDE,
    "connect_write_pipe": _OUTSIDE,
    "start_tls": _OUTSIDE,
    "sendfile": _OUTSIDE,
    "sock_accept": _OUTSIDE,
    "sock_connect": _OUTSIDE,
    "sock_recv": _OUTSIDE,
    "sock_recv_into": _OUTSIDE,
    "sock_recvfrom": _OUTSIDE,
    "sock_recvfrom_into": _OUTSIDE,
    "sock_sendall": _OUTSIDE,
    "sock_sendfile": _OUTSIDE,
    "sock_sendto": _OUTSIDE,
    "subprocess_exec": _OUTSIDE,
    "subprocess_shell": _OUTSIDE,
}
_TASKS_FILE: Final = asyncio.tasks.__file__
ENSURE_FUTURE: Final = getattr(asyncio.tasks, "_ensure_future", asyncio.tasks.ensure_future).__code__


class RefusedInWorkflow(RuntimeError):
    """Something that workflow code cannot have."""

    code = "ODR-143"

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(what, instead)
        self.what, self.instead = what, instead

    def __str__(self) -> str:
        return f"{self.code}: workflow code cannot use {self.what}: {self.instead}"


def refused(name: str) -> Callable[..., NoReturn]:
    """A method of the loop that says what to write instead."""

    def refuse(self: Any, *args: Any, **options: Any) -> NoReturn:
        raise RefusedInWorkflow(f"loop.{name}()", INSTEAD[name])

    refuse.__name__ = name
    return refuse


def refuse_unordered(ensuring: FrameType | None) -> None:
    """``asyncio.as_completed`` makes tasks of coroutines in the order of a set, which is that of their addresses."""
    frame = ensuring
    while frame is not None and frame.f_code.co_filename == _TASKS_FILE:
        if frame.f_code.co_name in ("as_completed", "__init__"):
            raise RefusedInWorkflow(
                "asyncio.as_completed() with coroutines, whose order differs from process to process",
                "use workflow.as_completed, or make tasks of them first (asyncio.create_task)",
            )
        frame = frame.f_back


def refuse_all_tasks(asking: FrameType | None) -> None:
    """``asyncio.all_tasks`` reads a set of the whole process, and its order is that of the whole process."""
    while asking is not None and asking.f_code.co_filename.endswith(("asyncio/futures.py", "asyncio/tasks.py")):
        if asking.f_code.co_name == "all_tasks":
            raise RefusedInWorkflow(
                "asyncio.all_tasks(), whose order differs from process to process",
                "keep the tasks that you start in a list",
            )
        asking = asking.f_back
