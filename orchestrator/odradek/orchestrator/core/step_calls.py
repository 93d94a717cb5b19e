"""Durable steps as one run's code sees them: asked for, given up, ended. Nothing is recorded before a step ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from odradek.converter import ConverterNotReady
from odradek.exceptions import ApplicationError
from odradek.orchestrator.core.cancelled_calls import as_the_code_hears_it
from odradek.schemas import records as r
from odradek.workflow.interceptors import StartLocalActivityInput
from odradek.workflow.runtime import NondeterminismError

if TYPE_CHECKING:
    from odradek.orchestrator.core.instance import WorkflowInstance

WAIT = "wait-cancellation-completed"
ABANDON = "abandon"


class StepCalls:
    """The steps of one instance. The shard takes from ``asked`` and ``revoked`` what its host is to do."""

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        self.waiting: dict[int, tuple[asyncio.Future[Any], StartLocalActivityInput]] = {}
        self.asked: list[int] = []
        self.revoked: list[int] = []
        self._given_up: dict[int, str] = {}

    def ask(self, call: StartLocalActivityInput) -> tuple[int, asyncio.Future[Any]]:
        seq = self._instance._next_seq()
        future: asyncio.Future[Any] = asyncio.Future(loop=self._instance._loop)
        self.waiting[seq] = (future, call)
        self.asked.append(seq)
        return seq, future

    async def outcome(
        self, seq: int, future: asyncio.Future[Any], call: StartLocalActivityInput, *, is_handle: bool = False
    ) -> Any:
        try:
            return await future
        except asyncio.CancelledError as cancelled:
            if self._instance.closed or seq not in self.waiting:
                raise
            if call.cancellation_type != WAIT:
                self.give_up(seq)
                error = as_the_code_hears_it(cancelled, call.activity, call.activity_id or str(seq), is_handle)
                raise error from error.__cause__
        return await self._outcome_of_revoked(seq)

    async def _outcome_of_revoked(self, seq: int) -> Any:
        """Its function has been told, and the code waits for what comes of it, however often it is cancelled."""
        future, call = self.waiting[seq]
        if future.done():
            future = self._instance._loop.create_future()
            self.waiting[seq] = (future, call)
        self.revoked.append(seq)
        while not future.done():
            try:
                await asyncio.shield(future)
            except asyncio.CancelledError:
                if self._instance.closed or future.cancelled():
                    raise
        return future.result()

    def give_up(self, seq: int) -> None:
        """Nobody waits for it any more."""
        waiting = self.waiting.pop(seq, None)
        if waiting is not None:
            self._given_up[seq] = waiting[1].activity
            self.revoked.append(seq)

    def ended(self, event: r.StepEnded) -> None:
        waiting = self.waiting.pop(event.seq, None)
        name = waiting[1].activity if waiting else self._given_up.pop(event.seq, None)
        if name != event.name:
            asks = f'for step {event.seq} "{name}"' if name else "for no step there"
            raise NondeterminismError(
                f'ODR-070: the history records the end of step {event.seq} "{event.name}", and the code asks {asks}: '
                "bring back the code that began this run, or guard the change so that old runs take the old path"
            )
        if waiting is not None and not waiting[0].done():
            self._settle(*waiting, event)

    def _settle(self, future: asyncio.Future[Any], call: StartLocalActivityInput, event: r.StepEnded) -> None:
        instance = self._instance
        converter, failures = instance.converter, instance._failures
        if instance.conversion is not None:
            activity_id = call.activity_id or str(event.seq)
            converter, failures = instance.conversion.of_activity(activity_id, call.activity, None, is_local=True)
        if event.failure is not None:
            future.set_exception(failures.from_failure(event.failure, converter))
            return
        value = None
        try:
            if event.result is not None:
                instance._payload_bytes += len(event.result.data)
                value = converter.from_payload(event.result, call.ret_type)
        except ConverterNotReady:
            raise
        except Exception as error:
            why = f'ODR-069: result of step "{call.activity}" does not fit: {error}'
            future.set_exception(ApplicationError(why, type="UnreadablePayload", non_retryable=True))
        else:
            future.set_result(value)
