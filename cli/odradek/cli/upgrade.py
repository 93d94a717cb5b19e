"""``odradek upgrade``: raise the feature level of a namespace, after every process can read the newer records."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

import click

from odradek.cli import messages
from odradek.cli.asking import check_namespace, existing_log
from odradek.cli.errors import FeatureLevelRefused, NeedsConfirmation
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import json_option, print_json

if TYPE_CHECKING:
    from odradek.log import Log

SEEN_SECONDS: Final = 60.0
"""Signs of life are repeated every two seconds; more than that, so that a clock that is a little wrong hides nobody."""


@dataclass
class Standing:
    """Where the namespace stands, and who was seen at work in it."""

    namespace: str
    feature_level: int | None
    """None: nobody wrote it down, so every process writes its newest."""
    newest: int
    orchestrators: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    raised_to: int | None = None


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop upgrade
  odradek upgrade --to 2 --yes
""",
)
@click.option("--to", type=click.IntRange(1), metavar="LEVEL", help="Default: the newest that this build writes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_common
def upgrade(common: Common, to: int | None, yes: bool, as_json: bool) -> None:
    """Raise the namespace's feature level: the newest form of records that may be written in it.

    A build writes new forms of records only at the level that introduced them, so that the build before it can run
    beside it. Deploy a new build everywhere first: clients, orchestrators and workers. A process without it would stop
    at the first record that it cannot read. Then run this, and restart the processes, a few at a time: each takes the
    level at its start. A level is never lowered.
    """
    messages.set_up(common, quiet=True)
    with existing_log(common) as log:
        check_namespace(log, common)
        standing = look(log, common.namespace)
        target = standing.newest if to is None else to
        _check(standing, target)
        if not as_json:
            _say(standing)
        if standing.feature_level != target:
            _confirm(standing, target, yes=yes)
            _raise(log, common, target)
            standing.raised_to = target
    if as_json:
        print_json(asdict(standing))
    elif standing.raised_to is None:
        click.echo("Nothing to raise.", err=True)
    else:
        click.echo(f"raised to {target}")
        click.echo("Restart the processes, a few at a time: each takes the level at its start.", err=True)


def look(log: Log, name: str) -> Standing:
    """Read the namespace's facts, and the signs of life of the last minute. Raises ``NewerSchema``."""
    from odradek.log.namespace import read_facts, read_to_end
    from odradek.schemas.codec import Codec
    from odradek.schemas.errors import SchemaError
    from odradek.schemas.records import SCHEMA_VERSION, Beacon, WorkerLease, WorkersRecord
    from odradek.schemas.topics import Topics

    topics = Topics(name)
    facts = read_facts(log, topics)
    standing = Standing(name, facts.feature_level if facts else None, SCHEMA_VERSION)
    last = {record.key: record for record in read_to_end(log, topics.workers, 0)}
    for record in last.values():
        if record.value is None or record.time_ms < (time.time() - SEEN_SECONDS) * 1000:
            continue
        try:
            body = Codec().decode(WorkersRecord, record.value).body
        except SchemaError:
            continue
        if isinstance(body, Beacon):
            standing.orchestrators.append(body.orchestrator)
        elif isinstance(body, WorkerLease) and not body.ended:
            standing.workers.append(f"{body.identity} ({body.task_queue})")
    return standing


def _check(standing: Standing, target: int) -> None:
    if target > standing.newest:
        problem = f"this build reads and writes levels up to {standing.newest}: run the command of a newer build"
        raise FeatureLevelRefused(standing.namespace, target, problem)
    if standing.feature_level is not None and target < standing.feature_level:
        problem = f"it is {standing.feature_level} already, and records of that level may stand in the topics"
        raise FeatureLevelRefused(standing.namespace, target, problem)


def _say(standing: Standing) -> None:
    level = "not written down: every process writes its newest" if standing.feature_level is None else "{:d}"
    rows = {
        "namespace": standing.namespace,
        "feature level": level.format(standing.feature_level),
        "this build": f"writes up to {standing.newest}",
        "orchestrators": _named(standing.orchestrators),
        "workers": _named(standing.workers),
    }
    for name, value in rows.items():
        click.echo(f"{name:<15}{value}")


def _named(names: list[str]) -> str:
    return f"{len(names)} seen in the last minute" + (f": {', '.join(sorted(names))}" if names else "")


def _confirm(standing: Standing, target: int, *, yes: bool) -> None:
    if yes:
        return
    what = f'raising the feature level of namespace "{standing.namespace}" to {target}'
    if not sys.stdin.isatty():
        raise NeedsConfirmation(what)
    seen = f"{len(standing.orchestrators)} orchestrators, {len(standing.workers)} workers"
    warning = f"Every process must run a build that reads level {target}: {seen}, and clients, which are not seen."
    click.echo(warning + " There is no way back.", err=True)
    click.confirm(f"{what[0].upper()}{what[1:]}?", abort=True, err=True)


def _raise(log: Log, common: Common, target: int) -> None:
    from odradek.log.namespace import change_facts
    from odradek.schemas.topics import Topics

    change_facts(log, Topics(common.namespace), common.schema_registry, feature_level=target)
