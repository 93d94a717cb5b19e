"""Records to bytes and back. The version of the writer's schema stands first in every record and is read first.

A value is plain Avro, or Avro behind the Schema Registry's five bytes; the first byte tells (a version is never 0).
"""

from __future__ import annotations

import dataclasses
import io
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Final, TypeVar

import fastavro

from odradek.schemas import compiled, records
from odradek.schemas.compiled import cached, members
from odradek.schemas.errors import NewerSchema, SchemaError, UnreadableRecord
from odradek.schemas.records import SCHEMA_VERSION, Event

R = TypeVar("R")

FILES: Final[Mapping[type, str]] = {
    records.InboxRecord: "inbox",
    records.HistoryRecord: "history",
    records.ArchiveRecord: "archive",
    records.TaskRecord: "task",
    records.ReplyRecord: "reply",
    records.VisibilityRecord: "visibility",
    records.WorkersRecord: "workers",
    records.DeadLetterRecord: "dead_letter",
    records.DataKeyRecord: "keys",
}
_REGISTRY_MAGIC = 0
_REGISTRY_PREFIX_BYTES = 5
_VERSIONS_AHEAD_MAX = 8
"""What claims to be newer than that is no record: so begins text that somebody else has written to a topic."""


_write_history_body = compiled.union_writer(records.HistoryBody)
_CHUNK_BRANCH: Final = members(records.HistoryBody)[0].index(records.Chunk)


class Codec:
    """Encodes at the namespace's feature level; decodes every released version.

    ``registry_ids`` (schema ID by record type) puts the Schema Registry's prefix before every value. ``raised_to``
    says the namespace's feature level as it is now, None for any: what claims to be newer than that is no record, since
    nobody may have written it. Without it every newer version is believed.
    """

    def __init__(
        self,
        level: int = SCHEMA_VERSION,
        registry_ids: Mapping[type, int] | None = None,
        raised_to: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.level = level
        self._raised_to = raised_to
        self._prefixes = {
            record_type: bytes([_REGISTRY_MAGIC]) + schema_id.to_bytes(4, "big")
            for record_type, schema_id in (registry_ids or {}).items()
        }
        self._history_head = self._prefixes.get(records.HistoryRecord, b"") + compiled.encode_long(SCHEMA_VERSION)

    def encode(self, record: Any) -> bytes:
        """The record as bytes, in the form of the feature level."""
        record_type = type(record)
        prefix = self._prefixes.get(record_type, b"") if self._prefixes else b""
        if self.level == SCHEMA_VERSION:
            return prefix + compiled.writer(record_type)(record)
        value = to_dict(record)
        value["schema_version"] = self.level
        return prefix + _general(schema(record_type, self.level), value)

    def encode_events(self, events: Sequence[Event]) -> bytes:
        """The events as one block of an Avro array; blocks can be joined, see ``encode_with_events``."""
        if not events:
            return b""  # a block of none would end the array
        parts = [compiled.encode_long(len(events))]
        if self.level == SCHEMA_VERSION:
            parts += map(compiled.writer(Event), events)
        else:
            parts += (_general(schema(Event, self.level), to_dict(event)) for event in events)
        return b"".join(parts)

    def event_blocks(self, value: bytes) -> tuple[int, bytes]:
        """Of a history record that is a chunk: ``first_event``, and its encoded events in the feature level's form."""
        found = _current_chunk(value) if self.level == SCHEMA_VERSION else None
        if found is None:
            body = self._decoded_chunk(value)
            return body.first_event, self.encode_events(body.events)
        head, at = found
        return head.first_event, value[at:-1]

    def chunk_head(self, value: bytes) -> records.Chunk:
        """A history record that is a chunk; its events may be left out. Raises as ``decode``."""
        try:
            found = _current_chunk(value)
        except (IndexError, ValueError) as error:
            raise UnreadableRecord("HistoryRecord", f"{type(error).__name__}: {error}") from error
        return self._decoded_chunk(value) if found is None else found[0]

    def _decoded_chunk(self, value: bytes) -> records.Chunk:
        body = self.decode(records.HistoryRecord, value).body
        if not isinstance(body, records.Chunk):
            raise UnreadableRecord("HistoryRecord", f"no chunk, but a {type(body).__name__}")
        return body

    @staticmethod
    def events_bytes(block: bytes) -> int:
        """The size of the events in one block; the same in sum, into however many blocks they are divided."""
        return len(block) - compiled.read_long(block, 0)[1] if block else 0

    def encode_history(self, claim: int, v: int, x: int, y: int, body: Any, blocks: bytes | None = None) -> bytes:
        """A ``HistoryRecord``; with ``blocks`` its body is a chunk without events, and they are put in their place."""
        if self.level != SCHEMA_VERSION:
            record = records.HistoryRecord(claim, v, x, y, body)
            return self.encode(record) if blocks is None else self.encode_with_events(record, blocks)
        long = compiled.encode_long
        head = (self._history_head, long(claim), long(v), long(x), long(y), _write_history_body(body))
        if blocks is None:
            return b"".join(head)
        return b"".join((*head[:-1], head[-1][:-1], blocks, b"\0"))

    def encode_with_events(self, record: Any, blocks: bytes) -> bytes:
        """A record whose last field is an empty array of events, with ``blocks`` put in their place."""
        return self.encode(record)[:-1] + blocks + b"\0"

    def decode_events(self, blocks: bytes) -> list[Event]:
        """What ``encode_events`` made, block after block."""
        events: list[Event] = []
        at = 0
        read = compiled.reader(Event) if self.level == SCHEMA_VERSION else self._read_older_event
        while at < len(blocks):
            count, at = compiled.read_long(blocks, at)
            for _ in range(count):
                event, at = read(blocks, at)
                events.append(event)
        return events

    def _read_older_event(self, blocks: bytes, at: int) -> tuple[Event, int]:
        data = io.BytesIO(blocks)
        data.seek(at)
        written, current = schema(Event, self.level), schema(Event, SCHEMA_VERSION)
        value = fastavro.schemaless_reader(
            data, written, current, return_record_name=True, return_record_name_override=True
        )
        return from_dict(Event, typing.cast(dict[str, Any], value)), data.tell()

    def watermarks(self, value: bytes) -> tuple[int, int, int, int]:
        """Claim, v, x and y of a history record, which stand before its body. Raises as ``decode``."""
        try:
            start = _REGISTRY_PREFIX_BYTES if value[0] == _REGISTRY_MAGIC else 0
            version = _peek_version(value, start)
            if version > SCHEMA_VERSION:
                raise self._newer("HistoryRecord", version)
            _, at = compiled.read_long(value, start)
            claim, at = compiled.read_long(value, at)
            v, at = compiled.read_long(value, at)
            x, at = compiled.read_long(value, at)
            return claim, v, x, compiled.read_long(value, at)[0]
        except (IndexError, ValueError) as error:
            raise UnreadableRecord("HistoryRecord", f"{type(error).__name__}: {error}") from error

    def _newer(self, record_type: str, version: int) -> SchemaError:
        level = self._raised_to()
        if level is None or version <= level:
            return NewerSchema(record_type, version, SCHEMA_VERSION)
        reason = f"schema version {version}, and the namespace's feature level is {level}: nobody may write that yet"
        return UnreadableRecord(record_type, reason)

    def decode(self, record_type: type[R], value: bytes) -> R:
        """Raises ``NewerSchema`` for a version that this build does not know yet, else ``UnreadableRecord``."""
        try:
            start = _REGISTRY_PREFIX_BYTES if value[0] == _REGISTRY_MAGIC else 0
            version = _peek_version(value, start)
            if version == SCHEMA_VERSION:
                decoded: R
                decoded, end = compiled.reader(record_type)(value, start)
                if end != len(value):
                    raise ValueError(f"{len(value) - end} bytes too many")
                return decoded
            if version > SCHEMA_VERSION:
                raise self._newer(record_type.__name__, version)
            return _decode_older(record_type, value[start:], version)
        except SchemaError:
            raise
        except Exception as error:  # decoding raises whatever the bytes lead it into
            raise UnreadableRecord(record_type.__name__, f"{type(error).__name__}: {error}") from error


def _decode_older(record_type: type[R], value: bytes, version: int) -> R:
    read = fastavro.schemaless_reader(
        io.BytesIO(value),
        schema(record_type, version),
        schema(record_type, SCHEMA_VERSION),
        return_record_name=True,
        return_record_name_override=True,
    )
    return from_dict(record_type, typing.cast(dict[str, Any], read))


def _current_chunk(value: bytes) -> tuple[records.Chunk, int] | None:
    """Of a chunk in the form of the newest schema: all but its events, and their place. None: it is in another form."""
    start = _REGISTRY_PREFIX_BYTES if value[0] == _REGISTRY_MAGIC else 0
    version, at = compiled.read_long(value, start)
    if version != SCHEMA_VERSION:
        return None
    for _ in range(4):  # claim, v, x, y
        _, at = compiled.read_long(value, at)
    branch, at = compiled.read_long(value, at)
    if branch != _CHUNK_BRANCH:
        raise ValueError(f"no chunk, but branch {branch} of a history record")
    return compiled.chunk_head(value, at)


def _general(avro_schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, avro_schema, value)
    return out.getvalue()


def _peek_version(value: bytes, start: int) -> int:
    version, _ = compiled.read_long(value, start)
    if not 1 <= version <= SCHEMA_VERSION + _VERSIONS_AHEAD_MAX:
        raise ValueError(f"schema version {version}")
    return version


# -------------------------------------------------------------------------------------------------------- schemas


@cached
def schema(record_type: type, version: int) -> Any:
    """The parsed schema of a record type, as released in ``version``."""
    if record_type is Event:
        return fastavro.parse_schema(_definition_of("Event", source(records.ArchiveRecord, version)))
    return fastavro.parse_schema(source(record_type, version))


def source(record_type: type, version: int) -> Any:
    """The schema of a record type as it stands in its file."""
    file = resources.files("odradek.schemas") / f"v{version}" / f"{FILES[record_type]}.avsc"
    return json.loads(file.read_text())


def _definition_of(name: str, tree: Any) -> Any:
    """The definition of a named type inside a schema, made to stand alone."""
    found = next(node for node in _nodes(tree) if node.get("name") == name and node.get("type") == "record")
    return {**found, "namespace": "odradek"}


def _nodes(tree: Any) -> typing.Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


# ------------------------------------------------- records to fastavro's dicts and back, for other versions


def to_dict(value: Any) -> Any:
    """A record as fastavro takes it; a member of a union becomes (name, dict)."""
    return {f.name: _written(hint, getattr(value, f.name)) for f, hint in _fields(type(value))}


def from_dict(record_type: type[R], value: dict[str, Any]) -> R:
    return record_type(**{f.name: _read(hint, value[f.name]) for f, hint in _fields(record_type)})


@cached
def _fields(record_type: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(record_type)
    return [(f, hints[f.name]) for f in dataclasses.fields(typing.cast(Any, record_type))]


def _written(hint: Any, value: Any) -> Any:
    kinds, _ = members(hint)
    if len(kinds) > 1:
        return f"odradek.{type(value).__name__}", to_dict(value)
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    arguments = typing.get_args(kinds[0])
    if isinstance(value, dict):
        return {key: _written(arguments[1], item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(arguments[0], item) for item in value]
    return value


def _read(hint: Any, value: Any) -> Any:
    kinds, _ = members(hint)
    if len(kinds) > 1:
        return from_dict(next(kind for kind in kinds if value[0] == f"odradek.{kind.__name__}"), value[1])
    arguments = typing.get_args(kinds[0])
    if isinstance(value, list):
        return tuple(_read(arguments[0], item) for item in value)
    if isinstance(value, dict):
        if dataclasses.is_dataclass(kinds[0]):
            return from_dict(typing.cast(type, kinds[0]), value)
        return {key: _read(arguments[1], item) for key, item in value.items()}
    return value
