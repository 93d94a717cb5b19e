"""What clients, orchestrators and workers agree on about standalone activities: reserved names, and how options travel.

A standalone activity is a run of a built-in workflow that every orchestrator hosts. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from odradek.common.identifiers import WORKFLOW_ID_BYTES_MAX
from odradek.schemas.records import ActivityTimeouts, Payload, RetryPolicy

ACTIVITY: Final = "__activity"
LANE: Final = "__lane"
_MARK: Final = ":"
_ACTIVITY_PREFIX: Final = ACTIVITY + _MARK
ACTIVITY_ID_BYTES_MAX: Final = WORKFLOW_ID_BYTES_MAX - len(_ACTIVITY_PREFIX)
TIMED_OUT: Final = "__timed_out"
"""In the memo of a standalone activity that has failed by a time limit."""


def workflow_type_of(activity_type: str) -> str:
    """Of the run that is the activity: what listings need of it stands in its type."""
    return _ACTIVITY_PREFIX + activity_type


def workflow_id_of(activity_id: str) -> str:
    """Raises ``ValueError`` for what cannot be an activity ID."""
    return _ACTIVITY_PREFIX + _checked("the ID of an activity", activity_id)


def _checked(what: str, given: str) -> str:
    value: object = given
    is_text = isinstance(value, str) and "\0" not in value
    if not is_text or not 0 < len(given.encode(errors="replace")) <= ACTIVITY_ID_BYTES_MAX:
        raise ValueError(
            f"ODR-200: {what} is a text of 1 to {ACTIVITY_ID_BYTES_MAX} bytes without NUL characters, "
            f"and {given!r:.80} is not"
        )
    return given


def lane_of(ordering_key: str) -> str:
    """The workflow ID of what lets the activities of this key run one after the other.

    Raises ``ValueError`` for what cannot be a key.
    """
    return LANE + _MARK + _checked("an ordering key", ordering_key)


def is_standalone(name: str) -> bool:
    """Whether a workflow type, or a workflow ID, is that of a standalone activity."""
    return name.startswith(_ACTIVITY_PREFIX)


def is_built_in(name: str) -> bool:
    """Whether a workflow type, or a workflow ID, is reserved for what is built in."""
    return name.partition(_MARK)[0] in (ACTIVITY, LANE)


def activity_name(name: str) -> str:
    """The activity's own type, or ID, of the run's."""
    return name.removeprefix(_ACTIVITY_PREFIX)


def owner_of(workflow_id: str) -> str:
    """Whose an activity is, in words."""
    return f'ID "{activity_name(workflow_id)}"' if is_standalone(workflow_id) else f'workflow "{workflow_id}"'


@dataclass(frozen=True, slots=True)
class StandaloneOptions:
    """What a start says beside the activity's arguments; stands before them in the run's input."""

    timeouts: ActivityTimeouts
    retry_policy: RetryPolicy
    ordering_key: str = ""

    def to_payload(self) -> Payload:
        """Not encoded by any codec: the orchestrator reads it, and there is nothing of the user's data in it."""
        t, p = self.timeouts, self.retry_policy
        return _payload(
            t.schedule_to_close_ms,
            t.schedule_to_start_ms,
            t.start_to_close_ms,
            t.heartbeat_ms,
            p.initial_interval_ms,
            p.backoff_coefficient,
            p.maximum_interval_ms,
            p.maximum_attempts,
            tuple(p.non_retryable_error_types),
            self.ordering_key,
        )

    @staticmethod
    def of(payload: Payload) -> StandaloneOptions:
        return _options(payload.data)


_FIELDS: Final = (
    "schedule_to_close_ms",
    "schedule_to_start_ms",
    "start_to_close_ms",
    "heartbeat_ms",
    "initial_interval_ms",
    "backoff_coefficient",
    "maximum_interval_ms",
    "maximum_attempts",
    "non_retryable_error_types",
    "ordering_key",
)
_DEFAULTS: Final = (None, None, None, None, 1000, 2.0, None, 0, (), "")


@lru_cache(1024)
def _payload(*values: object) -> Payload:
    """What is not the default. Few starts say something of their own."""
    facts = {name: value for name, value, usual in zip(_FIELDS, values, _DEFAULTS, strict=True) if value != usual}
    return Payload("json/plain", json.dumps(facts).encode())


@lru_cache(1024)
def _options(data: bytes) -> StandaloneOptions:
    facts = json.loads(data)
    values = [facts.get(name, usual) for name, usual in zip(_FIELDS, _DEFAULTS, strict=True)]
    *limits, initial_ms, coefficient, maximum_ms, attempts, types, ordering_key = values
    policy = RetryPolicy(initial_ms, coefficient, maximum_ms, attempts, tuple(types))
    return StandaloneOptions(ActivityTimeouts(*limits), policy, ordering_key)
