"""``odradek activity``: complete what goes on without its worker; pause, reset and change what is open.

The commands for activities without a workflow stand in ``standalone``.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from odradek.cli.errors import InputInvalid
from odradek.cli.inputs import Number, json_value, seconds_option
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.standalone import COMMANDS
from odradek.cli.workflow import ask, run_id_option

if TYPE_CHECKING:
    from odradek.client import AsyncActivityHandle, Client, WorkflowHandle

UNLIMITED: Final = "none"


@click.group(
    cls=Group,
    short_help="Start, see and end activities; complete, pause, reset and change open ones.",
    epilog="""\b
Examples:
  odradek activity start send_mail --id mail-17 --queue mail --input '{"to": "Ada"}'
  odradek activity list --query "ExecutionStatus = 'Failed'"
  odradek activity pause mail-17 --standalone
  odradek activity complete order-77 approval --result '{"by": "Ada"}'
  odradek activity pause order-77 --type charge_card --reason "the bank is down"
  odradek activity unpause order-77 --type charge_card --reset-attempts --jitter 30
  odradek activity change order-77 17 --start-to-close 600 --maximum-attempts 20
""",
)
def activity() -> None:
    """Activities without a workflow, and open activities of one, by the IDs that "odradek workflow show" lists.

    Commands that take WORKFLOW and ACTIVITY take the ID of an activity without a workflow, and --standalone.
    """


for command in COMMANDS:
    activity.add_command(command)


# ------------------------------------------------------------------------------------------- completed from outside


def outside(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that name one activity."""
    return meant_by(function, needs_activity=True)


def meant_by(function: Callable[..., Any], *, needs_activity: bool) -> Callable[..., Any]:
    """The command gets the workflow's ID and the activity's; a standalone activity is a run of its own."""

    @functools.wraps(function)
    def named(*args: Any, workflow_id: str, activity_id: str, standalone: bool, **options: Any) -> Any:
        from odradek.common.standalone import workflow_id_of

        if standalone and activity_id:
            raise click.UsageError("--standalone goes with the ID of an activity, and no workflow")
        if standalone:
            return function(*args, workflow_id=workflow_id_of(workflow_id), activity_id=workflow_id, **options)
        if needs_activity and not activity_id:
            raise click.UsageError("name the activity, too; one without a workflow: --standalone")
        return function(*args, workflow_id=workflow_id, activity_id=activity_id, **options)

    text = "The ID is that of an activity without a workflow."
    wrapped = click.option("--standalone", is_flag=True, help=text)(run_id_option(named))
    wrapped = click.argument("activity_id", metavar="[ACTIVITY]", default="")(wrapped)
    return click.argument("workflow_id", metavar="WORKFLOW")(wrapped)


def report(
    common: Common,
    workflow_id: str,
    activity_id: str,
    run_id: str | None,
    say: Callable[[AsyncActivityHandle], Awaitable[None]],
    done: str,
) -> None:
    async def reporting(client: Client) -> None:
        await say(client.get_async_activity_handle(workflow_id=workflow_id, run_id=run_id, activity_id=activity_id))

    ask(common, reporting)
    click.echo(f"{done} {of(workflow_id, f'activity {activity_id}')}")


@activity.command()
@outside
@click.option("--result", default="null", metavar="JSON", help="Its result, or @FILE. Default: none.")
@pass_common
def complete(common: Common, workflow_id: str, activity_id: str, run_id: str | None, result: str) -> None:
    """Give an activity its result: one that its worker has left to others, or that runs."""
    value = json_value("--result", result)
    report(common, workflow_id, activity_id, run_id, lambda handle: handle.complete(value), "completed")


@activity.command()
@outside
@click.option("--reason", required=True, help="What its workflow hears.")
@click.option("--type", "kind", metavar="TYPE", help="Of the error, as retry policies name it.")
@click.option("--final", is_flag=True, help="It is not tried again.")
@pass_common
def fail(
    common: Common, workflow_id: str, activity_id: str, run_id: str | None, reason: str, kind: str | None, final: bool
) -> None:
    """Fail an activity's attempt; whether there is another one is for its retry policy to say."""
    from odradek.exceptions import ApplicationError

    error = ApplicationError(reason, type=kind, non_retryable=final)
    report(common, workflow_id, activity_id, run_id, lambda handle: handle.fail(error), "failed")


# -------------------------------------------------------------------------------------------------------- controls


def meant(function: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that name one activity, or all of a type, or all."""
    function = meant_by(function, needs_activity=False)
    return click.option("--type", "activity_type", default="", metavar="TYPE", help="All open ones of this type.")(
        function
    )


jitter_option = seconds_option("--jitter", "Begin within so many seconds, not all at once.")


def control(
    common: Common,
    workflow_id: str,
    run_id: str | None,
    wish: Callable[[WorkflowHandle[Any, Any]], Awaitable[None]],
    done: str,
) -> None:
    async def wishing(client: Client) -> None:
        await wish(client.get_workflow_handle(workflow_id, run_id=run_id))

    ask(common, wishing)
    click.echo(of(workflow_id, done))


@activity.command()
@meant
@click.option("--reason", default="", help="Shown with the activity.")
@pass_common
def pause(
    common: Common, workflow_id: str, activity_id: str, activity_type: str, run_id: str | None, reason: str
) -> None:
    """Let no further attempt begin, and tell those that run to stop: of one, of a type, or of all open ones."""

    async def wish(handle: WorkflowHandle[Any, Any]) -> None:
        await handle.pause_activities(activity_id, activity_type=activity_type, reason=reason)

    control(common, workflow_id, run_id, wish, f"paused {named(activity_id, activity_type)}")


@activity.command()
@meant
@click.option("--reset-attempts", is_flag=True, help="Count attempts from one again.")
@click.option("--reset-heartbeat", is_flag=True, help="Forget the details of heartbeats.")
@jitter_option
@pass_common
def unpause(
    common: Common,
    workflow_id: str,
    activity_id: str,
    activity_type: str,
    run_id: str | None,
    reset_attempts: bool,
    reset_heartbeat: bool,
    jitter: timedelta | None,
) -> None:
    """Go on: what waits begins at once."""

    async def wish(handle: WorkflowHandle[Any, Any]) -> None:
        await handle.unpause_activities(
            activity_id,
            activity_type=activity_type,
            reset_attempts=reset_attempts,
            reset_heartbeat=reset_heartbeat,
            jitter=jitter or timedelta(),
        )

    control(common, workflow_id, run_id, wish, f"unpaused {named(activity_id, activity_type)}")


@activity.command()
@meant
@click.option("--reset-heartbeat", is_flag=True, help="Forget the details of heartbeats.")
@click.option("--keep-paused", is_flag=True, help="What is paused stays so.")
@jitter_option
@pass_common
def reset(
    common: Common,
    workflow_id: str,
    activity_id: str,
    activity_type: str,
    run_id: str | None,
    reset_heartbeat: bool,
    keep_paused: bool,
    jitter: timedelta | None,
) -> None:
    """Let the attempts so far not count; one that runs is told to stop, one that waits begins at once."""

    async def wish(handle: WorkflowHandle[Any, Any]) -> None:
        await handle.reset_activities(
            activity_id,
            activity_type=activity_type,
            reset_heartbeat=reset_heartbeat,
            keep_paused=keep_paused,
            jitter=jitter or timedelta(),
        )

    control(common, workflow_id, run_id, wish, f"reset {named(activity_id, activity_type)}")


def limit_option(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(name, metavar=f"SECONDS|{UNLIMITED}", help=text)


@activity.command()
@meant
@click.option("--queue", help="Task queue of the attempts to come.")
@limit_option("--schedule-to-close", "Of all attempts together.")
@limit_option("--schedule-to-start", "How long each may wait for a worker.")
@limit_option("--start-to-close", "Of each attempt.")
@limit_option("--heartbeat", "Between two heartbeats.")
@click.option("--initial-interval", type=Number(0), metavar="SECONDS", help="Before the second attempt.")
@click.option("--backoff", type=Number(1), metavar="FACTOR", help="By which the interval grows.")
@click.option("--maximum-interval", type=Number(0), metavar="SECONDS", help="Which it does not exceed.")
@click.option("--maximum-attempts", type=click.IntRange(0), metavar="N", help="In all; 0: no limit.")
@pass_common
def change(
    common: Common,
    /,
    workflow_id: str,
    activity_id: str,
    activity_type: str,
    run_id: str | None,
    queue: str | None,
    initial_interval: float | None,
    backoff: float | None,
    maximum_interval: float | None,
    maximum_attempts: int | None,
    **limits: str | None,
) -> None:
    """Change time limits (at once), queue and retry policy (from the next attempt on); what is not said stays.

    The options of the retry policy go together: those that are not said have their defaults.
    """
    from odradek.common import RetryPolicy

    changed: dict[str, Any] = {
        f"{name}_timeout": seconds(name, given) for name, given in limits.items() if given is not None
    }
    if queue is not None:
        changed["task_queue"] = queue
    if {initial_interval, backoff, maximum_interval, maximum_attempts} != {None}:
        changed["retry_policy"] = RetryPolicy(
            timedelta(seconds=1 if initial_interval is None else initial_interval),
            2.0 if backoff is None else backoff,
            None if maximum_interval is None else timedelta(seconds=maximum_interval),
            maximum_attempts or 0,
        )
    if not changed:
        raise click.UsageError("say what to change")

    async def wish(handle: WorkflowHandle[Any, Any]) -> None:
        await handle.update_activity_options(activity_id, activity_type=activity_type, **changed)

    control(common, workflow_id, run_id, wish, f"changed {named(activity_id, activity_type)}")


def seconds(name: str, given: str) -> timedelta | None:
    if given == UNLIMITED:
        return None
    try:
        return timedelta(seconds=float(given))
    except (ValueError, OverflowError):
        raise InputInvalid(f"--{name.replace('_', '-')}", given, f'must be seconds, or "{UNLIMITED}"') from None


def of(workflow_id: str, what: str) -> str:
    """What was done, and of which workflow, if there is one."""
    from odradek.common.standalone import is_standalone

    return what if is_standalone(workflow_id) else f'{what} of workflow "{workflow_id}"'


def named(activity_id: str, activity_type: str) -> str:
    if activity_id:
        return f"activity {activity_id}"
    return f'activities of type "{activity_type}"' if activity_type else "all open activities"
