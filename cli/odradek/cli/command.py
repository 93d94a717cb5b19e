"""The root of the command: its options, where its commands stand, and what becomes of their errors."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click

from odradek.cli.errors import report
from odradek.cli.exits import epilog
from odradek.cli.options import Common, common_options
from odradek.cli.stopping import heed_stop_signal

# Imported when they are asked for: starting up must be quick.
COMMANDS: Final = {
    "dev": "odradek.cli.dev:dev",
    "orchestrator": "odradek.cli.orchestrator:orchestrator",
    "worker": "odradek.cli.worker:worker",
    "workflow": "odradek.cli.workflow:workflow",
    "check": "odradek.cli.check:check",
    "replay": "odradek.cli.replay:replay",
    "activity": "odradek.cli.activity:activity",
    "task-queue": "odradek.cli.task_queue:task_queue",
    "dead-letter": "odradek.cli.dead_letter:dead_letter",
    "versions": "odradek.cli.code_versions:versions",
    "topics": "odradek.cli.topics:topics",
    "doctor": "odradek.cli.doctor:doctor",
    "upgrade": "odradek.cli.upgrade:upgrade",
    "backup": "odradek.cli.transfer:backup",
    "restore": "odradek.cli.transfer:restore",
    "repartition": "odradek.cli.transfer:repartition",
    "namespace": "odradek.cli.namespace:namespace",
}


class Root(click.Group):
    """Finds commands by name, and turns every exception into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), name)
        return found

    def invoke(self, ctx: click.Context) -> None:
        heed_stop_signal()
        try:
            result = super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort) as error:
            if isinstance(error, click.ClickException) and not isinstance(error, click.UsageError):
                _trace(ctx, error)
            raise
        except (Exception, KeyboardInterrupt) as error:
            ctx.exit(int(report(error, verbose=ctx.ensure_object(Common).verbose)))
        if isinstance(result, int):
            ctx.exit(result)


def _trace(ctx: click.Context, error: BaseException) -> None:
    cause = error.__cause__
    if cause is not None and ctx.ensure_object(Common).verbose:
        import traceback

        traceback.print_exception(cause)


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from odradek.cli.versions import odradek_version

        click.echo(f"odradek {odradek_version()}")
        context.exit()


_HELP = """Durable execution on the Kafka that you already run.

\b
Examples:
  odradek dev shop/orders.py                     everything in one process, on an embedded log
  odradek --log kafka://k1:9092 topics create    the topics of a namespace
  odradek orchestrator shop.workflows            runs workflow code
  odradek worker shop.activities --queue orders  runs activity code
  odradek workflow start Order --id order-77 --queue orders --input '{"sku": "A1"}' --wait
  odradek doctor                                 what is wrong, and what to do

These options may stand before or after a command's name.
"""


def _root() -> Root:
    version = click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
    )
    settings: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    return Root(
        "odradek",
        params=[*common_options(at_root=True), version],
        help=_HELP,
        epilog=epilog(),
        context_settings=settings,
        no_args_is_help=True,
    )


main: Final = _root()
