"""Protobuf messages are values like others, and cost nothing where there are none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from google.protobuf.message import Message

from odradek import workflow
from odradek.converter import (
    BinaryProtoPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    JSONProtoPayloadConverter,
    Payload,
    PayloadConverter,
    PayloadUnreadable,
)
from odradek.testing import WorkflowEnvironment
from odradek.worker import Worker


@pytest.mark.parametrize("hint", [None, wrappers_pb2.StringValue, Message, Any])
@pytest.mark.parametrize("one", [JSONProtoPayloadConverter(), BinaryProtoPayloadConverter()])
def test_a_message_comes_back(one: Any, hint: Any) -> None:
    converter = CompositePayloadConverter(one)
    payload = converter.to_payload(wrappers_pb2.StringValue(value="ä"))
    assert payload.metadata == {"messageType": b"google.protobuf.StringValue"}
    assert payload.encoding == one.encoding
    assert converter.from_payload(payload, hint) == wrappers_pb2.StringValue(value="ä")


def test_the_default_chain_is_the_one_that_people_know() -> None:
    assert list(DefaultPayloadConverter().converters) == [
        "binary/null",
        "binary/plain",
        "json/protobuf",
        "binary/protobuf",
        "json/plain",
    ]
    message = struct_pb2.Struct()
    message.update({"b": 1, "a": [True, None]})
    payload = PayloadConverter.default.to_payload(message)
    assert payload.encoding == "json/protobuf"
    assert payload == PayloadConverter.default.to_payload(struct_pb2.Struct.FromString(message.SerializeToString()))


@pytest.mark.parametrize(
    ("payload", "hint", "reason"),
    [
        (
            Payload("json/protobuf", b"{}", {"messageType": b"shop.Order"}),
            None,
            'no message "shop.Order" is known here',
        ),
        (
            Payload("json/protobuf", b'"x"', {"messageType": b"google.protobuf.StringValue"}),
            wrappers_pb2.Int32Value,
            "it is a google.protobuf.StringValue",
        ),
        (
            Payload("binary/protobuf", b"\xff", {"messageType": b"google.protobuf.StringValue"}),
            None,
            "protobuf message google.protobuf.StringValue",
        ),
    ],
)
def test_what_is_no_such_message_is_named(payload: Payload, hint: Any, reason: str) -> None:
    with pytest.raises(PayloadUnreadable, match="ODR-042") as raised:
        PayloadConverter.default.from_payload(payload, hint)
    assert reason in str(raised.value)


def test_unknown_fields_can_be_ignored() -> None:
    payload = Payload("json/protobuf", b'{"seconds": 1}', {"messageType": b"google.protobuf.Api"})
    from google.protobuf import api_pb2

    with pytest.raises(PayloadUnreadable):
        JSONProtoPayloadConverter().from_payload(payload, api_pb2.Api)
    assert JSONProtoPayloadConverter(ignore_unknown_fields=True).from_payload(payload, api_pb2.Api) == api_pb2.Api()


def test_protobuf_is_imported_by_nobody_but_its_users() -> None:
    code = (
        "import sys; from odradek.converter import PayloadConverter as P, Payload; P.default.to_payloads([1, None])\n"
        "assert 'google.protobuf.message' not in sys.modules, 'imported'; sys.modules['google.protobuf'] = None\n"
        "try: P.default.from_payload(Payload('json/protobuf', b'{}', {'messageType': b'a.B'}))\n"
        "except ValueError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 'install "odradek[protobuf]"' in out


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, value: wrappers_pb2.StringValue) -> wrappers_pb2.StringValue:
        return wrappers_pb2.StringValue(value=value.value * 2)


async def test_workflows_take_and_return_messages() -> None:
    async with await WorkflowEnvironment.start_time_skipping() as env:
        value = wrappers_pb2.StringValue(value="ab")
        async with Worker(env.client, task_queue="q", workflows=[Echo]):
            result = await env.client.execute_workflow(Echo.run, value, id="e", task_queue="q")
        assert result == wrappers_pb2.StringValue(value="abab")
