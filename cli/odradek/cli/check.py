"""``odradek check``: what the workflows of a module do that no replay can repeat, found in their source."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from odradek.cli import messages
from odradek.cli.errors import NothingToRun
from odradek.cli.exits import ExitCode
from odradek.cli.options import Command, Common, pass_common
from odradek.cli.output import json_option, print_json

if TYPE_CHECKING:
    from odradek.workflow.determinism import Finding


@click.command(
    cls=Command,
    short_help="Would a replay of these workflows do the same?",
    epilog="""\b
Examples:
  odradek check shop.workflows
  odradek check shop/workflows.py:Order --strict
""",
)
@click.argument("modules", metavar="MODULE[:CLASS]...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Warnings fail the check, too.")
@json_option
@pass_common
def check(common: Common, modules: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Check the workflows of each MODULE, or one CLASS of it, as a worker does when it starts.

    Each finding is a line: the place, what stands there, why no replay can repeat it, what to write instead. The exit
    code is 1 if there are errors. Nothing is run but the import of the modules.
    """
    from odradek.workflow import Definition
    from odradek.workflow.determinism import check as check_class

    messages.set_up(common, quiet=True)
    classes = _classes(modules)
    checked = [cls for cls in classes if Definition.of(cls).sandboxed]
    found = list(dict.fromkeys(finding for cls in checked for finding in check_class(cls)))
    errors = sum(finding.is_error or strict for finding in found)
    if as_json:
        print_json([asdict(finding) | {"file": _shown(finding.file)} for finding in found])
    else:
        for finding in found:
            click.echo(_line(finding, strict=strict))
        skipped = len(classes) - len(checked)
        click.echo(
            f"{len(checked)} workflows checked"
            + (f", {skipped} left out (sandboxed=False)" if skipped else "")
            + f": {errors} errors, {len(found) - errors} warnings"
        )
    if errors:
        raise click.exceptions.Exit(int(ExitCode.FAILED))


def _classes(names: tuple[str, ...]) -> list[type]:
    from odradek.cli.modules import load

    classes: list[type] = []
    for name in names:
        module, _, wanted = name.partition(":")
        found = load([module])
        found.need("workflows")
        chosen = [cls for cls in found.workflows if wanted in ("", cls.__qualname__)]
        if not chosen:
            known = ", ".join(cls.__qualname__ for cls in found.workflows)
            raise NothingToRun(f'"{name}"', f"workflow {wanted}", f"workflows {known}")
        classes += [cls for cls in chosen if cls not in classes]
    return classes


def _line(finding: Finding, *, strict: bool) -> str:
    kind = "error" if finding.is_error or strict else "warning"
    what = f"{finding.what} in {finding.function}"
    return f"{_shown(finding.file)}:{finding.line}: {kind}: {what}: {finding.reason}; {finding.instead}"


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
