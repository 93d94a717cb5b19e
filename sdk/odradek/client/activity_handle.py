"""A standalone activity as its callers hold it. Knows IDs only: everything else is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from odradek.client.exchange import Exchange
from odradek.client.interceptor import (
    CancelActivityInput,
    DescribeActivityInput,
    PauseActivityInput,
    TerminateActivityInput,
    UnpauseActivityInput,
    UpdateActivityOptionsInput,
)
from odradek.common import Priority, RetryPolicy
from odradek.service import NO_RPC_METADATA, RpcMetadata

if TYPE_CHECKING:
    from odradek.client.activity_description import ActivityExecutionDescription, ActivityExecutionOptions
    from odradek.client.client import Client

R_co = TypeVar("R_co", covariant=True)
V = TypeVar("V")


@dataclass(frozen=True)
class ActivityOptionsKey(Generic[V]):
    """An option that can be changed while the activity is open: one of ``ActivityOptionsKeys``."""

    name: str

    def value_set(self, value: V) -> ActivityOptionsUpdate[V]:
        return ActivityOptionsUpdate(self, value)

    def value_unset(self) -> ActivityOptionsUpdate[V]:
        """No limit; of a retry policy or priority: the default one."""
        return ActivityOptionsUpdate(self, None)


@dataclass(frozen=True)
class ActivityOptionsUpdate(Generic[V]):
    """One change, made by a key; None takes the option away."""

    key: ActivityOptionsKey[V]
    value: V | None


class ActivityOptionsKeys:
    """The options that ``ActivityHandle.update_options`` can change. A start delay is not one of them."""

    task_queue: Final = ActivityOptionsKey[str]("task_queue")
    schedule_to_close_timeout: Final = ActivityOptionsKey[timedelta]("schedule_to_close_timeout")
    schedule_to_start_timeout: Final = ActivityOptionsKey[timedelta]("schedule_to_start_timeout")
    start_to_close_timeout: Final = ActivityOptionsKey[timedelta]("start_to_close_timeout")
    heartbeat_timeout: Final = ActivityOptionsKey[timedelta]("heartbeat_timeout")
    retry_policy: Final = ActivityOptionsKey[RetryPolicy]("retry_policy")
    priority: Final = ActivityOptionsKey[Priority]("priority")


class ActivityHandle(Generic[R_co]):
    """Made by ``Client.start_activity`` and ``Client.get_activity_handle``; cheap, and shareable.

    ``run_id`` None is the latest of those that had this ID. Every call may raise ``RPCError``; ``rpc_timeout`` is 10 s.
    """

    def __init__(
        self,
        client: Client,
        id: str,
        *,
        run_id: str | None = None,
        result_type: Any = None,
        outcome: Exchange | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._run_id = run_id
        self._result_type = result_type
        self._outcome = outcome

    def __repr__(self) -> str:
        return f"<ActivityHandle {self._id!r}{f' run {self._run_id}' if self._run_id else ''}>"

    @property
    def id(self) -> str:
        return self._id

    @property
    def run_id(self) -> str | None:
        return self._run_id

    async def result(
        self, *, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> R_co:
        """Wait for the end, and return what the activity returned; without ``rpc_timeout`` for as long as it takes.

        Raises ``ActivityFailureError``. The result is asked for again every 15 s, so it survives whatever happens to
        orchestrators; any client of the namespace can ask, as long as closed runs are remembered.
        """
        from odradek.client.activity_requests import result_of

        # Taken by one caller only: a second one awaiting the same future would be cancelled with the first.
        exchange, self._outcome = self._outcome, None
        value: R_co = await result_of(self._client, self._id, self._run_id, self._result_type, exchange, rpc_timeout)
        return value

    async def describe(
        self,
        *,
        include_input: bool = False,
        include_outcome: bool = False,
        include_heartbeat_details: bool = False,
        include_last_failure: bool = False,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> ActivityExecutionDescription:
        """Where it stands. What is not included is left out of the description."""
        return await self._client.outbound.describe_activity(
            DescribeActivityInput(
                activity_id=self._id,
                activity_run_id=self._run_id,
                include_input=include_input,
                include_outcome=include_outcome,
                include_heartbeat_details=include_heartbeat_details,
                include_last_failure=include_last_failure,
                rpc_timeout=rpc_timeout,
            )
        )

    async def cancel(
        self,
        *,
        reason: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Ask for its end. Between two attempts that is at once; a running attempt is told, and how it ends counts.

        One that a worker has not taken yet is told when one does.
        """
        await self._client.outbound.cancel_activity(
            CancelActivityInput(
                activity_id=self._id, activity_run_id=self._run_id, reason=reason, rpc_timeout=rpc_timeout
            )
        )

    async def terminate(
        self,
        *,
        reason: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """End it at once, whatever its worker does; a running attempt is told to stop, and its result does not count.

        What stands in a task queue is still begun, since nobody takes it out of there.
        """
        await self._client.outbound.terminate_activity(
            TerminateActivityInput(
                activity_id=self._id, activity_run_id=self._run_id, reason=reason, rpc_timeout=rpc_timeout
            )
        )

    async def pause(
        self,
        *,
        reason: str | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Let no further attempt begin, and tell one that runs to stop. Time limits of the whole go on."""
        await self._client.outbound.pause_activity(
            PauseActivityInput(
                activity_id=self._id, activity_run_id=self._run_id, reason=reason, rpc_timeout=rpc_timeout
            )
        )

    async def unpause(
        self,
        *,
        reason: str | None = None,
        jitter: timedelta | None = None,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> None:
        """Go on: an attempt that waits begins at once, or within ``jitter``. ``reason`` is for interceptors."""
        await self._client.outbound.unpause_activity(
            UnpauseActivityInput(
                activity_id=self._id,
                activity_run_id=self._run_id,
                reason=reason,
                jitter=jitter,
                rpc_timeout=rpc_timeout,
            )
        )

    async def update_options(
        self,
        updates: Sequence[ActivityOptionsUpdate[Any]],
        *,
        rpc_timeout: timedelta | None = None,
        rpc_metadata: RpcMetadata = NO_RPC_METADATA,
    ) -> ActivityExecutionOptions:
        """Change what is named, and leave the rest: time limits at once, the rest from the next attempt on.

        Returns the options as they are then. Raises ``ValueError`` for no update, or two of one option.
        """
        names = [update.key.name for update in updates]
        if not names:
            raise ValueError("update_options needs at least one update; restore_original_options takes all back")
        if len({*names}) < len(names):
            raise ValueError(f"update_options got two updates of one option: {', '.join(names)}")
        return await self._update(updates, restore_original=False, rpc_timeout=rpc_timeout)

    async def restore_original_options(
        self, *, rpc_timeout: timedelta | None = None, rpc_metadata: RpcMetadata = NO_RPC_METADATA
    ) -> ActivityExecutionOptions:
        """Take all changes of options back; returns the options as they are then."""
        return await self._update((), restore_original=True, rpc_timeout=rpc_timeout)

    async def _update(
        self, updates: Sequence[ActivityOptionsUpdate[Any]], *, restore_original: bool, rpc_timeout: timedelta | None
    ) -> ActivityExecutionOptions:
        return await self._client.outbound.update_activity_options(
            UpdateActivityOptionsInput(
                activity_id=self._id,
                activity_run_id=self._run_id,
                updates=updates,
                restore_original=restore_original,
                rpc_timeout=rpc_timeout,
            )
        )
