"""Activity workers: they fetch tasks from a queue's topic, run the user's activities, and answer to the inbox."""

from odradek.activity.interceptors import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)
from odradek.workers.errors import DuplicateActivity, WorkerError
from odradek.workers.processes import SharedHeartbeatSender, SharedStateManager
from odradek.workers.settings import WorkerSettings
from odradek.workers.worker import ActivityWorker

__all__ = [
    "ActivityInboundInterceptor",
    "ActivityOutboundInterceptor",
    "ActivityWorker",
    "DuplicateActivity",
    "ExecuteActivityInput",
    "Interceptor",
    "SharedHeartbeatSender",
    "SharedStateManager",
    "WorkerError",
    "WorkerSettings",
]
