"""A worker in the user's own process: ``Worker(client, task_queue=…, workflows=[…], activities=[…])``."""

from odradek.common import WorkerDeploymentVersion
from odradek.orchestrator.registry import Registry, workflows_in
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker.interceptor import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from odradek.worker.plugin import Plugin
from odradek.worker.replayer import (
    HistoryMismatch,
    Replayer,
    ReplayerConfig,
    ReplayFailed,
    WorkflowReplayResult,
    WorkflowReplayResults,
)
from odradek.worker.runners import UnsandboxedWorkflowRunner, WorkflowRunner
from odradek.worker.tuning import (
    FixedSizeSlotSupplier,
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    ResourceBasedSlotConfig,
    ResourceBasedSlotSupplier,
    ResourceBasedTunerConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
)
from odradek.worker.worker import Worker, WorkerConfig
from odradek.workers import ActivityWorker, SharedHeartbeatSender, SharedStateManager, WorkerSettings

__all__ = [
    "ActivityInboundInterceptor",
    "ActivityOutboundInterceptor",
    "ActivityWorker",
    "ContinueAsNewInput",
    "ExecuteActivityInput",
    "ExecuteWorkflowInput",
    "FixedSizeSlotSupplier",
    "HandleQueryInput",
    "HandleSignalInput",
    "HandleUpdateInput",
    "HistoryMismatch",
    "Interceptor",
    "OrchestratorSettings",
    "Plugin",
    "PollerBehaviorAutoscaling",
    "PollerBehaviorSimpleMaximum",
    "Registry",
    "ReplayFailed",
    "Replayer",
    "ReplayerConfig",
    "ResourceBasedSlotConfig",
    "ResourceBasedSlotSupplier",
    "ResourceBasedTunerConfig",
    "SharedHeartbeatSender",
    "SharedStateManager",
    "SignalChildWorkflowInput",
    "SignalExternalWorkflowInput",
    "StartActivityInput",
    "StartChildWorkflowInput",
    "StartLocalActivityInput",
    "UnsandboxedWorkflowRunner",
    "Worker",
    "WorkerConfig",
    "WorkerDeploymentConfig",
    "WorkerDeploymentVersion",
    "WorkerSettings",
    "WorkerTuner",
    "WorkflowInboundInterceptor",
    "WorkflowInterceptorClassInput",
    "WorkflowOutboundInterceptor",
    "WorkflowReplayResult",
    "WorkflowReplayResults",
    "WorkflowRunner",
    "workflows_in",
]
