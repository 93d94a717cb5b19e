"""The converters of one run: its own, and those for the values of an activity, a step, a child or another workflow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from odradek.converter import (
    ActivitySerializationContext,
    FailureConverter,
    PayloadConverter,
    SerializationContext,
    WorkflowSerializationContext,
)
from odradek.converter.coded import CodedPayloadConverter
from odradek.converter.contexts import in_context, takes_context
from odradek.schemas import records as r

Converters: TypeAlias = tuple[PayloadConverter, FailureConverter]


class Conversion:
    """Where no converter takes a context, all are the same ones."""

    __slots__ = ("_base", "_ids", "_task_queue", "_workflow_type", "replaying")

    def __init__(self, namespace: str, workflow_id: str, base: Converters) -> None:
        self._ids = (namespace, workflow_id)
        self._base = base
        self._workflow_type = self._task_queue = ""
        self.replaying = False

    @staticmethod
    def of_run(namespace: str, workflow_id: str, base: Converters) -> Conversion | None:
        """None where no converter takes a context: the common case, which costs nothing more."""
        if not (takes_context(base[0]) or takes_context(base[1])):
            return None
        return Conversion(namespace, workflow_id, base)

    def began(self, workflow_type: str, task_queue: str) -> None:
        self._workflow_type, self._task_queue = workflow_type, task_queue

    def of_workflow(self, workflow_id: str | None = None, namespace: str = "") -> Converters:
        """For this workflow, or another one."""
        own_namespace, own_id = self._ids
        return self._made(WorkflowSerializationContext(namespace or own_namespace, workflow_id or own_id))

    def of_activity(self, activity_id: str, name: str, task_queue: str | None, *, is_local: bool = False) -> Converters:
        namespace, workflow_id = self._ids
        queue = task_queue or self._task_queue
        return self._made(
            ActivitySerializationContext(
                namespace, activity_id, name, queue, workflow_id, self._workflow_type, is_local
            )
        )

    def _made(self, context: SerializationContext) -> Converters:
        converter, failures = self._base
        converter = in_context(converter, context)
        if isinstance(converter, CodedPayloadConverter):
            converter.stores = not self.replaying
        return converter, in_context(failures, context)


def inline(converter: PayloadConverter) -> PayloadConverter:
    """The same converter, storing nothing elsewhere."""
    return converter.without_storage() if type(converter) is CodedPayloadConverter else converter


def failure_bytes(failure: r.Failure | None) -> int:
    """What a failure takes with its causes, about."""
    size = 0
    while failure is not None:
        size += len(failure.message) + len(failure.stack_trace)
        size += sum(len(payload.data) for payload in failure.details or ())
        size += len(failure.encoded.data) if failure.encoded else 0
        failure = failure.cause
    return size


def counted_bytes(converter: PayloadConverter, payloads: Iterable[r.Payload]) -> int:
    """What payloads made by this converter add to the size of the history."""
    if type(converter) is CodedPayloadConverter:
        return converter.counted_bytes(payloads)
    return sum(len(payload.data) for payload in payloads)
