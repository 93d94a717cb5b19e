"""Finds workflow code that does not come back, by the CPU time that its thread has used, and interrupts it.

The stack says which activation runs, so that an activation itself costs nothing. What becomes of the run is the core's
business.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Final, NamedTuple

from odradek.orchestrator.core.instance import (
    CODE_RUNS_IN,
    Deadlocked,
    WorkflowDeadlock,
    WorkflowInstance,
    instance_of,
)
from odradek.orchestrator.core.questions import stack_trace

TICK_SECONDS_MAX: Final = 0.25
FRAMES_SHOWN: Final = 8
ENGINE: Final = ("odradek.orchestrator.", "asyncio.")


class Insistent(Deadlocked):
    """Who catches it meets the next one in the first line of the handler, which that handler does not catch."""

    def __init__(self) -> None:
        super().__init__()
        frame: FrameType | None = sys._getframe(1)
        end = _running(frame)
        while frame is not None and frame is not end:
            frame.f_trace = _raise_again
            frame = frame.f_back
        sys.settrace(_raise_again)


def _raise_again(frame: FrameType, event: str, argument: object) -> None:
    sys.settrace(None)
    if _running(frame) is not None:
        raise Deadlocked


class Deadlock(NamedTuple):
    """An activation that was interrupted."""

    workflow_type: str
    message: str


class DeadlockDetector:
    """Watches one thread. ``start`` and ``stop`` are for that thread; a limit of 0 watches nothing.

    On the main thread a timer of the process interrupts the code, while it computes only, and regular expressions, too.
    Elsewhere, or where the application uses that timer itself, a thread looks: it cannot interrupt a call into C that
    keeps the interpreter to itself, such as a regular expression. Where the platform does not tell the CPU time of a
    thread (macOS) that thread goes by the time of the whole process.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.found: deque[Deadlock] = deque()
        """Those that nobody has reported yet."""
        self._limit_seconds = limit_seconds
        self._tick_seconds = min(TICK_SECONDS_MAX, limit_seconds / 4)
        self._running: FrameType | None = None
        self._since_seconds = 0.0
        self._noted = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_timer = False

    def start(self) -> None:
        if self._limit_seconds <= 0:
            return
        if _is_timer_free():
            self._has_timer = True
            signal.signal(signal.SIGVTALRM, self._on_signal)
            signal.siginterrupt(signal.SIGVTALRM, False)
            signal.setitimer(signal.ITIMER_VIRTUAL, self._tick_seconds, self._tick_seconds)
        else:
            watched = threading.get_ident()
            self._thread = threading.Thread(
                target=self._watch, args=(watched, _cpu_clock(watched)), name="odradek-deadlocks", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._has_timer:
            self._has_timer = False
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, signal.SIG_IGN)  # one more may be on its way
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._running = None

    # ------------------------------------------------------------------------------------------ two ways to look

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        found = self.look(frame, time.thread_time())
        if found is not None:
            raise found

    def _watch(self, watched: int, cpu_seconds: Callable[[], float]) -> None:
        while not self._stop.wait(self._tick_seconds):
            self._look_from_outside(watched, cpu_seconds())

    def _look_from_outside(self, watched: int, cpu_seconds: float) -> None:
        found = self.look(sys._current_frames().get(watched), cpu_seconds)
        if found is not None:
            raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
            raise_in(ctypes.c_ulong(watched), ctypes.py_object(found))
            if _running(sys._current_frames().get(watched)) is not self._running:
                raise_in(ctypes.c_ulong(watched), None)  # it came back by itself between the look and now

    # ------------------------------------------------------------------------------------------ one look

    def look(self, frame: FrameType | None, cpu_seconds: float) -> type[Deadlocked] | None:
        """What to raise into the code that runs in ``frame``, if it is the same activation for too long."""
        running = _running(frame)
        if running is None or running is not self._running:
            self._running, self._since_seconds, self._noted = running, cpu_seconds, False
            return None
        used_seconds = cpu_seconds - self._since_seconds
        if used_seconds < self._limit_seconds:
            return None
        if self._noted:  # it has swallowed the last interruption
            return Insistent
        self._noted = True
        self._note(running, frame, used_seconds)
        return Deadlocked

    def _note(self, running: FrameType, frame: FrameType | None, used_seconds: float) -> None:
        instance = instance_of(running.f_locals["self"])
        message = (
            f'ODR-087: the code of workflow "{instance._ids[1]}" of type "{instance.workflow_type}" used '
            f"{used_seconds:.1f} s of CPU time without coming back, more than the {self._limit_seconds:g} s that one "
            "activation may: end the loop, or move the work to an activity or a step. It stood at\n"
            f"{_stack(frame, running, instance)}"
        )
        instance.interrupt(WorkflowDeadlock(message))
        self.found.append(Deadlock(instance.workflow_type, message))


def _running(frame: FrameType | None) -> FrameType | None:
    """The innermost call below which the code of a run is run."""
    while frame is not None and frame.f_code not in CODE_RUNS_IN:
        frame = frame.f_back
    return frame


def _stack(frame: FrameType | None, running: FrameType, instance: WorkflowInstance) -> str:
    """The user's part of the stack, innermost last; between two steps of tasks, where these wait."""
    frames: list[FrameType] = []
    while frame is not None and frame is not running:
        frames.append(frame)
        frame = frame.f_back
    frames = [frame for frame in frames if not _is_engine(frame)][:FRAMES_SHOWN][::-1]
    if not frames:
        return stack_trace(instance)
    calls = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames)
    return "".join(traceback.format_list(calls)).rstrip()


def _is_engine(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(ENGINE)


def _is_timer_free() -> bool:
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGVTALRM) in (signal.SIG_DFL, signal.SIG_IGN)
        and signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0
    )


def _cpu_clock(thread: int) -> Callable[[], float]:
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(thread)
        return lambda: time.clock_gettime(clock)
    return time.process_time
