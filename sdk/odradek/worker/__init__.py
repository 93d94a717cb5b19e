"""A worker in the user's own process: ``Worker(client, task_queue=…, workflows=[…], activities=[…])``."""

from odradek.orchestrator.registry import Registry, workflows_in
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker.replayer import (
    HistoryMismatch,
    Replayer,
    ReplayFailed,
    WorkflowReplayResult,
    WorkflowReplayResults,
)
from odradek.worker.runners import UnsandboxedWorkflowRunner, WorkflowRunner
from odradek.worker.worker import Worker
from odradek.workers import ActivityWorker, WorkerSettings

__all__ = [
    "ActivityWorker",
    "HistoryMismatch",
    "OrchestratorSettings",
    "Registry",
    "ReplayFailed",
    "Replayer",
    "UnsandboxedWorkflowRunner",
    "Worker",
    "WorkerSettings",
    "WorkflowReplayResult",
    "WorkflowReplayResults",
    "WorkflowRunner",
    "workflows_in",
]
