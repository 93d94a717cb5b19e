"""A client's link to a log: one set of threads, and a lane for each namespace that is spoken to."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from odradek.client.exchange import Answer, Closed, Exchange, Expired, RequestBody
from odradek.client.metrics import ANSWERED, COLLECTOR, FAILED, REFUSED
from odradek.client.policy import RequestPolicy
from odradek.client.pump import Pump
from odradek.client.refusals import closed, no_answer, no_room, record_too_large
from odradek.log import AppendQueueFull, Log, RecordTooLarge, open_log
from odradek.log.clock import WALL, Clock
from odradek.log.namespace import Namespace, open_namespace
from odradek.schemas.access import Role
from odradek.schemas.records import AwaitResult, AwaitUpdate, InboxRecord, Refused, Request, StartWorkflow

RECORD_OVERHEAD_BYTES = 100
"""What a broker counts beside key and value, with room to spare."""
QUEUE_FULL_PAUSE_SECONDS = 0.005


WAITING_SHARE: Final = 0.5
"""Of its time limit, a request waits for room so long at most. Sent later, it would time out before its answer came."""


def default_identity() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


class Connection:
    """Shared by any number of clients, event loops and threads. Its threads start with the first request.

    Whoever calls ``close`` closes it for all. One that nobody refers to any more, and one that is open when the
    interpreter exits, write out what they were given.
    """

    def __init__(
        self,
        log: Log,
        *,
        request_policy: RequestPolicy | None = None,
        owns_log: bool = False,
        schema_registry: str | None = None,
        clock: Clock = WALL,
        worker_defaults: Mapping[str, Any] | None = None,
        serves_itself: bool = False,
    ) -> None:
        """``serves_itself``: nobody but its own workers reads this log."""
        self.log = log
        self.clock = clock
        """What requests expire by, and what workers of this connection act on."""
        self.worker_defaults: Mapping[str, Any] = worker_defaults or {}
        """Options of workers that are made with a client of this connection and do not say otherwise."""
        self.orchestrators = 0
        """How many of its workers run one now."""
        self._serves_itself = serves_itself
        self.schema_registry = schema_registry
        self.request_policy = request_policy or RequestPolicy()
        self._owns_log = owns_log
        self._recipient = uuid.uuid4().hex
        self._pump = Pump(log, self.request_policy, self._recipient)
        self._lanes: dict[str, Lane] = {}
        self._opening = threading.Lock()
        self._collected = weakref.finalize(self, self._pump.stop, "nobody refers to it any more")
        self._collected.atexit = False  # the pumps have a handler of their own there, which waits for them

    @classmethod
    def to(
        cls,
        address: str,
        log_config: Mapping[str, str] | None = None,
        request_policy: RequestPolicy | None = None,
        schema_registry: str | None = None,
    ) -> Connection:
        """Raises ``AddressInvalid``. An address without a scheme is a Kafka one."""
        full = address if "://" in address else f"kafka://{address}"
        log = open_log(full, log_config)
        return cls(log, request_policy=request_policy, owns_log=True, schema_registry=schema_registry)

    async def lane(self, namespace: str) -> Lane:
        """The lane to this namespace. Raises as ``open_namespace``, and ``LogUnavailable``."""
        lane = self._lanes.get(namespace)
        return lane if lane is not None else await asyncio.to_thread(self._open, namespace)

    def opened(self, namespace: str) -> Lane | None:
        return self._lanes.get(namespace)

    def _open(self, name: str) -> Lane:
        with self._opening:
            if name in self._lanes:
                return self._lanes[name]
            if self._pump.closed_reason:
                raise closed(self._pump.closed_reason)
            namespace = open_namespace(self.log, name, schema_registry=self.schema_registry, role=Role.CLIENT)
            partition = random.randrange(namespace.reply_partitions)
            topic = namespace.topics.replies
            self._pump.add_lane(topic, partition, self.log.offsets(topic, partition).end, namespace.codec)
            COLLECTOR.register()
            lane = self._lanes[name] = Lane(
                namespace, partition, self._recipient, self._pump, self.request_policy, self.clock
            )
            return lane

    @property
    def is_served(self) -> bool:
        """Whether somebody may be there to answer. Where nobody is, a request that can do without does not wait."""
        return self.orchestrators > 0 or not self._serves_itself

    @property
    def is_closed(self) -> bool:
        return bool(self._pump.closed_reason)

    async def close(self) -> None:
        """Write out what was appended, end the threads, and tell waiting calls that no answer comes. Twice is once."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self.is_closed:
            return
        self._pump.stop("the client was closed")
        self._pump.join(self.request_policy.close_timeout_seconds + 1)
        self._collected.detach()
        if self._owns_log:
            self.log.close()


@dataclass(frozen=True, slots=True)
class Question:
    """A request as its caller sees it."""

    workflow_id: str
    body: RequestBody
    timeout_seconds: float | None
    asked_seconds: float | None = None
    """What an error names as the caller's limit, where ``timeout_seconds`` is only what is left of it."""


class Lane:
    """Requests to one namespace, and the way of their answers."""

    def __init__(
        self,
        namespace: Namespace,
        reply_partition: int,
        recipient: str,
        pump: Pump,
        policy: RequestPolicy,
        clock: Clock,
    ) -> None:
        self.namespace = namespace
        self.policy = policy
        self._reply_partition = reply_partition
        self._recipient = recipient
        self._pump = pump
        self._now_ms = clock.now_ms
        self._prefix = uuid.uuid4().hex[:20]
        self._numbers = itertools.count(1)
        self._queues: set[str] = set()

    def request(
        self, identity: str, *, wait: bool = True, request_id: str | None = None, timeout_seconds: float | None = None
    ) -> Request:
        """A request that may be taken in until its lifetime ends; without ``wait`` it wants no answer."""
        lifetime_seconds = max(self.policy.lifetime_seconds, timeout_seconds or 0)
        return Request(
            request_id or f"{self._prefix}{next(self._numbers):012x}",
            self._now_ms() + int(lifetime_seconds * 1000),
            self._recipient,
            self._reply_partition if wait else -1,
            identity,
        )

    def check_queue(self, queue: str) -> None:
        """Raises ``ValueError`` for a name that cannot be part of a topic's."""
        if queue not in self._queues:
            self.namespace.topics.tasks(queue)
            self._queues.add(queue)

    async def ask(self, question: Question) -> Answer:
        """The first answer to the request: for one that wants none, that it is durable. Raises ``RPCError``."""
        exchange = self._exchange(question)
        try:
            return await self._answer(exchange, question)
        finally:
            self._pump.forget(exchange)

    async def ask_for_two(self, question: Question) -> tuple[Answer, Exchange]:
        """The first answer, and the exchange that gets the second; ``forget`` it when that is not wanted any more."""
        exchange = self._exchange(question)
        if question.timeout_seconds is None:
            exchange.renew = self._renewal(question)
        exchange.outcome = exchange.loop.create_future()
        try:
            return await self._answer(exchange, question), exchange
        except BaseException:
            self._pump.forget(exchange)
            raise

    def forget(self, exchange: Exchange) -> None:
        self._pump.forget(exchange)

    async def ask_until_answered(self, question: Question) -> Answer:
        """For questions about what may take long: asked again at the longest interval, as long as it takes."""
        exchange = self._exchange(question)
        exchange.stage = self._pump.stages - 1
        exchange.renew = self._renewal(question)
        try:
            return await self._answer(exchange, question)
        finally:
            self._pump.forget(exchange)

    def _exchange(self, question: Question) -> Exchange:
        namespace, body = self.namespace, question.body
        request = body.request
        assert request is not None
        if self._pump.room.is_crowded and _takes_room(body):
            raise no_room(question.workflow_id, body, self.policy, None)
        key = question.workflow_id.encode()
        value = namespace.codec.encode(InboxRecord(self._now_ms(), body))
        if len(key) + len(value) + RECORD_OVERHEAD_BYTES > namespace.record_bytes_max:
            raise record_too_large(question.workflow_id, body, len(key) + len(value), namespace.record_bytes_max)
        partition = namespace.partition(question.workflow_id)
        exchange = Exchange(request.id, namespace.topics.inbox, partition, key, value)
        exchange.ends_when_durable = request.reply_partition < 0
        return exchange

    def _renewal(self, question: Question) -> Callable[[], bytes]:
        def renewed() -> bytes:
            # With the same request ID, or the orchestrator would collect a waiter for each time that it is asked.
            assert question.body.request is not None
            expires_ms = self._now_ms() + int(self.policy.lifetime_seconds * 1000)
            request = replace(question.body.request, expires_ms=expires_ms)
            body = replace(question.body, request=request)
            if isinstance(body, StartWorkflow) and body.update is not None:
                body = replace(body, update=replace(body.update, request=request))
            return self.namespace.codec.encode(InboxRecord(self._now_ms(), body))

        return renewed

    async def _answer(self, exchange: Exchange, question: Question) -> Answer:
        """Once there is room for the request."""
        if not _takes_room(question.body):
            return await self._exchanged(exchange, question)
        kind = type(question.body).__name__
        stats = COLLECTOR.of(self.namespace.topics.namespace, kind)
        began, outcome = stats.begin(), FAILED
        try:
            answer = await self._answer_in_room(exchange, question)
            outcome = REFUSED if isinstance(answer, Refused) else ANSWERED
            return answer
        finally:
            stats.end(began, outcome)

    async def _answer_in_room(self, exchange: Exchange, question: Question) -> Answer:
        size, room = len(exchange.key) + len(exchange.value) + RECORD_OVERHEAD_BYTES, self._pump.room
        if not room.enter(size):
            question = await self._wait_for_room(question, size)
        try:
            return await self._exchanged(exchange, question)
        finally:
            lifetime_seconds = max(self.policy.lifetime_seconds, question.timeout_seconds or 0)
            self._pump.leave_room(exchange, size, lifetime_seconds)

    async def _wait_for_room(self, question: Question, size: int) -> Question:
        """What is left of the question's time, at least half of it. Raises ``RPCError``."""
        began, seconds = time.monotonic(), question.timeout_seconds
        patience_seconds = None if seconds is None else seconds * WAITING_SHARE
        try:
            await self._pump.room.wait(size, patience_seconds)
        except TimeoutError:
            raise no_room(question.workflow_id, question.body, self.policy, patience_seconds) from None
        if seconds is None:
            return question
        left_seconds = max(0.001, seconds - (time.monotonic() - began))
        return replace(question, timeout_seconds=left_seconds, asked_seconds=question.asked_seconds or seconds)

    async def _exchanged(self, exchange: Exchange, question: Question) -> Answer:
        self._pump.register(exchange)
        # In this order: what is registered before the connection closes is told of it, what comes later sees it here.
        if self._pump.closed_reason:
            raise closed(self._pump.closed_reason)
        timer = self._timer(exchange, question.timeout_seconds)
        try:
            if not self._sent(exchange, question):
                await self._insist(exchange, question)
            answer = await exchange.answer
        finally:
            if timer is not None:
                timer.cancel()
        if not isinstance(answer, Expired | Closed):
            return answer
        if isinstance(answer, Closed):
            raise closed(answer.reason)
        seconds = question.asked_seconds or question.timeout_seconds
        raise no_answer(question.workflow_id, question.body, self.namespace, exchange, seconds)

    def _timer(self, exchange: Exchange, timeout_seconds: float | None) -> asyncio.TimerHandle | None:
        if timeout_seconds is None:
            return None
        if timeout_seconds == self.policy.rpc_timeout_seconds:
            exchange.watched = True
            self._pump.watch(exchange)
            return None
        return exchange.loop.call_later(timeout_seconds, exchange.expire)

    async def _insist(self, exchange: Exchange, question: Question) -> None:
        """More is in flight than the log's queue holds: wait until there is room."""
        while not exchange.answer.done():
            await asyncio.sleep(QUEUE_FULL_PAUSE_SECONDS)
            if self._sent(exchange, question):
                return

    def _sent(self, exchange: Exchange, question: Question) -> bool:
        try:
            self._pump.send(exchange)
        except RecordTooLarge as error:
            size = len(exchange.key) + len(exchange.value)
            raise record_too_large(question.workflow_id, question.body, size, error.record_bytes_max) from error
        except AppendQueueFull as error:
            exchange.error = error
            return False
        self._pump.schedule(exchange)
        return True


def _takes_room(body: RequestBody) -> bool:
    """A question for what may take long needs no place."""
    return not isinstance(body, AwaitResult | AwaitUpdate)
