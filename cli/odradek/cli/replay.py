"""``odradek replay``: recorded histories, or all open runs, through the code of a module, as it stands here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odradek.cli import messages
from odradek.cli.asking import check_namespace, connected, existing_log
from odradek.cli.errors import HistoryUnreadable
from odradek.cli.exits import ExitCode
from odradek.cli.open_runs import Findings, Wanted, look_at_open_runs
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import json_option, print_json, reading

if TYPE_CHECKING:
    from odradek.client import WorkflowHistory
    from odradek.worker import WorkflowReplayResult


@click.command(
    cls=Command,
    short_help="Would runs from before go on with this code?",
    epilog="""\b
Examples:
  odradek replay --open shop.workflows
  odradek replay --open shop.workflows --type Order --per-type 100 --processes 4
  odradek replay shop.workflows --history order-77.json
  odradek replay shop.workflows --id order-77 --id order-78
  odradek replay shop/workflows.py --archived --type Order
""",
)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--open", "open_runs", is_flag=True, help="All open runs of the namespace, as its history has them.")
@click.option("--history", "files", multiple=True, metavar="FILE", help='As "workflow history --json" writes it.')
@click.option("--id", "workflow_ids", multiple=True, metavar="ID", help="The current or latest run of this workflow.")
@click.option("--run-id", metavar="RUN", help="This run; with one --id.")
@click.option("--archived", is_flag=True, help="All closed runs that the archive holds.")
@click.option("--type", "workflow_type", metavar="TYPE", help="With --open or --archived: runs of this type only.")
@click.option(
    "--per-type",
    type=click.IntRange(1),
    metavar="N",
    help="With --open: a sample, so many runs of each type and version in each partition.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="With --open: share the partitions out among so many processes.",
)
@click.option(
    "--skip-damaged", is_flag=True, help="With --open: runs whose history cannot be read are named, and do not count."
)
@json_option
@pass_common
def replay(
    common: Common,
    modules: tuple[str, ...],
    open_runs: bool,
    files: tuple[str, ...],
    workflow_ids: tuple[str, ...],
    run_id: str | None,
    archived: bool,
    workflow_type: str | None,
    per_type: int | None,
    processes: int,
    skip_damaged: bool,
    as_json: bool,
) -> None:
    """Replay histories through the workflows of MODULE, without a worker: would runs from before go on with this code?

    For each history that does not fit, the first event that differs is named, and the line of code. The exit code is 1
    then. Nothing is written anywhere.

    With --open it is the check before a rollout: every open run of the namespace is replayed, and versions of the code
    that open runs are on and MODULE lacks are named. Whatever is reported would park. Exit code 8: the code fits, and
    there are runs whose history cannot be read, which are parked with any code.
    """
    if open_runs and (files or workflow_ids or archived):
        raise click.UsageError("--open means all open runs: it goes without --history, --id and --archived.")
    if not (open_runs or files or workflow_ids or archived):
        raise click.UsageError("Which histories? Give --open, --history FILE, --id ID or --archived.")
    if run_id is not None and len(workflow_ids) != 1:
        raise click.UsageError("--run-id goes with one --id.")
    messages.set_up(common, quiet=True)
    if open_runs:
        found = _replay_open(common, Wanted(modules, workflow_type, per_type), processes, as_json=as_json)
        if found.failed or (found.damaged and not skip_damaged):
            raise click.exceptions.Exit(int(ExitCode.FAILED if found.failed else ExitCode.DAMAGED))
    else:
        _replay_named(
            common, modules, _Histories(files, workflow_ids, run_id, archived, workflow_type), as_json=as_json
        )


def _replay_open(common: Common, wanted: Wanted, processes: int, *, as_json: bool) -> Findings:
    from odradek.schemas.topics import Topics

    with existing_log(common) as log:
        check_namespace(log, common)
        topic = Topics(common.namespace).history
        info = log.topic(topic)
        offsets = [log.offsets(topic, partition) for partition in range(info.partitions if info else 0)]
        with reading(sum(end - begin for begin, end in offsets)) as progress:
            found = look_at_open_runs(common, log, wanted, processes, progress)
    if as_json:
        print_json(found.as_json())
    else:
        _show_open(found)
    return found


def _show_open(found: Findings) -> None:
    for trouble in found.troubles.values():
        first, *others = trouble.examples
        click.echo(first.message)
        if others:
            named = ", ".join(f"{run.workflow_id} (run {run.run_id})" for run in others)
            more = trouble.runs - len(trouble.examples)
            click.echo(f"  and so {trouble.runs - 1} more: {named}" + (f" and {more} others" if more else ""))
    if found.more:
        click.echo(f"{found.more} more runs, for other reasons")
    damaged = f", {found.damaged} cannot be read with any code" if found.damaged else ""
    click.echo(f"{found.open} open runs, {found.replayed} replayed: {found.failed} would park{damaged}")
    rate = found.events / found.seconds if found.seconds else 0
    read = f"{found.records} records of {found.partitions} partitions, {found.events} events"
    click.echo(f"{read} in {found.seconds:.1f} s ({rate:,.0f} events/s)", err=True)


def _replay_named(common: Common, modules: Sequence[str], wanted: _Histories, *, as_json: bool) -> None:
    from odradek.cli.modules import load

    found = load(modules)
    found.need("workflows")
    results = asyncio.run(_replayed(common, found.workflows, wanted))
    failed = [result for result in results if result.replay_failure is not None]
    if as_json:
        print_json([_shown(result) for result in results])
    else:
        for result in failed:
            click.echo(str(result.replay_failure))
        click.echo(f"{len(results) - len(failed)} of {len(results)} histories replay")
    if failed:
        raise click.exceptions.Exit(int(ExitCode.FAILED))


class _Histories:
    """Which histories."""

    def __init__(
        self,
        files: Sequence[str],
        workflow_ids: Sequence[str],
        run_id: str | None,
        archived: bool,
        workflow_type: str | None,
    ) -> None:
        self.files, self.workflow_ids, self.run_id = files, workflow_ids, run_id
        self.archived, self.workflow_type = archived, workflow_type

    async def histories(self, common: Common) -> AsyncIterator[WorkflowHistory]:
        from odradek.client import archived_histories

        for name in self.files:
            yield _read(name)
        if not (self.workflow_ids or self.archived):
            return
        async with connected(common) as client:
            for workflow_id in self.workflow_ids:
                yield await client.get_workflow_handle(workflow_id, run_id=self.run_id).fetch_history()
            if self.archived:
                async for history in archived_histories(client, workflow_type=self.workflow_type):
                    yield history


async def _replayed(common: Common, workflows: Sequence[type], wanted: _Histories) -> list[WorkflowReplayResult]:
    from odradek.worker import Replayer

    replayer = Replayer(
        workflows=workflows,
        data_converter=common.data_converter(),
        interceptors=common.worker_interceptors(),
    )
    return [
        await replayer.replay_workflow(history, raise_on_replay_failure=False)
        async for history in wanted.histories(common)
    ]


def _read(name: str) -> WorkflowHistory:
    from odradek.client import WorkflowHistory

    try:
        text = Path(name).read_text()
        shown = json.loads(text)
        return WorkflowHistory.from_json(str(shown.get("workflow_id") or Path(name).stem), shown)
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise HistoryUnreadable(name, str(error)) from error


def _shown(result: WorkflowReplayResult) -> dict[str, Any]:
    failure = result.replay_failure
    shown: dict[str, Any] = {"workflow_id": result.history.workflow_id, "run_id": result.history.run_id}
    if failure is not None:
        fields = ("event", "recorded", "made", "place")
        shown |= {
            "failure": str(failure),
            **{name: getattr(failure, name) for name in fields if hasattr(failure, name)},
        }
    return shown
