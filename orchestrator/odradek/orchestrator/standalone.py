"""The built-in workflows: a standalone activity, and the lane in which those of one ordering key run one by one.

Every orchestrator hosts them under reserved names; users see activities.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from odradek import exceptions, workflow
from odradek.common import RetryPolicy
from odradek.common.standalone import ACTIVITY, LANE, TIMED_OUT, StandaloneOptions, activity_name, lane_of
from odradek.exceptions import ActivityError, ApplicationError, FailureError, WorkflowAlreadyStartedError
from odradek.schemas.records import RunStarted
from odradek.workflow.definition import Definition
from odradek.workflow.interceptors import StartActivityInput
from odradek.workflow.runtime import Encoded, current

_FIRST_PATIENCE: Final = timedelta(seconds=15)
_LONGEST_PATIENCE: Final = timedelta(minutes=10)
"""How long one side of a lane waits before it asks whether the other is still there."""


@workflow.defn(name=ACTIVITY)
class StandaloneActivity:
    """Does one activity. Arguments, result and failure pass through as they stand."""

    def __init__(self) -> None:
        self._admitted = False
        self._has_turn = False

    @workflow.run
    async def run(self, workflow_id: str, started: RunStarted) -> Encoded | None:
        options = StandaloneOptions.of(started.input[0])
        if not options.ordering_key:
            self._admitted = True
            return await _done(workflow_id, started, options)
        lane = _LaneOf(options.ordering_key)
        try:
            await self._wait_for_turn(lane)
            result = await _done(workflow_id, started, options)
        except (FailureError, asyncio.CancelledError):
            self._admitted = True
            await lane.leave()
            raise
        await lane.leave()
        return result

    async def _wait_for_turn(self, lane: _LaneOf) -> None:
        await lane.enter()
        self._admitted = True
        while not self._has_turn:
            try:
                await workflow.wait_condition(lambda: self._has_turn, timeout=lane.patience())
            except TimeoutError:
                await lane.enter()  # somebody may have ended it

    @workflow.signal
    def turn(self) -> None:
        self._has_turn = True

    @workflow.update
    async def admitted(self) -> None:
        """Answered when the activity has its place in its lane."""
        await workflow.wait_condition(lambda: self._admitted)


async def _done(workflow_id: str, started: RunStarted, options: StandaloneOptions) -> Encoded | None:
    limits = options.timeouts
    call = StartActivityInput(
        activity_name(started.workflow_type),
        Encoded(started.input[1:]),  # type: ignore[arg-type]  # what users see is always a sequence
        activity_name(workflow_id),
        None,
        _duration(limits.schedule_to_close_ms),
        _duration(limits.schedule_to_start_ms),
        _duration(limits.start_to_close_ms),
        _duration(limits.heartbeat_ms),
        RetryPolicy.from_record(options.retry_policy),
        workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        started.static_summary,
        None,  # the priority of the run
        Encoded,
        started.headers,
    )
    try:
        result: Encoded | None = await current().execute_activity(call)
    except ActivityError as error:
        if isinstance(error.cause, exceptions.TimeoutError):
            current().upsert_memo({TIMED_OUT: True})
        raise
    return result


def _duration(ms: int | None) -> timedelta | None:
    return None if ms is None else timedelta(milliseconds=ms)


class _LaneOf:
    """A lane as one of its activities sees it. It exists while somebody is in it."""

    def __init__(self, ordering_key: str) -> None:
        self._id = lane_of(ordering_key)
        self._me = workflow.info().run_id, workflow.info().workflow_id
        self._patience = _FIRST_PATIENCE

    def patience(self) -> timedelta:
        now, self._patience = self._patience, min(2 * self._patience, _LONGEST_PATIENCE)
        return now

    async def enter(self) -> None:
        """At its end; where it is, if it is in it. Returns when that is durable there."""
        while True:
            try:
                await workflow.start_child_workflow(
                    Lane.run, [self._me], id=self._id, parent_close_policy=workflow.ParentClosePolicy.ABANDON
                )
            except WorkflowAlreadyStartedError:
                if await self._say("enter", *self._me):
                    return
            else:
                return

    async def leave(self) -> None:
        await self._say("leave", self._me[0])

    async def _say(self, what: str, *args: str) -> bool:
        """False: there is no such lane any more."""
        try:
            await workflow.get_external_workflow_handle(self._id).signal(what, args=args)
        except ApplicationError:
            return False
        return True


@workflow.defn(name=LANE)
class Lane:
    """Gives the activities of one key their turn, in the order in which they came. Ends when nobody is left."""

    @workflow.init
    def __init__(self, waiting: list[tuple[str, str]]) -> None:
        self._waiting = dict(waiting)
        """Workflow IDs by run ID."""

    @workflow.run
    async def run(self, waiting: list[tuple[str, str]]) -> None:
        while self._waiting:
            await self._serve(*next(iter(self._waiting.items())))
            if self._waiting and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new([*self._waiting.items()])

    async def _serve(self, run_id: str, workflow_id: str) -> None:
        """Until it has left, or is closed without having said so: terminated."""
        handle = workflow.get_external_workflow_handle(workflow_id, run_id=run_id)
        patience = _FIRST_PATIENCE
        while run_id in self._waiting:
            try:
                await handle.signal(StandaloneActivity.turn)
            except ApplicationError:
                self._waiting.pop(run_id, None)
                return
            try:
                await workflow.wait_condition(lambda: run_id not in self._waiting, timeout=patience)
            except TimeoutError:
                patience = min(2 * patience, _LONGEST_PATIENCE)

    @workflow.signal
    def enter(self, run_id: str, workflow_id: str) -> None:
        self._waiting.setdefault(run_id, workflow_id)

    @workflow.signal
    def leave(self, run_id: str) -> None:
        self._waiting.pop(run_id, None)


BUILT_IN: Final[Mapping[str, Definition]] = {
    ACTIVITY: dataclasses.replace(Definition.of(StandaloneActivity), takes_record=True, sandboxed=False),
    LANE: dataclasses.replace(Definition.of(Lane), sandboxed=False),
}
