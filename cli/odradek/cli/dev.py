"""``odradek dev``: an embedded log, an orchestrator and an activity worker in one process."""

from __future__ import annotations

import asyncio
import shlex
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from odradek.cli import messages
from odradek.cli.health import LIVE_SECONDS, HealthOptions, HealthServer, health_options
from odradek.cli.options import DEV_LOG, Command, Common, pass_common
from odradek.cli.output import json_option, print_json
from odradek.cli.stopping import on_stop_signal

if TYPE_CHECKING:
    from odradek.cli.modules import Found

_BEAT_SECONDS: Final = 0.2


@click.command(
    cls=Command,
    short_help="Everything in one process, on an embedded log.",
    epilog="""\b
Examples:
  odradek dev shop/orders.py
  odradek dev shop.workflows shop.activities --queue orders
""",
)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--queue", default="default", show_default=True, envvar="ODRADEK_QUEUE", help="Task queue.")
@health_options(0, "127.0.0.1")
@json_option
@pass_common
def dev(common: Common, modules: tuple[str, ...], queue: str, health: HealthOptions, as_json: bool) -> None:
    """Run the workflows and activities of the MODULEs, with everything they need, in this process.

    The log is a file (sqlite:///.odradek/dev.db unless --log names another): workflows survive a restart. Ctrl-C stops.
    """
    messages.set_up(common, quiet=common.log_level == "info" and not common.verbose)
    if common.log is None:
        common.given_log = DEV_LOG
    from odradek.cli import modules as loading

    found = loading.load(modules)
    found.need("workflows or activities")
    asyncio.run(_Dev(common, found, queue).run(health, as_json=as_json))


class _Dev:
    def __init__(self, common: Common, found: Found, queue: str) -> None:
        self.common, self.found, self.queue = common, found, queue
        self.beat = time.monotonic()
        self.ready = False

    async def run(self, health: HealthOptions, *, as_json: bool) -> None:
        from odradek.client import Client

        common = self.common
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        on_stop_signal(lambda: _wake(loop, stop))
        client = await Client.connect(
            common.address,
            log_config=common.kafka_config(),
            **common.client_options(),
            schema_registry=common.schema_registry,
        )
        beating = asyncio.create_task(self._beat())
        server = health.start(alive=self._wrong, ready=lambda: "" if self.ready else "starting or stopping")
        try:
            await self._serve(client, stop, server, as_json=as_json)
        finally:
            beating.cancel()
            if server is not None:
                server.close()
            await client.close()
        click.echo("Stopped.", err=True)

    async def _serve(self, client: Any, stop: asyncio.Event, server: HealthServer | None, *, as_json: bool) -> None:
        from odradek.worker import Worker

        worker = Worker(
            client,
            task_queue=self.queue,
            workflows=self.found.workflows,
            activities=self.found.activities,
            orchestrator=True,
            interceptors=[one for one in self.common.worker_interceptors() if one not in client.interceptors],
            graceful_shutdown_timeout=timedelta(seconds=2),
        )
        async with worker:
            self.ready = True
            self._say_where(server, as_json=as_json)
            while not stop.is_set() and worker.is_running:
                await _within(_BEAT_SECONDS, stop)
            self.ready = False

    def _say_where(self, server: HealthServer | None, *, as_json: bool) -> None:
        where = self._where(server)
        if as_json:
            print_json(where)
            return
        for name, value in where.items():
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{name.replace('_', ' '):<12}{shown or '-'}")
        click.echo("Ctrl-C stops.", err=True)

    def _where(self, server: HealthServer | None) -> dict[str, Any]:
        names = self.found.workflow_names
        options = f"--log {shlex.quote(self.common.address)}"
        if self.common.namespace != "default":
            options += f" --namespace {shlex.quote(self.common.namespace)}"
        kind = shlex.quote(names[0]) if names else "TYPE"
        start = f"workflow start {kind} --queue {shlex.quote(self.queue)} --input '…' --wait"
        return {
            "log": self.common.address,
            "namespace": self.common.namespace,
            "queue": self.queue,
            "workflows": names,
            "activities": self.found.activity_names,
            "health": server.url if server else None,
            "metrics": f"{server.url}/metrics" if server else None,
            "start_one": f"odradek {options} {start}",
        }

    async def _beat(self) -> None:
        while True:
            self.beat = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)

    def _wrong(self) -> str:
        silent = time.monotonic() - self.beat
        return f"the event loop has not turned for {silent:.0f} s" if silent > LIVE_SECONDS else ""


def _wake(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    loop.call_soon_threadsafe(stop.set)


async def _within(seconds: float, event: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
