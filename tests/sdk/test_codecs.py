"""Codecs that ship: what is encrypted can be read by who has the key, and by nobody else; and where codecs apply."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.contrib.compression import ComposedCodec, CompressionCodec
from odradek.contrib.encryption import ENCODING, EncryptionCodec
from odradek.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    KeyMismatch,
    KeyUnknown,
    Payload,
    PayloadCodec,
    PayloadUnreadable,
)
from odradek.converter.coded import CodedPayloadConverter
from odradek.exceptions import ApplicationError
from odradek.log import open_log
from odradek.worker import Worker

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = "the-secret-recipe"
SOON = {"start_to_close_timeout": timedelta(seconds=20)}


def encode(codec: PayloadCodec, *payloads: Payload) -> list[Payload]:
    return asyncio.run(codec.encode(payloads))


def decode(codec: PayloadCodec, *payloads: Payload) -> list[Payload]:
    return asyncio.run(codec.decode(payloads))


def test_encrypted_payloads_come_back_and_show_nothing() -> None:
    codec = EncryptionCodec({"k1": OLD}, "k1")
    plain = Payload("json/plain", SECRET.encode(), {"messageType": b"x"})
    (hidden,) = encode(codec, plain)
    assert SECRET.encode() not in hidden.data
    assert hidden.metadata["key-id"] == b"k1"
    assert decode(codec, hidden) == [plain]
    assert decode(codec, plain) == [plain]
    assert encode(codec, plain)[0].data != hidden.data


def test_keys_are_rotated() -> None:
    before, both = EncryptionCodec({"k1": OLD}, "k1"), EncryptionCodec({"k1": OLD, "k2": NEW}, "k2")
    (old,) = encode(before, Payload("json/plain", b"1"))
    (new,) = encode(both, Payload("json/plain", b"2"))
    assert [payload.data for payload in decode(both, old, new)] == [b"1", b"2"]
    with pytest.raises(KeyUnknown, match='ODR-046: a payload is encrypted with key "k2", and the key ring has k1'):
        decode(before, new)
    with pytest.raises(KeyUnknown):
        EncryptionCodec({"k1": OLD}, "k3")


@pytest.mark.parametrize("change", ["data", "encoding", "key"])
def test_what_was_tampered_with_is_refused(change: str) -> None:
    codec = EncryptionCodec({"k1": OLD, "k2": NEW}, "k1")
    (hidden,) = encode(codec, Payload("json/plain", b'"value"'))
    data, metadata = hidden.data, dict(hidden.metadata)
    if change == "data":
        data = data[:-1] + bytes([data[-1] ^ 1])
    elif change == "encoding":
        metadata["encoding"] = b"binary/plain"
    else:
        metadata["key-id"] = b"k2"
    with pytest.raises(KeyMismatch, match=r'ODR-155: a payload that names key "k[12]" .* was changed'):
        decode(codec, Payload(ENCODING, data, metadata))


def test_only_large_payloads_that_shrink_are_compressed() -> None:
    codec = CompressionCodec(bytes_min=100)
    small, large = Payload("json/plain", b"x" * 99), Payload("json/plain", b"x" * 10_000)
    kept, shrunk = encode(codec, small, large)
    assert kept == small
    assert len(shrunk.data) < 100
    assert decode(codec, kept, shrunk) == [small, large]
    with pytest.raises(PayloadUnreadable):
        decode(codec, Payload(shrunk.encoding, b"nothing of the kind", shrunk.metadata))


def test_codecs_in_a_row() -> None:
    codec = ComposedCodec(CompressionCodec(100), EncryptionCodec({"k1": OLD}, "k1"))
    payload = Payload("json/plain", b"y" * 5_000)
    (encoded,) = encode(codec, payload)
    assert encoded.encoding == ENCODING
    assert len(encoded.data) < 200
    assert decode(codec, encoded) == [payload]


class Waiting(PayloadCodec):
    """Asks somebody for a key, as it were."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0.001)
        return [Payload("x", payload.data[::-1], {"was": payload.encoding.encode()}) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0.001)
        return [Payload(payload.metadata["was"].decode(), payload.data[::-1]) for payload in payloads]


def test_a_codec_that_waits_is_waited_for() -> None:
    converter = CodedPayloadConverter(DataConverter.default.payload_converter, Waiting())
    payloads = converter.to_payloads(["ab", 2])
    assert payloads[0].data == b'"ba"'
    assert converter.from_payloads(payloads, [str, int]) == ["ab", 2]


@activity.defn
async def mix(recipe: str) -> str:
    if recipe.endswith("!"):
        raise ApplicationError(f"no {recipe}", recipe, type="Odd", non_retryable=True)
    return f"mixed {recipe}"


def stirred(recipe: str) -> str:
    return f"stirred {recipe}"


@workflow.defn
class Helper:
    @workflow.run
    async def run(self, recipe: str) -> str:
        extra: str = workflow.memo_value("extra", "", type_hint=str)
        return recipe + extra


@workflow.defn
class Kitchen:
    @workflow.init
    def __init__(self, recipe: str, again: bool) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, recipe: str, again: bool) -> list[str]:
        if again:
            workflow.continue_as_new(args=[recipe, False])
        await workflow.wait_condition(lambda: len(self.notes) >= 2)
        made = await workflow.execute_activity(mix, recipe, **SOON)
        made = await workflow.step(stirred, made)
        own_id = workflow.info().workflow_id
        made = await workflow.execute_child_workflow(Helper.run, made, id=f"{own_id}-helper", memo={"extra": SECRET})
        return [made, *self.notes]

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.update
    def annotate(self, text: str) -> str:
        self.notes.append(text)
        return text

    @workflow.query
    def last(self) -> str:
        return self.notes[-1]


def test_no_plaintext_in_any_topic_and_a_key_changes_mid_run() -> None:
    """Arguments, results, memo, signals, updates, queries, steps, children, failures: all of them are encrypted."""
    address, failures = f"memory://{uuid.uuid4().hex}", DefaultFailureConverterWithEncodedAttributes
    first = DataConverter(payload_codec=EncryptionCodec({"k1": OLD}, "k1"), failure_converter_class=failures)
    both = EncryptionCodec({"k1": OLD, "k2": NEW}, "k2")
    second = DataConverter(payload_codec=both, failure_converter_class=failures)

    def serving(client: Client) -> Worker:
        return Worker(client, task_queue="q", workflows=[Kitchen, Helper], activities=[mix])

    async def body() -> None:
        async with await Client.connect(address, data_converter=first) as client, serving(client):
            await client.start_workflow(Kitchen.run, args=[SECRET, True], id="k", task_queue="q", memo={"hint": SECRET})
            handle = client.get_workflow_handle_for(Kitchen.run, "k")
            await handle.signal(Kitchen.note, SECRET)
            failing = await client.start_workflow(Kitchen.run, args=[SECRET + "!", False], id="f", task_queue="q")
        async with await Client.connect(address, data_converter=second) as client, serving(client):
            handle = client.get_workflow_handle_for(Kitchen.run, "k")
            assert await handle.execute_update(Kitchen.annotate, SECRET) == SECRET
            assert (await handle.result())[1:] == [SECRET, SECRET]
            assert await handle.query(Kitchen.last) == SECRET
            assert await (await handle.describe()).memo() == {"hint": SECRET}
            failing = client.get_workflow_handle_for(Kitchen.run, "f")
            for _ in range(2):
                await failing.signal(Kitchen.note, "x")
            with pytest.raises(WorkflowFailureError) as caught:
                await failing.result()
            cause = caught.value.cause.__cause__
            assert isinstance(cause, ApplicationError)
            assert (cause.message, list(cause.details)) == (f"no {SECRET}!", [SECRET + "!"])

    async def scan() -> int:
        log, seen = open_log(address), 0
        for name in log.topics(""):
            info = log.topic(name)
            assert info is not None
            for partition in range(info.partitions):
                reader = log.reader()
                reader.assign(name, partition, log.offsets(name, partition).begin)
                while records := reader.poll(0):
                    for record in records:
                        seen += 1
                        assert SECRET.encode() not in (record.value or b""), name
                reader.close()
        return seen

    async def main() -> None:
        keep = open_log(address)  # a log in memory lives as long as somebody holds it
        await asyncio.wait_for(body(), 60)
        assert await scan() > 40
        keep.close()

    asyncio.run(main())
