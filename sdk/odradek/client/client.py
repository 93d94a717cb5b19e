"""The client: starts workflows, and makes handles to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Required, Self, TypedDict, TypeVar, Unpack, overload

from odradek.activity import ActivityDefaults
from odradek.client.activities import AsyncActivityHandle, AsyncActivityIDReference
from odradek.client.connection import Connection, default_identity
from odradek.client.definitions import workflow_of
from odradek.client.description import WorkflowExecutionCount
from odradek.client.erasure import Erased, erase
from odradek.client.handle import UNSET, WorkflowHandle, arguments
from odradek.client.interceptor import (
    CountWorkflowsInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    StartWorkflowInput,
)
from odradek.client.iterators import WorkflowExecutionAsyncIterator
from odradek.client.operations import Operations
from odradek.client.options import WorkflowOptions
from odradek.client.outbound import WireOutbound
from odradek.client.plugin import Plugin
from odradek.client.policy import RequestPolicy
from odradek.client.standalone import StandaloneActivities
from odradek.client.status import WorkflowUpdateStage
from odradek.client.update import WorkflowUpdateHandle
from odradek.client.with_start import WithStartWorkflowOperation, input_of
from odradek.common import (
    QueryRejectCondition,
)
from odradek.common.accepted import accept
from odradek.common.identifiers import checked_id
from odradek.common.standalone import is_standalone
from odradek.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from odradek.schemas.records import Payload
from odradek.service import NO_RPC_METADATA, ConnectConfig, RpcMetadata, TLSConfig

S = TypeVar("S")
A = TypeVar("A")
R = TypeVar("R")
P = ParamSpec("P")


class ClientConfig(TypedDict, total=False):
    """What a client is made of: ``Client(**client.config())`` is a second one on the same connection."""

    connection: Required[Connection]
    namespace: str
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    identity: str | None
    default_workflow_query_reject_condition: QueryRejectCondition | None
    activity_defaults: ActivityDefaults | None
    plugins: Sequence[Plugin]


_WITHOUT_MEANING = frozenset(
    {
        "api_key",
        "connect_timeout",
        "dns_load_balancing_config",
        "grpc_compression",
        "header_codec_behavior",
        "http_connect_proxy_config",
        "keep_alive_config",
        "payload_limits",
        "retry_config",
        "rpc_metadata",
        "runtime",
    }
)


class Client(StandaloneActivities, Operations):
    """Cheap, and usable from any number of threads and event loops. Usually made by ``connect``.

    ``async with`` and ``close`` close the connection, for all clients that share it.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        identity: str | None = None,
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        activity_defaults: ActivityDefaults | None = None,
        plugins: Sequence[Plugin] = (),
    ) -> None:
        self._given = ClientConfig(
            connection=connection,
            namespace=namespace,
            data_converter=data_converter,
            interceptors=tuple(interceptors),
            identity=identity,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            activity_defaults=activity_defaults,
            plugins=tuple(plugins),
        )
        config = self._given.copy()
        for plugin in plugins:
            config = plugin.configure_client(config)
        self._config = config
        self._connection = config["connection"]
        self._namespace = config["namespace"]
        self._data_converter = config["data_converter"]
        self._interceptors = tuple(config["interceptors"])
        self._identity = config["identity"] or default_identity()
        self._default_workflow_query_reject_condition = config["default_workflow_query_reject_condition"]
        self._outbound: OutboundInterceptor = WireOutbound(self)
        for interceptor in reversed(self._interceptors):
            self._outbound = interceptor.intercept_client(self._outbound)

    @classmethod
    async def connect(
        cls,
        target_host: str,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        identity: str | None = None,
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        activity_defaults: ActivityDefaults | None = None,
        plugins: Sequence[Plugin] = (),
        tls: bool | TLSConfig | None = None,
        log_config: Mapping[str, str] | None = None,
        schema_registry: str | None = None,
        request_policy: RequestPolicy | None = None,
        lazy: bool = False,
        **without_meaning: Any,
    ) -> Client:
        """Connect to a namespace at ``kafka://host:9092,…`` (``host:9092``), ``sqlite:///…`` or ``memory://…``.

        ``log_config`` holds librdkafka settings (``sasl.*``, …), ``tls`` those of TLS. ``schema_registry`` is the URL
        of a Schema Registry, by default what ODRADEK_SCHEMA_REGISTRY says, if anything. With ``lazy`` nothing is
        contacted before the first request. Options of a connection by gRPC are accepted with one warning. Raises
        ``AddressInvalid``, ``LogUnavailable``, ``TopicMissing``, ``WrongPartitionCount`` and ``SchemaError``.
        """
        accept("Client.connect", without_meaning, _WITHOUT_MEANING)

        async def connected(config: ConnectConfig) -> Connection:
            connection = Connection.to(
                config.target_host, config.all_log_config(), request_policy, config.schema_registry
            )
            if not config.lazy:
                try:
                    await connection.lane(namespace)
                except BaseException:
                    await connection.close()
                    raise
            return connection

        connect = connected
        for plugin in reversed(plugins):
            connect = partial(plugin.connect_service_client, next=connect)
        return cls(
            await connect(ConnectConfig(target_host, tls, log_config or {}, lazy, schema_registry)),
            namespace=namespace,
            data_converter=data_converter,
            interceptors=interceptors,
            identity=identity,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            activity_defaults=activity_defaults,
            plugins=plugins,
        )

    async def close(self) -> None:
        """Write out what was sent, and end the connection for all clients that share it."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """The arguments that make an equal client; change some of them for another one on the same connection.

        ``active_config``: with what plugins made of them, which they would do again to a client made of that.
        """
        return (self._config if active_config else self._given).copy()

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def identity(self) -> str:
        """Who asks, in histories; the process ID and host by default."""
        return self._identity

    @property
    def data_converter(self) -> DataConverter:
        return self._data_converter

    @property
    def interceptors(self) -> Sequence[Interceptor]:
        return self._interceptors

    @property
    def activity_defaults(self) -> ActivityDefaults | None:
        """Options of activities that are started with this client, or by workflows of its workers."""
        return self._config["activity_defaults"]

    @property
    def default_workflow_query_reject_condition(self) -> QueryRejectCondition | None:
        return self._default_workflow_query_reject_condition

    @property
    def outbound(self) -> OutboundInterceptor:
        """The outermost interceptor: what every call goes through."""
        return self._outbound

    def converter_for(self, workflow_id: str) -> DataConverter:
        """The data converter, for the values of this workflow; or of a standalone activity, by its run's ID."""
        converter = self._data_converter
        if not converter.takes_context:
            return converter
        if is_standalone(workflow_id):
            return converter.with_context(ActivitySerializationContext.of_standalone(self.namespace, workflow_id))
        return converter.with_context(WorkflowSerializationContext(self.namespace, workflow_id))

    async def value(self, payload: Payload | None, type_hint: Any, workflow_id: str) -> Any:
        """One payload of this workflow as a value of this type; no payload is None."""
        if payload is None:
            return None
        converter = self.converter_for(workflow_id)
        if converter.outer is None:
            return converter.payload_converter.from_payload(payload, type_hint)
        hints = None if type_hint is None else (type_hint,)
        return (await converter.decode((payload,), hints))[0]

    # -------------------------------------------------------------------------------------------------- workflows

    @overload
    async def start_workflow(
        self,
        workflow: Callable[[S], Awaitable[R]],
        *,
        wait: bool = True,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowHandle[S, R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: Callable[[S, A], Awaitable[R]],
        arg: A,
        *,
        wait: bool = True,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowHandle[S, R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: Callable[Concatenate[S, P], Awaitable[R]],
        *,
        args: Sequence[Any],
        wait: bool = True,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowHandle[S, R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        wait: bool = True,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowHandle[Any, Any]: ...
    async def start_workflow(
        self,
        workflow: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        wait: bool = True,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow: done when its start is durable, with ``wait=False`` when the inbox has the request.

        ``workflow`` is the run method of its class, or the name of its type. ``result_type`` overrides what the method
        says. Raises ``WorkflowAlreadyStartedError`` and ``RPCError``; with ``wait=False`` nobody tells of a refusal.
        """
        name, known_type = workflow_of(workflow)
        return await self._outbound.start_workflow(
            StartWorkflowInput(
                workflow=name, args=arguments(arg, args), ret_type=result_type or known_type, wait=wait, **options
            )
        )

    @overload
    async def execute_workflow(
        self, workflow: Callable[[S], Awaitable[R]], *, result_type: Any = None, **options: Unpack[WorkflowOptions]
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: Callable[[S, A], Awaitable[R]],
        arg: A,
        *,
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: Callable[Concatenate[S, P], Awaitable[R]],
        *,
        args: Sequence[Any],
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: str,
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> Any: ...
    async def execute_workflow(
        self,
        workflow: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: Any = None,
        **options: Unpack[WorkflowOptions],
    ) -> Any:
        """Start a workflow and wait for its result, in one request. Raises as ``start_workflow`` and ``result`` do."""
        name, known_type = workflow_of(workflow)
        ret_type = result_type or known_type
        input = StartWorkflowInput(
            workflow=name, args=arguments(arg, args), ret_type=ret_type, wait_result=True, **options
        )
        with self._connection.clock.awaiting():
            handle = await self._outbound.start_workflow(input)
            return await handle.result()

    async def start_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update to a workflow, and start the workflow if it does not run: both, or neither, are taken in.

        A fresh run begins the update's handler before its main method. A rejected update leaves the run started.
        Options and errors are those of ``WorkflowHandle.start_update`` and of ``start_workflow``.
        """
        sent = input_of(update, arguments(arg, args), wait_for_stage, id, result_type, rpc_timeout)
        return await self._outbound.start_update_with_start_workflow(start_workflow_operation.input_with(sent, self))

    async def execute_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> Any:
        """As ``start_update_with_start_workflow``, and wait for the update's answer."""
        handle = await self.start_update_with_start_workflow(
            update,
            arg,
            start_workflow_operation=start_workflow_operation,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=args,
            id=id,
            result_type=result_type,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result(rpc_timeout=rpc_timeout)

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = None,
    ) -> WorkflowHandle[Any, Any]:
        """A handle to a workflow that was started elsewhere. Asks nobody: it may not exist."""
        return WorkflowHandle(
            self,
            checked_id(workflow_id),
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """A handle to an activity that is completed from outside, by its token or by its IDs.

        Without a ``workflow_id`` an activity that a client has started is meant. Raises ``ValueError`` unless a token
        or an ID is given.
        """
        if task_token is not None:
            if workflow_id is not None or run_id is not None or activity_id is not None:
                raise ValueError("a task token says it all: give no IDs beside it")
            return AsyncActivityHandle(self, task_token)
        if activity_id is None:
            raise ValueError("give a task token, or the IDs of workflow and activity")
        return AsyncActivityHandle(self, AsyncActivityIDReference(workflow_id, run_id, activity_id))

    def get_workflow_handle_for(
        self,
        workflow: Callable[Concatenate[S, P], Awaitable[R]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
    ) -> WorkflowHandle[S, R]:
        """As ``get_workflow_handle``, typed by the run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=workflow_of(workflow)[1],
        )

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowExecutionAsyncIterator:
        """The runs that ``query`` lets through, the newest start first unless it says ORDER BY.

        Fields are WorkflowType, WorkflowId, RunId, ParentWorkflowId, ParentRunId, ExecutionStatus, StartTime,
        CloseTime, TaskQueue, Parked and every search attribute, as in
        ``WorkflowType = 'Order' AND StartTime > '2030-01-31T12:00:00Z'``; further =, !=, <, <=, >, >=, IN, BETWEEN,
        STARTS_WITH, IS NULL, AND, OR, NOT. Listings lag a little behind the workflows.
        Raises ``RPCError`` with the position where the query cannot be read. Pages have no meaning here.
        """
        return self._outbound.list_workflows(ListWorkflowsInput(query=query, limit=limit, rpc_timeout=rpc_timeout))

    async def count_workflows(
        self,
        query: str | None = None,
        *,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> WorkflowExecutionCount:
        """How many runs ``query`` lets through; it may end in GROUP BY. See ``list_workflows``."""
        return await self._outbound.count_workflows(CountWorkflowsInput(query=query, rpc_timeout=rpc_timeout))

    async def erase_workflow(
        self,
        workflow_id: str,
        *,
        terminate: bool = False,
        despite_parent: bool = False,
        reason: str = "erased on request",
        rpc_timeout: timedelta | None = None,
    ) -> Erased:
        """Forget what closed runs of this ID were about, and delete the keys of its payloads.

        ``terminate`` an open run first, else it is refused: ``RPCError`` (ODR-252). So is a child with keys of its own
        whose parent is open (ODR-257), unless ``despite_parent``: that needs the child's result, and cannot go on
        without. Twice is once. What is left are IDs and times, for a day at most, and records that topics keep for
        their retention; those say nothing where ``WorkflowKeyCodec`` encrypts payloads.
        """
        return await erase(
            self,
            workflow_id,
            terminate=terminate,
            despite_parent=despite_parent,
            reason=reason,
            rpc_timeout=rpc_timeout,
        )
