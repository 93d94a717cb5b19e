"""The tables of records.md, from the schema files: ``python docs/reference/make_records.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from generated import table, write

from odradek.schemas.codec import FILES, source
from odradek.schemas.records import SCHEMA_VERSION

NOTE = (
    "A default is what a reader takes for a field that an older version lacks; in the bytes of a record every field "
    "stands, in this order."
)
PAGE = Path(__file__).with_name("records.md")


def text() -> str:
    """A section for each record type, then one for each of the parts that they share."""
    parts: dict[str, dict[str, Any]] = {}
    tops = [source(record_type, SCHEMA_VERSION) for record_type in FILES]
    for top in tops:
        _collect(top, parts)
    names = [top["name"] for top in tops]
    shared = [parts[name] for name in sorted(parts) if name not in names]
    return "\n\n".join(
        [
            f"Schema version {SCHEMA_VERSION}. {NOTE}",
            *(_section(top) for top in tops),
            "## Parts",
            *(_section(part, level=3) for part in shared),
        ]
    )


def _collect(schema: Any, parts: dict[str, dict[str, Any]]) -> None:
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, parts)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            parts.setdefault(schema["name"], schema)
            for field in schema["fields"]:
                _collect(field["type"], parts)
        else:
            for inner in ("items", "values"):
                _collect(schema.get(inner), parts)


def _section(schema: dict[str, Any], level: int = 2) -> str:
    doc = _words(schema.get("doc", ""))
    rows = [
        [f"`{field['name']}`", _type(field["type"]), _default(field), _words(field.get("doc", ""))]
        for field in schema["fields"]
    ]
    lines = [f"{'#' * level} {schema['name']}", *([doc] if doc else [])]
    lines.append(table(["field", "type", "default", ""], rows) if rows else "No fields.")
    return "\n\n".join(lines)


def _type(schema: Any) -> str:
    if isinstance(schema, list):
        kinds = [_type(branch) for branch in schema if branch != "null"]
        null = "null or " if "null" in schema else ""
        return null + (kinds[0] if len(kinds) == 1 else "one of " + ", ".join(kinds))
    if isinstance(schema, str):
        name = schema.removeprefix("odradek.")
        return name if name == schema and name.islower() else _link(name)
    if schema["type"] == "record":
        return _link(schema["name"])
    if schema["type"] == "array":
        return f"array of {_type(schema['items'])}"
    if schema["type"] == "map":
        return f"map of {_type(schema['values'])}"
    return _type(schema["type"])


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"


def _default(field: dict[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _words(doc: str) -> str:
    return doc.replace("``", "`").replace("\n", " ")


if __name__ == "__main__":
    write(PAGE, text())
