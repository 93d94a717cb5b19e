"""How work is retried, ordered and told apart. The enum values are what stands in the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar

from odradek.schemas import records

_MILLISECOND = timedelta(milliseconds=1)
COUNT_MAX = 2**31 - 1


@dataclass
class RetryPolicy:
    """How an activity or a workflow is tried again.

    The wait before attempt n + 1 is ``initial_interval * backoff_coefficient ** (n - 1)``, up to ``maximum_interval``.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    """None: 100 times ``initial_interval``."""
    maximum_attempts: int = 0
    """Attempts in all, the first included; 0: no limit, 1: no retry."""
    non_retryable_error_types: Sequence[str] | None = None
    """Values of ``ApplicationError.type``; for other exceptions this is the name of the class."""

    def validate(self) -> None:
        """Raises ``ValueError`` naming the field at fault. The intervals of a policy without retries do not matter."""
        if self.maximum_attempts < 0:
            raise _invalid("maximum_attempts", self.maximum_attempts, "0 (no limit) or more")
        if self.maximum_attempts > COUNT_MAX:
            raise _invalid("maximum_attempts", self.maximum_attempts, f"{COUNT_MAX} at most")
        if isinstance(self.non_retryable_error_types, str):
            raise _invalid("non_retryable_error_types", self.non_retryable_error_types, "a list, not one string")
        if self.maximum_attempts == 1:
            return
        if self.initial_interval < timedelta():
            raise _invalid("initial_interval", self.initial_interval, "zero or more")
        if not 1 <= self.backoff_coefficient < math.inf:
            raise _invalid("backoff_coefficient", self.backoff_coefficient, "a finite number, 1 or more")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            limit = f"initial_interval ({self.initial_interval}) or more"
            raise _invalid("maximum_interval", self.maximum_interval, limit)

    def to_record(self) -> records.RetryPolicy:
        """The policy as it stands in records; validates it first."""
        self.validate()
        if self.maximum_attempts == 1:  # its intervals may be anything
            return records.RetryPolicy(
                maximum_attempts=1, non_retryable_error_types=tuple(self.non_retryable_error_types or ())
            )
        return records.RetryPolicy(
            initial_interval_ms=self.initial_interval // _MILLISECOND,
            backoff_coefficient=float(self.backoff_coefficient),
            maximum_interval_ms=None if self.maximum_interval is None else self.maximum_interval // _MILLISECOND,
            maximum_attempts=self.maximum_attempts,
            non_retryable_error_types=tuple(self.non_retryable_error_types or ()),
        )

    @staticmethod
    def from_record(record: records.RetryPolicy) -> RetryPolicy:
        maximum_ms = record.maximum_interval_ms
        return RetryPolicy(
            initial_interval=timedelta(milliseconds=record.initial_interval_ms),
            backoff_coefficient=record.backoff_coefficient,
            maximum_interval=None if maximum_ms is None else timedelta(milliseconds=maximum_ms),
            maximum_attempts=record.maximum_attempts,
            non_retryable_error_types=list(record.non_retryable_error_types) or None,
        )


def _invalid(field: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"ODR-048: {field} of a retry policy is {value}, and must be {wanted}")


class WorkflowIDReusePolicy(StrEnum):
    """What happens when a workflow is started under the ID of a closed one that is still remembered."""

    ALLOW_DUPLICATE = "allow-duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow-duplicate-failed-only"
    """Only when that one did not complete."""
    REJECT_DUPLICATE = "reject-duplicate"
    TERMINATE_IF_RUNNING = "terminate-if-running"
    """As ``ALLOW_DUPLICATE`` with ``WorkflowIDConflictPolicy.TERMINATE_EXISTING``, which says it better."""


class WorkflowIDConflictPolicy(StrEnum):
    """What happens when a workflow is started under the ID of a running one. ``UNSPECIFIED`` means ``FAIL``."""

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    """The caller gets a handle to the running one."""
    TERMINATE_EXISTING = "terminate-existing"
    UNSPECIFIED = "fail"


class ActivityIDReusePolicy(StrEnum):
    """What happens when an activity is started under the ID of one that is over and still remembered.

    ``UNSPECIFIED`` means ``ALLOW_DUPLICATE``.
    """

    ALLOW_DUPLICATE = "allow-duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow-duplicate-failed-only"
    """Only when that one did not complete."""
    REJECT_DUPLICATE = "reject-duplicate"
    UNSPECIFIED = "allow-duplicate"


class ActivityIDConflictPolicy(StrEnum):
    """What happens when an activity is started under the ID of one that is not over. ``UNSPECIFIED`` means ``FAIL``."""

    FAIL = "fail"
    USE_EXISTING = "use-existing"
    """The caller gets a handle to that one."""
    UNSPECIFIED = "fail"


class QueryRejectCondition(StrEnum):
    """In which states of the run a query is turned away rather than answered."""

    NONE = "none"
    NOT_OPEN = "not-open"
    NOT_COMPLETED_CLEANLY = "not-completed-cleanly"


class VersioningBehavior(StrEnum):
    """Whether a run stays with the build that started it, or moves on to newer ones."""

    UNSPECIFIED = "unspecified"
    PINNED = "pinned"
    AUTO_UPGRADE = "auto-upgrade"


@dataclass(frozen=True)
class WorkerDeploymentVersion:
    """The name of what is deployed, and which build of it."""

    deployment_name: str
    build_id: str

    def to_canonical_string(self) -> str:
        return f"{self.deployment_name}.{self.build_id}"

    @staticmethod
    def from_canonical_string(canonical: str) -> WorkerDeploymentVersion:
        """Raises ``ValueError`` for a text without a dot."""
        name, dot, build_id = canonical.partition(".")
        if not dot:
            raise ValueError(f"{canonical!r} is not of the form <deployment name>.<build ID>")
        return WorkerDeploymentVersion(name, build_id)


class VersioningOverride:
    """Which version a run is on, whatever its own behaviour is; see the subclasses."""


@dataclass(frozen=True)
class PinnedVersioningOverride(VersioningOverride):
    """The run begins on the version of its code that has the name ``version.build_id``, whatever the newest one is.

    It stays there unless its class says ``VersioningBehavior.AUTO_UPGRADE``.
    """

    version: WorkerDeploymentVersion


@dataclass(frozen=True)
class AutoUpgradeVersioningOverride(VersioningOverride):
    """The run begins on the newest version of its code, as every run does."""


class HeaderCodecBehavior(StrEnum):
    """Which headers the payload codec is applied to."""

    NO_CODEC = "no-codec"
    CODEC = "codec"
    WORKFLOW_ONLY_CODEC = "workflow-only-codec"


@dataclass(frozen=True)
class Priority:
    """Which of the tasks that wait in a queue comes first. None: as the parent has it, else the default.

    ``priority_key`` 1 is the most urgent; tasks of equal priority are shared out by ``fairness_key``, in proportion to
    its weight (1 by default). A fairness key may have 64 characters.
    """

    priority_key: int | None = None
    fairness_key: str | None = None
    fairness_weight: float | None = None

    default: ClassVar[Priority]

    def __post_init__(self) -> None:
        key: object = self.priority_key
        if key is not None and (not isinstance(key, int) or isinstance(key, bool)):
            raise TypeError(f"priority_key must be an integer, not {key!r}")
        if self.priority_key is not None and self.priority_key < 1:
            raise ValueError(f"priority_key must be 1 (most urgent) or more, not {self.priority_key}")
        if self.priority_key is not None and self.priority_key > COUNT_MAX:
            raise ValueError(f"priority_key may be {COUNT_MAX} at most, not {self.priority_key}")
        if self.fairness_weight is not None and not 0.001 <= self.fairness_weight <= 1000:
            raise ValueError(f"fairness_weight must be from 0.001 to 1000, not {self.fairness_weight}")

    def to_record(self) -> records.TaskPriority | None:
        """None: nothing is said."""
        if self == Priority.default:
            return None
        return records.TaskPriority(self.priority_key or 0, self.fairness_key or "", self.fairness_weight or 0.0)

    @staticmethod
    def from_record(record: records.TaskPriority | None) -> Priority:
        if record is None:
            return Priority.default
        return Priority(record.key or None, record.fairness_key or None, record.fairness_weight or None)


Priority.default = Priority()
