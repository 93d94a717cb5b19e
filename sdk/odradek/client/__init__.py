"""What services use to start workflows and to speak with them: ``Client.connect("kafka://…")``."""

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
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
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
from odradek.client.policy import RequestPolicy
from odradek.client.status import WorkflowExecutionStatus, WorkflowUpdateStage
from odradek.client.update import WorkflowUpdateHandle
from odradek.client.with_start import WithStartWorkflowOperation

__all__ = [
    "CancelWorkflowInput",
    "Client",
    "ClientConfig",
    "Connection",
    "CountWorkflowsInput",
    "DescribeWorkflowInput",
    "FetchWorkflowHistoryEventsInput",
    "FilterError",
    "Interceptor",
    "ListWorkflowsInput",
    "OutboundInterceptor",
    "ParkedInfo",
    "PendingWait",
    "QueryWorkflowInput",
    "RPCTimeoutOrCancelledError",
    "RequestPolicy",
    "SignalWorkflowInput",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
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
    "WorkflowOptions",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
    "archived_histories",
]
