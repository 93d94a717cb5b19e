"""How much trouble a seed really made: what the product had to refuse, repeat and throw away, counted where it does."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

from odradek.log import LogError
from odradek.orchestrator import owned
from odradek.orchestrator.core.attempts import Attempts
from odradek.orchestrator.core.careful import Careful, TakesProcessDown
from odradek.orchestrator.core.decide import Decide
from odradek.orchestrator.core.inputs import Inputs
from odradek.orchestrator.core.shard import Shard
from odradek.orchestrator.core.workflow import LiveRun
from odradek.orchestrator.core.writer import HistoryWriter
from odradek.orchestrator.host import Orchestrator
from odradek.workers.fetcher import Fetcher
from odradek.workers.intake import Intake
from odradek.workers.sender import Sender
from tests.simulation.host import Hosts

WRONG = "WRONG: "
"""How the name of what must not happen begins."""
Judge = Callable[[Any, tuple[Any, ...], Any], str]
"""From what a method belongs to, was called with and returned to the name of what happened; empty: nothing."""


def _fenced(writer: HistoryWriter, arguments: tuple[Any, ...], _: Any) -> str:
    return "zombie refused" if "claimed" in arguments[0] and not writer.fenced else ""


def _result(shard: Any, arguments: tuple[Any, ...], found: Any) -> str:
    live, seq, _ = arguments
    activity = live.run.activities.get(seq)
    return "late or duplicate result refused" if found is None and activity is None else ""


def _message(shard: Any, arguments: tuple[Any, ...], found: Any) -> str:
    origin = arguments[4]
    return "duplicate message refused" if found is None and origin is not None else ""


def _parked(_: Any, arguments: tuple[Any, ...], __: Any) -> str:
    message = str(arguments[1])
    if isinstance(arguments[1], TakesProcessDown):
        return "innocent suspect parked"  # chance has killed what ran its code, again and again
    return "parked" if message == "RuntimeError: bug" else f"{WRONG}parked for no good reason: {message}"


def _broken(host: Orchestrator, arguments: tuple[Any, ...], __: Any) -> str:
    error = arguments[1]
    if host._trouble is not None:
        return "acknowledgement behind a lost one refused"
    shown = "".join(traceback.format_exception(error)[-4:])
    return "" if isinstance(error, LogError) else f"{WRONG}a partition failed: {shown}"


COUNTED: list[tuple[Any, str, Judge]] = [
    (HistoryWriter, "fence", _fenced),
    (HistoryWriter, "gap_read", lambda *_: "gap read"),
    (HistoryWriter, "catch_up", lambda _, arguments, __: "outputs emitted again" if arguments[0] else ""),
    (Shard, "_count_reassertion", lambda *_: "reassertion"),
    (Shard, "_late", lambda *_: "late record answered"),
    (Inputs, "answered_before", lambda _, __, found: "duplicate request refused" if found else ""),
    (Inputs, "open_run", _message),
    (Attempts, "_current", _result),
    (Attempts, "worker_lost", lambda *_: "worker lost"),
    (Intake, "_is_repeated", lambda _, __, found: "repeated task refused" if found else ""),
    (Fetcher, "lost", lambda *_: "tasks' partition lost"),
    (Sender, "_renew_appender", lambda *_: "worker's appender replaced"),
    (Sender, "announce", lambda *_: "hand-over"),
    (LiveRun, "begin_next_chunk", lambda *_: "chunk sealed"),
    (Decide, "begin_successor", lambda _, __, found: "run followed by another" if found else ""),
    (Careful, "try_again", lambda *_: "innocent suspect tried again"),
    (owned.OwnedPartition, "_restored", lambda *_: "restore"),
    (Decide, "_park", _parked),
    (Orchestrator, "partition_failed", _broken),
]


def _counting(happened: Counter[str], whole: Callable[..., Any], judge: Judge) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        before = judge(self, arguments, None) if judge is _fenced else ""
        found = whole(self, *arguments, **named)
        what = before or judge(self, arguments, found)
        if what:
            happened[what] += 1
        return found

    return method


def counted(hosts: Hosts) -> ExitStack:
    """While this is open everything above is counted in ``hosts.happened``."""
    patched = ExitStack()
    for owner, name, judge in COUNTED:
        whole = getattr(owner, name)
        patched.enter_context(mock.patch.object(owner, name, _counting(hosts.happened, whole, judge)))
    return patched
