"""``odradek topics retention``: for how long what is kept, and changing it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from odradek.cli import messages
from odradek.cli.asking import check_namespace, existing_log
from odradek.cli.errors import RetentionRefused
from odradek.cli.options import Common, pass_common
from odradek.cli.output import json_option, print_json, print_table
from odradek.cli.topic_check import LEAST_MS
from odradek.schemas.topics import DAY_MS

if TYPE_CHECKING:
    from odradek.log import Log

HOLDS: Final = {
    "archive": "histories of closed runs",
    "replies": "answers on their way to clients and workers",
    "dead-letter": "records that could not be taken in",
    "tasks": "tasks that no worker has begun",
}


@dataclass(frozen=True)
class Kept:
    """One topic, and for how long its records are kept."""

    topic: str
    days: float | None
    """None: for ever."""
    holds: str


@click.command(
    epilog="""\b
Examples:
  odradek --namespace shop topics retention
  odradek --namespace shop topics retention --set archive=30 --set tasks.mail=14
"""
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="TOPIC=DAYS",
    help='Keep it for so long from now on: archive, replies, dead-letter or tasks.QUEUE; "ever" for ever. Repeatable.',
)
@json_option
@pass_common
def retention(common: Common, changes: tuple[str, ...], as_json: bool) -> None:
    """Show for how long the topics of the namespace keep their records, and change it.

    Topics that are not listed keep what counts for as long as it does: histories, inbox, listings, leases. A summary of
    a closed run is kept for "odradek orchestrator --retention".
    """
    messages.set_up(common, quiet=True)
    with existing_log(common) as log:
        check_namespace(log, common)
        wanted = [_wanted(log, common.namespace, change) for change in changes]
        for topic, retention_ms in wanted:
            log.set_retention(topic, retention_ms)
        found = kept(log, common.namespace)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        print_table(
            ["topic", "days", "holds"],
            [[one.topic, "for ever" if one.days is None else f"{one.days:g}", one.holds] for one in found],
        )


def kept(log: Log, namespace: str) -> list[Kept]:
    """Of each topic that forgets by time, as the log says it."""
    found = []
    for topic in log.topics(f"{namespace}."):
        part = topic.removeprefix(f"{namespace}.").partition(".")[0]
        info = log.topic(topic)
        if part in HOLDS and info is not None:
            retention_ms = int(info.config.get("retention.ms", -1))
            found.append(Kept(topic, None if retention_ms < 0 else round(retention_ms / DAY_MS, 4), HOLDS[part]))
    return found


def _wanted(log: Log, namespace: str, change: str) -> tuple[str, int | None]:
    name, equals, given = change.partition("=")
    part = name.partition(".")[0]
    topic = f"{namespace}.{name}"
    if not equals or part not in HOLDS or log.topic(topic) is None:
        known = ", ".join(one.topic.removeprefix(f"{namespace}.") for one in kept(log, namespace))
        raise RetentionRefused(change, f"it names none of {known}: give TOPIC=DAYS")
    if given == "ever":
        return topic, None
    try:
        retention_ms = int(float(given) * DAY_MS)
    except (ValueError, OverflowError):
        raise RetentionRefused(change, f'"{given}" is no number of days, and not "ever"') from None
    if retention_ms < LEAST_MS[part]:
        least = f"{LEAST_MS[part] / DAY_MS:.2g} days"
        raise RetentionRefused(change, f"what is in it may still be needed: at least {least}")
    return topic, retention_ms
