"""``odradek dead-letter``: records that could not be taken in: what they are, why, and sending them again."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from odradek.cli import messages
from odradek.cli.errors import DeadLetterMissing, DeadLettersNotNamed, NeedsConfirmation
from odradek.cli.exits import ExitCode
from odradek.cli.options import Common, Group, pass_common
from odradek.cli.output import json_option, local_text, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from odradek.log.dead_letters import Letter, Redriven
    from odradek.log.namespace import Namespace
    from odradek.schemas.records import DeadLetterRecord

SHOWN_BYTES: Final = 32
"""Of what cannot be read, without ``--payloads``: enough to see what it may be."""
SHOWN_BYTES_MAX: Final = 4096
REASON_WIDTH: Final = 100


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--code`` and ``--topic``."""
    code = click.option("--code", metavar="ODR-…", help="Only letters with this error code.")
    topic = click.option("--topic", metavar="TOPIC", help="Only letters that come from this topic.")
    return code(topic(function))


@click.group(
    "dead-letter",
    cls=Group,
    short_help="Records that could not be taken in: list, show, send again.",
    epilog="""\b
Examples:
  odradek dead-letter list --pending
  odradek dead-letter show 0-12
  odradek dead-letter redrive 0-12
  odradek dead-letter redrive --all --code ODR-166
""",
)
def dead_letter() -> None:
    """Records that could not be taken in, with the reason and where they stood."""


@dead_letter.command("list")
@filters
@click.option("--pending", is_flag=True, help="Only letters that were not sent again.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the newest N.")
@json_option
@pass_common
def list_(common: Common, code: str | None, topic: str | None, pending: bool, limit: int | None, as_json: bool) -> None:
    """The dead letters of the namespace, the oldest first."""
    with _namespace(common) as namespace:
        letters = _chosen(namespace, code, topic)
    letters = [letter for letter in letters if not pending or letter.redriven_ms is None]
    letters = letters[-limit:] if limit else letters
    if as_json:
        print_json([_facts(letter) for letter in letters])
        return
    columns = ["id", "time", "topic", "partition", "offset", "code", "type", "workflow", "sent again", "reason"]
    print_table(columns, [_row(letter) for letter in letters])
    if not letters:
        click.echo("No dead letters.", err=True)


@dead_letter.command()
@click.argument("letter_id", metavar="ID")
@click.option("--payloads", is_flag=True, help="Show what payloads and unreadable bytes hold: they may be secrets.")
@json_option
@pass_common
def show(common: Common, letter_id: str, payloads: bool, as_json: bool) -> None:
    """One dead letter, and the record that it is a copy of."""
    from odradek.log.dead_letters import read_whole

    with _namespace(common) as namespace:
        (letter,) = _named(_chosen(namespace), (letter_id,))
        whole = read_whole(namespace, letter)
        content = _content(common, namespace, whole, payloads=payloads)
    if as_json:
        print_json({**_facts(letter), **content})
        return
    for name, value in _facts(letter).items():
        if value not in (None, ""):
            click.echo(f"{name:<14}{local_text(value) if isinstance(value, datetime) else value}")
    for name, value in content.items():
        click.echo(f"\n{name}:")
        print_json(value) if not isinstance(value, str) else click.echo(value)


@dead_letter.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that were not sent again, or those that the filters name.")
@filters
@click.option("--force", is_flag=True, help="Those that were sent again before, too.")
@click.option("--renew", is_flag=True, help="Give requests of clients a new lifetime: they expire after ten minutes.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_common
def redrive(
    common: Common,
    ids: tuple[str, ...],
    everything: bool,
    code: str | None,
    topic: str | None,
    force: bool,
    renew: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Send dead letters again, to where they came from.

    After what was wrong has been mended. Each goes with its key and its bytes as they were, so that whoever takes it in
    knows it if it was taken in before; only once, as long as nobody says --force; and into the partition that its
    workflow belongs to. What fails again becomes a new dead letter.
    """
    from odradek.client.connection import default_identity
    from odradek.log.dead_letters import Outcome
    from odradek.log.dead_letters import redrive as send_again

    if bool(ids) == everything:
        raise DeadLettersNotNamed
    with _namespace(common) as namespace:
        letters = _chosen(namespace, code, topic)
        if ids:
            letters = _named(letters, ids)
        elif not force:
            letters = [letter for letter in letters if letter.redriven_ms is None]
        if everything and letters:
            _confirm(f"sending {len(letters)} dead letters again", yes=yes)
        now_ms = int(time.time() * 1000)
        say = _progress(len(letters))
        done = send_again(namespace, letters, default_identity(), now_ms=now_ms, force=force, renew=renew, on_done=say)
    if as_json:
        print_json([{"id": one.letter.id, "outcome": one.outcome, "reason": one.reason} for one in done])
    counts = {outcome: sum(one.outcome is outcome for one in done) for outcome in Outcome}
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "0 sent", err=as_json)
    if ids and counts[Outcome.ALREADY]:
        raise click.exceptions.Exit(int(ExitCode.CONFLICT))
    if counts[Outcome.FAILED] or (ids and counts[Outcome.REFUSED]):
        raise click.exceptions.Exit(int(ExitCode.FAILED))


# ------------------------------------------------------------------------------------------------------------ choosing


@contextmanager
def _namespace(common: Common) -> Iterator[Namespace]:
    from odradek.cli.asking import check_namespace, existing_log
    from odradek.log.namespace import open_namespace

    messages.set_up(common, quiet=True)
    with existing_log(common) as log:
        check_namespace(log, common)
        yield open_namespace(log, common.namespace, schema_registry=common.schema_registry)


def _chosen(namespace: Namespace, code: str | None = None, topic: str | None = None) -> list[Letter]:
    from odradek.log.dead_letters import read_letters

    return [
        letter
        for letter in read_letters(namespace)
        if code in (None, letter.record.code) and topic in (None, letter.record.topic)
    ]


def _named(letters: list[Letter], ids: tuple[str, ...]) -> list[Letter]:
    known = {letter.id: letter for letter in letters}
    for wanted in ids:
        if wanted not in known:
            raise DeadLetterMissing(wanted)
    return [known[wanted] for wanted in dict.fromkeys(ids)]


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise NeedsConfirmation(what)
    click.confirm(f"{what[0].upper()}{what[1:]}: go on?", abort=True, err=True)


def _progress(count: int) -> Callable[[Redriven], None]:
    """Says each letter that was not sent, and of many how far it is."""
    done = 0

    def say(one: Redriven) -> None:
        nonlocal done
        done += 1
        if one.reason:
            click.echo(one.reason, err=True)
        if done % 1000 == 0 and done < count:
            click.echo(f"{done} of {count}", err=True)

    return say


# ------------------------------------------------------------------------------------------------------------- showing


def _moment(time_ms: int | None) -> datetime | None:
    if time_ms is None:
        return None
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _facts(letter: Letter) -> dict[str, Any]:
    said = letter.record
    return {
        "id": letter.id,
        "time": _moment(letter.time_ms),
        "topic": said.topic,
        "partition": said.partition,
        "offset": said.offset,
        "record_time": _moment(said.time_ms),
        "code": said.code,
        "reason": said.reason,
        "type": letter.record_type,
        "workflow_id": letter.workflow_id,
        "key": None if said.key is None else said.key[:1000].decode(errors="backslashreplace"),
        "value_bytes": letter.value_bytes,
        "sent_again": _moment(letter.redriven_ms),
        "sent_again_by": letter.redriven_by,
    }


def _row(letter: Letter) -> list[str]:
    said = letter.record
    reason = said.reason.removeprefix(f"{said.code}: ")
    return [
        letter.id,
        local_text(_moment(letter.time_ms)),
        said.topic,
        str(said.partition),
        str(said.offset),
        said.code,
        letter.record_type,
        letter.workflow_id,
        local_text(_moment(letter.redriven_ms)),
        reason if len(reason) <= REASON_WIDTH else f"{reason[: REASON_WIDTH - 2]} …",
    ]


def _content(common: Common, namespace: Namespace, whole: DeadLetterRecord, *, payloads: bool) -> dict[str, Any]:
    """The record if it can be read, else how its bytes begin."""
    import asyncio

    from odradek.cli.decoded import decoded, masked
    from odradek.client.history_json import record_to_json
    from odradek.log import dead_letters

    record = dead_letters.decoded(namespace, whole)
    if record is None:
        return {"bytes": _dump((whole.value or b"")[: SHOWN_BYTES_MAX if payloads else SHOWN_BYTES])}
    shown = asyncio.run(decoded(record, common.data_converter())) if payloads else masked(record)
    return {"record": record_to_json(shown)}


def _dump(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<47}  {text}")
    return "\n".join(lines)
