"""``odradek versions``: which versions of the workflows' code open runs are on, so which may be removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from odradek.cli.options import Common, pass_common
from odradek.cli.output import json_option, print_json, print_table
from odradek.cli.workflow import ask

if TYPE_CHECKING:
    from odradek.client import Client, WorkflowExecutionCount

OPEN_BY_VERSION = "ExecutionStatus = 'Running' GROUP BY WorkflowType, WorkflowVersion"


@click.command(
    epilog="""\b
Examples:
  odradek versions
  odradek versions --type Order --json
"""
)
@click.option("--type", "workflow_type", metavar="TYPE", help="Only this workflow type.")
@json_option
@pass_common
def versions(common: Common, workflow_type: str | None, as_json: bool) -> None:
    """Open runs by workflow type and version of its code. A version that is not listed has none: its class may go.

    It says what listings say, a few seconds late. "odradek replay --open", with a build that lacks the class, asks the
    histories.
    """
    from odradek.orchestrator.core.versions import natural

    async def counting(client: Client) -> WorkflowExecutionCount:
        return await client.count_workflows(OPEN_BY_VERSION)

    found = []
    for group in ask(common, counting).groups:
        kind, version = (str(value or "") for value in group.group_values)
        if workflow_type in (None, kind):
            found.append((kind, version, group.count))
    found.sort(key=lambda row: (row[0], natural(row[1])))
    if as_json:
        print_json([{"workflow_type": kind, "version": version, "open": count} for kind, version, count in found])
    elif found:
        print_table(
            ["type", "version", "open runs"], [[kind, version or "none", str(count)] for kind, version, count in found]
        )
    else:
        click.echo("No open runs.", err=True)
