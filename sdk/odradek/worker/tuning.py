"""How much a worker does at a time, in the words of code from elsewhere.

Fixed numbers of activities and local activities take effect. There are no slots of workflow tasks here, and nothing is
sized by the resources of the host: an orchestrator is one thread, and activities wait in Kafka.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from odradek.common import VersioningBehavior, WorkerDeploymentVersion


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """So many at a time."""

    num_slots: int


@dataclass(frozen=True)
class ResourceBasedTunerConfig:
    """Without meaning here."""

    target_memory_usage: float
    target_cpu_usage: float


@dataclass(frozen=True)
class ResourceBasedSlotConfig:
    """Only ``maximum_slots`` has a meaning here: so many at a time."""

    minimum_slots: int | None = None
    maximum_slots: int | None = None
    ramp_throttle: timedelta | None = None


@dataclass(frozen=True)
class ResourceBasedSlotSupplier:
    """So many at a time as ``slot_config.maximum_slots`` says."""

    slot_config: ResourceBasedSlotConfig
    tuner_config: ResourceBasedTunerConfig | None = None

    @property
    def num_slots(self) -> int | None:
        return self.slot_config.maximum_slots


SlotSupplier = FixedSizeSlotSupplier | ResourceBasedSlotSupplier


@dataclass(frozen=True)
class WorkerTuner:
    """How many activities and local activities run at a time; None: as the worker's own options say."""

    activities: int | None = None
    local_activities: int | None = None

    @staticmethod
    def create_fixed(
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
        nexus_slots: int | None = None,
    ) -> WorkerTuner:
        return WorkerTuner(activity_slots, local_activity_slots)

    @staticmethod
    def create_resource_based(
        *,
        target_memory_usage: float,
        target_cpu_usage: float,
        workflow_config: ResourceBasedSlotConfig | None = None,
        activity_config: ResourceBasedSlotConfig | None = None,
        local_activity_config: ResourceBasedSlotConfig | None = None,
        nexus_config: ResourceBasedSlotConfig | None = None,
    ) -> WorkerTuner:
        return WorkerTuner(
            activity_config.maximum_slots if activity_config else None,
            local_activity_config.maximum_slots if local_activity_config else None,
        )

    @staticmethod
    def create_composite(
        *,
        workflow_supplier: SlotSupplier,
        activity_supplier: SlotSupplier,
        local_activity_supplier: SlotSupplier,
        nexus_supplier: SlotSupplier | None = None,
    ) -> WorkerTuner:
        return WorkerTuner(activity_supplier.num_slots, local_activity_supplier.num_slots)


@dataclass(frozen=True)
class PollerBehaviorSimpleMaximum:
    """Without meaning here: one thread fetches tasks, as many as there are."""

    maximum: int = 5


@dataclass(frozen=True)
class PollerBehaviorAutoscaling:
    """Without meaning here: one thread fetches tasks, as many as there are."""

    minimum: int = 1
    maximum: int = 100
    initial: int = 5


@dataclass(frozen=True)
class WorkerDeploymentConfig:
    """Without meaning here: every orchestrator hosts all workflows. Name versions by ``workflow.defn(version=…)``."""

    version: WorkerDeploymentVersion
    use_worker_versioning: bool
    default_versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
