"""``odradek doctor``: what is wrong, and what to do."""

from __future__ import annotations

import click

from odradek.cli import messages
from odradek.cli.exits import ExitCode
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import console, json_option, print_json


@click.command(
    cls=Command,
    short_help="What is wrong, and what to do.",
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop doctor
  odradek doctor --json | jq '.[] | select(.level != "ok")'
""",
)
@json_option
@pass_common
def doctor(common: Common, as_json: bool) -> int:
    """Look at the log, the namespace, its topics, clocks, orchestrators, workers and queues.

    Each finding is ok, warn or fail, with what to do. A fail ends with the exit code 1. Writes one small record to the
    namespace's workers topic, and removes it.
    """
    messages.set_up(common, quiet=True)
    address = common.shown_address
    from odradek.cli.checkup import Level, check_up

    findings = []
    styles = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
    out = console()
    if not as_json:
        click.echo(f'{address}, namespace "{common.namespace}"', err=True)
    for finding in check_up(common):
        findings.append(finding)
        if not as_json:
            out.print(f"[{styles[finding.level]}]{finding.level:<4}[/]", f"{finding.check:<14}", end=" ")
            out.print(finding.text, markup=False, soft_wrap=True)
            if finding.level is not Level.OK and finding.advice:
                out.print(" " * 19, f"→ {finding.advice}", markup=False, soft_wrap=True)
    if as_json:
        print_json([finding.as_json() for finding in findings])
    return int(ExitCode.FAILED if any(finding.level is Level.FAIL for finding in findings) else ExitCode.OK)
