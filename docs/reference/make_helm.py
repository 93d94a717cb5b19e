"""The tables of helm.md, from the comments in the chart's values.yaml: ``python docs/reference/make_helm.py``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from generated import table, write

PAGE = Path(__file__).with_name("helm.md")
VALUES = Path(__file__).parents[2] / "helm" / "odradek" / "values.yaml"
KEY = re.compile(r" *(?P<key>[A-Za-z_]\w*):(?: (?P<default>.+))?$")


class Value(NamedTuple):
    """A key of the values, with the comment above it."""

    path: tuple[str, ...]
    default: str | None
    """None: it has keys of its own, or a list over several lines."""
    about: str


def values(text: str) -> Iterator[Value]:
    path: list[str] = []
    comment: list[str] = []
    list_indent: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.lstrip().startswith("- "):
            list_indent = indent
        elif list_indent is not None and indent < list_indent:
            list_indent = None
        if list_indent is not None:
            continue
        found = KEY.fullmatch(line)
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip().removeprefix("#").removeprefix(" "))
        elif found is not None:
            path = [*path[: indent // 2], found["key"]]
            yield Value(tuple(path), found["default"], "\n".join(comment))
            comment = []
        elif not line:
            comment = []


def text() -> str:
    parts: list[str] = []
    groups: dict[str, list[Value]] = {}
    for value in values(VALUES.read_text()):
        groups.setdefault(value.path[0], []).append(value)
    alone = [group[0] for group in groups.values() if len(group) == 1 and group[0].default not in (None, "{}")]
    parts += ["## At the top", _table(alone)]
    for key, group in groups.items():
        if group[0] not in alone:
            parts.append(f"## {key}")
            if group[0].about:
                parts.append(_paragraphs(group[0].about))
            if group[1:]:
                parts.append(_table(group[1:]))
    return "\n\n".join(parts)


def _paragraphs(about: str) -> str:
    before, example, shown = about.partition("Example:\n")
    return before.strip() if not example else f"{before.strip()}\n\n```yaml\nworkers:\n{shown}\n```"


def _table(group: list[Value]) -> str:
    shown = [value for value in group if value.default is not None or value.about]
    rows = [(f"`{'.'.join(value.path)}`", _default(value), value.about.replace("\n", " ")) for value in shown]
    return table(["value", "default", "what it says"], rows)


def _default(value: Value) -> str:
    return "" if value.default in (None, '""', "{}", "[]", "null") else f"`{value.default}`"


if __name__ == "__main__":
    write(PAGE, text())
