"""``odradek backup``, ``restore`` and ``repartition``: a whole namespace to a file, from one, to more partitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odradek.cli import messages
from odradek.cli.asking import check_namespace, existing_log
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import json_option, print_json, reading

if TYPE_CHECKING:
    from odradek.log import Log
    from odradek.orchestrator.transfer.copying import Copied

replication_option = click.option(
    "--replication", type=click.IntRange(1, 100), metavar="COPIES", help="Of the new topics. Default: the cluster's."
)
damaged_option = click.option("--skip-damaged", is_flag=True, help="Leave out runs that cannot be read.")


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop backup shop.avro
""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@pass_common
def backup(common: Common, file: Path, force: bool, as_json: bool) -> None:
    """Write the namespace to FILE: histories, what of the inbox was not taken in, archive, listings, controls.

    Its orchestrators must be stopped for as long as it takes; workers and clients may go on. FILE holds payloads as the
    topics do: behind your codec if you have one, and readable otherwise.
    """
    messages.set_up(common, quiet=True)
    if file.exists() and not force:
        raise click.UsageError(f"{file} exists: give another name, or --force.")
    from odradek.orchestrator.transfer.backup_file import write_backup
    from odradek.orchestrator.transfer.cut import Cut

    with existing_log(common) as log:
        cut = Cut(_source(log, common))
        with reading(cut.size) as progress:
            cut.progress = progress
            entries = write_backup(file, cut)
    if as_json:
        print_json({"file": str(file), "namespace": common.namespace, "entries": entries, "bytes": file.stat().st_size})
    else:
        click.echo(f"{entries} entries, {file.stat().st_size} bytes in {file}")


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop-2 restore shop.avro
  odradek --namespace shop-2 namespace promote
""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--partitions", type=click.IntRange(1, 10_000), metavar="N", help="Default: as many as there were.")
@replication_option
@damaged_option
@json_option
@pass_common
def restore(
    common: Common,
    file: Path,
    partitions: int | None,
    replication: int | None,
    skip_damaged: bool,
    as_json: bool,
) -> None:
    """Make the namespace that --namespace names, on the log that --log names, from FILE.

    It stands by: nobody serves it, and nothing leaves it, before "odradek namespace promote". What was written is read
    again and compared.
    """
    messages.set_up(common, quiet=True)
    from odradek.orchestrator.transfer.backup_file import BackupFile

    source = BackupFile(file)
    with _log(common) as log:
        done = _copied(common, source, log, common.namespace, partitions, replication, skip_damaged)
    _say(done, as_json=as_json)


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop repartition --partitions 128 --to shop-128
  odradek --namespace shop-128 namespace promote
""",
)
@click.option("--partitions", type=click.IntRange(1, 10_000), metavar="N", required=True, help="How many it gets.")
@click.option("--to", "name", metavar="NAMESPACE", required=True, help="The new namespace.")
@replication_option
@damaged_option
@json_option
@pass_common
def repartition(
    common: Common, partitions: int, name: str, replication: int | None, skip_damaged: bool, as_json: bool
) -> None:
    """Copy the namespace to another partition count, under another name on the same log.

    Its orchestrators must be stopped. The copy stands by until "odradek namespace promote"; the original stays as it
    is, and must not be served any more then.
    """
    messages.set_up(common, quiet=True)
    from odradek.orchestrator.transfer.cut import Cut

    if name == common.namespace:
        raise click.UsageError("--to must name another namespace than --namespace.")
    with existing_log(common) as log:
        cut = Cut(_source(log, common))
        with reading(cut.size) as progress:
            cut.progress = progress
            done = _copied(common, cut, log, name, partitions, replication, skip_damaged)
    _say(done, as_json=as_json)


def _source(log: Log, common: Common) -> Any:
    from odradek.log.namespace import open_namespace

    check_namespace(log, common)
    return open_namespace(log, common.namespace, schema_registry=common.schema_registry)


def _log(common: Common) -> Any:
    """Of the new namespace: an embedded one is made if it is not there."""
    from contextlib import closing

    if common.address.startswith("sqlite://"):
        return closing(common.open_log())
    return existing_log(common)


def _copied(
    common: Common,
    source: Any,
    log: Log,
    name: str,
    partitions: int | None,
    replication: int | None,
    skip_damaged: bool,
) -> Copied:
    from odradek.orchestrator.transfer.copying import copy

    return copy(
        source,
        log,
        name,
        partitions=partitions,
        replication=replication,
        schema_registry=common.schema_registry,
        skip_damaged=skip_damaged,
    )


def _say(done: Copied, *, as_json: bool) -> None:
    if as_json:
        digest = done.digest
        print_json(
            {
                "namespace": done.namespace,
                "partitions": done.partitions,
                "open": digest.open_runs,
                "closed": digest.closed_runs,
                "digest": f"{digest.state:032x}",
                "inputs": done.inputs,
                "archived": done.archived,
                "left_out": _named(done.damaged),
                "tied": _named(done.tied),
            }
        )
        return
    click.echo(f'namespace "{done.namespace}", {done.partitions} partitions: {done.digest}, read again and equal')
    click.echo(f"{done.inputs} inputs that had not been taken in, {done.archived} records of the archive")
    for workflow_id, run_id in done.damaged:
        click.echo(f'left out: workflow "{workflow_id}", run {run_id}', err=True)
    if done.tied:
        workflow_id, run_id = done.tied[0]
        click.echo(
            f"{len(done.tied)} open runs depend on the old name: they have work in a task queue that they name with "
            "it, which needs workers there as before, or children in other namespaces, whose results go there. The "
            f'first is workflow "{workflow_id}", run {run_id}',
            err=True,
        )
    where = f"odradek --namespace {done.namespace}"
    click.echo(f'It stands by; next: "{where} replay --open MODULE", then "{where} namespace promote"', err=True)


def _named(runs: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"workflow_id": workflow_id, "run_id": run_id} for workflow_id, run_id in runs]
