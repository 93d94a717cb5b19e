"""Code that was written for the API that people know finds every name that it imports."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

NAMES = {
    "odradek.workflow": """
        ActivityCancellationType ActivityConfig ActivityHandle ChildWorkflowCancellationType ChildWorkflowConfig
        ChildWorkflowHandle ContinueAsNewError DynamicWorkflowConfig ExternalWorkflowHandle HandlerUnfinishedPolicy Info
        LocalActivityConfig LoggerAdapter NondeterminismError ParentClosePolicy ParentInfo ReadOnlyContextError RootInfo
        UnfinishedSignalHandlersWarning UnfinishedUpdateHandlersWarning UpdateInfo UpdateMethodMultiParam
        VersioningIntent all_handlers_finished as_completed cancellation_reason continue_as_new current_update_info defn
        deprecate_patch dynamic_config execute_activity execute_activity_class execute_activity_method
        execute_child_workflow execute_local_activity execute_local_activity_class execute_local_activity_method
        get_current_details get_dynamic_query_handler get_dynamic_signal_handler get_dynamic_update_handler
        get_external_workflow_handle get_external_workflow_handle_for get_last_completion_result get_last_failure
        get_query_handler get_signal_handler get_update_handler has_last_completion_result in_workflow info init
        instance is_failure_exception logger memo memo_value metric_meter new_random now patched payload_converter query
        random random_seed register_random_seed_callback run set_current_details set_dynamic_query_handler
        set_dynamic_signal_handler set_dynamic_update_handler set_query_handler set_signal_handler set_update_handler
        signal sleep start_activity start_activity_class start_activity_method start_child_workflow start_local_activity
        start_local_activity_class start_local_activity_method time time_ns unsafe update upsert_memo
        upsert_search_attributes uuid4 uuid7 wait wait_condition
    """,
    "odradek.activity": """
        ActivityCancellationDetails Info LoggerAdapter cancellation_details client defn heartbeat in_activity info
        is_cancelled is_worker_shutdown logger metric_meter payload_converter raise_complete_async
        shield_thread_cancel_exception
        wait_for_cancelled wait_for_cancelled_sync wait_for_worker_shutdown wait_for_worker_shutdown_sync
    """,
    "odradek.client": """
        ActivityExecution ActivityExecutionAsyncIterator ActivityExecutionCount ActivityExecutionCountAggregationGroup
        ActivityExecutionDescription ActivityExecutionOptions ActivityExecutionStatus ActivityFailureError
        ActivityHandle ActivityOptionsKey ActivityOptionsKeys ActivityOptionsUpdate AsyncActivityCancelledError
        AsyncActivityHandle AsyncActivityIDReference CancelActivityInput CancelWorkflowInput Client ClientConfig
        CompleteAsyncActivityInput CountActivitiesInput CountWorkflowsInput DataConverter DescribeActivityInput
        DescribeWorkflowInput FailAsyncActivityInput FetchWorkflowHistoryEventsInput HeaderCodecBehavior
        HeartbeatAsyncActivityInput Interceptor KeepAliveConfig ListActivitiesInput ListWorkflowsInput
        OutboundInterceptor PauseActivityInput PendingActivityState Plugin QueryWorkflowInput RPCError RPCStatusCode
        RPCTimeoutOrCancelledError ReportCancellationAsyncActivityInput RetryConfig SignalWorkflowInput
        StartActivityInput StartWorkflowInput StartWorkflowUpdateInput StartWorkflowUpdateWithStartInput TLSConfig
        TerminateActivityInput TerminateWorkflowInput UnpauseActivityInput UpdateActivityOptionsInput
        UpdateWithStartStartWorkflowInput UpdateWithStartUpdateWorkflowInput WithStartWorkflowOperation
        WorkflowContinuedAsNewError WorkflowExecution WorkflowExecutionAsyncIterator WorkflowExecutionCount
        WorkflowExecutionCountAggregationGroup WorkflowExecutionDescription WorkflowExecutionStatus WorkflowFailureError
        WorkflowHandle WorkflowHistory WorkflowHistoryEventAsyncIterator WorkflowHistoryEventFilterType
        WorkflowQueryFailedError WorkflowQueryRejectedError WorkflowUpdateFailedError WorkflowUpdateHandle
        WorkflowUpdateRPCTimeoutOrCancelledError WorkflowUpdateStage
    """,
    "odradek.worker": """
        ActivityInboundInterceptor ActivityOutboundInterceptor ContinueAsNewInput ExecuteActivityInput
        ExecuteWorkflowInput
        HandleQueryInput HandleSignalInput HandleUpdateInput Interceptor SignalChildWorkflowInput
        SignalExternalWorkflowInput StartActivityInput StartChildWorkflowInput
        StartLocalActivityInput WorkflowInboundInterceptor WorkflowInterceptorClassInput WorkflowOutboundInterceptor
        FixedSizeSlotSupplier Plugin PollerBehaviorAutoscaling PollerBehaviorSimpleMaximum Replayer ReplayerConfig
        ResourceBasedSlotConfig ResourceBasedSlotSupplier ResourceBasedTunerConfig SharedHeartbeatSender
        SharedStateManager
        UnsandboxedWorkflowRunner Worker
        WorkerConfig WorkerDeploymentConfig WorkerDeploymentVersion WorkerTuner WorkflowReplayResult
        WorkflowReplayResults WorkflowRunner
    """,
    "odradek.worker.workflow_sandbox": "SandboxMatcher SandboxRestrictions SandboxedWorkflowRunner",
    "odradek.testing": "ActivityEnvironment WorkflowEnvironment",
    "odradek.common": """
        ActivityIDConflictPolicy ActivityIDReusePolicy AutoUpgradeVersioningOverride HeaderCodecBehavior MetricCounter
        MetricGauge MetricGaugeFloat MetricHistogram MetricHistogramFloat MetricHistogramTimedelta MetricMeter Payload
        PinnedVersioningOverride Priority QueryRejectCondition RawValue RetryPolicy SearchAttributeIndexedValueType
        SearchAttributeKey SearchAttributePair SearchAttributeUpdate SearchAttributeValue SearchAttributeValues
        SearchAttributes TypedSearchAttributes VersioningBehavior VersioningOverride WorkerDeploymentVersion
        WorkflowIDConflictPolicy WorkflowIDReusePolicy
    """,
    "odradek.exceptions": """
        ActivityAlreadyStartedError ActivityError ApplicationError ApplicationErrorCategory CancelledError
        ChildWorkflowError FailureError RetryState ServerError TemporalError TerminatedError TimeoutError TimeoutType
        WorkflowAlreadyStartedError is_cancelled_exception
    """,
    "odradek.converter": """
        AdvancedJSONEncoder BinaryNullPayloadConverter BinaryPlainPayloadConverter CompositePayloadConverter
        DataConverter DefaultFailureConverter DefaultFailureConverterWithEncodedAttributes DefaultPayloadConverter
        EncodingPayloadConverter FailureConverter JSONPlainPayloadConverter JSONTypeConverter PayloadCodec
        PayloadConverter decode_search_attributes decode_typed_search_attributes default encode_search_attributes
        value_to_type
    """,
    "odradek.service": """
        ConnectConfig HttpConnectProxyConfig KeepAliveConfig RPCError RPCStatusCode RetryConfig TLSConfig
    """,
    "odradek.runtime": "LoggingConfig OpenTelemetryConfig PrometheusConfig Runtime TelemetryConfig TelemetryFilter",
    "odradek.plugin": "SimplePlugin",
    "odradek.envconfig": "ClientConfig ClientConnectConfig",
    "odradek.contrib.opentelemetry": "TracingInterceptor TracingWorkflowInboundInterceptor workflow",
    "odradek.contrib.pydantic": "PydanticPayloadConverter pydantic_data_converter",
}


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    there: Any = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(there, name)] == []
    public = getattr(there, "__all__", None)
    if public is not None:
        assert [name for name in NAMES[module].split() if name not in public] == []
