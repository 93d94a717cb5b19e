"""``odradek doctor``: what is wrong, what to do, and doing what is safe."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from odradek.cli import messages
from odradek.cli.errors import NeedsConfirmation
from odradek.cli.exits import ExitCode
from odradek.cli.findings import Finding, Level, Repair
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import console, json_option, print_json

if TYPE_CHECKING:
    from odradek.log import Log
    from odradek.schemas.access import Role

ROLES = ("client", "orchestrator", "worker", "operator")
_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@click.command(
    cls=Command,
    short_help="What is wrong, and what to do.",
    epilog="""\b
Examples:
  odradek --log kafka://k1:9092 --namespace shop doctor
  odradek doctor --json | jq '.[] | select(.level != "ok")'
  odradek doctor --role worker
  odradek doctor --fix
""",
)
@click.option("--fix", is_flag=True, help="Mend what can be mended without a loss, after showing it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--role", type=click.Choice(ROLES), help="Whose rights this principal must have.")
@json_option
@pass_common
def doctor(common: Common, fix: bool, yes: bool, role: str | None, as_json: bool) -> int:
    """Look at the log, the namespace, its topics, rights, clocks, orchestrators, workers and queues.

    Each finding is ok, warn or fail, with what to do. A fail ends with the exit code 1. Writes one small record to the
    namespace's workers topic, and removes it. --fix makes missing topics and sets topics' settings back; it moves no
    copies and changes no partitions. What it says afterwards is how things are then.
    """
    messages.set_up(common, quiet=True)
    from odradek.schemas.access import Role

    look = _Look(common, Role(role) if role else None, as_json=as_json)
    findings = look.findings()
    repairs = list(dict.fromkeys(finding.repair for finding in findings if finding.repair)) if fix else []
    mended: list[str] = []
    refused: dict[str, str] = {}
    if repairs:
        _agree(repairs, yes=yes)
        mended, refused = _mend(common, repairs)
        findings = look.findings()
    if as_json:
        shown: Any = [finding.as_json() for finding in findings]
        print_json({"mended": mended, "refused": refused, "findings": shown} if fix else shown)
    elif fix and not repairs:
        click.echo("There is nothing that can be mended here.", err=True)
    failed = refused or any(finding.level is Level.FAIL for finding in findings)
    return int(ExitCode.FAILED if failed else ExitCode.OK)


class _Look:
    """At everything, as often as it is asked for."""

    def __init__(self, common: Common, role: Role | None, *, as_json: bool) -> None:
        self._common, self._role, self._as_json = common, role, as_json

    def findings(self) -> list[Finding]:
        """Shown as they are found."""
        from odradek.cli.checkup import check_up

        if not self._as_json:
            click.echo(f'{self._common.shown_address}, namespace "{self._common.namespace}"', err=True)
        found = []
        for finding in check_up(self._common, self._role):
            found.append(finding)
            if not self._as_json:
                _show(finding)
        return found


def _show(finding: Finding) -> None:
    out = console()
    out.print(f"[{_STYLES[finding.level]}]{finding.level:<4}[/]", f"{finding.check:<14}", end=" ")
    out.print(finding.text, markup=False, soft_wrap=True)
    if finding.level is not Level.OK and finding.advice:
        out.print(" " * 19, f"→ {finding.advice}", markup=False, soft_wrap=True)


def _agree(repairs: list[Repair], *, yes: bool) -> None:
    click.echo("\nTo be mended:", err=True)
    for repair in repairs:
        click.echo(f"  {repair.words}", err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise NeedsConfirmation("mending this")
    click.confirm("Do it?", abort=True, err=True)


def _mend(common: Common, repairs: list[Repair]) -> tuple[list[str], dict[str, str]]:
    """What was done, and what was refused, with the reason: that does not hold up the rest."""
    from odradek.log import LogError

    done: list[str] = []
    refused: dict[str, str] = {}
    log = common.open_log()
    try:
        for repair in repairs:
            try:
                _mend_one(common, log, repair)
            except LogError as error:
                refused[repair.words] = str(error)
                click.echo(f"refused: {repair.words}: {error}", err=True)
            else:
                done.append(repair.words)
                click.echo(f"done: {repair.words}", err=True)
    finally:
        log.close()
    return done, refused


def _mend_one(common: Common, log: Log, repair: Repair) -> None:
    from odradek.cli.topics import wanted_topics
    from odradek.log.namespace import note_facts
    from odradek.schemas.topics import Topics

    if repair.setting is not None:
        log.alter_topic(repair.topic, {repair.setting: repair.wanted})
        return
    topics = Topics(common.namespace)
    queues = (repair.topic.removeprefix(topics.tasks_prefix),) if repair.topic.startswith(topics.tasks_prefix) else ()
    specs = wanted_topics(log, common.namespace, queues, None, None)
    log.create_topics([spec for spec in specs if spec.name == repair.topic])
    if repair.topic == topics.workers:
        note_facts(log, topics, specs[0].partitions, common.schema_registry)
