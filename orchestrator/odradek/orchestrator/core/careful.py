"""After an owner that did not end in order: notes in the log which workflow's code is about to run, before it runs.

So code that takes its process down leaves its name behind, and the next owner finds it, on whatever host. A note
decides nothing by itself: it carries its claim, and is taken away once the code has come back. Whoever has been noted
too often is parked, and has a trial now and then, alone: something else may have killed those processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from odradek.orchestrator.core import keys
from odradek.orchestrator.core.workflow import Workflow
from odradek.schemas import records as r

if TYPE_CHECKING:
    from odradek.orchestrator.core.state import ShardState

CAREFUL_MS: Final = 10_000
"""How long notes are made after everything that the former owner left has been taken in."""
TRIAL_MS: Final = 60_000
"""After how long a parked suspect is run again. Each further death over a suspect of its partition doubles that."""
TRIAL_MS_MAX: Final = 3_600_000


class TakesProcessDown(Exception):
    """The code of a workflow has taken its process down too often to be run again."""


class Turns:
    """Whoever was noted before runs alone: one turn at a time for all partitions of a process."""

    def __init__(self) -> None:
        self._holder: Careful | None = None
        self._queue: deque[tuple[Careful, Callable[[], None]]] = deque()

    def take(self, who: Careful, action: Callable[[], None]) -> None:
        self._queue.append((who, action))
        self._next()

    def give(self, who: Careful) -> None:
        if self._holder is who:
            self._holder = None
            self._next()

    def awaits(self, who: Careful) -> bool:
        """It has a turn now, or waits for one."""
        return self._holder is who or any(waiting[0] is who for waiting in self._queue)

    def forget(self, who: Careful) -> None:
        """Its partition has gone."""
        self._queue = deque(waiting for waiting in self._queue if waiting[0] is not who)
        self.give(who)

    def _next(self) -> None:
        if self._holder is None and self._queue:
            self._holder, action = self._queue.popleft()
            action()


class Careful:
    """The careful mode of one partition: what runs code goes through ``run``, and waits there for its note.

    Workflows that are noted for the first time are noted and run together; one that was noted when a process ended
    before is run alone, so that the second note names the right one.
    """

    def __init__(self, shard: ShardState) -> None:
        self._shard = shard
        self._turns = shard.config.turns
        self._waiting: dict[str, deque[tuple[Callable[[], None], int | None]]] = {}
        self._when_idle: Callable[[], None] | None = None
        self.until_ms: int | None = None
        """None until everything that the former owner left has been read."""

    @property
    def is_over(self) -> bool:
        if self.until_ms is None or self._shard.now_ms < self.until_ms or self._waiting:
            return False
        return not self._turns.awaits(self)

    def run(
        self, wf: Workflow, action: Callable[[], None], inbox_offset: int | None = None, held_bytes: int = 0
    ) -> None:
        """Call ``action``, which may run code of this workflow, once that is noted; in the order of these calls."""
        self._run(wf, action, inbox_offset, held_bytes, no_code=is_suspect(self._shard, wf))

    def try_again(self, wf: Workflow, action: Callable[[], None]) -> None:
        """Call ``action``, which runs the code of a parked suspect, once that is noted, and nobody else has a trial."""
        self._run(wf, action)

    def _run(
        self,
        wf: Workflow,
        action: Callable[[], None],
        inbox_offset: int | None = None,
        held_bytes: int = 0,
        *,
        no_code: bool = False,
    ) -> None:
        hold = None if inbox_offset is None else self._shard.hold_x(inbox_offset, held_bytes)
        waiting = self._waiting.get(wf.id)
        if waiting is not None:
            waiting.append((action, hold))
            return
        self._waiting[wf.id] = deque([(action, hold)])
        if not wf.suspects:
            self._note(wf.id, 0, alone=False)
        elif no_code:
            self._run_waiting(wf.id)  # it is parked
        else:
            crashes = 0 if self._shard.config.retries_suspects else wf.crashes()
            self._turns.take(self, partial(self._note, wf.id, crashes, alone=True))

    def when_idle(self, action: Callable[[], None]) -> None:
        """Call ``action`` once nothing waits."""
        self._when_idle = action
        self._check_idle()

    def close(self) -> None:
        self._waiting.clear()
        self._turns.forget(self)

    def _note(self, workflow_id: str, crashes: int, *, alone: bool) -> None:
        writer = self._shard.writer
        key = keys.suspect(workflow_id, writer.claim)
        writer.append(key, r.Suspect(crashes + 1), then=partial(self._noted, workflow_id, alone))

    def _noted(self, workflow_id: str, alone: bool, _: int) -> None:
        shard = self._shard
        wf = shard.workflow(workflow_id)
        held, wf.noted = wf.is_held(), True
        self._run_waiting(workflow_id)
        wf.noted = False
        claim = shard.writer.claim
        if held:  # its code has not been run: what was known of it holds
            entries = [shard.writer.append(keys.suspect(wf.id, claim), None)]
        else:
            wf.suspects.setdefault(claim, 0)
            entries = shard.clear_suspicion(wf)
        if alone:  # the next may run when the log does not name this one any more
            entries[-1].then = lambda _: self._turns.give(self)

    def _run_waiting(self, workflow_id: str) -> None:
        waiting = self._waiting[workflow_id]
        while waiting:
            action, hold = waiting.popleft()
            if hold is not None:
                self._shard.release_x(hold)
            action()
        del self._waiting[workflow_id]
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._waiting and self._when_idle is not None:
            action, self._when_idle = self._when_idle, None
            action()


def is_suspect(shard: ShardState, wf: Workflow) -> bool:
    """Whether the code of this workflow is not to be run now. The first crash left no note."""
    if not wf.suspects or wf.noted or shard.config.retries_suspects:
        return False
    return bool(shard.config.crashes_max) and wf.crashes() >= _crashes_allowed(shard)


def _crashes_allowed(shard: ShardState) -> int:
    return max(1, shard.config.crashes_max - 1)


def trial_ms(shard: ShardState, wf: Workflow) -> int:
    """When a suspect is run again. Its owner counts from when it has met it: takeovers do not bring that about."""
    suspended = shard.suspended
    since_ms = suspended.setdefault(wf.id, shard.now_ms)
    met = (shard.workflows.get(workflow_id) for workflow_id in suspended)
    deaths = sum(max(0, other.crashes() - _crashes_allowed(shard)) for other in met if other is not None)
    return since_ms + min(TRIAL_MS << min(deaths, 30), TRIAL_MS_MAX)


def has_trial(shard: ShardState, wf: Workflow) -> bool:
    """It is a parked suspect, and its time has come."""
    parked = None if wf.live is None else wf.live.parked
    return parked is not None and is_suspect(shard, wf) and shard.now_ms >= trial_ms(shard, wf)


def refuse_suspect(shard: ShardState, wf: Workflow) -> None:
    """Raises ``TakesProcessDown``."""
    if is_suspect(shard, wf):
        raise TakesProcessDown(
            f'ODR-088: each of the last {wf.crashes()} times that the code of workflow "{wf.id}" was run alone or with '
            "few others, its process died (killed, out of memory, or a crash in native code; see what the process "
            "said last). It is run again by itself, alone, within the hour. If its code is to blame, mend it, and "
            "start the orchestrators once with --retry-suspects, or terminate the workflow"
        )


def refuse_closed_suspect(shard: ShardState, wf: Workflow) -> None:
    """The same for questions about runs that have ended: after the longest wait they are answered again."""
    if is_suspect(shard, wf) and shard.now_ms >= shard.suspended.setdefault(wf.id, shard.now_ms) + TRIAL_MS_MAX:
        shard.clear_suspicion(wf)
    refuse_suspect(shard, wf)
