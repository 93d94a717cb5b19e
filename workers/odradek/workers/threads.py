"""Cancellation of an activity that runs in a thread: an exception raised there from outside, unless it is shielded."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from odradek.exceptions import CancelledError

T = TypeVar("T")


class ThreadCancellation:
    """One per attempt in a thread. ``raises`` False: the flag is all that the activity hears."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._shields = 0
        self._pending = False

    def cancel(self) -> None:
        """From any thread."""
        with self._lock:
            self._pending = self._raises
            self._raise_if_due()

    def run(self, function: Callable[..., T], arguments: Sequence[Any]) -> T:
        """Call the function in this thread; a cancellation can be raised from its first line to its last."""
        with self._lock:
            if self._pending:
                raise CancelledError("Cancelled")
            self._thread_id = threading.get_ident()
        try:
            return function(*arguments)
        finally:
            self._leave()

    @contextmanager
    def shielded(self) -> Iterator[None]:
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                self._raise_if_due()

    def _leave(self) -> None:
        with self._lock:
            thread_id, self._thread_id = self._thread_id, None
        if thread_id is not None:
            # One that was raised too late would hit the pool's own code.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), None)

    def _raise_if_due(self) -> None:
        if self._pending and self._thread_id is not None and not self._shields:
            self._pending = False
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread_id), ctypes.py_object(CancelledError)
            )
