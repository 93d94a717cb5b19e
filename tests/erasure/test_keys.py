"""The codec with keys of their own for workflows, and the topic that keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from odradek.contrib.encryption import KeyStore, TopicKeyStore, WorkflowKeyCodec
from odradek.contrib.encryption import key_store as module
from odradek.converter import (
    ActivitySerializationContext,
    KeyErased,
    KeyMismatch,
    KeyUnknown,
    Payload,
    SubjectUnknown,
    WorkflowSerializationContext,
)
from odradek.log import Log, LogUnavailable, open_log
from odradek.log.namespace import create_namespace, read_to_end

MASTERS = {"old": b"o" * 32, "new": b"n" * 32}
PLAIN = Payload("json/plain", b'"a secret"', {"messageType": b"x"})


@pytest.fixture
def log() -> Iterator[Log]:
    with closing(open_log("memory://")) as opened:
        create_namespace(opened, "shop", partitions=1)
        yield opened


@pytest.fixture
def store(log: Log) -> Callable[..., TopicKeyStore]:
    return lambda current="new", masters=MASTERS: TopicKeyStore(log, "shop", masters, current)


def coded(store: KeyStore, workflow_id: str) -> WorkflowKeyCodec:
    return WorkflowKeyCodec(store).with_context(WorkflowSerializationContext("shop", workflow_id))


def encode(store: KeyStore, workflow_id: str) -> Payload:
    (payload,) = asyncio.run(coded(store, workflow_id).encode([PLAIN]))
    return payload


def decode(store: KeyStore, payload: Payload) -> Payload:
    (plain,) = asyncio.run(WorkflowKeyCodec(store).decode([payload]))
    return plain


def test_other_processes_read_what_one_has_written(store: Callable[..., TopicKeyStore]) -> None:
    payload = encode(store(), "wf")
    assert b"secret" not in payload.data
    assert decode(store(), payload) == PLAIN
    assert decode(store(), PLAIN) == PLAIN


def test_each_workflow_has_its_own_key_and_keeps_it(store: Callable[..., TopicKeyStore], log: Log) -> None:
    one, other = store(), store()
    ids = [encode(*call).metadata["key-id"] for call in ((one, "a"), (other, "a"), (one, "b"), (one, "a"))]
    assert ids[0] == ids[1] == ids[3] != ids[2]
    assert len(read_to_end(log, "shop.keys", 0)) == 2
    assert all(b"\0" * 8 not in (record.value or b"") for record in read_to_end(log, "shop.keys", 0))


def test_activities_share_the_key_of_their_workflow(store: Callable[..., TopicKeyStore]) -> None:
    keys = store()
    of_activity = ActivitySerializationContext("shop", "1", "charge", "q", "wf", "Order")
    (payload,) = asyncio.run(WorkflowKeyCodec(keys).with_context(of_activity).encode([PLAIN]))
    assert payload.metadata["key-id"] == encode(keys, "wf").metadata["key-id"]
    alone = ActivitySerializationContext("shop", "wf", None, None, None, None)
    (payload,) = asyncio.run(WorkflowKeyCodec(keys).with_context(alone).encode([PLAIN]))
    assert payload.metadata["key-id"] != encode(keys, "wf").metadata["key-id"]
    with pytest.raises(SubjectUnknown, match="ODR-255"):
        asyncio.run(WorkflowKeyCodec(keys).encode([PLAIN]))


def test_an_erased_key_is_gone_for_everybody(
    store: Callable[..., TopicKeyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a process that had it in memory, as soon as it looks; a new workflow of the ID gets a new one."""
    monkeypatch.setattr(module, "FRESH_SECONDS", -1.0)
    one, other = store(), store()
    payload, kept = encode(one, "wf"), encode(one, "wf-2")
    assert decode(other, payload) == PLAIN
    assert (one.erase("wf"), one.erase("wf"), one.erase("nobody")) == (1, 0, 0)
    assert encode(other, "wf").metadata["key-id"] != payload.metadata["key-id"]
    for reader in (one, other, store()):
        with pytest.raises(KeyErased, match="ODR-254"):
            decode(reader, payload)
        assert decode(reader, kept) == PLAIN


def test_a_process_that_only_reads_looks_again_within_a_minute(
    store: Callable[..., TopicKeyStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the key in memory; a log that is away meanwhile is no reason to fail, and nobody can erase then."""
    writer, reader = store(), store()
    payload = encode(writer, "wf")
    assert decode(reader, payload) == PLAIN
    read_on = reader._read_on

    def away() -> None:
        raise LogUnavailable("memory://", "away")

    reader._read_on = away  # type: ignore[method-assign]
    assert decode(reader, payload) == PLAIN
    monkeypatch.setattr(module, "ERASED_SECONDS", -1.0)
    assert decode(reader, payload) == PLAIN
    reader._read_on = read_on  # type: ignore[method-assign]
    writer.erase("wf")
    with pytest.raises(KeyErased):
        decode(reader, payload)


def test_two_that_make_a_key_at_the_same_time_both_hold(store: Callable[..., TopicKeyStore]) -> None:
    one, other = store(), store()
    one._read_on()
    other._read_on()
    other._read_on = lambda: None  # type: ignore[method-assign]  # it has not seen the first one's yet
    first, second = encode(one, "wf"), encode(other, "wf")
    assert first.metadata["key-id"] != second.metadata["key-id"]
    third = store()
    assert [decode(third, payload) for payload in (first, second)] == [PLAIN, PLAIN]
    assert third.erase("wf") == 2


def test_master_keys_rotate(store: Callable[..., TopicKeyStore]) -> None:
    payload = encode(store("old"), "wf")
    assert decode(store("new"), payload) == PLAIN
    with pytest.raises(KeyUnknown, match="old"):
        decode(store("new", {"new": b"n" * 32}), payload)
    with pytest.raises(KeyMismatch):
        decode(store("new", {"new": b"n" * 32, "old": b"x" * 32}), payload)
    with pytest.raises(KeyUnknown):
        store("unknown")


def test_what_was_tampered_with_does_not_open(store: Callable[..., TopicKeyStore]) -> None:
    keys = store()
    payload = encode(keys, "wf")
    with pytest.raises(KeyMismatch):
        decode(keys, Payload(payload.encoding, payload.data[:-1] + b"x", payload.metadata))
    with pytest.raises(KeyMismatch):
        decode(keys, Payload(payload.encoding, payload.data, {**payload.metadata, "encoding": b"binary/plain"}))
