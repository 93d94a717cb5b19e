"""``odradek workflow``: start workflows, look at them, speak with them, end them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import click

from odradek.cli import messages
from odradek.cli.asking import connected
from odradek.cli.errors import NeedsConfirmation
from odradek.cli.inputs import input_option, json_value, seconds_option
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.output import json_option, local_text, print_json, print_rich, print_table, values_option

if TYPE_CHECKING:
    from odradek.client import Client, Erased, WorkflowExecution, WorkflowHandle

T = TypeVar("T")

run_id_option = click.option("--run-id", metavar="RUN", help="This run. Default: the current or latest one.")
timeout_option = seconds_option("--timeout", "How long to wait for the answer. Default: 10.")


def ask(common: Common, question: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, ask, and go."""
    messages.set_up(common, quiet=True)

    async def asking() -> T:
        async with connected(common) as client:
            return await question(client)

    return asyncio.run(asking())


def handle_of(client: Client, workflow_id: str, run_id: str | None) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(workflow_id, run_id=run_id)


@click.group(
    cls=Group,
    short_help="Start, see, signal, query and end workflows.",
    epilog="""\b
Examples:
  odradek workflow start Order --id order-77 --queue orders --input '{"sku": "A1"}'
  odradek workflow show order-77
  odradek workflow list --query "ExecutionStatus = 'Running' AND WorkflowType = 'Order'"
  odradek workflow signal order-77 approve --input '"Ada"'
  odradek workflow history order-77 --json > order-77.json
""",
)
def workflow() -> None:
    """Start workflows, look at them, speak with them, end them."""


@workflow.command(
    epilog="""\b
Examples:
  odradek workflow start Order --id order-77 --queue orders --input '{"sku": "A1"}' --input 3
  odradek workflow start Order --queue orders --input @order.json --wait
"""
)
@click.argument("type", metavar="TYPE")
@click.option(
    "--id", "workflow_id", metavar="ID", help="Unique among open workflows. Default: the type and a random part."
)
@click.option("--queue", required=True, envvar="ODRADEK_QUEUE", help="Task queue: the default for its activities.")
@input_option
@click.option("--wait", is_flag=True, help="Wait for the result, and print it.")
@click.option(
    "--if-open",
    type=click.Choice(["fail", "use-existing", "terminate-existing"]),
    default="fail",
    show_default=True,
    help="What to do when a workflow of this ID is open.",
)
@click.option(
    "--if-closed",
    type=click.Choice(["allow-duplicate", "allow-duplicate-failed-only", "reject-duplicate"]),
    default="allow-duplicate",
    show_default=True,
    help="Whether an ID that was used before may be used again.",
)
@click.option("--memo", multiple=True, metavar="KEY=JSON", help="Shown with the workflow; repeatable.")
@seconds_option("--run-timeout", "Of the run.")
@seconds_option("--start-delay", "How long to wait before its code begins.")
@click.option("--summary", help="One line about it, for people.")
@timeout_option
@json_option
@pass_common
def start(
    common: Common,
    type: str,
    workflow_id: str | None,
    queue: str,
    input: tuple[Any, ...],
    wait: bool,
    if_open: str,
    if_closed: str,
    memo: tuple[str, ...],
    run_timeout: timedelta | None,
    start_delay: timedelta | None,
    summary: str | None,
    timeout: timedelta | None,
    as_json: bool,
) -> None:
    """Start a workflow of the TYPE. Done when its start is durable; with --wait, when it has ended."""
    known_id = workflow_id or f"{type}-{uuid4().hex[:12]}"

    async def starting(client: Client) -> None:
        from odradek.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

        handle = await client.start_workflow(
            type,
            args=input,
            id=known_id,
            task_queue=queue,
            id_conflict_policy=WorkflowIDConflictPolicy(if_open),
            id_reuse_policy=WorkflowIDReusePolicy(if_closed),
            memo={key: json_value("--memo", value) for key, _, value in (one.partition("=") for one in memo)},
            run_timeout=run_timeout,
            start_delay=start_delay,
            static_summary=summary,
            rpc_timeout=timeout,
        )
        started = {"workflow_id": handle.id, "run_id": handle.result_run_id}
        if wait:
            click.echo(f'started workflow "{handle.id}", run {handle.result_run_id}', err=True)
            print_json(await handle.result())
        elif as_json:
            print_json(started)
        else:
            click.echo(f'started workflow "{handle.id}", run {handle.result_run_id}')

    ask(common, starting)


@workflow.command("list")
@click.option(
    "--query", metavar="FILTER", help="As in: ExecutionStatus = 'Running' AND StartTime > '2030-01-31T12:00:00Z'"
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@json_option
@pass_common
def list_(common: Common, query: str | None, limit: int, as_json: bool) -> None:
    """The runs of the namespace, the newest first. Lags a little behind the workflows."""
    from odradek.cli.run_view import run_json, run_row

    async def listing(client: Client) -> list[WorkflowExecution]:
        return [run async for run in client.list_workflows(query, limit=limit + 1)]

    runs = ask(common, listing)
    if as_json:
        print_json([run_json(run) for run in runs[:limit]])
        return
    print_table(["status", "type", "id", "start", "close", "run"], [run_row(run) for run in runs[:limit]])
    if len(runs) > limit:
        click.echo(f"There are more than {limit}: --limit shows more, --query fewer.", err=True)
    elif not runs:
        click.echo("No runs.", err=True)


@workflow.command()
@click.argument("workflow_id", metavar="ID")
@run_id_option
@timeout_option
@values_option
@json_option
@pass_common
def show(
    common: Common, workflow_id: str, run_id: str | None, timeout: timedelta | None, values: bool, as_json: bool
) -> None:
    """Where a workflow stands, in words, and its facts. Memo and heartbeat details are shown with --values."""
    from odradek.cli.run_view import HIDDEN, description_json, facts_table, waits_table
    from odradek.cli.standing import standing

    async def showing(client: Client) -> None:
        description = await handle_of(client, workflow_id, run_id).describe(rpc_timeout=timeout)
        memo = dict(await description.memo()) if values else dict.fromkeys(description.memo_payloads, HIDDEN)
        now = datetime.now().astimezone()
        if as_json:
            print_json(description_json(description, memo, now, values=values))
            return
        click.echo(standing(description, now))
        print_rich(facts_table(description, memo))
        if description.waits:
            print_rich(waits_table(description, now))

    ask(common, showing)


@workflow.command(epilog="\b\nExample:\n  odradek workflow signal order-77 approve --input '\"Ada\"'\n")
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@input_option
@run_id_option
@timeout_option
@pass_common
def signal(
    common: Common,
    workflow_id: str,
    name: str,
    input: tuple[Any, ...],
    run_id: str | None,
    timeout: timedelta | None,
) -> None:
    """Send the signal NAME. Done when its reception is durable."""
    ask(common, lambda client: handle_of(client, workflow_id, run_id).signal(name, args=input, rpc_timeout=timeout))
    click.echo(f'signal "{name}" was received by workflow "{workflow_id}"', err=True)


@workflow.command(epilog="\b\nExample:\n  odradek workflow update order-77 add --input '\"tea\"' --update-id tea-1\n")
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@input_option
@run_id_option
@click.option("--update-id", help="Sent again with the same one, it counts once in a run. Default: random.")
@click.option("--wait-for", type=click.Choice(["accepted", "completed"]), default="completed", show_default=True)
@seconds_option("--timeout", "How long to wait. Default: for as long as it takes.")
@pass_common
def update(
    common: Common,
    workflow_id: str,
    name: str,
    input: tuple[Any, ...],
    run_id: str | None,
    update_id: str | None,
    wait_for: str,
    timeout: timedelta | None,
) -> None:
    """Send the update NAME, wait for its answer, and print that as JSON.

    An update that was rejected or failed: exit code 1, and why.
    """

    async def updating(client: Client) -> tuple[str, Any]:
        from odradek.client import WorkflowUpdateStage

        stage = WorkflowUpdateStage[wait_for.upper()]
        sent = await handle_of(client, workflow_id, run_id).start_update(
            name, args=input, id=update_id, wait_for_stage=stage, rpc_timeout=timeout
        )
        if stage is WorkflowUpdateStage.ACCEPTED:
            return sent.id, None
        return sent.id, await sent.result(rpc_timeout=timeout)

    sent_id, answer = ask(common, updating)
    if wait_for == "completed":
        print_json(answer)
    else:
        click.echo(f'update "{name}" ({sent_id}) was accepted by workflow "{workflow_id}"', err=True)


@workflow.command()
@click.argument("workflow_id", metavar="ID")
@click.argument("name")
@input_option
@run_id_option
@click.option("--consistent", is_flag=True, help="The answer reflects everything that was accepted before.")
@timeout_option
@pass_common
def query(
    common: Common,
    workflow_id: str,
    name: str,
    input: tuple[Any, ...],
    run_id: str | None,
    consistent: bool,
    timeout: timedelta | None,
) -> None:
    """Ask the query NAME, and print the answer as JSON. Nothing is written."""

    async def querying(client: Client) -> Any:
        handle = handle_of(client, workflow_id, run_id)
        return await handle.query(name, args=input, consistent=consistent, rpc_timeout=timeout)

    print_json(ask(common, querying))


@workflow.command()
@click.argument("workflow_id", metavar="ID")
@run_id_option
@seconds_option("--timeout", "How long to wait. Default: for as long as it takes.")
@pass_common
def result(common: Common, workflow_id: str, run_id: str | None, timeout: timedelta | None) -> None:
    """Wait for the result, and print it as JSON. A workflow that did not complete: exit code 1, and why."""
    print_json(ask(common, lambda client: handle_of(client, workflow_id, run_id).result(rpc_timeout=timeout)))


@workflow.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--reason", default="", help="For the workflow's code, and its history.")
@run_id_option
@timeout_option
@pass_common
def cancel(common: Common, workflow_id: str, reason: str, run_id: str | None, timeout: timedelta | None) -> None:
    """Ask a workflow to end. Its code may clean up, take its time, or decline."""
    ask(common, lambda client: handle_of(client, workflow_id, run_id).cancel(reason=reason, rpc_timeout=timeout))
    click.echo(f'workflow "{workflow_id}" was asked to cancel', err=True)


@workflow.command(
    epilog="""\b
Examples:
  odradek workflow terminate order-77 --reason "a test order"
  odradek workflow terminate --query "WorkflowType = 'Trial'" --yes
"""
)
@click.argument("workflow_ids", metavar="[ID...]", nargs=-1)
@click.option("--query", metavar="FILTER", help="All open workflows that it lets through.")
@click.option("--reason", help="For the history.")
@run_id_option
@click.option("--yes", is_flag=True, help="Do not ask when there are several.")
@timeout_option
@pass_common
def terminate(
    common: Common,
    workflow_ids: tuple[str, ...],
    query: str | None,
    reason: str | None,
    run_id: str | None,
    yes: bool,
    timeout: timedelta | None,
) -> None:
    """End workflows at once. Their code is not asked, and nothing is cleaned up."""
    if not workflow_ids and query is None:
        raise click.UsageError("name at least one ID, or give --query")
    if run_id is not None and len(workflow_ids) != 1:
        raise click.UsageError("--run-id goes with exactly one ID")

    async def terminating(client: Client) -> None:
        named: list[tuple[str, str | None]] = [(one, run_id) for one in workflow_ids]
        if query is not None:
            runs = [run async for run in client.list_workflows(query)]
            named += [(run.id, run.run_id) for run in runs if run.close_time is None]
        confirm_several([workflow_id for workflow_id, _ in named], yes=yes)
        for workflow_id, run in named:
            await handle_of(client, workflow_id, run).terminate(reason=reason, rpc_timeout=timeout)
            click.echo(f'terminated workflow "{workflow_id}"', err=True)
        if not named:
            click.echo("No open workflow matches.", err=True)

    ask(common, terminating)


def confirm_several(workflow_ids: list[str], *, yes: bool) -> None:
    """Ask before several workflows are ended. Raises ``NeedsConfirmation`` where nobody can answer."""
    if yes or len(workflow_ids) < 2:
        return
    shown = ", ".join(workflow_ids[:10]) + (", …" if len(workflow_ids) > 10 else "")
    if not sys.stdin.isatty():
        raise NeedsConfirmation(f"terminating {len(workflow_ids)} workflows ({shown})")
    click.confirm(f"Terminate {len(workflow_ids)} workflows ({shown})?", abort=True, err=True)


@workflow.command()
@click.argument("workflow_id", metavar="ID")
@run_id_option
@timeout_option
@values_option
@json_option
@pass_common
def history(
    common: Common, workflow_id: str, run_id: str | None, timeout: timedelta | None, values: bool, as_json: bool
) -> None:
    """What has happened in a run, event by event. The JSON form can be replayed, and holds all payloads."""
    from odradek.cli.decoded import decoded, masked
    from odradek.cli.history_view import history_table
    from odradek.client import WorkflowHistory

    found = ask(common, lambda client: handle_of(client, workflow_id, run_id).fetch_history(rpc_timeout=timeout))
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        events = asyncio.run(decoded(found.events, common.data_converter())) if values else masked(found.events)
        print_rich(history_table(WorkflowHistory(found.workflow_id, events, run_id=found.run_id)))


@workflow.command("pause-type", epilog='\b\nExample:\n  odradek workflow pause-type Order --reason "a bad deploy"\n')
@click.argument("type", metavar="TYPE")
@click.option("--reason", default="", help="Shown with its runs.")
@pass_common
def pause_type(common: Common, type: str, reason: str) -> None:
    """Let no code of this type's runs run, on any orchestrator. What comes for them is recorded, and waits."""
    ask(common, lambda client: client.pause_workflow_type(type, reason=reason))
    click.echo(f'paused workflow type "{type}"')


@workflow.command("resume-type")
@click.argument("type", metavar="TYPE")
@pass_common
def resume_type(common: Common, type: str) -> None:
    """Let the runs of this type go on with what has come meanwhile."""
    ask(common, lambda client: client.resume_workflow_type(type))
    click.echo(f'resumed workflow type "{type}"')


@workflow.command("paused-types")
@json_option
@pass_common
def paused_types(common: Common, as_json: bool) -> None:
    """The workflow types that are paused."""
    found = ask(common, lambda client: client.list_paused_workflow_types())
    if as_json:
        print_json([{"type": one.name, **asdict(one.pause)} for one in found])
        return
    rows = [[one.name, local_text(one.pause.since), one.pause.identity, one.pause.reason] for one in found]
    print_table(["type", "since", "by", "reason"], rows)
    if not found:
        click.echo("No workflow type is paused.", err=True)


@workflow.command(
    epilog="""\b
Examples:
  odradek workflow erase order-77
  odradek workflow erase order-77 --terminate --yes
"""
)
@click.argument("workflow_id", metavar="ID")
@click.option("--terminate", "terminates", is_flag=True, help="An open run, first.")
@click.option("--despite-parent", is_flag=True, help="Though its parent is open, and cannot go on without its result.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@timeout_option
@json_option
@pass_common
def erase(
    common: Common,
    workflow_id: str,
    terminates: bool,
    despite_parent: bool,
    yes: bool,
    timeout: timedelta | None,
    as_json: bool,
) -> None:
    """Erase the data of one workflow: results, memo, listings, and the keys of its payloads.

    It must be closed, or is terminated with --terminate. Records that topics keep for their retention are unreadable
    from then on if payloads are encrypted with keys of their workflows; see docs/how-to/data-life-cycle.md. There is no
    way back. Erasing what is erased, or unknown, does nothing.
    """
    _confirm_erasure(workflow_id, yes=yes)

    def erasing(client: Client) -> Awaitable[Erased]:
        return client.erase_workflow(
            workflow_id, terminate=terminates, despite_parent=despite_parent, rpc_timeout=timeout
        )

    done = ask(common, erasing)
    if as_json:
        print_json({"workflow_id": workflow_id, "listed": done.listed, "keys": done.keys})
    else:
        click.echo(f'erased workflow "{workflow_id}": {done.listed} records of listings, {done.keys} keys of payloads')


def _confirm_erasure(workflow_id: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise NeedsConfirmation(f'erasing workflow "{workflow_id}"')
    click.confirm(f'Erase workflow "{workflow_id}" for ever?', abort=True, err=True)
