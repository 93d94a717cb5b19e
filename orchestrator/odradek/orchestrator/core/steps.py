"""Steps on the shard's side: handed to the host once they may run, and taken in as inputs when they have ended.

They live in memory only. A chunk says that its run awaits some, so whoever takes over finds them by replaying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from odradek.orchestrator.core.effects import CancelStep, RunStep
from odradek.orchestrator.core.inputs import Inputs
from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.orchestrator.core.step_calls import ABANDON, WAIT
from odradek.orchestrator.core.workflow import LiveRun
from odradek.schemas import records as r


class Steps(Inputs):
    def carry_steps(self, live: LiveRun, instance: WorkflowInstance) -> None:
        """Let the steps that the code asked for begin once everything before them is durable, and stop the revoked."""
        calls, run = instance.steps, live.run
        assert calls is not None
        assert run.started is not None
        recorded = {body.seq for body in instance.deferred if isinstance(body, r.StepEnded)}
        for seq in calls.asked:
            waiting = calls.waiting.get(seq)
            if waiting is not None and seq not in live.steps and seq not in recorded:
                step = RunStep(run.workflow_id, run.run_id, run.started.workflow_type, run.started.task_queue, seq,
                               waiting[1], self.now_ms)  # fmt: skip
                live.steps[seq] = step
                live.effects.append(step)
        for seq in calls.revoked:
            self._revoke_step(live, seq)
        calls.asked.clear()
        calls.revoked.clear()
        if live.steps:
            self.stepping[run.run_id] = live
        self.touched[id(live)] = live

    def _revoke_step(self, live: LiveRun, seq: int) -> None:
        running = live.steps.get(seq)
        if running is None:
            return
        kind = running.call.cancellation_type
        if kind != ABANDON:
            live.effects.append(CancelStep(running))
        if kind != WAIT:
            self._forget_step(live, seq)

    def cancel_steps(self, live: LiveRun) -> None:
        """The run is over: nobody waits for what it had begun."""
        live.effects += [CancelStep(step) for step in live.steps.values()]
        live.steps.clear()
        self.stepping.pop(live.run.run_id, None)

    def _forget_step(self, live: LiveRun, seq: int) -> None:
        del live.steps[seq]
        if not live.steps:
            self.stepping.pop(live.run.run_id, None)

    # ------------------------------------------------------------------------------------------ what comes back

    def steps_ended(self, ended: Sequence[tuple[RunStep, r.StepEnded]], now_ms: int) -> None:
        """Steps that the host has run; those that nobody waits for any more are dropped."""
        self.now_ms = max(now_ms, self.now_ms)
        for step, event in ended:
            wf = self.workflows.get(step.workflow_id)
            live = wf.live if wf is not None else None
            if live is None or live.steps.get(step.seq) is not step:
                continue
            if self.careful is None:
                self._step_ended(live, step, event)
            else:
                assert wf is not None
                self.careful.run(wf, partial(self._step_ended, live, step, event))
        self.flush()

    def _step_ended(self, live: LiveRun, step: RunStep, event: r.StepEnded) -> None:
        if live.steps.get(step.seq) is not step or not live.run.is_open:
            return
        if live.barrier:
            live.steps_ended.append((step, event))
        else:
            self._take_step(live, step, event)

    def _take_step(self, live: LiveRun, step: RunStep, event: r.StepEnded) -> None:
        self.durations.append(("step", step.workflow_type, (self.now_ms - step.asked_ms) / 1000))
        self._forget_step(live, event.seq)
        self.input(live, event)
        wf = self.workflow(live.run.workflow_id)
        if wf.stored_due == 0 and not live.steps:  # the store need not remember it any more
            self.reschedule(wf)

    def drain_waiting(self, live: LiveRun) -> None:
        super().drain_waiting(live)
        while live.steps_ended and live.run.is_open and not live.barrier:
            step, event = live.steps_ended.pop(0)
            if live.steps.get(step.seq) is step:
                self._take_step(live, step, event)
