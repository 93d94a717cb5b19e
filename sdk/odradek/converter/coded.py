"""A codec where nothing can be awaited: in workflow code, which runs on a loop of its own.

A codec that computes (encryption, compression) never suspends, so its coroutine is simply run to its end. One that does
wait for something is run on a loop in a thread of its own, and the partition waits with it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from asyncio import events
from collections.abc import Callable, Coroutine, Sequence
from functools import cache
from typing import Any, Final, TypeVar

from odradek.converter.codec import PayloadCodec
from odradek.converter.errors import CodecTooSlow
from odradek.converter.payloads import PayloadConverter
from odradek.schemas.records import Payload

T = TypeVar("T")
WAIT_SECONDS: Final = 10.0
_log = logging.getLogger("odradek.converter")


class CodedPayloadConverter(PayloadConverter):
    """A payload converter with a codec behind it."""

    def __init__(self, inner: PayloadConverter, codec: PayloadCodec) -> None:
        self.inner = inner
        self._codec = codec
        self._suspends = False

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        payloads = self.inner.to_payloads(values)
        return self._run(lambda: self._codec.encode_wrapper(payloads)) if payloads else payloads

    def from_payloads(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        decoded = self._run(lambda: self._codec.decode_wrapper(payloads)) if payloads else payloads
        return self.inner.from_payloads(decoded, type_hints)

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
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
                type(self._codec).__name__,
            )
        future = asyncio.run_coroutine_threadsafe(work(), _loop())
        try:
            return future.result(WAIT_SECONDS)
        except TimeoutError:
            future.cancel()
            raise CodecTooSlow(type(self._codec).__name__, WAIT_SECONDS) from None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="odradek-codec", daemon=True).start()
    return loop
