"""``odradek activity start`` and its kin: activities without a workflow, by the IDs that clients gave them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from odradek.cli.inputs import input_option, seconds_option
from odradek.cli.options import Common, pass_common
from odradek.cli.output import json_option, local_text, print_json, print_table, time_text, values_option
from odradek.cli.workflow import ask, run_id_option, timeout_option

if TYPE_CHECKING:
    from odradek.client import ActivityExecution, ActivityExecutionDescription, Client


def begun(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a start takes."""
    options: list[Callable[[Callable[..., Any]], Callable[..., Any]]] = [
        click.argument("type", metavar="TYPE"),
        click.option("--id", "activity_id", metavar="ID", help="Default: the type and a random part."),
        click.option("--queue", required=True, envvar="ODRADEK_QUEUE", help="Task queue."),
        input_option,
        seconds_option("--start-to-close", "Of each attempt. Default: 600, if --schedule-to-close is not given."),
        seconds_option("--schedule-to-close", "Of all attempts together."),
        seconds_option("--schedule-to-start", "How long each may wait for a worker."),
        seconds_option("--heartbeat", "Between two heartbeats."),
        click.option("--maximum-attempts", type=click.IntRange(0), default=0, metavar="N", help="In all; 0: no limit."),
        click.option("--ordering-key", metavar="KEY", help="Those of one key run one after the other."),
        seconds_option("--start-delay", "How long to wait before its first attempt."),
        click.option(
            "--if-open",
            type=click.Choice(["fail", "use-existing"]),
            default="fail",
            show_default=True,
            help="What to do when an activity of this ID is open.",
        ),
        click.option(
            "--if-closed",
            type=click.Choice(["allow-duplicate", "allow-duplicate-failed-only", "reject-duplicate"]),
            default="allow-duplicate",
            show_default=True,
            help="Whether an ID that was used before may be used again.",
        ),
        click.option("--summary", help="One line about it, for people."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


async def start_one(client: Client, type: str, given: dict[str, Any]) -> Any:
    from odradek.common import ActivityIDConflictPolicy, ActivityIDReusePolicy, RetryPolicy

    close, start_to_close = given["schedule_to_close"], given["start_to_close"]
    return await client.start_activity(
        type,
        args=given["input"],
        id=given["activity_id"] or f"{type}-{uuid4().hex[:12]}",
        task_queue=given["queue"],
        start_to_close_timeout=start_to_close or (None if close else timedelta(minutes=10)),
        schedule_to_close_timeout=close,
        schedule_to_start_timeout=given["schedule_to_start"],
        heartbeat_timeout=given["heartbeat"],
        retry_policy=RetryPolicy(maximum_attempts=given["maximum_attempts"]),
        ordering_key=given["ordering_key"],
        start_delay=given["start_delay"],
        id_conflict_policy=ActivityIDConflictPolicy(given["if_open"]),
        id_reuse_policy=ActivityIDReusePolicy(given["if_closed"]),
        summary=given["summary"],
    )


@click.command()
@begun
@json_option
@pass_common
def start(common: Common, /, type: str, as_json: bool, **given: Any) -> None:
    """Start an activity of the TYPE, without a workflow. Done when its start is durable."""
    handle = ask(common, lambda client: start_one(client, type, given))
    if as_json:
        print_json({"activity_id": handle.id, "run_id": handle.run_id})
    else:
        click.echo(f'started activity "{handle.id}", run {handle.run_id}')


@click.command()
@begun
@pass_common
def execute(common: Common, /, type: str, **given: Any) -> None:
    """Start an activity of the TYPE, wait for its result, and print it as JSON."""

    async def executing(client: Client) -> Any:
        handle = await start_one(client, type, given)
        click.echo(f'started activity "{handle.id}", run {handle.run_id}', err=True)
        return await handle.result()

    print_json(ask(common, executing))


@click.command()
@click.argument("activity_id", metavar="ID")
@run_id_option
@seconds_option("--timeout", "How long to wait. Default: for as long as it takes.")
@pass_common
def result(common: Common, activity_id: str, run_id: str | None, timeout: timedelta | None) -> None:
    """Wait for the result of an activity, and print it as JSON. One without: exit code 1, and why."""

    async def asking(client: Client) -> Any:
        return await client.get_activity_handle(activity_id, run_id=run_id).result(rpc_timeout=timeout)

    print_json(ask(common, asking))


@click.command("list")
@click.option("--query", metavar="FILTER", help="As in: ExecutionStatus = 'Running' AND ActivityType = 'send_mail'")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@json_option
@pass_common
def list_(common: Common, query: str | None, limit: int, as_json: bool) -> None:
    """Activities without a workflow, the newest first. Lags a little behind them."""

    async def listing(client: Client) -> list[ActivityExecution]:
        return [one async for one in client.list_activities(query, limit=limit + 1)]

    found = ask(common, listing)
    shown = found[:limit]
    if as_json:
        print_json([listed_json(one) for one in shown])
        return
    columns = ["status", "type", "id", "start", "close", "run"]
    print_table(columns, [[_status(one), one.activity_type, one.activity_id, *_times(one)] for one in shown])
    if len(found) > limit:
        click.echo(f"There are more than {limit}: --limit shows more, --query fewer.", err=True)
    elif not found:
        click.echo("No activities.", err=True)


def _status(one: ActivityExecution) -> str:
    return one.status.name.lower().replace("_", " ")


def _times(one: ActivityExecution) -> list[str]:
    return [local_text(one.schedule_time), local_text(one.close_time), one.activity_run_id]


def listed_json(one: ActivityExecution) -> dict[str, Any]:
    return {
        "activity_id": one.activity_id,
        "run_id": one.activity_run_id,
        "activity_type": one.activity_type,
        "task_queue": one.task_queue,
        "status": one.status.name.lower().replace("_", "-"),
        "start_time": time_text(one.schedule_time),
        "close_time": time_text(one.close_time),
        "search_attributes": {pair.key.name: pair.value for pair in one.typed_search_attributes},
    }


@click.command()
@click.argument("activity_id", metavar="ID")
@run_id_option
@timeout_option
@values_option
@json_option
@pass_common
def describe(
    common: Common, activity_id: str, run_id: str | None, timeout: timedelta | None, values: bool, as_json: bool
) -> None:
    """Where an activity without a workflow stands. Its result and heartbeat details are shown with --values."""

    async def asking(client: Client) -> dict[str, Any]:
        handle = client.get_activity_handle(activity_id, run_id=run_id)
        told = await handle.describe(
            include_outcome=True, include_heartbeat_details=values, include_last_failure=True, rpc_timeout=timeout
        )
        return await described_json(told, values=values)

    facts = ask(common, asking)
    if as_json:
        print_json(facts)
    else:
        shown = {name: value for name, value in facts.items() if value not in (None, "", {}, [])}
        print_table(["fact", "value"], [[name.replace("_", " "), str(value)] for name, value in shown.items()])


async def described_json(told: ActivityExecutionDescription, *, values: bool) -> dict[str, Any]:
    failure, last = await told.outcome_failure(), await told.last_failure()
    return {
        **listed_json(told),
        "attempt": told.attempt,
        "state": None if told.run_state is None else told.run_state.name.lower().replace("_", "-"),
        "next_attempt": time_text(told.next_attempt_schedule_time),
        "last_failure": None if last is None else str(last),
        "heartbeat_details": (await told.heartbeat_details() or None) if values else None,
        "worker": told.last_worker_identity,
        "ordering_key": told.ordering_key,
        "paused": told.pause_reason,
        "cancel_requested": told.canceled_reason,
        "result": await told.result() if values else None,
        "failure": None if failure is None else str(failure),
        "summary": told.summary,
    }


@click.command()
@click.argument("activity_id", metavar="ID")
@click.option("--reason", help="Shown with the activity.")
@run_id_option
@timeout_option
@pass_common
def cancel(common: Common, activity_id: str, reason: str | None, run_id: str | None, timeout: timedelta | None) -> None:
    """Ask an activity without a workflow to end. It may clean up, take its time, or decline."""

    async def asking(client: Client) -> None:
        await client.get_activity_handle(activity_id, run_id=run_id).cancel(reason=reason, rpc_timeout=timeout)

    ask(common, asking)
    click.echo(f'activity "{activity_id}" was asked to cancel', err=True)


@click.command()
@click.argument("activity_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", help="For the record.")
@timeout_option
@pass_common
def terminate(common: Common, activity_ids: tuple[str, ...], reason: str | None, timeout: timedelta | None) -> None:
    """End activities without a workflow at once, whatever their workers do."""

    async def asking(client: Client) -> None:
        handles = [client.get_activity_handle(one) for one in activity_ids]
        await asyncio.gather(*(handle.terminate(reason=reason, rpc_timeout=timeout) for handle in handles))

    ask(common, asking)
    for one in activity_ids:
        click.echo(f'terminated activity "{one}"', err=True)


COMMANDS = (start, execute, result, list_, describe, cancel, terminate)
