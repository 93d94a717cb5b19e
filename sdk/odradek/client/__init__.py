"""What services use to start workflows and to speak with them: ``Client.connect("kafka://…")``."""

from odradek.client.activities import AsyncActivityHandle, AsyncActivityIDReference
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
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    ControlActivityInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)
from odradek.client.iterators import WorkflowExecutionAsyncIterator, WorkflowHistoryEventAsyncIterator
from odradek.client.options import WorkflowOptions
from odradek.client.plugin import Plugin
from odradek.client.policy import RequestPolicy
from odradek.client.status import WorkflowExecutionStatus, WorkflowHistoryEventFilterType, WorkflowUpdateStage
from odradek.client.update import WorkflowUpdateHandle
from odradek.client.with_start import WithStartWorkflowOperation
from odradek.common import HeaderCodecBehavior
from odradek.converter import DataConverter
from odradek.service import ConnectConfig, KeepAliveConfig, RetryConfig, RPCError, RPCStatusCode, TLSConfig

__all__ = [
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "CancelWorkflowInput",
    "Client",
    "ClientConfig",
    "CompleteAsyncActivityInput",
    "ConnectConfig",
    "Connection",
    "ControlActivityInput",
    "CountWorkflowsInput",
    "DataConverter",
    "DescribeWorkflowInput",
    "FailAsyncActivityInput",
    "FetchWorkflowHistoryEventsInput",
    "FilterError",
    "HeaderCodecBehavior",
    "HeartbeatAsyncActivityInput",
    "Interceptor",
    "KeepAliveConfig",
    "ListWorkflowsInput",
    "OutboundInterceptor",
    "ParkedInfo",
    "PendingWait",
    "Plugin",
    "QueryWorkflowInput",
    "RPCError",
    "RPCStatusCode",
    "RPCTimeoutOrCancelledError",
    "ReportCancellationAsyncActivityInput",
    "RequestPolicy",
    "RetryConfig",
    "SignalWorkflowInput",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
    "TLSConfig",
    "TerminateWorkflowInput",
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
