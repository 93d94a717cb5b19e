"""Writes the Avro schemas of the version under development from the records; a field's ``doc`` is kept.

Released versions are never written again: raise ``SCHEMA_VERSION`` first.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import typing
from pathlib import Path
from typing import Any

from odradek.schemas import records
from odradek.schemas.codec import FILES
from odradek.schemas.compiled import members, order

NAMESPACE = "odradek"
PLAIN = {int: "long", str: "string", bytes: "bytes", bool: "boolean", float: "double"}


def main() -> None:
    folder = Path(records.__file__).parent / f"v{records.SCHEMA_VERSION}"
    for record_type, name in FILES.items():
        path = folder / f"{name}.avsc"
        docs = field_docs(json.loads(path.read_text())) if path.exists() else {}
        schema = {"namespace": NAMESPACE, **record_schema(record_type, set(), docs)}
        ordered = {key: schema[key] for key in ("type", "name", "namespace", *list(schema)[3:])}
        path.write_text(json.dumps(ordered, indent=2) + "\n")


def record_schema(record_type: Any, known: set[str], docs: dict[tuple[str, str], str]) -> Any:
    name = record_type.__name__
    if name in known:
        return f"{NAMESPACE}.{name}"
    known.add(name)
    schema: dict[str, Any] = {"type": "record", "name": name}
    doc = record_type.__doc__ or ""
    if not doc.startswith(f"{name}("):  # a dataclass without a docstring gets its signature
        schema["doc"] = " ".join(doc.split())
    hints = typing.get_type_hints(record_type)
    fields = {field.name: field for field in dataclasses.fields(record_type)}
    schema["fields"] = [field_schema(name, fields[field], hints[field], known, docs) for field in order(record_type)]
    return schema


def field_schema(
    owner: str, field: dataclasses.Field[Any], hint: Any, known: set[str], docs: dict[tuple[str, str], str]
) -> dict[str, Any]:
    schema: dict[str, Any] = {"name": field.name, "type": type_schema(hint, known, docs)}
    if field.name == "schema_version":
        schema["type"] = "int"
    elif field.default is not dataclasses.MISSING:
        schema["default"] = [] if field.default == () else field.default
    elif field.default_factory is dict:
        schema["default"] = {}
    if (owner, field.name) in docs:
        schema["doc"] = docs[owner, field.name]
    return schema


def type_schema(hint: Any, known: set[str], docs: dict[tuple[str, str], str]) -> Any:
    kinds, optional = members(hint)
    if optional or len(kinds) > 1:
        return [*(["null"] if optional else []), *(type_schema(kind, known, docs) for kind in kinds)]
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        return record_schema(hint, known, docs)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return {"type": "map", "values": type_schema(arguments[1], known, docs)}
    assert typing.get_origin(hint) is collections.abc.Sequence, hint
    return {"type": "array", "items": type_schema(arguments[0], known, docs)}


def field_docs(schema: Any, found: dict[tuple[str, str], str] | None = None) -> dict[tuple[str, str], str]:
    """What hands have written beside fields, by record and field."""
    found = {} if found is None else found
    if isinstance(schema, list):
        for part in schema:
            field_docs(part, found)
    elif isinstance(schema, dict):
        for field in schema.get("fields", []):
            if "doc" in field:
                found[schema["name"], field["name"]] = field["doc"]
            field_docs(field["type"], found)
        for part in ("items", "values", "type"):
            field_docs(schema.get(part), found)
    return found


if __name__ == "__main__":
    main()
