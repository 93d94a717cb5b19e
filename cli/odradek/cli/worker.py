"""``odradek worker``: runs activity code of one task queue."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from odradek.cli import messages
from odradek.cli.health import LIVE_SECONDS, HealthOptions, health_options
from odradek.cli.inputs import Number
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.stopping import on_stop_signal

if TYPE_CHECKING:
    from odradek.cli.modules import Found
    from odradek.client import Client
    from odradek.log import Log
    from odradek.workers import ActivityWorker, WorkerSettings

BEAT_SECONDS: Final = 0.5

_log = logging.getLogger("odradek.cli")


@click.command(
    cls=Command,
    short_help="Run activity code of a task queue.",
    epilog="""\b
Examples:
  odradek worker shop.activities --queue orders
  odradek worker shop/payments.py shop/mail.py --queue orders --max-concurrent 500 --graceful-shutdown 25
""",
)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--queue", required=True, envvar="ODRADEK_QUEUE", show_envvar=True, help="The task queue to serve.")
@click.option(
    "--max-concurrent", type=click.IntRange(1), default=100, show_default=True, help="Activities at the same time."
)
@click.option("--rate", type=Number(0, min_open=True), metavar="N", help="Starts per second, of this worker.")
@click.option(
    "--queue-rate",
    type=Number(0, min_open=True),
    metavar="N",
    help="Starts per second, of all workers of the queue together; tell it to each of them.",
)
@click.option(
    "--redis",
    envvar="ODRADEK_REDIS",
    show_envvar=True,
    metavar="URL",
    help="What workers share: --queue-rate to the point, and repeated deliveries of finished activities.",
)
@click.option(
    "--graceful-shutdown",
    type=Number(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long activities may go on after SIGTERM before they are cancelled (and retried elsewhere).",
)
@click.option(
    "--session-timeout",
    type=Number(0.1, 3600),
    metavar="SECONDS",
    help="Silence after which others take the queue's partitions over. Default: 6.",
)
@click.option("--identity", help="Name in histories. Default: the process ID and host.")
@health_options(9465)
@pass_common
def worker(
    common: Common,
    modules: tuple[str, ...],
    queue: str,
    max_concurrent: int,
    rate: float | None,
    queue_rate: float | None,
    redis: str | None,
    graceful_shutdown: float,
    session_timeout: float | None,
    identity: str | None,
    health: HealthOptions,
) -> None:
    """Run the activities of the MODULEs, dotted names or .py files, for one task queue.

    SIGTERM and Ctrl-C stop fetching, let running activities end, and end with 0.
    """
    messages.set_up(common)
    from odradek.cli import modules as loading
    from odradek.workers import WorkerSettings

    found = loading.load(modules)
    found.need("activities")
    log = common.open_log()
    try:
        options = {
            "max_concurrent_activities": max_concurrent,
            "max_activities_per_second": rate,
            "max_task_queue_activities_per_second": queue_rate,
            "graceful_shutdown_timeout": timedelta(seconds=graceful_shutdown),
            "identity": identity,
        }
        settings = WorkerSettings(redis=redis)
        if session_timeout is not None:
            settings = replace(settings, session_timeout_seconds=session_timeout)
        served = _Served(common, log, found, queue, settings, options)
        asyncio.run(served.run(health))
    finally:
        log.close()


class _Served:
    """One activity worker with its signals and its health."""

    def __init__(
        self, common: Common, log: Log, found: Found, queue: str, settings: WorkerSettings, options: dict[str, Any]
    ) -> None:
        self.common, self.log, self.found, self.queue = common, log, found, queue
        self.settings, self.options = settings, options
        self.beat = time.monotonic()

    async def run(self, health: HealthOptions) -> None:
        from odradek.client import Client
        from odradek.client.connection import Connection

        connection = Connection(self.log, schema_registry=self.common.schema_registry)
        try:
            worker = self._worker(Client(connection, identity=self.options["identity"], **self.common.client_options()))
            await self._serve(worker, health)
        finally:
            await connection.close()

    async def _serve(self, worker: ActivityWorker, health: HealthOptions) -> None:
        from odradek.cli.collector import collect_rarely

        loop = asyncio.get_running_loop()
        stopping: list[asyncio.Task[None]] = []

        def stop() -> None:
            loop.call_soon_threadsafe(lambda: stopping.append(loop.create_task(worker.shutdown())))

        on_stop_signal(stop)
        server = health.start(alive=self._wrong, ready=lambda: "" if worker.is_ready else "it does not fetch")
        beating = asyncio.create_task(self._beat())
        collect_rarely()
        try:
            _log.info("hosting activities: %s", ", ".join(self.found.activity_names))
            await worker.run()
        finally:
            beating.cancel()
            if server is not None:
                server.close()
        _log.info('worker %s of task queue "%s" has stopped', worker.worker_id, self.queue)

    def _worker(self, client: Client) -> ActivityWorker:
        from odradek.log.namespace import open_namespace
        from odradek.schemas.access import Role
        from odradek.workers import ActivityWorker

        return ActivityWorker(
            open_namespace(
                self.log,
                self.common.namespace,
                schema_registry=self.common.schema_registry,
                role=Role.WORKER,
                queues=[self.queue],
            ),
            self.queue,
            self.found.activities,
            client=client,
            data_converter=client.data_converter,
            interceptors=self.common.worker_interceptors(),
            settings=self.settings,
            **self.options,
        )

    async def _beat(self) -> None:
        while True:
            self.beat = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    def _wrong(self) -> str:
        silent = time.monotonic() - self.beat
        return f"the event loop has not turned for {silent:.0f} s" if silent > LIVE_SECONDS else ""
