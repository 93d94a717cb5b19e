"""Runs a workflow's code on an input, records what came of it, and parks a run whose code cannot go on.

Inputs are recorded even when the code cannot run; nothing else on the partition waits for a parked run.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from odradek.orchestrator.core import children, keys, updates
from odradek.orchestrator.core.careful import TakesProcessDown, refuse_closed_suspect, refuse_suspect, trial_ms
from odradek.orchestrator.core.closed_runs import ClosedRun
from odradek.orchestrator.core.closing import HistoryIncomplete
from odradek.orchestrator.core.effects import Reply, SendMessage, SendTask, Show
from odradek.orchestrator.core.instance import CLOSING, WorkflowBug, WorkflowDeadlock, WorkflowInstance
from odradek.orchestrator.core.parked import refusal
from odradek.orchestrator.core.paused import TYPE_PAUSED, TypePaused, as_parked, refuse_paused
from odradek.orchestrator.core.run import NO_CLAIM, Remembered, Run, fold, inherited
from odradek.orchestrator.core.sizes import closing_that_fits
from odradek.orchestrator.core.successors import with_successor
from odradek.orchestrator.core.transitions import Transitions
from odradek.orchestrator.core.versions import UnknownWorkflowType, code_of, following_version
from odradek.orchestrator.core.workflow import LiveRun, successor_id
from odradek.schemas import records as r
from odradek.workflow.runtime import NondeterminismError, RestrictedWorkflowAccessError

HISTORY_LONG = "history-long"
"""Counted once for each run whose history grows beyond the size that one is warned of."""
MISMATCH = "mismatch"
"""Counted when code is found not to do what the history says: once for each difference, not for each try."""
REPLAYED_EVENTS_MAX = 300
"""A longer run is no longer replayed after each activation: that grows with the square."""
PARKED_RETRY_MS = 1_000
PARKED_RETRY_MS_MAX = 60_000
RESUMED_EACH_MS = 5
"""Runs of a type that goes on again: a million of them must not keep all others waiting."""
DEADLOCK_RETRY_MS = 60_000
DEADLOCK_RETRY_MS_MAX = 3_600_000
"""A try costs the others of the process the seconds until it is given up."""


CANNOT_GO_ON = (
    TypePaused, TakesProcessDown, UnknownWorkflowType, WorkflowBug, NondeterminismError, HistoryIncomplete,
)  # fmt: skip
"""What parks a run: its code does not run here, or not on."""


class Decide(Transitions):
    def input(self, live: LiveRun, body: Any) -> None:
        """Record an input of the code and run the code on it; while the run is parked the code sees it later."""
        run = live.run
        if live.parked is not None or run.deferred or run.starts_at_ms is not None:
            self.record(live, body, deferred=True)
            return
        try:
            instance = self.instance(live)
        except CANNOT_GO_ON as error:
            self.record(live, body, deferred=True)
            self._park(live, error)
            return
        if instance.moves_to is not None:
            self._take_version(live, instance)
        try:
            commands = self._apply(live, instance, body, body)
        except (WorkflowBug, NondeterminismError) as error:
            self.record(live, body, deferred=True)
            self._park(live, error)
        else:
            self.record(live, body)
            self._commands(live, commands)
            if instance.steps is not None and live.run.is_open:
                self.carry_steps(live, instance)

    @abstractmethod
    def carry_steps(self, live: LiveRun, instance: WorkflowInstance) -> None: ...

    @abstractmethod
    def cancel_steps(self, live: LiveRun) -> None: ...

    def _apply(self, live: LiveRun, instance: WorkflowInstance, body: Any, recorded: Any) -> list[Any]:
        """Run the code on one input, which will stand in the history as ``recorded``."""
        time_ms = max(self.now_ms, live.run.time_ms)
        commands = instance.apply(body, time_ms)
        if self.config.replays_each_activation and live.run.event_count < REPLAYED_EVENTS_MAX:
            made = [r.Event(live.run.n, time_ms, event) for event in (recorded, *commands)]
            again = self._make_instance(live)
            try:
                again.replay([*self.events(live), *made])
            finally:
                again.close()
        return commands

    def note(self, live: LiveRun, body: r.EventBody) -> None:
        """Record an event that the code does not see, other than in the length of its history."""
        if live.instance is not None:
            live.instance.history_length += 1
        self.record(live, body)

    def start(self, live: LiveRun, started: r.RunStarted) -> None:
        """The first input of a run; with a start delay its code sees it later."""
        if started.start_delay_ms:
            self.record(live, started, deferred=True)
            assert live.run.starts_at_ms is not None
            live.push_due(live.run.starts_at_ms, "s", 0)
        else:
            live.run.started, live.run.started_ms = started, self.now_ms
            self.input(live, started)
        live.push_limits()
        self.show(live)

    def _commands(self, live: LiveRun, commands: list[Any]) -> None:
        for command in commands:
            if isinstance(command, CLOSING):
                self.later.clear()  # it concerns this run only, and its code hears of nothing more
                self.close(live, command)
                return
            if isinstance(command, r.ActivityCancelRequested):
                self.cancel_activity(live, command)
                continue
            self.record(live, command)
            effect = _EFFECTS.get(type(command))
            if effect is not None:
                effect(self, live, command)
        while self.later:
            self.later.pop(0)()

    def close(self, live: LiveRun, closing: Any) -> None:
        """Record the end of a run; its outputs leave when that is durable."""
        run = live.run
        for seq in list(run.activities):
            self.revoke(live, seq, "closed")
            self.retire(live, seq)
        if live.steps:
            self.cancel_steps(live)
        self.record(live, self._with_successor(run, closing))
        self.show_nothing(live)
        wf = self.workflow(run.workflow_id)
        wf.live = None
        live.closes = True
        if successor_id(run) is not None:
            wf.await_successor(run)
        wf.ending[run.run_id] = live
        wf.closed[run.run_id] = self.summarise(live)
        live.parked = None
        self.parked.pop(run.workflow_id, None)
        if wf.suspects:
            self.clear_suspicion(wf)
        if run.updates:
            updates.abandon(self, live)
        if run.started is not None:
            self.count(run.status, run.started.workflow_type)
            self.durations.append(("workflow", run.started.workflow_type, (run.time_ms - run.started_ms) / 1000))

    def _with_successor(self, run: Run, closing: Any) -> Any:
        closing = with_successor(run, closing, max(self.now_ms, run.time_ms))
        if getattr(closing, "next", None) is None or isinstance(closing, r.RunContinued):
            return closing
        size = len(self.config.codec.encode_events([r.Event(run.n, self.now_ms, closing)]))
        return closing_that_fits(closing, size, self.config.event_bytes_max)

    def check_length(self, live: LiveRun) -> None:
        """A run that grows without end is warned of, and ended before it can no longer be replayed."""
        run, config = live.run, self.config
        if not live.warned_of:
            live.warned_of = True
            self.count(HISTORY_LONG, run.started.workflow_type if run.started else "")
        if run.is_open and (
            run.event_count > config.history_events_max or run.history_bytes > config.history_bytes_max
        ):
            self.close(
                live,
                r.RunTerminated(
                    f'ODR-113: the history of workflow "{run.workflow_id}" has {run.event_count} events and '
                    f"{run.history_bytes} bytes, more than the limits of {config.history_events_max} events or "
                    f"{config.history_bytes_max} bytes: let it continue as new when that is suggested"
                ),
            )

    def begin_successor(self, closed: LiveRun) -> LiveRun | None:
        """The closing record stands: begin the run that it names, if that has not begun yet."""
        following = self.workflow(closed.run.workflow_id).live
        if following is None or following.run.started or following.run.run_id != successor_id(closed.run):
            return None
        following.barrier = False
        started = closed.run.closing.next.started
        version = following_version(self.config, closed.run, closed.run.closing, started)
        if version != started.version:
            started = dataclasses.replace(started, version=version)
        self.count("started", started.workflow_type)
        self.start(following, started)
        self.touched.pop(id(following), None)
        self.write_transition(following)
        return following

    @abstractmethod
    def revoke(self, live: LiveRun, seq: int, reason: str) -> None: ...

    @abstractmethod
    def cancel_activity(self, live: LiveRun, command: r.ActivityCancelRequested) -> None: ...

    def retire(self, live: LiveRun, seq: int) -> None:
        """An activity is over: what is remembered of its attempts may go once its end is durable."""
        activity = live.run.activities[seq]
        run = live.run
        if activity.progress_claim != NO_CLAIM:
            live.stale.append(keys.progress(run.workflow_id, run.run_id, seq, activity.progress_claim))
        for holder in activity.progress.holders:
            self.holders.get(holder.worker, set()).discard((run.workflow_id, seq))

    # ------------------------------------------------------------------------------------------ code in memory

    def instance_or_park(self, live: LiveRun) -> WorkflowInstance | None:
        try:
            return self.instance(live)
        except CANNOT_GO_ON as error:
            self._park(live, error)
        return None

    def instance(self, live: LiveRun) -> WorkflowInstance:
        """The run's code, replayed if it is not in memory.

        Raises what ``CANNOT_GO_ON`` names.
        """
        if self.paused_types:
            refuse_paused(self.paused_types, live.run)
        instance = live.instance
        if instance is None:
            wf = self.workflow(live.run.workflow_id)
            if wf.suspects:
                refuse_suspect(self, wf)
            instance = self._make_instance(live)
            if live.run.event_count:  # a run that begins now has nothing to replay
                try:
                    instance.replay(self.events(live))
                except BaseException:
                    instance.close()
                    raise
                self.replays += 1
                self.replayed_events += live.run.event_count
            live.instance = instance
            self.instances[id(live)] = live
        else:
            self.instances.move_to_end(id(live))
        return instance

    def _make_instance(self, live: LiveRun) -> WorkflowInstance:
        run, config = live.run, self.config
        definition = code_of(config, run)
        instance = WorkflowInstance(
            definition,
            run.workflow_id,
            run.run_id,
            config.namespace,
            config.converter,
            config.failures,
            config.payload_bytes_max,
        )
        instance.meter = config.meter
        instance.event_bytes_max = config.event_bytes_max
        if definition.version != run.version:
            instance.moves_to = definition.version
        return instance

    def _take_version(self, live: LiveRun, instance: WorkflowInstance) -> None:
        """Record that the run goes on with another version of its code than it was on."""
        assert instance.moves_to is not None
        self.record(live, r.VersionTaken(instance.moves_to))
        instance.version, instance.moves_to = instance.moves_to, None
        self.show(live)

    def events(self, live: LiveRun) -> Iterator[r.Event]:
        """All events of the run so far, those of the transition that is being made included."""
        for _, blocks in self.chunks(live):
            yield from self.config.codec.decode_events(blocks)
        yield from live.pending

    def closed_instance(self, closed: ClosedRun) -> WorkflowInstance:
        """The code of a closed run as it was at its end. Raises what ``CANNOT_GO_ON`` names."""
        if closed.instance is None:
            refuse_closed_suspect(self, self.workflow(closed.workflow_id))
            run = Run(closed.workflow_id, closed.run_id, Remembered())
            for event in closed.events:
                fold(run, event)
            instance = self._make_instance(LiveRun(run))
            try:
                instance.replay(closed.events)
            except BaseException:
                instance.close()
                raise
            self.replays += 1
            self.replayed_events += len(closed.events)
            closed.instance = instance
        return closed.instance

    def drop_instance(self, live: LiveRun) -> None:
        self.instances.pop(id(live), None)
        if live.instance is not None:
            live.instance.close()
            live.instance = None

    # ------------------------------------------------------------------------------------------ parking

    def _park(self, live: LiveRun, error: Exception) -> None:
        run, message = live.run, str(error)
        code = message[:7] if message.startswith("ODR-") else "ODR-071"
        self.drop_instance(live)
        mismatch = isinstance(error, NondeterminismError) and not isinstance(error, RestrictedWorkflowAccessError)
        if mismatch and (live.parked is None or live.parked.message != message):
            self.count(MISMATCH, run.started.workflow_type if run.started else "")
        if mismatch and self._fails_its_runs(live):
            self.close(live, r.RunFailed(self.config.failures.to_failure(error, self.config.converter)))
            return
        failures = live.parked.failures + 1 if live.parked else 1
        first_ms, max_ms = PARKED_RETRY_MS, PARKED_RETRY_MS_MAX
        if isinstance(error, WorkflowDeadlock):
            first_ms, max_ms = DEADLOCK_RETRY_MS, DEADLOCK_RETRY_MS_MAX
        delay = min(first_ms * 2 ** min(failures - 1, 30), max_ms)
        since = live.parked.since_ms if live.parked else self.now_ms
        if isinstance(error, TypePaused):  # it is told when that is over
            failures, since, delay = 0, error.since_ms, PARKED_RETRY_MS_MAX
        elif isinstance(error, TakesProcessDown):
            delay = max(trial_ms(self, self.workflow(run.workflow_id)) - self.now_ms, 0)
        changed = live.parked is None or live.parked.message != message
        live.parked = r.Parked(code, message, since, self.now_ms + delay, failures)
        live.push_due(live.parked.retry_at_ms, "p", 0)
        self.parked[run.workflow_id] = live
        if changed:
            if run.started is not None:
                self.count("parked", run.started.workflow_type)
                self.show(live)
            self.touched[id(live)] = live
        if self.config.parked_runs_fail_waits and not isinstance(error, TypePaused):
            self._fail_waits(live, error)

    def types_resumed(self, now_ms: int) -> None:
        """Operators let types go on: their runs do, a few each millisecond, each with its inputs in order."""
        self.now_ms = max(now_ms, self.now_ms)
        waiting = [live for live in self.parked.values() if live.parked and live.parked.code == TYPE_PAUSED]
        for number, live in enumerate(waiting):
            if live.parked is not None and as_parked(self.paused_types, live.run, self.now_ms) is None:
                live.parked = dataclasses.replace(live.parked, retry_at_ms=self.now_ms + number // RESUMED_EACH_MS)
                live.push_due(live.parked.retry_at_ms, "p", 0)
                self.reschedule(self.workflow(live.run.workflow_id))

    def _fail_waits(self, live: LiveRun, error: Exception) -> None:
        run = live.run
        refused = refusal(run.workflow_id, run.run_id, run.started.workflow_type if run.started else "", error)
        waiting: LiveRun | None = live
        while waiting is not None:
            waiting.refusal = refused
            for request in self.waiters.pop(waiting.run.run_id, {}).values():
                waiting.effects.append(self.reply(request, refused))
                self.touched[id(waiting)] = waiting
            updates.refuse_waiters(self, waiting, refused)
            waiting = self._parent_here(waiting)

    def _parent_here(self, live: LiveRun) -> LiveRun | None:
        """The open run that started this one as its child, if it is one of this shard."""
        lineage = live.run.started.lineage if live.run.started else None
        link = lineage.parent if lineage else None
        wf = self.workflows.get(link.workflow_id) if link else None
        found = wf.live if wf else None
        return found if found is not None and link is not None and found.run.run_id == link.run_id else None

    def _fails_its_runs(self, live: LiveRun) -> bool:
        """The type wants a history that does not replay to fail the run, rather than to park it."""
        return issubclass(NondeterminismError, tuple(code_of(self.config, live.run).failure_exception_types))

    def resume(self, live: LiveRun) -> None:
        """Try a parked run again: replay it, then give its code what was recorded meanwhile, input by input."""
        run = live.run
        try:
            instance = self.instance(live)
        except CANNOT_GO_ON as error:
            self._park(live, error)
            return
        live.steps_lost = False
        if instance.steps is not None:
            self.carry_steps(live, instance)
        for body in list(instance.deferred):
            if instance.moves_to is not None:
                self._take_version(live, instance)
            applied = r.DeferredApplied(run.deferred - 1)
            try:
                commands = self._apply(live, instance, body, applied)
            except (WorkflowBug, NondeterminismError) as error:
                self._park(live, error)
                return
            self.record(live, applied)
            self._commands(live, commands)
            if not run.is_open:
                return
            if instance.steps is not None:
                self.carry_steps(live, instance)
        instance.deferred = ()
        if live.parked is not None:
            live.parked = None
            waiting: LiveRun | None = live if live.refusal else None
            while waiting is not None:
                waiting.refusal = None
                waiting = self._parent_here(waiting)
            self.parked.pop(run.workflow_id, None)
            self.show(live)

    # ------------------------------------------------------------------------------------------ effects of commands

    def task(self, live: LiveRun, seq: int) -> SendTask:
        """The task of an activity's current attempt."""
        run, activity = live.run, live.run.activities[seq]
        started, scheduled, progress = run.started, activity.scheduled, activity.progress
        options = progress.options or scheduled
        assert started is not None
        self.note_expiry(live, activity)
        return SendTask(
            task=r.TaskRecord(
                self.config.namespace,
                run.workflow_id,
                run.run_id,
                started.workflow_type,
                self.config.partition,
                seq,
                progress.attempt,
                scheduled.activity_id,
                scheduled.activity_type,
                options.task_queue,
                activity.scheduled_ms,
                progress.attempt_scheduled_ms,
                self.now_ms + activity.dispatch_expiry_ms,
                scheduled.input,
                scheduled.headers,
                options.timeouts,
                options.retry_policy,
                progress.heartbeat_details,
                inherited(options.priority, started.priority) if options.priority else started.priority,
                progress.attempts_before,
            )
        )

    def message(self, live: LiveRun, number: int) -> SendMessage:
        """A message to another workflow, or the start of a child, that has no answer yet."""
        return children.message(live.run, self.config.namespace, number, self.now_ms)

    def dispatched(self, live: LiveRun) -> list[tuple[int, int]]:
        """Activities whose current attempt is with nobody that we know of, as (number, attempt)."""
        return [
            (seq, a.progress.attempt)
            for seq, a in live.run.activities.items()
            if a.progress.retry_at_ms is None and not a.progress.holders and a.progress.paused_ms is None
        ]

    def outputs_again(
        self, live: LiveRun, dispatched: Sequence[tuple[int, int]], messages: Sequence[int]
    ) -> list[SendTask | SendMessage | Show]:
        """After a takeover: what was pending then and still is, since nobody may have received it."""
        still = set(self.dispatched(live))
        effects: list[SendTask | SendMessage | Show] = [
            self.task(live, seq) for seq, attempt in dispatched if (seq, attempt) in still
        ]
        effects += [self.message(live, seq) for seq in messages if live.run.awaits_answer(seq)]
        effects.append(Show(record=self.visibility(live)))
        return effects

    def accept(self, live: LiveRun, request: r.Request, *, already: bool = False, awaits_result: bool = False) -> None:
        """Answer a request once the transition that takes it in is durable."""
        if request.reply_partition >= 0:
            reply = self.reply(request, r.Accepted(live.run.run_id, already))
            reply.awaits_result = awaits_result
            live.effects.append(reply)
            self.touched[id(live)] = live

    def answer_with(self, live: LiveRun, request: r.Request, body: Any) -> None:
        """Answer once the transition that is being made is durable."""
        if request.reply_partition >= 0:
            live.effects.append(self.reply(request, body))

    def answer_about(self, live: LiveRun, request: r.Request, body: Any) -> None:
        """Answer with what this run is like now: behind the transition that is being made of it, if there is one."""
        if live.pending:
            self.answer_with(live, request, body)
        else:
            self.answer(request, body)

    def answer(self, request: r.Request | None, body: Any) -> None:
        """Answer behind the appends in flight."""
        if request is not None and request.reply_partition >= 0:
            self.leave_behind(self.reply(request, body))

    @staticmethod
    def reply(request: r.Request, body: Any) -> Reply:
        return Reply(None, request.reply_partition, request.recipient, request.id, body)


def _on_scheduled(shard: Decide, live: LiveRun, command: r.ActivityScheduled) -> None:
    live.effects.append(shard.task(live, command.seq))
    live.push_activity(live.run.activities[command.seq])


def _on_timer(shard: Decide, live: LiveRun, command: r.TimerStarted) -> None:
    live.push_due(command.due_ms, "t", command.seq)


def _on_upsert(shard: Decide, live: LiveRun, command: r.SearchAttributesUpserted | r.MemoUpserted) -> None:
    shard.show(live)


def _on_message(shard: Decide, live: LiveRun, command: r.MessageSent | r.ChildScheduled) -> None:
    live.effects.append(shard.message(live, command.seq))
    live.push_message(command.seq, shard.now_ms)


_EFFECTS: dict[type, Callable[[Decide, LiveRun, Any], None]] = {
    r.ActivityScheduled: _on_scheduled,
    r.TimerStarted: _on_timer,
    r.MessageSent: _on_message,
    r.SearchAttributesUpserted: _on_upsert,
    r.MemoUpserted: _on_upsert,
    r.ChildScheduled: _on_message,
    r.UpdateCompleted: updates.completed,
}
