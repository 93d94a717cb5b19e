"""``odradek topics``: make a namespace's topics, compare them with what they should be, or write them down."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from odradek.cli import messages
from odradek.cli.asking import check_reachable, existing_log
from odradek.cli.exits import ExitCode
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.output import json_option, print_json, print_table
from odradek.cli.retention import retention

if TYPE_CHECKING:
    from odradek.log import Log, TopicInfo
    from odradek.schemas.topics import TopicSpec

queue_option = click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="A task queue; repeatable.")
partitions_option = click.option("--partitions", type=click.IntRange(1, 10_000), help="Fixed for ever. Default: 32.")
keys_option = click.option("--keys", is_flag=True, help="The topic of keys, too, for payloads encrypted by workflow.")
replication_option = click.option(
    "--replication", type=click.IntRange(1, 100), metavar="COPIES", help="Default: what the cluster does."
)


@click.group(
    cls=Group,
    short_help="Make, check and export a namespace's topics.",
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop topics create --queue orders --queue mail --replication 3
  odradek topics check
  odradek --namespace shop topics export --format strimzi --queue orders > topics.yaml
""",
)
def topics() -> None:
    """Make a namespace's topics, compare them with what they should be, or write them down for others."""


@topics.command()
@queue_option
@partitions_option
@replication_option
@keys_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_common
def create(
    common: Common,
    queues: tuple[str, ...],
    partitions: int | None,
    replication: int | None,
    keys: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make what is missing of the namespace. Existing topics are left as they are.

    The number of partitions is fixed with the first topic. On a terminal it asks before it makes topics on a cluster.
    """
    messages.set_up(common, quiet=True)
    if not common.address.startswith("sqlite://"):
        check_reachable(common)
    from odradek.log.namespace import create_namespace, open_namespace

    log = common.open_log()
    try:
        specs = wanted_topics(log, common.namespace, queues, partitions, replication, keys=keys)
        existing = set(log.topics(""))
        missing = [spec for spec in specs if spec.name not in existing]
        _confirm(common, missing, yes=yes)
        create_namespace(
            log,
            common.namespace,
            partitions=partitions,
            replication=replication,
            queues=queues,
            schema_registry=common.schema_registry,
        )
        log.create_topics(specs)
        made = open_namespace(log, common.namespace, schema_registry=common.schema_registry)
    finally:
        log.close()
    _warn_of_count(partitions, made.partitions)
    rows = [[spec.name, str(spec.partitions), "made" if spec in missing else "was there"] for spec in specs]
    if as_json:
        print_json([{"topic": row[0], "partitions": int(row[1]), "made": row[2] == "made"} for row in rows])
    else:
        print_table(["topic", "partitions", ""], rows)


def _confirm(common: Common, missing: list[TopicSpec], *, yes: bool) -> None:
    if missing and not yes and common.address.startswith("kafka://") and sys.stdin.isatty():
        named = ", ".join(f"{spec.name} ({spec.partitions})" for spec in missing)
        click.confirm(f"Make {len(missing)} topics at {common.address}: {named}?", abort=True, err=True)


def _warn_of_count(asked: int | None, made: int) -> None:
    if asked is not None and asked != made:
        text = f"The namespace was made with {made} partitions, and keeps them; --partitions {asked} changes nothing."
        click.echo(text, err=True)


@topics.command()
@queue_option
@replication_option
@json_option
@pass_common
def check(common: Common, queues: tuple[str, ...], replication: int | None, as_json: bool) -> int:
    """Compare every topic of the namespace with what it should be.

    Differences that matter end with the exit code 1. Task queues that exist are compared too, named or not.
    """
    messages.set_up(common, quiet=True)
    from odradek.cli.topic_check import differences

    with existing_log(common) as log:
        specs = wanted_topics(log, common.namespace, queues, None, replication)
        found: dict[str, TopicInfo | None] = {spec.name: log.topic(spec.name) for spec in specs}
    differing = differences(specs, found)
    if as_json:
        print_json([difference.as_json() for difference in differing])
    elif differing:
        rows = [[d.topic, d.setting, d.found, d.wanted, "" if d.matters else "costs only"] for d in differing]
        print_table(["topic", "setting", "found", "wanted", ""], rows)
    else:
        click.echo(f"{len(specs)} topics are as they should be", err=True)
    return int(ExitCode.FAILED if any(d.matters for d in differing) else ExitCode.OK)


@topics.command()
@queue_option
@partitions_option
@click.option("--replication", type=click.IntRange(1, 100), metavar="COPIES", default=3, show_default=True)
@keys_option
@click.option("--format", "form", type=click.Choice(["strimzi", "terraform"]), default="strimzi", show_default=True)
@click.option(
    "--cluster", default="kafka", show_default=True, help="The Kafka resource that Strimzi's topics belong to."
)
@pass_common
def export(
    common: Common,
    queues: tuple[str, ...],
    partitions: int | None,
    replication: int,
    keys: bool,
    form: str,
    cluster: str,
) -> None:
    """Print the topics for those who manage them. Contacts nobody."""
    from odradek.cli import topic_export
    from odradek.schemas.topics import PARTITIONS_DEFAULT, Topics

    names = Topics(common.namespace)
    count = partitions or PARTITIONS_DEFAULT
    specs = names.specs(count, replication=replication)
    specs += [names.tasks_spec(queue, count, replication=replication) for queue in queues]
    specs += [names.keys_spec(replication=replication)] if keys else []
    text = topic_export.strimzi(specs, cluster) if form == "strimzi" else topic_export.terraform(specs)
    click.echo(text, nl=False)


def wanted_topics(
    log: Log,
    namespace: str,
    queues: tuple[str, ...],
    partitions: int | None,
    replication: int | None,
    *,
    keys: bool = False,
) -> list[TopicSpec]:
    """How the topics should be, by the partition count that the namespace has, else the one asked for."""
    from odradek.log.namespace import EMBEDDED_PARTITIONS, is_embedded
    from odradek.schemas.topics import PARTITIONS_DEFAULT, Topics

    names = Topics(namespace)
    inbox: Any = log.topic(names.inbox)
    default = EMBEDDED_PARTITIONS if is_embedded(log) else PARTITIONS_DEFAULT
    count = inbox.partitions if inbox else partitions or default
    known = [name.removeprefix(names.tasks_prefix) for name in log.topics(names.tasks_prefix)]
    found = names.specs(count, replication=replication)
    if keys or log.topic(names.keys) is not None:
        found.append(names.keys_spec(replication=replication))
    for queue in dict.fromkeys([*queues, *known]):
        spec = names.tasks_spec(queue, count, replication=replication)
        # A queue may have as many partitions as it likes, so an existing one is as it should be.
        info = log.topic(spec.name)
        found.append(spec if info is None else names.tasks_spec(queue, info.partitions, replication=replication))
    return found


topics.add_command(retention)
