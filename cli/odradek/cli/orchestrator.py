"""``odradek orchestrator``: runs workflow code for the partitions that its group gives it."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from odradek.cli import messages
from odradek.cli.health import LIVE_SECONDS, HealthOptions, health_options
from odradek.cli.inputs import Number
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.stopping import on_parent_gone, on_stop_signal

if TYPE_CHECKING:
    from odradek.cli.modules import Found
    from odradek.orchestrator.host import Orchestrator
    from odradek.orchestrator.settings import OrchestratorSettings

_log = logging.getLogger("odradek.cli")


@click.command(
    cls=Command,
    short_help="Run workflow code.",
    epilog="""\b
Examples:
  odradek orchestrator shop.workflows
  odradek orchestrator
  odradek orchestrator shop.orders shop.refunds --store /var/lib/odradek --processes 4
  odradek --log sqlite:///shop.db orchestrator shop/orders.py --health-port 0
""",
)
@click.argument("modules", metavar="[MODULE...]", nargs=-1)
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="ODRADEK_STORE",
    show_envvar=True,
    help="Folder for the local stores, a cache of the log: restarts are quick with it. Default: in memory.",
)
@click.option(
    "--redis",
    envvar="ODRADEK_REDIS",
    show_envvar=True,
    metavar="URL",
    help="Where copies of the stores are kept: machines that have no store yet take over quickly with them.",
)
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes on this host.")
@click.option(
    "--session-timeout",
    type=Number(0.1, 3600),
    metavar="SECONDS",
    help="Silence after which others take over. Default: 6.",
)
@click.option("--hand-over-timeout", type=Number(0, 3600), metavar="SECONDS", help="Default: 5.")
@click.option("--checkpoint", type=Number(0.01, 3600), metavar="SECONDS", help="Default: 1.")
@click.option("--retention", type=Number(0.001), metavar="DAYS", help="Of summaries of closed runs. Default: 7.")
@click.option("--max-workflows", type=click.IntRange(1), help="Workflows in memory, about 6 KiB each. Default: 50000.")
@click.option("--max-instances", type=click.IntRange(1), help="Of them with running code. Default: 20000.")
@click.option(
    "--deadlock-timeout",
    type=Number(0, 3600),
    metavar="SECONDS",
    help="CPU time that workflow code may use for one input before it is interrupted and parked; 0: any. Default: 2.",
)
@click.option(
    "--retry-suspects", is_flag=True, help="Run again what was parked for taking its process down: the code is mended."
)
@click.option("--identity", help="Name in messages. Default: the process ID and host.")
@click.option("--parent", type=int, hidden=True)
@health_options(9464)
@pass_common
def orchestrator(
    common: Common,
    modules: tuple[str, ...],
    store: Path | None,
    redis: str | None,
    processes: int,
    session_timeout: float | None,
    hand_over_timeout: float | None,
    checkpoint: float | None,
    retention: float | None,
    max_workflows: int | None,
    max_instances: int | None,
    deadlock_timeout: float | None,
    retry_suspects: bool,
    identity: str | None,
    parent: int | None,
    health: HealthOptions,
) -> None:
    """Run the workflows of the MODULEs, dotted names or .py files, and the activities that clients start.

    The latter need no MODULE. Every orchestrator of a namespace must host all of its workflow types. SIGTERM and Ctrl-C
    hand the partitions over and end with 0. With --processes all share the folder of the stores, and each has a health
    port of its own (PORT, PORT+1, …); when one fails all are stopped.
    """
    messages.set_up(common)
    if processes > 1:
        from odradek.cli.processes import run_processes

        sys.exit(run_processes(sys.argv[1:], processes, health))
    from odradek.cli import modules as loading

    found = loading.load(modules)
    if modules:
        found.need("workflows")
    given = {
        "store": store,
        "redis": redis,
        "session_timeout_seconds": session_timeout,
        "hand_over_timeout_seconds": hand_over_timeout,
        "checkpoint_seconds": checkpoint,
        "summary_retention_seconds": None if retention is None else retention * 24 * 3600,
        "workflows_in_memory_max": max_workflows,
        "instances_in_memory_max": max_instances,
        "deadlock_timeout_seconds": deadlock_timeout,
        "retries_suspects": retry_suspects,
    }
    from odradek.orchestrator.settings import OrchestratorSettings

    settings = OrchestratorSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    _serve(common, found, settings, identity, health, parent)


def _serve(
    common: Common,
    found: Found,
    settings: OrchestratorSettings,
    identity: str | None,
    health: HealthOptions,
    parent: int | None,
) -> None:
    from odradek.cli.collector import collect_rarely
    from odradek.log.namespace import open_namespace
    from odradek.orchestrator.host import Orchestrator
    from odradek.orchestrator.registry import Registry
    from odradek.schemas.access import Role
    from odradek.worker.interceptor import interceptor_classes

    registry = Registry()
    around = common.worker_interceptors()
    registry.add(found.workflows, interceptors=interceptor_classes(around))
    registry.add_activities(found.activities)
    log = common.open_log()
    try:
        namespace = open_namespace(
            log, common.namespace, schema_registry=common.schema_registry, role=Role.ORCHESTRATOR
        )
        served = Orchestrator(
            namespace,
            registry,
            data_converter=common.data_converter(),
            identity=identity,
            settings=settings,
            interceptors=around,
        )
        on_stop_signal(served.stop)
        if parent is not None:
            on_parent_gone(parent, served.stop)
        server = health.start(alive=lambda: _alive(served), ready=lambda: _ready(served))
        collect_rarely()
        _log.info("hosting workflows: %s", ", ".join(found.workflow_names))
        try:
            served.run()
        finally:
            if server is not None:
                server.close()
        _log.info("orchestrator %s has handed over", served.id)
    finally:
        log.close()


def _alive(served: Orchestrator) -> str:
    silent = time.monotonic() - served.turned_at
    return f"the loop has not turned for {silent:.0f} s" if silent > LIVE_SECONDS else ""


def _ready(served: Orchestrator) -> str:
    return "" if served.ready.is_set() else "not all partitions are live yet"
