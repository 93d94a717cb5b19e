"""Erases what is remembered of closed runs, but for what keeps a repeated request or message from counting twice. Pure.

The summaries that are left hold IDs, times and the number of events, and go when no copy of what the runs took in can
come any more.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from odradek.orchestrator.core.run import MESSAGE_LIFETIME_MS
from odradek.schemas import records as r

if TYPE_CHECKING:
    from odradek.orchestrator.core.inputs import Inputs
    from odradek.orchestrator.core.state import InboxItem
    from odradek.orchestrator.core.workflow import LiveRun, Workflow

ERASED: Final = "ODR-253: the data of this run was erased on request, and its result with it"


def on_erase(shard: Inputs, wf: Workflow, item: InboxItem, body: r.EraseWorkflow) -> None:
    """Refused while a run is open or ending. Twice is once, and nothing to erase is as good as erased.

    Whoever reads the request again decides the same: runs that have taken in what stands behind it were open then, or
    have begun since.
    """
    if shard.answered_before(wf, body.request):
        return
    live = wf.live if wf.live is not None and wf.live.run.inbox_offset < item.offset else None
    open_run = live or next(iter(wf.ending.values()), None)
    if open_run is not None:
        _refuse(shard, item, body.request, open_run, decided=live is not None)
        return
    for run_id, summary in list(wf.closed.items()):
        if summary.status != r.RunStatus.REFUSED and summary.inbox_offset < item.offset:
            _erase(shard, wf, run_id, summary)
    shard.reschedule(wf)
    # What has been written above lies before whatever carries an x past this request.
    shard.writer.when_x(item.offset, lambda: shard.answer(body.request, r.Accepted("")))


def _refuse(shard: Inputs, item: InboxItem, request: r.Request, open_run: LiveRun, *, decided: bool) -> None:
    run = open_run.run
    message = (
        f'ODR-252: workflow "{run.workflow_id}" has an open run ({run.run_id}), and only what is closed can be erased: '
        "let it end, or terminate it first"
    )
    refusal = r.Refused("ODR-252", message, run.run_id, run.status)
    if decided:
        run.inbox_offset = item.offset
        shard.note(open_run, r.RequestRefused(r.RequestSeen(request.id, request.expires_ms), refusal.code, message))
        shard.answer_with(open_run, request, refusal)
    else:  # the end of the run is being written down, and nothing can be added to it
        shard.answer(request, refusal)


def _erase(shard: Inputs, wf: Workflow, run_id: str, summary: r.Summary) -> None:
    if summary.failure is not None and summary.failure.message == ERASED:
        return
    requests, refusals, messages = wf.remembered.as_records(run_id, shard.inbox_ms)
    whole = dataclasses.replace(
        summary,
        status=r.RunStatus.TERMINATED,
        result=None,
        failure=r.Failure(r.FailureKind.TERMINATED, ERASED),
        archive=(),
        memo={},
        search_attributes={},
        expires_ms=min(summary.expires_ms, shard.now_ms + MESSAGE_LIFETIME_MS),
        requests=requests,
        refusals=refusals,
        messages=messages,
    )
    wf.closed[run_id] = whole
    shard.closed_runs.forget(run_id)
    shard.write_summary(wf, run_id, whole)
