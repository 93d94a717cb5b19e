"""``odradek namespace``: what a namespace is, as a whole."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import click

from odradek.cli import messages
from odradek.cli.asking import check_namespace, existing_log
from odradek.cli.errors import NeedsConfirmation
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.output import json_option, print_json


@click.group(
    cls=Group,
    short_help="Promote a restored namespace, prune listings.",
    epilog="""\b
Examples:
  odradek --namespace shop-2 namespace promote --yes
  odradek --namespace shop namespace prune-listings --closed-before 30
""",
)
def namespace() -> None:
    """What concerns a namespace as a whole."""


@namespace.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_common
def promote(common: Common, yes: bool) -> None:
    """Let a namespace that was restored or copied be served.

    Nobody may serve the one that it was made from any more: what both serve happens twice. There is no way back: what
    happens from here on the original does not know. A copy that broke off, or differs, is refused.
    """
    messages.set_up(common, quiet=True)
    from odradek.log.namespace import change_facts, open_namespace, read_facts
    from odradek.orchestrator.transfer.copying import check_sealed
    from odradek.schemas.topics import Topics

    topics = Topics(common.namespace)
    with existing_log(common) as log:
        check_namespace(log, common)
        facts = read_facts(log, topics)
        if facts is None or not facts.stands_by:
            click.echo(f'Namespace "{common.namespace}" does not stand by: it may be served already.', err=True)
            return
        check_sealed(open_namespace(log, common.namespace, schema_registry=common.schema_registry))
        if not yes:
            _confirm(common.namespace)
        change_facts(log, topics, common.schema_registry, stands_by=False)
    click.echo(f'namespace "{common.namespace}" may be served')


@namespace.command("prune-listings")
@click.option(
    "--closed-before",
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    required=True,
    help="Runs that closed so many days ago, or earlier, are listed no more.",
)
@json_option
@pass_common
def prune(common: Common, closed_before: float, as_json: bool) -> None:
    """Take out of the listings what closed long ago.

    Orchestrators do this by themselves, every few hours, with what closed before their --retention. This takes out
    more, or sooner. Open runs stay. It may run while the namespace is served.
    """
    messages.set_up(common, quiet=True)
    from odradek.log.listings import prune_listings
    from odradek.log.namespace import open_namespace

    with existing_log(common) as log:
        check_namespace(log, common)
        opened = open_namespace(log, common.namespace, schema_registry=common.schema_registry)
        done = prune_listings(opened, int((time.time() - closed_before * 24 * 3600) * 1000))
    if as_json:
        print_json(asdict(done))
    else:
        click.echo(f"{done.runs} runs and {done.records} records taken out, {done.left} runs are left")


def _confirm(name: str) -> None:
    if not sys.stdin.isatty():
        raise NeedsConfirmation(f'promoting namespace "{name}"')
    question = f'Is the namespace that "{name}" was made from served by nobody any more?'
    click.confirm(question, abort=True, err=True)
