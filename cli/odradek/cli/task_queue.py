"""``odradek task-queue``: what waits in task queues, who serves them; pause them, resume them, limit their rate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from odradek.cli.inputs import Number
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.output import json_option, local_text, print_json, print_table
from odradek.cli.standing import clock, duration
from odradek.cli.workflow import ask

if TYPE_CHECKING:
    from odradek.client import Client, Pause, TaskQueueDescription

queue_argument = click.argument("queue", metavar="QUEUE")


def window_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "--window",
        type=Number(0, 60),
        metavar="SECONDS",
        default=default,
        show_default=True,
        help="How long to measure rates; 0: show none.",
    )


@click.group(
    "task-queue",
    cls=Group,
    short_help="What waits in task queues, and who serves it; pause, resume, limit.",
    epilog="""\b
Examples:
  odradek task-queue list
  odradek task-queue describe payments
  odradek task-queue pause payments --reason "the bank is down until six"
  odradek task-queue resume payments
  odradek task-queue limit payments --rate 50
""",
)
def task_queue() -> None:
    """Task queues: what waits in them, how fast it goes, which workers serve them."""


@task_queue.command("list")
@window_option(0)
@json_option
@pass_common
def list_(common: Common, window: float, as_json: bool) -> None:
    """All task queues of the namespace."""

    async def listing(client: Client) -> list[TaskQueueDescription]:
        return await client.list_task_queues(window=timedelta(seconds=window))

    queues = ask(common, listing)
    if as_json:
        print_json([queue_json(queue) for queue in queues])
        return
    now = datetime.now().astimezone()
    columns = ["queue", "backlog", "oldest", "added/s", "finished/s", "workers", "running", "state"]
    print_table(columns, [_row(queue, now) for queue in queues])
    if not queues:
        click.echo("No task queues yet: the first worker or task of one makes it.", err=True)


@task_queue.command()
@queue_argument
@window_option(3)
@json_option
@pass_common
def describe(common: Common, queue: str, window: float, as_json: bool) -> None:
    """One task queue: its backlog, its rates, its workers and what they have been running for longest."""

    async def describing(client: Client) -> TaskQueueDescription:
        return await client.describe_task_queue(queue, window=timedelta(seconds=window))

    found = ask(common, describing)
    if as_json:
        print_json(queue_json(found))
        return
    now = datetime.now().astimezone()
    click.echo(queue_words(found, now))
    if found.workers:
        columns = ["worker", "since", "version", "running", "of", "activity types"]
        print_table(
            columns,
            [
                [
                    w.identity,
                    local_text(w.started),
                    w.build,
                    str(w.running),
                    str(w.concurrent_max or ""),
                    ", ".join(w.activity_types),
                ]
                for w in found.workers
            ],
        )
    running = [(one, w) for w in found.workers for one in w.longest_running]
    if running:
        print_table(
            ["longest running", "of workflow", "attempt", "for", "on"],
            [
                [one.activity_type, one.workflow_id, str(one.attempt), _age(one.started, now), w.identity]
                for one, w in sorted(running, key=lambda pair: pair[0].started)
            ],
        )


@task_queue.command()
@queue_argument
@click.option("--reason", default="", help="Shown with the queue, and with the workflows that wait for it.")
@pass_common
def pause(common: Common, queue: str, reason: str) -> None:
    """Let its workers begin no tasks. What runs goes on; tasks still arrive, and their time limits still count."""
    _say(common, lambda client: client.pause_task_queue(queue, reason=reason))
    click.echo(f'paused task queue "{queue}"')


@task_queue.command()
@queue_argument
@pass_common
def resume(common: Common, queue: str) -> None:
    """Let its workers go on."""
    _say(common, lambda client: client.resume_task_queue(queue))
    click.echo(f'resumed task queue "{queue}"')


@task_queue.command()
@queue_argument
@click.option(
    "--rate", metavar="TASKS|none", required=True, help="Per second, of all its workers together; none: lift it."
)
@pass_common
def limit(common: Common, queue: str, rate: str) -> None:
    """Limit how many tasks its workers begin per second together, in the place of what they were started with."""
    from odradek.cli.errors import InputInvalid

    try:
        per_second = None if rate == "none" else float(rate)
        if per_second is not None and not 0 < per_second < float("inf"):
            raise ValueError
    except ValueError:
        raise InputInvalid("--rate", rate, 'must be tasks per second, more than 0, or "none"') from None
    _say(common, lambda client: client.limit_task_queue(queue, per_second))
    done = "has no operator's limit any more" if per_second is None else f"begins {per_second:g} tasks per second"
    click.echo(f'task queue "{queue}" {done}')


def _say(common: Common, wish: Callable[[Client], Awaitable[None]]) -> None:
    async def saying(client: Client) -> None:
        await wish(client)

    ask(common, saying)


# ------------------------------------------------------------------------------------------------------------ words


def queue_words(queue: TaskQueueDescription, now: datetime) -> str:
    """``12 tasks wait, the oldest for 3.2 s; 40/s added, 38/s finished; 2 workers. Paused since 10:02 by …: …``."""
    noun = "task waits" if queue.backlog == 1 else "tasks wait"
    words = f"{queue.backlog} {noun}"
    if queue.oldest_waiting is not None:
        words += f", the oldest for {_age(queue.oldest_waiting, now)}"
    if queue.added_per_second is not None:
        words += f"; {queue.added_per_second:.3g}/s added, {queue.finished_per_second:.3g}/s finished"
    count = len(queue.workers)
    words += "; no worker serves it" if not count else f"; {count} worker" + ("s" if count > 1 else "")
    state = _state(queue, now)
    return f"{words}. {state[0].upper()}{state[1:]}." if state else f"{words}."


def pause_words(pause: Pause, now: datetime) -> str:
    why = f": {pause.reason}" if pause.reason else ""
    return f"paused since {clock(pause.since, now)} by {pause.identity}{why}"


def _state(queue: TaskQueueDescription, now: datetime) -> str:
    said = [pause_words(queue.pause, now)] if queue.pause is not None else []
    if queue.tasks_per_second_max is not None:
        said.append(f"limited to {queue.tasks_per_second_max:g}/s by an operator")
    return "; ".join(said)


def _row(queue: TaskQueueDescription, now: datetime) -> list[str]:
    return [
        queue.name,
        str(queue.backlog),
        "" if queue.oldest_waiting is None else _age(queue.oldest_waiting, now),
        "" if queue.added_per_second is None else f"{queue.added_per_second:.3g}",
        "" if queue.finished_per_second is None else f"{queue.finished_per_second:.3g}",
        str(len(queue.workers)),
        str(sum(worker.running for worker in queue.workers)),
        _state(queue, now) or ("" if queue.workers or not queue.backlog else "no worker serves it"),
    ]


def queue_json(queue: TaskQueueDescription) -> dict[str, Any]:
    return asdict(queue)


def _age(moment: datetime, now: datetime) -> str:
    return duration((now - moment).total_seconds())
