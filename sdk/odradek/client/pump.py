"""The threads of a connection: one reads answers, one waits for acknowledgements. Callers append by themselves.

So an idle client's request leaves at once, without a thread switch. It decides when a request is appended again, and
nothing about what a request or an answer means.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final

from odradek.client.exchange import APPENDED, EXPIRED, Answer, Closed, Exchange, is_first_of_two, settle_all
from odradek.client.policy import RequestPolicy
from odradek.client.room import Room
from odradek.log import Appender, AppendFailed, Log, LogError, OffsetOutOfRange, Reader, Record
from odradek.schemas.codec import Codec
from odradek.schemas.errors import SchemaError
from odradek.schemas.records import EVERYBODY, PartitionTaken, ReplyRecord

ACK_POLL_SECONDS: Final = 0.0005
ACK_POLL_SECONDS_MAX: Final = 0.016
READ_SECONDS_MAX: Final = 0.25
ERROR_PAUSE_SECONDS: Final = 0.5
EXIT_SECONDS_MAX: Final = 2.0

_logger = logging.getLogger(__name__)


class Pump:
    """Must not refer to its owner: a connection that nobody holds any more is collected, and that stops the threads."""

    def __init__(self, log: Log, policy: RequestPolicy, recipient: str) -> None:
        self._log = log
        self._intervals = policy.intervals()
        self._close_seconds = policy.close_timeout_seconds
        self._read_seconds = min(READ_SECONDS_MAX, policy.retry_seconds / 4, policy.rpc_timeout_seconds / 4)
        self._timeout_seconds = policy.rpc_timeout_seconds
        self.room = Room(policy.requests_max, policy.request_bytes_max, policy.waiting_max)
        self._addressed = {recipient.encode(), EVERYBODY.encode()}
        self._exchanges: dict[str, Exchange] = {}
        # Queues of (due, request ID), each of one constant delay, so that the first is always due first. Only the ID
        # waits there: an answered request is freed at once.
        self._stages: list[deque[tuple[float, str]]] = [deque() for _ in self._intervals]
        self._deadlines: deque[tuple[float, str]] = deque()
        self._lanes: deque[tuple[str, int, int, Codec]] = deque()
        self._codecs: dict[str, Codec] = {}
        self._appending = threading.Lock()
        self._appender: Appender = log.appender()
        self._unacknowledged = threading.Event()
        self._acknowledged: list[tuple[Exchange, Answer]] = []
        self._must_replace_appender = False
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._wake_reader: Callable[[], None] = lambda: None
        self.closed_reason = ""

    @property
    def stages(self) -> int:
        return len(self._intervals)

    def add_lane(self, topic: str, partition: int, offset: int, codec: Codec) -> None:
        """Read this partition of replies from ``offset`` on; it must have been the end before the first request."""
        self._lanes.append((topic, partition, offset, codec))
        if not self._threads:
            self._start(self._read_replies, "odradek-client-replies")
            self._start(self._hear_of_appends, "odradek-client-acks")
            _running.add(self)

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # ------------------------------------------------------------------------------- in the threads of the callers

    def register(self, exchange: Exchange) -> None:
        """Raises ``ValueError`` when a request with the same ID waits already."""
        if self._exchanges.setdefault(exchange.request_id, exchange) is not exchange:
            raise ValueError(f'a request with the ID "{exchange.request_id}" is under way in this client already')

    def send(self, exchange: Exchange) -> None:
        """Append the request. Raises ``AppendQueueFull`` and ``RecordTooLarge``."""
        with self._appending:
            exchange.in_flight = exchange.sent = True
            try:
                on_appended = partial(self._on_appended, exchange)
                self._appender.append(exchange.topic, exchange.partition, exchange.key, exchange.value, on_appended)
            except BaseException:
                exchange.in_flight = False
                raise
        if exchange.ends_when_durable:
            self._unacknowledged.set()

    def schedule(self, exchange: Exchange) -> None:
        """Append it again after the interval of its stage, unless it is answered by then."""
        self._stages[exchange.stage].append((time.monotonic() + self._intervals[exchange.stage], exchange.request_id))

    def watch(self, exchange: Exchange) -> None:
        """Expire it after the usual timeout. A timer of the event loop for each request would cost far more."""
        self._deadlines.append((time.monotonic() + self._timeout_seconds, exchange.request_id))

    def forget(self, exchange: Exchange) -> None:
        self._exchanges.pop(exchange.request_id, None)

    def leave_room(self, exchange: Exchange, size: int, lifetime_seconds: float) -> None:
        """Its caller waits no longer: its place is free once nothing more can come of it."""
        done = exchange.durable if exchange.ends_when_durable else exchange.answered
        if done or not exchange.sent:
            self.room.leave(size)
            return
        self.room.give_up(exchange.request_id, size, lifetime_seconds)
        if exchange.answered or (exchange.ends_when_durable and exchange.durable):  # just now, in the other thread
            self.room.answered(exchange.request_id)

    # --------------------------------------------------------------------------------------- the thread of replies

    def _read_replies(self) -> None:
        reader = self._log.reader()
        self._wake_reader = reader.wake
        while not self._stopping.is_set():
            self._guarded_round(reader)
        reader.close()

    def _guarded_round(self, reader: Reader) -> None:
        try:
            self._round(reader)
        except OffsetOutOfRange as error:
            self._go_to_end(reader, error)
        except Exception:  # the thread must outlive whatever the log does
            _logger.exception("reading answers failed; trying again")
            self._stopping.wait(ERROR_PAUSE_SECONDS)

    def _round(self, reader: Reader) -> None:
        self._take_lanes(reader)
        self._take(reader.poll(self._read_seconds))
        self._hear()
        now = time.monotonic()
        self._append_again(now)
        self._expire(now)
        self.room.expire(now)

    def _take_lanes(self, reader: Reader) -> None:
        while self._lanes:
            topic, partition, offset, codec = self._lanes.popleft()
            self._codecs[topic] = codec
            reader.assign(topic, partition, offset)

    def _go_to_end(self, reader: Reader, error: OffsetOutOfRange) -> None:
        """Answers that are lost with it are asked for again."""
        _logger.warning("%s Going on from the end.", error)
        try:
            reader.assign(error.topic, error.partition, self._log.offsets(error.topic, error.partition).end)
        except LogError:
            self._lanes.append((error.topic, error.partition, error.end, self._codecs[error.topic]))
            self._stopping.wait(ERROR_PAUSE_SECONDS)

    def _take(self, records: list[Record]) -> None:
        settled: list[tuple[Exchange, Answer]] = []
        for record in records:
            if record.value is None or record.key not in self._addressed:
                continue
            try:
                reply = self._codecs[record.topic].decode(ReplyRecord, record.value)
            except SchemaError as error:
                _logger.error("answer at offset %d of %s left out: %s", record.offset, record.topic, error)
                continue
            if isinstance(reply.body, PartitionTaken):
                self._ask_new_owner(record.topic.removesuffix("replies") + "inbox", reply.body.partition)
                continue
            exchange = self._exchanges.get(reply.request_id)
            if exchange is not None:
                self._answered(exchange, reply.body)
                settled.append((exchange, reply.body))
            else:
                self.room.answered(reply.request_id)
        _deliver(settled)

    def _ask_new_owner(self, inbox: str, partition: int) -> None:
        """Whoever waits for an answer from there: the new owner does not know of them."""
        for exchange in list(self._exchanges.values()):
            if exchange.topic == inbox and exchange.partition == partition and not exchange.ends_when_durable:
                self._repeat(exchange)

    def _answered(self, exchange: Exchange, answer: Answer) -> None:
        exchange.answered = True
        self.room.answered(exchange.request_id)
        if exchange.outcome is None or not is_first_of_two(answer):
            self.forget(exchange)

    def _append_again(self, now: float) -> None:
        for stage, waiting in enumerate(self._stages):
            while waiting:
                due, request_id = waiting[0]
                exchange = self._exchanges.get(request_id)
                is_open = exchange is not None and not exchange.answered
                if is_open and due > now:
                    break
                waiting.popleft()
                if exchange is not None and is_open:
                    self._send_again(exchange, stage)

    def _expire(self, now: float) -> None:
        expired: list[tuple[Exchange, Answer]] = []
        while self._deadlines:
            due, request_id = self._deadlines[0]
            exchange = self._exchanges.get(request_id)
            if exchange is not None and due > now:
                break
            self._deadlines.popleft()
            if exchange is not None:
                expired.append((exchange, EXPIRED))
        _deliver(expired)

    def _send_again(self, exchange: Exchange, stage: int) -> None:
        if exchange.loop.is_closed():  # and whoever waited there is gone with it
            self.forget(exchange)
            return
        if not exchange.in_flight:
            exchange.stage = min(stage + 1, len(self._stages) - 1)
        self._repeat(exchange)
        self.schedule(exchange)

    def _repeat(self, exchange: Exchange) -> None:
        """Append it again. One that is still in flight will land by itself, and a copy would help nobody."""
        if exchange.in_flight:
            return
        if exchange.renew is not None:
            exchange.value = exchange.renew()
        try:
            self.send(exchange)
        except LogError as error:
            exchange.error = error

    # --------------------------------------------------------------------- acknowledgements: in both of the threads

    def _on_appended(self, exchange: Exchange, offset: int | None, error: Exception | None) -> None:
        exchange.in_flight = False
        exchange.error = error
        if error is None:
            exchange.durable = True
            if exchange.ends_when_durable:
                self._acknowledged.append((exchange, APPENDED))
                self.room.answered(exchange.request_id)
        elif isinstance(error, AppendFailed) and error.fatal:
            self._must_replace_appender = True

    def _hear_of_appends(self) -> None:
        while not self._stopping.is_set():
            self._unacknowledged.wait()
            self._unacknowledged.clear()
            try:
                self._poll_until_quiet()
            except Exception:
                _logger.exception("hearing of appends failed; trying again")
                self._unacknowledged.set()
                self._stopping.wait(ERROR_PAUSE_SECONDS)
        self._close_appender()

    def _poll_until_quiet(self) -> None:
        pause = ACK_POLL_SECONDS
        while not self._stopping.is_set():
            ran, in_flight = self._hear()
            if not in_flight:
                return
            pause = ACK_POLL_SECONDS if ran else min(pause * 2, ACK_POLL_SECONDS_MAX)
            time.sleep(pause)

    def _hear(self) -> tuple[int, int]:
        """Let acknowledgements come in; returns how many came, and how many are still to come."""
        with self._appending:
            ran = self._appender.poll(0)
            in_flight = self._appender.in_flight
            if self._must_replace_appender:
                self._replace_appender()
            settled, self._acknowledged = self._acknowledged, []
        for exchange, _ in settled:
            self.forget(exchange)
        _deliver(settled)
        return ran, in_flight

    def _replace_appender(self) -> None:
        _logger.warning("the appender met a fatal error and is replaced; requests are appended again")
        self._must_replace_appender = False
        self._appender.discard()
        self._appender = self._log.appender()
        for exchange in list(self._exchanges.values()):
            exchange.in_flight = False

    def _close_appender(self) -> None:
        try:
            with self._appending:
                self._appender.flush(self._close_seconds)
            self._hear()
            with self._appending:
                self._appender.close(0)
        except Exception:
            _logger.exception("the last requests may not have been appended")

    # ------------------------------------------------------------------------------------------------------ ending

    def stop(self, reason: str) -> None:
        """Take no further requests, and let the threads end by themselves."""
        self.closed_reason = self.closed_reason or reason
        self._stopping.set()
        self._unacknowledged.set()
        self._wake_reader()

    def join(self, timeout_seconds: float) -> None:
        """Wait for the threads; then whoever still waits for an answer is told that none comes."""
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        if not self._threads:
            self._appender.close(0)
        pending = list(self._exchanges.values())
        for exchange in pending:
            self.forget(exchange)
        _deliver([(exchange, Closed(self.closed_reason)) for exchange in pending])

    def disown(self, reason: str) -> None:
        """In a forked child: the threads and sockets stayed with the parent."""
        self.closed_reason = reason
        self._threads = []
        self._exchanges = {}


def _deliver(settled: list[tuple[Exchange, Answer]]) -> None:
    """One wake-up for each event loop, however many answers there are for it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Exchange, Answer]]] = {}
    for pair in settled:
        by_loop.setdefault(pair[0].loop, []).append(pair)
    for loop, pairs in by_loop.items():
        with suppress(RuntimeError):  # that loop is closed: nobody waits there
            loop.call_soon_threadsafe(settle_all, pairs)


_running: weakref.WeakSet[Pump] = weakref.WeakSet()


def _stop_all(pumps: Iterable[Pump], reason: str) -> None:
    for pump in pumps:
        pump.stop(reason)
    for pump in pumps:
        pump.join(EXIT_SECONDS_MAX)


def _at_exit() -> None:
    """Without this, requests that the log has not written yet would go with the process."""
    _stop_all([pump for pump in _running if not pump.closed_reason], "the interpreter exits")


def _in_forked_child() -> None:
    for pump in list(_running):
        pump.disown("it was made before this process was forked: connect again in the child")


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_in_forked_child)
