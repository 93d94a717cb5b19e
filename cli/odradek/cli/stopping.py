"""SIGTERM and SIGINT: the first asks to stop in order, a second SIGINT ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

import click

from odradek.cli.exits import ExitCode

_PARENT_SECONDS: Final = 0.5


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` in the main thread when the process is asked to end."""
    interrupted = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted and number == signal.SIGINT:
            os._exit(ExitCode.INTERRUPTED)
        interrupted = interrupted or number == signal.SIGINT
        if number == signal.SIGINT:
            click.echo("\nStopping in order; Ctrl-C again ends it at once.", err=True)
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def heed_stop_signal() -> None:
    """SIGTERM ends the process until a command has more to say of it.

    That goes without saying but for the first process of a container: the kernel keeps signals from it for which it has
    no handler, so a pod that is told to go while it starts would be killed at the end of its grace period.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def on_parent_gone(parent: int, stop: Callable[[], None]) -> None:
    """Call ``stop`` in a thread once the process that started this one is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(_PARENT_SECONDS)
        stop()

    threading.Thread(target=watch, name="odradek-parent", daemon=True).start()
