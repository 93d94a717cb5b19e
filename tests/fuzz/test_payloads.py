"""Payloads that somebody else has written: each is a value or a coded error, in bounded memory."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from random import Random
from typing import Any

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from odradek import common
from odradek.contrib.compression import DECOMPRESSED_BYTES_MAX, ENCODING, CompressionCodec
from odradek.converter import ConverterError, DataConverter, PayloadUnreadable
from odradek.orchestrator.core.backoff import next_delay_ms
from odradek.schemas.limits import problem
from odradek.schemas.records import Failure, Payload, RetryPolicy
from tests.fuzz.records import Values
from tests.fuzz.test_inbox import FUZZED

CONVERTER = DataConverter.default
HINTS: list[Any] = [None, int, str, bytes, list[int], dict[str, float], tuple[int, str], Payload]
SEEDS = st.integers(0, 2**32)


@FUZZED
@given(seed=SEEDS, hint=st.sampled_from(HINTS))
@example(0, None)
def test_a_value_or_a_coded_error(seed: int, hint: Any) -> None:
    payload = Values(Random(seed)).record(Payload)
    read(payload, hint)


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5000, b"\xff", b'"\\ud800"', b"1e99999", b"NaN"]
)
@pytest.mark.parametrize("hint", [None, int, str])
def test_json_that_is_none(data: bytes, hint: Any) -> None:
    """Nested or long without end: Python's own limits are an error of the payload."""
    read(Payload("json/plain", data), hint)


def read(payload: Payload, hint: Any) -> None:
    try:
        CONVERTER.payload_converter.from_payloads([payload], None if hint is None else [hint])
    except ConverterError as error:
        coded(error)


def coded(error: ConverterError) -> None:
    assert str(error).startswith("ODR-"), repr(error)


@FUZZED
@given(seed=SEEDS)
@example(2114)
def test_any_failure_is_an_exception(seed: int) -> None:
    """Of whatever kind: it can be raised and written again, unless its details say that they cannot be read."""
    failure = Values(Random(seed), {"encoding": ["json/plain"], "data": [b"1", b'"text"']}).record(Failure)
    try:
        error = CONVERTER.failure_converter.from_failure(failure, CONVERTER.payload_converter)
    except ConverterError as unreadable:
        coded(unreadable)
        return
    assert isinstance(error, BaseException)
    str(error)
    CONVERTER.failure_converter.to_failure(error, CONVERTER.payload_converter)


def compressed(size: int) -> Payload:
    return Payload(
        ENCODING, zstandard.ZstdCompressor().compress(b"\0" * size), {f"{ENCODING}/encoding": b"binary/plain"}
    )


def decode(*payloads: Payload) -> list[Payload]:
    return asyncio.run(CompressionCodec().decode(payloads))


def test_a_bomb() -> None:
    with pytest.raises(PayloadUnreadable, match="larger than"):
        decode(compressed(DECOMPRESSED_BYTES_MAX + 1))


def test_many_small_bombs() -> None:
    """Of a few kilobytes each, and all within the limit."""
    bomb = compressed(DECOMPRESSED_BYTES_MAX // 4)
    assert len(bomb.data) < 8 * 1024
    with pytest.raises(PayloadUnreadable, match="what comes together"):
        decode(*[bomb] * 500)


def test_a_frame_that_says_less_than_it_holds() -> None:
    whole = zstandard.ZstdCompressor().compress(b"\0" * 1_000_000)
    streamed = zstandard.ZstdCompressor().compressobj()
    unknown = streamed.compress(b"\0" * 1_000_000) + streamed.flush()
    for data in (unknown, whole[:-1], b"", b"garbage", whole[:4] + b"\x20\x01" + whole[6:]):
        with pytest.raises(PayloadUnreadable, match="ODR-"):
            decode(Payload(ENCODING, data, {}))
    with pytest.raises(PayloadUnreadable, match="ODR-"):
        decode(Payload(ENCODING, whole, {f"{ENCODING}/encoding": b"\xff"}))


@pytest.mark.parametrize("attempt", [1, 2, 60, 10**18])
@pytest.mark.parametrize("coefficient", [1.0, 2.0, 1e6, 1e308])
def test_a_backoff_that_grows_without_end(coefficient: float, attempt: int) -> None:
    policy = RetryPolicy(1000, coefficient)
    delay_ms, _ = next_delay_ms(policy, attempt, Failure("application", ""))
    assert delay_ms is not None
    assert 1000 <= delay_ms <= 100_000


@pytest.mark.parametrize("interval", [timedelta(), -timedelta(days=1), timedelta.max])
def test_a_policy_without_retries_may_say_anything_else(interval: timedelta) -> None:
    policy = common.RetryPolicy(interval, float("nan"), maximum_attempts=1)
    assert problem(policy.to_record()) is None


def test_numbers_that_no_record_can_hold() -> None:
    with pytest.raises(ValueError, match="ODR-048"):
        common.RetryPolicy(maximum_attempts=2**63).to_record()
    with pytest.raises(ValueError, match="at most"):
        common.Priority(priority_key=2**63)
