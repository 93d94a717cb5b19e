"""What services use to start workflows and activities, and to speak with them: ``Client.connect("kafka://…")``."""

from odradek.client.activities import AsyncActivityHandle, AsyncActivityIDReference
from odradek.client.activity_description import (
    ActivityExecution,
    ActivityExecutionCount,
    ActivityExecutionCountAggregationGroup,
    ActivityExecutionDescription,
    ActivityExecutionOptions,
    ActivityExecutionStatus,
    PendingActivityState,
)
from odradek.client.activity_handle import (
    ActivityHandle,
    ActivityOptionsKey,
    ActivityOptionsKeys,
    ActivityOptionsUpdate,
)
from odradek.client.archive import archived_histories
from odradek.client.client import Client, ClientConfig
from odradek.client.connection import Connection
from odradek.client.description import (
    ParkedInfo,
    PendingWait,
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    WorkflowExecutionDescription,
)
from odradek.client.errors import (
    ActivityFailureError,
    AsyncActivityCancelledError,
    RPCTimeoutOrCancelledError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from odradek.client.filter_parsing import FilterError
from odradek.client.handle import WorkflowHandle
from odradek.client.history import WorkflowHistory
from odradek.client.interceptor import (
    CancelActivityInput,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    ControlActivityInput,
    CountActivitiesInput,
    CountWorkflowsInput,
    DescribeActivityInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    ListActivitiesInput,
    ListWorkflowsInput,
    OutboundInterceptor,
    PauseActivityInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateActivityInput,
    TerminateWorkflowInput,
    UnpauseActivityInput,
    UpdateActivityOptionsInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)
from odradek.client.iterators import (
    ActivityExecutionAsyncIterator,
    WorkflowExecutionAsyncIterator,
    WorkflowHistoryEventAsyncIterator,
)
from odradek.client.options import StartActivityOptions, WorkflowOptions
from odradek.client.plugin import Plugin
from odradek.client.policy import RequestPolicy
from odradek.client.status import WorkflowExecutionStatus, WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.client.task_queues import (
    Pause,
    PausedWorkflowType,
    RunningActivity,
    TaskQueueDescription,
    TaskQueueWorker,
)
from odradek.client.update import WorkflowUpdateHandle
from odradek.client.with_start import WithStartWorkflowOperation
from odradek.common import HeaderCodecBehavior
from odradek.converter import DataConverter
from odradek.service import ConnectConfig, KeepAliveConfig, RetryConfig, RPCError, RPCStatusCode, TLSConfig

__all__ = [
    "ActivityExecution",
    "ActivityExecutionAsyncIterator",
    "ActivityExecutionCount",
    "ActivityExecutionCountAggregationGroup",
    "ActivityExecutionDescription",
    "ActivityExecutionOptions",
    "ActivityExecutionStatus",
    "ActivityFailureError",
    "ActivityHandle",
    "ActivityOptionsKey",
    "ActivityOptionsKeys",
    "ActivityOptionsUpdate",
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "CancelActivityInput",
    "CancelWorkflowInput",
    "Client",
    "ClientConfig",
    "CompleteAsyncActivityInput",
    "ConnectConfig",
    "Connection",
    "ControlActivityInput",
    "CountActivitiesInput",
    "CountWorkflowsInput",
    "DataConverter",
    "DescribeActivityInput",
    "DescribeWorkflowInput",
    "FailAsyncActivityInput",
    "FetchWorkflowHistoryEventsInput",
    "FilterError",
    "HeaderCodecBehavior",
    "HeartbeatAsyncActivityInput",
    "Interceptor",
    "KeepAliveConfig",
    "ListActivitiesInput",
    "ListWorkflowsInput",
    "OutboundInterceptor",
    "ParkedInfo",
<<<<<<< HEAD
    "PauseActivityInput",
    "PendingActivityState",
=======
    "Pause",
    "PausedWorkflowType",
>>>>>>> d243568 (odradek task-queue: what waits, who serves it; pause, resume and limit a queue, followed by its workers)
    "PendingWait",
    "Plugin",
    "QueryWorkflowInput",
    "RPCError",
    "RPCStatusCode",
    "RPCTimeoutOrCancelledError",
    "ReportCancellationAsyncActivityInput",
    "RequestPolicy",
    "RetryConfig",
    "RunningActivity",
    "SignalWorkflowInput",
    "StartActivityInput",
    "StartActivityOptions",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
    "TLSConfig",
<<<<<<< HEAD
    "TerminateActivityInput",
=======
    "TaskQueueDescription",
    "TaskQueueWorker",
>>>>>>> d243568 (odradek task-queue: what waits, who serves it; pause, resume and limit a queue, followed by its workers)
    "TerminateWorkflowInput",
    "UnpauseActivityInput",
    "UpdateActivityOptionsInput",
    "UpdateWithStartStartWorkflowInput",
    "UpdateWithStartUpdateWorkflowInput",
    "WithStartWorkflowOperation",
    "WorkflowContinuedAsNewError",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowHistoryEventAsyncIterator",
    "WorkflowHistoryEventFilterType",
    "WorkflowOptions",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
    "archived_histories",
]
