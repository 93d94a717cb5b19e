"""The door between workflow code and whatever runs it.

The functions of this package call the runtime of the running loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from asyncio import events
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from odradek.common import (
    MetricMeter,
    Priority,
    RetryPolicy,
    SearchAttributes,
    SearchAttributeUpdate,
    TypedSearchAttributes,
    WorkerDeploymentVersion,
)
from odradek.converter import PayloadConverter
from odradek.exceptions import OdradekError
from odradek.schemas.records import Lineage, Payload, RunStarted

if TYPE_CHECKING:
    from odradek.activity import ActivityDefaults
    from odradek.workflow.children import ChildWorkflowHandle
    from odradek.workflow.handlers import Handlers
    from odradek.workflow.interceptors import (
        ContinueAsNewInput,
        SignalExternalWorkflowInput,
        StartActivityInput,
        StartChildWorkflowInput,
        StartLocalActivityInput,
        WorkflowOutboundInterceptor,
    )


DEFAULT_VERSION = -1
"""The side of a change that code had before there was the change."""


class NotInWorkflow(RuntimeError):
    code = "ODR-061"

    def __init__(self) -> None:
        super().__init__(
            f"{self.code}: not in a workflow: call this from the main method or a handler of a @workflow.defn class"
        )


class NondeterminismError(OdradekError):
    """The code does something else than what the run's history records."""


class RestrictedWorkflowAccessError(NondeterminismError):
    """Workflow code reached for the outside while it ran. The run is parked, whether or not the code catches this."""

    code = "ODR-081"

    def __init__(self, event: str, value: str, instead: str) -> None:
        super().__init__(event, value, instead)
        self.event = event
        """The name of Python's audit event."""
        self.value = value
        """The file, the address, the command: the first argument of the event that says one."""
        self.instead = instead

    def __str__(self) -> str:
        of = f" ({self.value})" if self.value else ""
        return f"{self.code}: workflow code cannot use {self.event}{of}, which no replay could repeat: {self.instead}"


class ReadOnlyContextError(OdradekError):
    """A query handler or an update validator tried to change something."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Payloads that pass through as they stand, as arguments or as a result: no converter and no codec sees them."""

    payloads: Sequence[Payload]


class ContinueAsNewError(BaseException):
    """Ends this run so that the next one goes on; raised by ``workflow.continue_as_new``. Let it pass."""

    def __init__(self, started: RunStarted) -> None:
        super().__init__("Workflow continued as new")
        self.started = started


@dataclass(frozen=True)
class ParentInfo:
    """The run that started this one as its child."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The run that began a tree of parents and children."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True, kw_only=True)
class Info:
    """Facts of the running workflow."""

    attempt: int
    continued_run_id: str | None
    """The run before this one: continue-as-new, retry, cron."""
    cron_schedule: str | None
    execution_start_time: datetime
    """When the first run of the chain was started."""
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, Payload]
    namespace: str
    parent: ParentInfo | None
    priority: Priority
    raw_memo: Mapping[str, Payload]
    retry_policy: RetryPolicy | None
    root: RootInfo | None
    """The run that began the whole tree; None where there is no parent."""
    run_id: str
    run_timeout: timedelta | None
    search_attributes: SearchAttributes
    """Untyped; prefer ``typed_search_attributes``."""
    start_time: datetime
    """When the code of this run began, after a start delay."""
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: TypedSearchAttributes
    """What was upserted included."""
    workflow_id: str
    workflow_start_time: datetime
    """When this run was started."""
    workflow_type: str

    def get_current_build_id(self) -> str:
        """The version of the code that runs, as its class names it; empty where it names none."""
        return current().version

    def get_current_deployment_version(self) -> WorkerDeploymentVersion | None:
        """The type and version of the code that runs; None where its class names no version."""
        version = current().version
        return WorkerDeploymentVersion(self.workflow_type, version) if version else None

    def is_target_worker_deployment_version_changed(self) -> bool:
        """Always False: which versions are hosted is no fact of a run's history."""
        return False

    def get_current_history_length(self) -> int:
        """Events of this run so far."""
        return current().history_length

    def get_current_history_size(self) -> int:
        """Bytes of this run's events so far, about: payloads, and a little for each event."""
        return current().history_bytes

    def is_continue_as_new_suggested(self) -> bool:
        runtime = current()
        return runtime.history_length >= 4_000 or runtime.history_bytes >= 4_000_000


class Runtime(ABC):
    """What workflow code can ask of its run. Everything here is the same in a replay."""

    replaying: bool = False
    history_length: int = 0
    converter: PayloadConverter
    instance: Any
    """The object of the user's class."""
    cancel_reason: str | None = None
    current_details: str = ""
    """What the code says about itself now, for people."""
    version: str = ""
    """Of the code that runs, where its class names one."""
    outbound: WorkflowOutboundInterceptor | None = None
    """What calls go through, where there are interceptors."""
    activity_defaults: ActivityDefaults | None = None
    """Options of activities that neither their calls nor their decorators say."""
    restricted: bool = True
    """Whether the code is refused files, sockets, processes and threads."""

    @abstractmethod
    def callback_failed(self, error: BaseException) -> None:
        """The code did what can only be a bug, and does not hear of it, or may catch it: the run is parked."""

    @property
    @abstractmethod
    def info(self) -> Info: ...

    @property
    @abstractmethod
    def history_bytes(self) -> int:
        """About, from payloads and the number of events: the same in a replay."""

    @property
    @abstractmethod
    def time_ms(self) -> int: ...

    @property
    @abstractmethod
    def random(self) -> Random: ...

    @abstractmethod
    def take_version(self, change_id: str, newest: int) -> int:
        """The side of a change that this run takes: the newest at its first call, recorded; the same in a replay."""

    @property
    @abstractmethod
    def random_seed(self) -> int: ...

    @property
    @abstractmethod
    def lineage(self) -> Lineage | None:
        """What this run has of the one before it, and of its parent."""

    @abstractmethod
    def last_failure(self) -> BaseException | None: ...

    @property
    @abstractmethod
    def memo_payloads(self) -> Mapping[str, Payload]: ...

    @abstractmethod
    def upsert_memo(self, updates: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def upsert_search_attributes(self, attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]) -> None: ...

    @property
    @abstractmethod
    def metric_meter(self) -> MetricMeter: ...

    @abstractmethod
    def fails_with(self, error: BaseException) -> bool:
        """Whether the error fails the run; any other counts as a bug."""

    @abstractmethod
    def when_applied(self, action: Callable[[], None]) -> None:
        """Call it once the code has taken in what it is being given; never if it cannot go on, or is being dropped.

        For what shall be seen once from outside: code that cannot go on is tried again. ``action`` must not raise.
        """

    @abstractmethod
    def may_change(self) -> None:
        """Raises ``ReadOnlyContextError`` where code may only read."""

    @abstractmethod
    def nondeterminism(self, message: str) -> NondeterminismError:
        """The error to raise where code and history do not fit; it ends the step even if the code catches it."""

    @abstractmethod
    def start_activity(self, call: StartActivityInput) -> asyncio.Task[Any]: ...

    @abstractmethod
    def execute_activity(self, call: StartActivityInput) -> Coroutine[Any, Any, Any]:
        """Schedule it now; what is returned waits for the result."""
        ...

    @property
    @abstractmethod
    def handlers(self) -> Handlers: ...

    @abstractmethod
    def start_step(self, call: StartLocalActivityInput) -> asyncio.Task[Any]: ...

    @abstractmethod
    def execute_step(self, call: StartLocalActivityInput) -> Coroutine[Any, Any, Any]:
        """Ask for it now; what is returned waits for the result."""
        ...

    @abstractmethod
    def continue_as_new(self, call: ContinueAsNewInput) -> NoReturn: ...

    @abstractmethod
    async def wait_condition(self, predicate: Callable[[], bool], timeout: float | None, summary: str) -> None: ...

    @abstractmethod
    async def sleep(self, seconds: float, summary: str) -> None: ...

    @abstractmethod
    async def signal_external(self, call: SignalExternalWorkflowInput) -> None: ...

    @abstractmethod
    async def cancel_external(self, workflow_id: str, run_id: str | None, reason: str, namespace: str) -> None: ...

    @abstractmethod
    async def start_child(self, call: StartChildWorkflowInput) -> ChildWorkflowHandle[Any, Any]: ...


querying: ContextVar[bool] = ContextVar("odradek_querying", default=False)
"""Set while a query handler or an update validator runs."""

unrestricted: ContextVar[bool] = ContextVar("odradek_unrestricted", default=False)
"""Set within ``workflow.unsafe.sandbox_unrestricted()``."""


def current() -> Runtime:
    """The runtime of the workflow that is running now. Raises ``NotInWorkflow``."""
    runtime = getattr(events._get_running_loop(), "odradek_runtime", None)
    if runtime is None:
        raise NotInWorkflow
    return runtime  # type: ignore[no-any-return]


def current_or_none() -> Runtime | None:
    return getattr(events._get_running_loop(), "odradek_runtime", None)
