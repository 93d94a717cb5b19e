"""A codec and a storage where nothing can be awaited: in workflow code, which runs on a loop of its own.

A codec that computes (encryption, compression) never suspends, so its coroutine is simply run to its end. One that does
wait for something is run on a loop in a thread of its own, and the partition waits with it; so it does for a storage,
which is asked only for what is large enough, and for what the process does not remember.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from asyncio import events
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from odradek.common.raw import RawValue
from odradek.converter.codec import PayloadCodec
from odradek.converter.contexts import SerializationContext, WithSerializationContext, in_context, takes_context
from odradek.converter.errors import CodecTooSlow, StorageUnavailable
from odradek.converter.payloads import PayloadConverter
from odradek.converter.storage import REFERENCE_BYTES, ExternalStorage, StorageTarget, is_reference
from odradek.converter.stored import target_of
from odradek.schemas.records import Payload

T = TypeVar("T")
WAIT_SECONDS: Final = 10.0
_log = logging.getLogger("odradek.converter")


class CodedPayloadConverter(PayloadConverter, WithSerializationContext):
    """A payload converter with a codec behind it, a storage, or both.

    A stored payload that is read as ``RawValue`` is not fetched: what only passes it on does not need it.
    """

    stores = True
    """Off in a replay: what the code says again was stored when it said so first."""

    counts_stored = True
    """Whether what is large enough counts as if it were stored."""

    def __init__(
        self,
        inner: PayloadConverter,
        codec: PayloadCodec | None,
        storage: ExternalStorage | None = None,
        target: StorageTarget | None = None,
    ) -> None:
        self.inner = inner
        self._codec, self._storage, self._target = codec, storage, target
        self._suspends = False

    @property
    def takes_context(self) -> bool:
        return self._storage is not None or takes_context(self.inner) or takes_context(self._codec)

    def with_context(self, context: SerializationContext) -> CodedPayloadConverter:
        made = copy.copy(self)
        made.inner, made._codec = in_context(self.inner, context), in_context(self._codec, context)
        made._target = target_of(context)
        return made

    def without_storage(self) -> CodedPayloadConverter:
        """One that reads what is stored, and stores nothing."""
        made = copy.copy(self)
        made.stores, made.counts_stored = False, False
        return made

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads = self.inner.to_payloads(values)
        if not any(map(is_reference, payloads)):
            return self._stored(self._encoded(payloads))
        inline = [payload for payload in payloads if not is_reference(payload)]
        encoded = iter(self._stored(self._encoded(inline)))
        return [payload if is_reference(payload) else next(encoded) for payload in payloads]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        if self._storage is None or not any(map(is_reference, payloads)):
            return self.inner.from_payloads(self._decoded(payloads), type_hints)
        hints = list(type_hints or ())
        passed_on = {
            index
            for index, (payload, hint) in enumerate(zip(payloads, hints, strict=False))
            if hint is RawValue and is_reference(payload)
        }
        wanted = [payload for index, payload in enumerate(payloads) if index not in passed_on]
        decoded = iter(self._decoded(self._fetched(wanted, self._storage)))
        found = [payload if index in passed_on else next(decoded) for index, payload in enumerate(payloads)]
        return self.inner.from_payloads(found, type_hints)

    def counted_bytes(self, payloads: Iterable[Payload]) -> int:
        """What payloads made here add to the size of a history: the same in a replay, which stores nothing."""
        storage = self._storage
        if storage is None:
            return sum(len(payload.data) for payload in payloads)

        def size(payload: Payload) -> int:
            if is_reference(payload):
                return REFERENCE_BYTES
            would_be = self.counts_stored and not self.stores and storage.driver_for(payload, self._target)
            return REFERENCE_BYTES if would_be else len(payload.data)

        return sum(map(size, payloads))

    def _encoded(self, payloads: list[Payload]) -> list[Payload]:
        codec = self._codec
        return self._run(codec, lambda: codec.encode_wrapper(payloads)) if codec and payloads else payloads

    def _decoded(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        codec = self._codec
        return self._run(codec, lambda: codec.decode_wrapper(payloads)) if codec and payloads else payloads

    def _stored(self, payloads: list[Payload]) -> list[Payload]:
        storage = self._storage
        if storage is None or not self.stores:
            return payloads
        if all(storage.driver_for(payload, self._target) is None for payload in payloads):
            return payloads
        return _waited_for_storage(storage, storage.store(payloads, self._target))

    def _fetched(self, payloads: Sequence[Payload], storage: ExternalStorage) -> Sequence[Payload]:
        known = [storage.cache.get(payload) if is_reference(payload) else payload for payload in payloads]
        missing = [payload for payload, found in zip(payloads, known, strict=True) if found is None]
        if not missing:
            return [payload for payload in known if payload is not None]
        fetched = _waited_for_storage(storage, storage.retrieve(missing))
        for reference, payload in zip(missing, fetched, strict=True):
            storage.cache.keep(reference, payload)
        rest = iter(fetched)
        return [next(rest) if payload is None else payload for payload in known]

    def _run(self, codec: PayloadCodec, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if not self._suspends:
            before = events._get_running_loop()
            events._set_running_loop(None)  # the workflow's own loop is not the codec's business
            coroutine = work()
            try:
                coroutine.send(None)
            except StopIteration as done:
                result: T = done.value
                return result
            except RuntimeError as error:
                if "no running event loop" not in str(error):
                    raise
            finally:
                coroutine.close()
                events._set_running_loop(before)
            self._suspends = True
            _log.warning(
                "the codec %s waits for something while it encodes or decodes: every workflow that it is used in waits "
                "with it",
                type(codec).__name__,
            )
        try:
            return _waited(work())
        except TimeoutError:
            raise CodecTooSlow(type(codec).__name__, WAIT_SECONDS) from None


def _waited_for_storage(storage: ExternalStorage, work: Coroutine[Any, Any, T]) -> T:
    try:
        return _waited(work)
    except TimeoutError:
        names = ", ".join(driver.name() for driver in storage.drivers)
        raise StorageUnavailable(names, f"no answer within {WAIT_SECONDS:g} s") from None


def _waited(work: Coroutine[Any, Any, T]) -> T:
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result(WAIT_SECONDS)
    except TimeoutError:
        future.cancel()
        raise


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="odradek-codec", daemon=True).start()
    return loop
