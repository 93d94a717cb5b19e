"""The text of cli.md, from the command itself: ``python docs/reference/make_cli.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from generated import write

from odradek.cli import main

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 110


def text() -> str:
    return "\n\n".join(f"## {path}\n\n```text\n{shown}\n```" for path, shown in _pages(main, "odradek", None))


def _pages(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    context.color = False
    yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from _pages(found, child, context)


if __name__ == "__main__":
    write(PAGE, text())
