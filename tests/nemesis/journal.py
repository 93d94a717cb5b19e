"""What the clients asked for and heard, each operation with its times: the evidence of the checker."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Final

from odradek.client import WorkflowUpdateRPCTimeoutOrCancelledError
from odradek.exceptions import OdradekError
from odradek.service import RPCError, RPCStatusCode

OK: Final = "ok"
UNKNOWN: Final = "unknown"
"""It ran out of time: it may have happened, and may still happen."""
FAILED: Final = "failed"
PARKED: Final = "ODR-088"
"""Its process died three times in succession: it is run again after a minute or more, and answers nothing meanwhile."""


@dataclass
class Operation:
    """``number`` is unique; the times are those of the host's clock, in seconds, ``ended`` that of an answer."""

    kind: str
    subject: str
    number: int
    began: float
    ended: float = inf
    outcome: str = UNKNOWN
    value: Any = None
    attempts: int = 1

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class Journal:
    def __init__(self) -> None:
        self.operations: list[Operation] = []

    @contextmanager
    def operation(self, kind: str, subject: str) -> Iterator[Operation]:
        """Notes how the block ends, for an operation that takes one attempt; the block sets its value."""
        operation = Operation(kind, subject, len(self.operations), time.time())
        self.operations.append(operation)
        with self.attempt(operation):
            yield operation

    @contextmanager
    def attempt(self, operation: Operation) -> Iterator[None]:
        """One more attempt at it."""
        try:
            yield
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            return
        except OdradekError as error:
            late = isinstance(error, RPCError) and error.status is RPCStatusCode.DEADLINE_EXCEEDED
            if late or PARKED in str(error):
                return
            operation.outcome, operation.value = FAILED, repr(error)
        else:
            operation.outcome = OK
        operation.ended = time.time()

    def of(self, *kinds: str, subject: str | None = None) -> list[Operation]:
        return [each for each in self.operations if each.kind in kinds and subject in (None, each.subject)]

    def counts(self) -> dict[str, Counter[str]]:
        """By kind and outcome."""
        counts: dict[str, Counter[str]] = {}
        for operation in self.operations:
            counts.setdefault(operation.kind, Counter())[operation.outcome] += 1
        return counts

    def write(self, path: Path) -> None:
        path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in self.operations))
