"""Keys of history records.

Each names the claim that it was written under, so that no late record can replace a newer owner's.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

CLAIM = b"\0claim\0"
MARK = b"\0mark\0"
CHECKPOINT = b"\0checkpoint\0"


_NUMBER: Final = re.compile(rb"\d{1,18}")
_RUN_KEY: Final = re.compile(rb"([^\0]+)\0([^\0]*)\0([cpsx])(\d{1,18})\0(\d{1,18})")


class Key(NamedTuple):
    """``kind``: c(hunk), p(rogress), s(ummary) or x (suspect, without a run ID).

    ``number``: of the chunk or of the activity.
    """

    workflow_id: str
    run_id: str
    kind: str
    number: int
    claim: int


def chunk(workflow_id: str, run_id: str, number: int, claim: int) -> bytes:
    return f"{workflow_id}\0{run_id}\0c{number}\0{claim}".encode()


def progress(workflow_id: str, run_id: str, seq: int, claim: int) -> bytes:
    return f"{workflow_id}\0{run_id}\0p{seq}\0{claim}".encode()


def summary(workflow_id: str, run_id: str, claim: int) -> bytes:
    return f"{workflow_id}\0{run_id}\0s0\0{claim}".encode()


def suspect(workflow_id: str, claim: int) -> bytes:
    """Of the workflow, not of a run: the code may die of a start that is no run yet."""
    return f"{workflow_id}\0\0x0\0{claim}".encode()


def prefix(workflow_id: str) -> bytes:
    return workflow_id.encode() + b"\0"


def claim(token: str) -> bytes:
    return CLAIM + token.encode()


def mark(claim: int) -> bytes:
    return MARK + str(claim).encode()


def checkpoint(claim: int) -> bytes:
    return CHECKPOINT + str(claim).encode()


def parse(key: bytes) -> Key | None:
    """The parts of a run's key; None for claims, marks and checkpoints. Raises ``ValueError`` for anything else."""
    if key.startswith(b"\0"):
        return None
    found = _RUN_KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key[:200]!r} is no key of a history record")
    workflow_id, run_id, kind, number, claim = found.groups()
    return Key(workflow_id.decode(), run_id.decode(), kind.decode(), int(number), int(claim))


def claim_of(key: bytes) -> int | None:
    """The claim that a record stands under; None for a claim itself, and for what is no record of ours."""
    if key.startswith((MARK, CHECKPOINT)):
        number = key.rpartition(b"\0")[2]
        return int(number) if _NUMBER.fullmatch(number) else None
    try:
        parsed = parse(key)
    except ValueError:
        return None
    return parsed.claim if parsed else None
