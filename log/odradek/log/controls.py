"""What operators have said of task queues and workflow types: durable in the workers topic, followed by every process.

The last record of a key counts; a tombstone lifts what was said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from odradek.log.errors import LogUnavailable
from odradek.log.interface import Record
from odradek.log.namespace import Namespace
from odradek.schemas.codec import Codec
from odradek.schemas.errors import SchemaError
from odradek.schemas.limits import problem
from odradek.schemas.records import QueueControl, TypeControl, WorkersRecord

_QUEUE: Final = b"q\0"
_TYPE: Final = b"t\0"
_APPEND_SECONDS: Final = 30.0


def queue_key(task_queue: str) -> bytes:
    return _QUEUE + task_queue.encode()


def type_key(workflow_type: str) -> bytes:
    return _TYPE + workflow_type.encode()


def is_control(key: bytes) -> bool:
    """Whether a record of the workers topic with this key says what operators want."""
    return key[:2] in (_QUEUE, _TYPE)


class Controls:
    """A fold of the workers topic. Belongs to one thread, but ``queues`` and ``types`` may be looked up from others."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.queues: dict[str, QueueControl] = {}
        self.types: dict[str, TypeControl] = {}

    def fold(self, records: Iterable[Record]) -> bool:
        """Take in records of the workers topic, in order; whether any of them was a control."""
        found = False
        for record in records:
            key = record.key or b""
            if is_control(key):
                self._take(key, record.value)
                found = True
        return found

    def _take(self, key: bytes, value: bytes | None) -> None:
        name = key[2:].decode(errors="replace")
        controls: dict[str, QueueControl] | dict[str, TypeControl] = self.queues if key[:2] == _QUEUE else self.types
        if value is None:
            controls.pop(name, None)
            return
        try:
            body = self._codec.decode(WorkersRecord, value).body
        except SchemaError:
            return  # of a newer build, or damaged: what was said before goes on
        if problem(body) is not None or getattr(body, "tasks_per_second", None) == 0:
            return  # no build of ours says so
        if isinstance(body, QueueControl):
            self.queues[name] = body
        elif isinstance(body, TypeControl):
            self.types[name] = body


def write_control(namespace: Namespace, control: QueueControl | TypeControl) -> None:
    """Say this of a queue or a type, in the place of what was said before. Raises ``LogUnavailable``."""
    value: bytes | None = namespace.codec.encode(WorkersRecord(control))
    if isinstance(control, TypeControl):
        key = type_key(control.workflow_type)
    else:
        key = queue_key(control.task_queue)
        if control.paused_ms is None and control.tasks_per_second is None:
            value = None
    _append(namespace, key, value)


def lift_type_control(namespace: Namespace, workflow_type: str) -> None:
    """Let the code of this type run. Raises ``LogUnavailable``."""
    _append(namespace, type_key(workflow_type), None)


def _append(namespace: Namespace, key: bytes, value: bytes | None) -> None:
    log, topic = namespace.log, namespace.topics.workers
    answers: list[Exception | None] = []
    appender = log.appender()
    appender.append(topic, 0, key, value, lambda _, error: answers.append(error))
    appender.close(timeout_seconds=_APPEND_SECONDS)
    if answers != [None]:
        reason = answers[0] if answers else f"no acknowledgement within {_APPEND_SECONDS:g} s"
        raise LogUnavailable(log.address, f"{topic} may not have taken what was said: {reason}")
