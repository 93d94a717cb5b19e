"""``odradek workflow replay``: recorded histories through the code of a module, as it stands here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from odradek.cli import messages
from odradek.cli.asking import connected
from odradek.cli.errors import HistoryUnreadable
from odradek.cli.exits import ExitCode
from odradek.cli.options import Common, pass_common
from odradek.cli.output import json_option, print_json

if TYPE_CHECKING:
    from odradek.client import WorkflowHistory
    from odradek.worker import WorkflowReplayResult


@click.command(
    epilog="""\b
Examples:
  odradek workflow replay shop.workflows --history order-77.json
  odradek workflow replay shop.workflows --id order-77 --id order-78
  odradek workflow replay shop/workflows.py --archived --type Order
"""
)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--history", "files", multiple=True, metavar="FILE", help='As "workflow history --json" writes it.')
@click.option("--id", "workflow_ids", multiple=True, metavar="ID", help="The current or latest run of this workflow.")
@click.option("--run-id", metavar="RUN", help="This run; with one --id.")
@click.option("--archived", is_flag=True, help="All closed runs that the archive holds.")
@click.option("--type", "workflow_type", metavar="TYPE", help="With --archived: runs of this type only.")
@json_option
@pass_common
def replay(
    common: Common,
    modules: tuple[str, ...],
    files: tuple[str, ...],
    workflow_ids: tuple[str, ...],
    run_id: str | None,
    archived: bool,
    workflow_type: str | None,
    as_json: bool,
) -> None:
    """Replay histories through the workflows of MODULE, without a worker: would runs from before go on with this code?

    For each history that does not fit, the first event that differs is named, and the line of code. The exit code is 1
    then. Nothing is written anywhere.
    """
    from odradek.cli.modules import load

    if not (files or workflow_ids or archived):
        raise click.UsageError("Which histories? Give --history FILE, --id ID or --archived.")
    if run_id is not None and len(workflow_ids) != 1:
        raise click.UsageError("--run-id goes with one --id.")
    messages.set_up(common, quiet=True)
    found = load(modules)
    found.need("workflows")
    results = asyncio.run(
        _replayed(common, found.workflows, _Wanted(files, workflow_ids, run_id, archived, workflow_type))
    )
    failed = [result for result in results if result.replay_failure is not None]
    if as_json:
        print_json([_shown(result) for result in results])
    else:
        for result in failed:
            click.echo(str(result.replay_failure))
        click.echo(f"{len(results) - len(failed)} of {len(results)} histories replay")
    if failed:
        raise click.exceptions.Exit(int(ExitCode.FAILED))


class _Wanted:
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


async def _replayed(common: Common, workflows: Sequence[type], wanted: _Wanted) -> list[WorkflowReplayResult]:
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
