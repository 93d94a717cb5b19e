"""The records' bytes: the compiled codec against fastavro, against foreign bytes, and against other schema versions."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
import operator
import time
import typing
from collections.abc import Iterator
from importlib import resources
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek.schemas import codec as codec_module
from odradek.schemas import compiled
from odradek.schemas.codec import FILES, Codec, schema, source, to_dict
from odradek.schemas.compiled import encode_long, members, order, read_long
from odradek.schemas.errors import NewerSchema, UnreadableRecord
from odradek.schemas.records import (
    SCHEMA_VERSION,
    Accepted,
    ActivityResult,
    ActivityScheduled,
    Chunk,
    Event,
    Failure,
    HistoryRecord,
    InboxRecord,
    Payload,
    Refused,
    ReplyRecord,
    Request,
    RetryPolicy,
    RunStarted,
    TaskPriority,
    TaskRecord,
    TerminateWorkflow,
    TimerFired,
)

TOP_LEVEL = list(FILES)
CODEC = Codec()
EMPTY_CHUNK = HistoryRecord(
    7, 6, 5, 4, Chunk(3, 2, sealed=False, previous_claim=0, inbox_offset=1, first_event=0, status="")
)
PATIENT = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def name_of(record_type: Any) -> str:
    return str(record_type.__name__)


top_level = pytest.mark.parametrize("record_type", TOP_LEVEL, ids=name_of)


# -------------------------------------------------------------------------------------------- records out of type hints

PLAIN = {
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(st.characters(codec="utf-8"), max_size=8),
    bytes: st.binary(max_size=8),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
}


@compiled.cached
def records(record_type: Any) -> st.SearchStrategy[Any]:
    """Any value that a record of this type can have. Built late, since records refer to themselves."""
    return st.deferred(lambda: st.builds(record_type, **_fields(record_type)))


def _fields(record_type: Any) -> dict[str, st.SearchStrategy[Any]]:
    hints = typing.get_type_hints(record_type)
    return {name: values(hint) for name, hint in hints.items() if name != "schema_version"}


def values(hint: Any) -> st.SearchStrategy[Any]:
    kinds, optional = members(hint)
    choices = [_value(kind) for kind in kinds]
    return st.one_of(*([st.none()] if optional else []), *choices)


def _value(kind: Any) -> st.SearchStrategy[Any]:
    if dataclasses.is_dataclass(kind):
        return records(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    arguments = typing.get_args(kind)
    if len(arguments) == 2:
        return st.dictionaries(PLAIN[str], values(arguments[1]), max_size=2)
    return st.lists(values(arguments[0]), max_size=2).map(tuple)


# ----------------------------------------------------------------------------------------------- the form of the schema


def definitions(tree: Any) -> Iterator[dict[str, Any]]:
    return (node for node in codec_module._nodes(tree) if node.get("type") == "record")


def record_types(root: Any) -> set[Any]:
    found, waiting = set(), [root]
    while waiting:
        record_type = waiting.pop()
        if record_type not in found:
            found.add(record_type)
            hints = typing.get_type_hints(record_type).values()
            waiting += [kind for hint in hints for kind in _records_in(hint)]
    return found


def _records_in(hint: Any) -> list[Any]:
    if dataclasses.is_dataclass(hint):
        return [hint]
    return functools.reduce(operator.iadd, (_records_in(argument) for argument in typing.get_args(hint)), [])


def avro_type(hint: Any) -> Any:
    """The Avro type that stands for a type hint, with a record by its name."""
    kinds, optional = members(hint)
    found = [_avro_plain(kind) for kind in kinds]
    return ["null", *found] if optional else found if len(found) > 1 else found[0]


def _avro_plain(kind: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return typing.cast(type, kind).__name__
    if kind in PLAIN:
        return {int: "long", str: "string", bytes: "bytes", bool: "boolean", float: "double"}[kind]
    arguments = typing.get_args(kind)
    return {"map": avro_type(arguments[1])} if len(arguments) == 2 else {"array": avro_type(arguments[0])}


def simple(node: Any) -> Any:
    """A type of a schema file, put as ``avro_type`` puts it."""
    if isinstance(node, list):
        return [simple(member) for member in node]
    if isinstance(node, str):
        return node.removeprefix("odradek.")
    if node["type"] == "array":
        return {"array": simple(node["items"])}
    if node["type"] == "map":
        return {"map": simple(node["values"])}
    return node["name"] if node["type"] == "record" else node["type"]


@top_level
def test_dataclasses_are_the_schema(record_type: Any) -> None:
    """Fields, their order and their types are the same in both, in every nested record too."""
    written = {node["name"]: node["fields"] for node in definitions(source(record_type, SCHEMA_VERSION))}
    assert written.keys() == {name_of(nested) for nested in record_types(record_type)}
    for nested in record_types(record_type):
        hints = typing.get_type_hints(nested)
        fields = written[name_of(nested)]
        assert [field["name"] for field in fields] == order(nested)
        types = {field["name"]: simple(field["type"]) for field in fields if field["name"] != "schema_version"}
        assert types == {name: avro_type(hint) for name, hint in hints.items() if name != "schema_version"}


@top_level
def test_version_comes_first(record_type: Any) -> None:
    first = source(record_type, SCHEMA_VERSION)["fields"][0]
    assert (first["name"], first["type"]) == ("schema_version", "int")


def test_events_come_last_so_that_blocks_can_be_joined() -> None:
    assert order(Chunk)[-1] == "events"
    assert order(HistoryRecord)[-1] == "body"


# ------------------------------------------------------------------------------------------------------- the same bytes


def general_bytes(record: Any, version: int = SCHEMA_VERSION) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema(type(record), version), to_dict(record))
    return out.getvalue()


@top_level
@PATIENT
@given(data=st.data())
def test_compiled_bytes_are_those_of_fastavro(record_type: Any, data: st.DataObject) -> None:
    record = data.draw(records(record_type))
    value = CODEC.encode(record)
    assert value == general_bytes(record)
    assert CODEC.decode(record_type, value) == record


@top_level
@PATIENT
@given(data=st.data())
def test_general_reader_agrees_with_the_compiled_one(record_type: Any, data: st.DataObject) -> None:
    record = data.draw(records(record_type))
    assert codec_module._decode_older(record_type, CODEC.encode(record), SCHEMA_VERSION) == record


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_round_trip(number: int) -> None:
    encoded = encode_long(number)
    assert read_long(encoded, 0) == (number, len(encoded))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**200])
def test_integers_beyond_64_bits_are_not_written(number: int) -> None:
    with pytest.raises(OverflowError, match="64-bit"):
        encode_long(number)


# ---------------------------------------------------------------------------------------------------- cumulative events


@PATIENT
@given(st.lists(st.lists(records(Event), max_size=3), max_size=4))
def test_encoded_events_can_be_joined(batches: list[list[Event]]) -> None:
    """A chunk's record is its events so far, each encoded once, joined as bytes."""
    blocks = b"".join(CODEC.encode_events(batch) for batch in batches if batch)
    read = CODEC.decode(HistoryRecord, CODEC.encode_with_events(EMPTY_CHUNK, blocks)).body
    assert isinstance(read, Chunk)
    assert list(read.events) == [event for batch in batches for event in batch]
    assert CODEC.decode_events(blocks) == list(read.events)


def test_blocks_with_a_size_are_read() -> None:
    """Other writers say a block's bytes beside a negative count; a reader may need that."""
    event = Event(1, 2, TimerFired(3))
    one = CODEC.encode_events([event])[1:]
    sized = encode_long(-2) + encode_long(2 * len(one)) + one + one
    read = CODEC.decode(HistoryRecord, CODEC.encode_with_events(EMPTY_CHUNK, sized)).body
    assert isinstance(read, Chunk)
    assert list(read.events) == [event, event]


# -------------------------------------------------------------------------------------------------------- foreign bytes


@top_level
@PATIENT
@given(data=st.data())
def test_truncated_record_is_unreadable(record_type: Any, data: st.DataObject) -> None:
    """Every proper beginning of a record is told from a whole one."""
    value = CODEC.encode(data.draw(records(record_type)))
    cut = data.draw(st.integers(0, len(value) - 1))
    with pytest.raises(UnreadableRecord):
        CODEC.decode(record_type, value[:cut])


@top_level
@PATIENT
@given(data=st.data())
def test_record_with_something_behind_it_is_unreadable(record_type: Any, data: st.DataObject) -> None:
    value = CODEC.encode(data.draw(records(record_type))) + data.draw(st.binary(min_size=1, max_size=3))
    with pytest.raises(UnreadableRecord):
        CODEC.decode(record_type, value)


@top_level
@settings(PATIENT, max_examples=300)
@given(garbage=st.binary(max_size=60), versioned=st.booleans())
def test_garbage_raises_nothing_else(record_type: Any, garbage: bytes, versioned: bool) -> None:
    value = encode_long(SCHEMA_VERSION) + garbage if versioned else garbage
    try:
        CODEC.decode(record_type, value)
    except UnreadableRecord as error:
        assert str(error).startswith("ODR-002")  # noqa: PT017 - luck may also make it readable
    except NewerSchema:
        assert not versioned


@top_level
@PATIENT
@given(data=st.data())
def test_changed_bytes_raise_nothing_else(record_type: Any, data: st.DataObject) -> None:
    value = bytearray(CODEC.encode(data.draw(records(record_type))))
    place = data.draw(st.integers(1, len(value) - 1))
    value[place] = data.draw(st.integers(0, 255))
    try:
        CODEC.decode(record_type, bytes(value))
    except UnreadableRecord as error:
        assert error.record_type == name_of(record_type)  # noqa: PT017 - the change may be a valid one


def _task_until_workflow_id() -> bytes:
    return encode_long(SCHEMA_VERSION) + encode_long(2) + b"ns"


@pytest.mark.parametrize(
    "tail",
    [
        encode_long(2**60),
        encode_long(-1),
        encode_long(-(2**63)),
        b"\xff" * 9 + b"\x7f",
        b"\xff" * 2_000_000,
        b"\x80" * 2_000_000 + b"\x01",
    ],
    ids=[
        "a length of 2^60",
        "a negative length",
        "the least length",
        "more than 64 bits",
        "all ones",
        "all empty groups",
    ],
)
def test_absurd_lengths_are_refused_at_once(tail: bytes) -> None:
    """Nothing is allocated for what a length only claims, and an integer ends after ten bytes."""
    started = time.perf_counter()
    with pytest.raises(UnreadableRecord):
        CODEC.decode(TaskRecord, _task_until_workflow_id() + tail)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("count", [2**60, 2**63 - 1, -(2**60), -(2**63)])
def test_absurd_counts_are_refused_at_once(count: int) -> None:
    whole = CODEC.encode(TaskRecord("", "", "", "", 0, 0, 0, "", "", "", 0, 0, 0))
    before_input = whole[:14]
    assert before_input == encode_long(SCHEMA_VERSION) + bytes(13)
    with pytest.raises(UnreadableRecord):
        CODEC.decode(TaskRecord, before_input + encode_long(count) + encode_long(1) + bytes(100))


def test_bottomless_nesting_is_refused() -> None:
    """A chain of causes that is deeper than Python's stack is a bad record, not a crash."""
    level = encode_long(0) * 5 + b"\0" + b"\0" * 3 + b"\0" + b"\0"  # up to `encoded`, all empty
    body = CODEC.encode(InboxRecord(0, ActivityResult("", 0, 0, "", 0, None, Failure("", ""))))
    start = body[: len(body) - len(_failure_bytes())]
    with pytest.raises(UnreadableRecord):
        CODEC.decode(InboxRecord, start + (level + b"\2") * 100_000)


def _failure_bytes() -> bytes:
    return compiled.writer(Failure)(Failure("", ""))


@pytest.mark.parametrize("byte", [1, 3, 4, 0xFF])
def test_no_such_branch(byte: int) -> None:
    """Of an optional value: only 0 and 2 are branches."""
    value = CODEC.encode(ReplyRecord("", "", Refused("", "")))
    assert value[-1] == 0
    with pytest.raises(UnreadableRecord):
        CODEC.decode(ReplyRecord, value[:-1] + bytes([byte]))


@pytest.mark.parametrize("byte", [1, 3, 99, 0xFF])
def test_no_such_body(byte: int) -> None:
    value = CODEC.encode(ReplyRecord("", "", Accepted("")))
    assert value[3] == 0
    with pytest.raises(UnreadableRecord):
        CODEC.decode(ReplyRecord, value[:3] + bytes([byte]) + value[4:])


@pytest.mark.parametrize("text", [b"", b"hello", b'{"order": 7}', b"<xml/>", b"42", b" x", "größe".encode(), b"Z"])
def test_text_of_others_is_bad_input_and_no_newer_version(text: bytes) -> None:
    """What somebody typed into a topic goes to the dead-letter topic: a partition must not wait for a newer build."""
    with pytest.raises(UnreadableRecord):
        CODEC.decode(InboxRecord, text)
    with pytest.raises(UnreadableRecord):
        CODEC.watermarks(text)


# ------------------------------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize("prefix", [b"", b"\0\0\0\0\x07"])
def test_newer_version_is_no_bad_input(prefix: bytes) -> None:
    value = prefix + encode_long(SCHEMA_VERSION + 1) + b"whatever"
    with pytest.raises(NewerSchema) as caught:
        CODEC.decode(InboxRecord, value)
    assert (caught.value.version, caught.value.known) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
    assert "deploy a newer odradek" in str(caught.value)


def test_registry_prefix_is_written_and_read() -> None:
    registered = Codec(registry_ids={TaskRecord: 258})
    task = TaskRecord("", "", "", "", 0, 0, 0, "", "", "", 0, 0, 0, (Payload("e", b"d"),))
    value = registered.encode(task)
    assert value == b"\0\0\0\1\2" + CODEC.encode(task)
    assert CODEC.decode(TaskRecord, value) == registered.decode(TaskRecord, value) == task
    reply = ReplyRecord("", "", Accepted(""))
    assert registered.encode(reply) == CODEC.encode(reply)


def test_registry_prefix_stands_before_joined_events() -> None:
    registered = Codec(registry_ids={HistoryRecord: 1})
    value = registered.encode_with_events(EMPTY_CHUNK, registered.encode_events([Event(1, 2, TimerFired(3))]))
    assert value.startswith(b"\0\0\0\0\1")
    body = CODEC.decode(HistoryRecord, value).body
    assert isinstance(body, Chunk)
    assert len(body.events) == 1


def released_versions() -> list[int]:
    names = [entry.name for entry in resources.files("odradek.schemas").iterdir()]
    return sorted(int(name[1:]) for name in names if name.startswith("v") and name[1:].isdigit())


def test_every_version_up_to_the_newest_ships() -> None:
    assert released_versions() == list(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", released_versions())
@top_level
def test_released_versions_can_be_read(record_type: Any, version: int) -> None:
    """Whatever a build of an earlier release has written, in any form that its schema allows, this build reads."""
    for value in generate_many(schema(record_type, version), 20):
        value["schema_version"] = version
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema(record_type, version), value)
        record = CODEC.decode(record_type, out.getvalue())
        assert type(record) is record_type


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[Codec]:
    """A codec at the feature level of an older release, whose schemas lacked some of today's fields.

    Today's version counts as 2 here, and version 1 is it without every field that can be left out of some records.
    """
    real = source

    def two_versions(record_type: type, version: int) -> Any:
        tree = real(record_type, SCHEMA_VERSION)
        if version == 1:
            for node in definitions(tree):
                left_out = LEFT_OUT.get(node["name"], ())
                node["fields"] = [field for field in node["fields"] if field["name"] not in left_out]
        return tree

    cached: Any = codec_module.schema
    monkeypatch.setattr(codec_module, "source", two_versions)
    monkeypatch.setattr(codec_module, "SCHEMA_VERSION", 2)
    cached.cache_clear()
    yield Codec(level=1)
    cached.cache_clear()


LEFT_OUT = {
    "RunStarted": {"headers", "static_details", "start_delay_ms"},
    "TaskRecord": {"priority", "heartbeat_details"},
    "TerminateWorkflow": {"run_id"},
    "Failure": {"category"},
    "Accepted": {"already"},
}


def test_record_of_an_older_version_gets_the_defaults(older: Codec) -> None:
    task = TaskRecord(
        "n", "", "", "", 0, 0, 0, "", "", "", 0, 0, 0, priority=TaskPriority(3), heartbeat_details=(Payload("e", b""),)
    )
    value = older.encode(task)
    assert value[0] == encode_long(1)[0]
    read = older.decode(TaskRecord, value)
    assert read == dataclasses.replace(task, priority=None, heartbeat_details=())


def test_older_version_inside_a_union(older: Codec) -> None:
    inner = Payload("e", b"d", {"k": b"v"})
    body = TerminateWorkflow(Request("id", 1, "me", 2, "who"), "why", (inner,), "run-7")
    read = older.decode(InboxRecord, older.encode(InboxRecord(5, body)))
    assert read == InboxRecord(5, dataclasses.replace(body, run_id=None))


def test_events_of_an_older_version_can_be_joined_too(older: Codec) -> None:
    event = Event(1, 2, RunStarted("T", "q", "r", headers={"a": Payload("e", b"d")}, static_details="x"))
    blocks = older.encode_events([event]) * 2
    body = older.decode(HistoryRecord, older.encode_with_events(EMPTY_CHUNK, blocks)).body
    assert isinstance(body, Chunk)
    expected = dataclasses.replace(event, body=RunStarted("T", "q", "r"))
    assert list(body.events) == older.decode_events(blocks) == [expected, expected]


@top_level
@settings(PATIENT, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_older_level_is_written_and_read(older: Codec, record_type: Any, data: st.DataObject) -> None:
    """Builds side by side: what this one writes at the older level, it reads back, without what that level lacks."""
    record = data.draw(records(record_type))
    read = older.decode(record_type, older.encode(record))
    assert without(to_dict(read)) == without(to_dict(record))


def without(value: Any) -> Any:
    """A record as a dict, without the fields that the older version lacks."""
    lacking = set().union(*LEFT_OUT.values())
    if isinstance(value, dict):
        return {name: without(item) for name, item in value.items() if name not in lacking}
    if isinstance(value, list | tuple):
        return [without(item) for item in value]
    return value


def test_floats_keep_every_bit() -> None:
    values = [math.inf, -math.inf, 5e-324, -0.0]
    for value in values:
        event = Event(1, 2, ActivityScheduled(1, "", "", "", retry_policy=RetryPolicy(backoff_coefficient=value)))
        body = CODEC.decode(HistoryRecord, CODEC.encode_with_events(EMPTY_CHUNK, CODEC.encode_events([event]))).body
        assert isinstance(body, Chunk)
        assert body.events == (event,)


@given(st.lists(st.lists(records(Event), max_size=3), max_size=3), st.integers(0, 10**6))
@PATIENT
def test_events_of_a_chunk_are_taken_out_as_they_stand(blocks: list[list[Event]], first_event: int) -> None:
    encoded = b"".join(CODEC.encode_events(block) for block in blocks)
    head = Chunk(3, 2, True, 77, 10, first_event, "running", True)
    value = CODEC.encode_with_events(HistoryRecord(5, 4, 3, 2, head), encoded)
    assert CODEC.event_blocks(value) == (first_event, encoded)
    behind_prefix = Codec(registry_ids={HistoryRecord: 9})
    value = behind_prefix.encode_with_events(HistoryRecord(5, 4, 3, 2, head), encoded)
    assert behind_prefix.event_blocks(value) == (first_event, encoded)
