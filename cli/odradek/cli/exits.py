"""Exit codes, so that scripts can tell what happened. They are part of the command's contract: numbers never change."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How the command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    NEWER_SCHEMA = 5
    UNREACHABLE = 6
    CONFLICT = 7
    DAMAGED = 8
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "it failed, or a check found something wrong",
    ExitCode.USAGE: "the command line, a module or an argument is not valid",
    ExitCode.NOT_FOUND: "no such workflow, namespace or topic",
    ExitCode.TIMEOUT: "no answer in time; what was asked for may still happen",
    ExitCode.NEWER_SCHEMA: "a record was written by a newer odradek: deploy that one",
    ExitCode.UNREACHABLE: "the log, or the schema registry, does not answer",
    ExitCode.CONFLICT: "the workflow ID is in use",
    ExitCode.DAMAGED: "the code fits, but histories of open runs cannot be read, whatever the code",
    ExitCode.INTERRUPTED: "interrupted from the keyboard",
}


def epilog() -> str:
    """The codes as a paragraph of the help."""
    lines = "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
    return f"\b\nExit codes:\n{lines}"
