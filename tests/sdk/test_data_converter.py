"""The data converter as a whole, with a codec."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import pytest

from odradek.converter import (
    CodecMismatch,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    Payload,
    PayloadCodec,
    default,
)
from odradek.exceptions import ApplicationError


class Reversing(PayloadCodec):
    """Stands in for encryption."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload("binary/reversed", p.data[::-1], {"was": p.encoding.encode()}) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(p.metadata["was"].decode(), p.data[::-1]) if p.encoding == "binary/reversed" else p
            for p in payloads
        ]


class Forgetful(Reversing):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return []


class Bundling(Reversing):
    """Joins an argument list into one payload, as a compressing codec might."""

    async def encode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload("bundle", b"\0".join(p.encoding.encode() + b":" + p.data for p in payloads))]

    async def decode_wrapper(self, payloads: Sequence[Payload]) -> list[Payload]:
        parts = [part.split(b":", 1) for part in payloads[0].data.split(b"\0")]
        return [Payload(encoding.decode(), data) for encoding, data in parts]


CODED = DataConverter(payload_codec=Reversing())


def test_default_has_no_codec() -> None:
    assert default() is DataConverter.default
    assert DataConverter.default.payload_codec is None
    payloads = asyncio.run(DataConverter.default.encode(["a", 1]))
    assert [p.data for p in payloads] == [b'"a"', b"1"]


@pytest.mark.parametrize("converter", [DataConverter.default, CODED, DataConverter(payload_codec=Bundling())])
def test_arguments_round_trip(converter: DataConverter) -> None:
    async def both() -> None:
        payloads = await converter.encode_wrapper(["a", None, b"\xff"])
        assert isinstance(payloads, tuple)
        assert await converter.decode_wrapper(payloads, [str, None, bytes]) == ["a", None, b"\xff"]
        assert await converter.encode_wrapper([]) == ()
        assert await converter.decode_wrapper(None) == []

    asyncio.run(both())


def test_codec_sees_every_payload_of_a_failure() -> None:
    async def both() -> None:
        converter = dataclasses.replace(CODED, failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
        error = ApplicationError("secret", "detail", type="T")
        error.__cause__ = ApplicationError("cause", "inner detail")
        failure = await converter.encode_failure(error)
        assert failure.cause is not None
        for one in (failure, failure.cause):
            assert one.encoded is not None
            assert [p.encoding for p in (*one.details, one.encoded)] == ["binary/reversed"] * 2
        copy = await converter.decode_failure(failure)
        assert isinstance(copy, ApplicationError)
        assert (copy.message, list(copy.details)) == ("secret", ["detail"])
        assert isinstance(copy.cause, ApplicationError)
        assert list(copy.cause.details) == ["inner detail"]
        assert await converter.encode_failure(copy) == failure

    asyncio.run(both())


def test_named_values_keep_their_names() -> None:
    async def both() -> None:
        encoded = await CODED.encode_map({"a": 1, "b": [2]})
        assert {p.encoding for p in encoded.values()} == {"binary/reversed"}
        assert await CODED.decode_map(encoded) == {"a": 1, "b": [2]}
        assert await CODED.encode_map({}) == {}

    asyncio.run(both())


def test_codec_that_loses_payloads_is_named() -> None:
    converter = DataConverter(payload_codec=Forgetful())
    with pytest.raises(CodecMismatch, match="ODR-043: Forgetful was given 2 payload\\(s\\) and returned 0"):
        asyncio.run(converter.encode(["a", "b"]))


def test_payloads_from_before_the_codec_can_still_be_read() -> None:
    payloads = asyncio.run(DataConverter.default.encode(["old"]))
    assert asyncio.run(CODED.decode(payloads)) == ["old"]
