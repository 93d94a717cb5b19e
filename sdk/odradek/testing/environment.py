"""An environment to test workflows in: a log of its own in this process, and a clock that skips what nobody waits for.

The workers are the real ones: only the log and the clock are others.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from odradek.client import Client, RequestPolicy
from odradek.client.connection import Connection
from odradek.client.interceptor import Interceptor
from odradek.client.plugin import Plugin
from odradek.common import QueryRejectCondition
from odradek.common.accepted import accept
from odradek.converter import DataConverter
from odradek.log import Log, open_log
from odradek.log.clock import Clock, VirtualClock
from odradek.log.memory import MemoryLog
from odradek.log.namespace import create_namespace
from odradek.orchestrator.registry import Registry
from odradek.orchestrator.settings import OrchestratorSettings

CENTURY_SECONDS: Final = 100 * 365 * 24 * 3600.0
"""What has a lifetime outlives every skipped time: a test may look at a run that closed a year ago."""


class WorkflowEnvironment:
    """Where workflows are tested: made by ``start_time_skipping``, ``start_local`` or ``from_client``.

    ``async with`` it, or await ``shutdown``. Workers are made with its ``client`` and need nothing else. A workflow
    that is parked by an error in its code raises that error where its result is awaited, instead of waiting for better
    code; in an environment made by ``from_client`` it waits, as in production.
    """

    def __init__(self, client: Client, *, owns_client: bool, folder: tempfile.TemporaryDirectory[str] | None) -> None:
        self._client = client
        self._owns_client = owns_client
        self._folder = folder

    # ---------------------------------------------------------------------------------------------------- making one

    @classmethod
    def from_client(cls, client: Client) -> WorkflowEnvironment:
        """An environment around a client of your own, which stays open at its end. It cannot skip time."""
        return cls(client, owns_client=False, folder=None)

    @classmethod
    async def start_time_skipping(
        cls,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        identity: str | None = None,
        plugins: Sequence[Plugin] = (),
        orchestrator_settings: OrchestratorSettings | None = None,
        **without_meaning: Any,
    ) -> WorkflowEnvironment:
        """An empty log in memory and a clock of its own, which skips time while somebody awaits a workflow's result.

        It skips to the next timer, retry or limit of a workflow, once nothing else can happen: nothing is on its way,
        and no activity runs or waits for a worker. Options that start servers elsewhere are accepted with one warning.
        """
        accept("WorkflowEnvironment", without_meaning, _WITHOUT_MEANING)
        return cls.skipping(
            namespace=namespace,
            orchestrator_settings=orchestrator_settings,
            data_converter=data_converter,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            plugins=plugins,
        )

    @classmethod
    def skipping(
        cls,
        *,
        namespace: str = "default",
        orchestrator_settings: OrchestratorSettings | None = None,
        **client_options: Any,
    ) -> WorkflowEnvironment:
        """``start_time_skipping`` for code without an event loop."""
        log = MemoryLog()
        # One partition: with one owner the clock knows when there is nothing left to do.
        create_namespace(log, namespace, partitions=1, schema_registry="")
        policy = RequestPolicy(lifetime_seconds=CENTURY_SECONDS)
        return _around(log, VirtualClock(), policy, namespace, orchestrator_settings, None, client_options)

    @classmethod
    async def start_local(
        cls,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        identity: str | None = None,
        plugins: Sequence[Plugin] = (),
        db_filename: str | None = None,
        dev_server_database_filename: str | None = None,
        orchestrator_settings: OrchestratorSettings | None = None,
        **without_meaning: Any,
    ) -> WorkflowEnvironment:
        """The embedded log, durable and at the host's own pace, as ``odradek dev`` uses it.

        ``db_filename`` (or ``dev_server_database_filename``) keeps it; by default it is gone at the end. Options that
        start servers elsewhere (``ui``, ``port``, …) are accepted with one warning.
        """
        accept("WorkflowEnvironment", without_meaning, _WITHOUT_MEANING)
        filename = db_filename or dev_server_database_filename
        folder = None if filename else tempfile.TemporaryDirectory(prefix="odradek-")
        log = await asyncio.to_thread(_open_file, filename or f"{folder.name if folder else ''}/log.db", namespace)
        options = {
            "data_converter": data_converter,
            "interceptors": interceptors,
            "default_workflow_query_reject_condition": default_workflow_query_reject_condition,
            "identity": identity,
            "plugins": plugins,
        }
        return _around(log, Clock(), RequestPolicy(), namespace, orchestrator_settings, folder, options)

    # ------------------------------------------------------------------------------------------------------- using it

    @property
    def client(self) -> Client:
        return self._client

    @property
    def supports_time_skipping(self) -> bool:
        return self._clock is not None

    @property
    def _clock(self) -> VirtualClock | None:
        clock = self._client.connection.clock
        return clock if isinstance(clock, VirtualClock) else None

    async def get_current_time(self) -> datetime:
        """The time that workflows of this environment see, in UTC."""
        return datetime.fromtimestamp(self._client.connection.clock.now_ms() / 1000, UTC)

    async def sleep(self, duration: timedelta | float) -> None:
        """Let this much time (seconds, or a timedelta) pass: skipped where time can be, with all that falls due."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if self._clock is None:
            await asyncio.sleep(seconds)
            return
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            loop.call_soon_threadsafe(over.set)

        with self._clock.sleep(int(seconds * 1000), end):
            try:
                await asyncio.wait_for(over.wait(), seconds)
            except TimeoutError:
                return  # something was under way all the time

    @contextmanager
    def auto_time_skipping_disabled(self) -> Iterator[None]:
        """While this is open, awaiting a result skips no time; ``sleep`` still does."""
        if self._clock is None:
            yield
            return
        with self._clock.without_skipping():
            yield

    async def shutdown(self) -> None:
        """Close the client that was made here, and forget the log. Twice is once. Stop workers first."""
        if self._owns_client:
            await self._client.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()


def _open_file(filename: str, namespace: str) -> Log:
    log = open_log(f"sqlite:///{Path(filename).absolute()}")
    create_namespace(log, namespace, schema_registry="")
    return log


def _around(
    log: Log,
    clock: Clock,
    policy: RequestPolicy,
    namespace: str,
    settings: OrchestratorSettings | None,
    folder: tempfile.TemporaryDirectory[str] | None,
    client_options: Mapping[str, Any],
) -> WorkflowEnvironment:
    settings = settings or OrchestratorSettings(claim_again_seconds=0.05)
    if isinstance(clock, VirtualClock):
        settings = replace(settings, summary_retention_seconds=CENTURY_SECONDS)
    connection = Connection(
        log,
        request_policy=policy,
        owns_log=True,
        schema_registry="",
        clock=clock,
        worker_defaults={
            "orchestrator_settings": replace(settings, parked_runs_fail_waits=True),
            # One worker's orchestrator may own what another worker's workflows are in.
            "registry": Registry(),
            # What a server is elsewhere; standalone activities need no workflow.
            "orchestrator": True,
        },
        serves_itself=True,
    )
    client = Client(connection, namespace=namespace, **client_options)
    return WorkflowEnvironment(client, owns_client=True, folder=folder)


_WITHOUT_MEANING: Final = frozenset(
    {
        "port",
        "download_dest_dir",
        "lazy",
        "retry_config",
        "rpc_metadata",
        "runtime",
        "search_attributes",
        "tls",
        "api_key",
        "ip",
        "ui",
        "ui_port",
        "dev_server_existing_path",
        "dev_server_download_version",
        "dev_server_download_ttl",
        "dev_server_extra_args",
        "dev_server_log_format",
        "dev_server_log_level",
        "test_server_existing_path",
        "test_server_download_version",
        "test_server_download_ttl",
        "test_server_extra_args",
        "test_server_stdout",
        "test_server_stderr",
        "dev_server_stdout",
        "dev_server_stderr",
        "header_codec_behavior",
    }
)
