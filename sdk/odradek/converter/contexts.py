"""What a converter, a codec or a failure converter may know about the workflow or activity whose values it handles."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from odradek.common.standalone import activity_name

T = TypeVar("T")


class SerializationContext(ABC):  # noqa: B024 -- a common name for the two
    """Whom values belong to: ``WorkflowSerializationContext`` or ``ActivitySerializationContext``."""


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """Input, output, messages and memo of a workflow. For a child, in its parent's code, the child's ID."""

    namespace: str
    workflow_id: str


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """Input, result, heartbeats and failure of an activity: equal where its workflow schedules it and where it runs."""

    namespace: str
    activity_id: str | None
    activity_type: str | None
    activity_task_queue: str | None
    workflow_id: str | None
    workflow_type: str | None
    is_local: bool = False

    @staticmethod
    def of_standalone(namespace: str, workflow_id: str) -> ActivitySerializationContext:
        """Of an activity without a workflow, by the ID of the run that it is. A handle to it knows no more."""
        return ActivitySerializationContext(namespace, activity_name(workflow_id), None, None, None, None)


class WithSerializationContext(ABC):  # noqa: B024 -- it is a mixin, with a default that complains
    """For a ``PayloadConverter``, ``PayloadCodec``, ``FailureConverter`` or ``EncodingPayloadConverter`` that wants it.

    Those that do not implement it are never asked, and cost nothing.
    """

    def with_context(self, context: SerializationContext) -> Self:
        """A copy for this context. Called inside workflows, too: no I/O, and the same for the same context."""
        raise NotImplementedError

    @property
    def takes_context(self) -> bool:
        """Whether ``with_context`` makes a difference; for what is made of parts."""
        return True


def takes_context(thing: Any) -> bool:
    """Whether ``in_context`` would change anything."""
    return isinstance(thing, WithSerializationContext) and thing.takes_context


def in_context(thing: T, context: SerializationContext) -> T:
    """The thing itself, unless it takes a context."""
    if isinstance(thing, WithSerializationContext) and thing.takes_context:
        return thing.with_context(context)
    return thing
