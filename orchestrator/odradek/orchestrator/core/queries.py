"""Queries: questions to a run's code, open or closed. They decide nothing and write nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from odradek.common import QueryRejectCondition
from odradek.orchestrator.core.closed_runs import ClosedRun
from odradek.orchestrator.core.instance import WorkflowInstance
from odradek.orchestrator.core.state import InboxItem
from odradek.orchestrator.core.workflow import LiveRun, Workflow
from odradek.schemas import records as r
from odradek.schemas.records import RunStatus

if TYPE_CHECKING:
    from odradek.orchestrator.core.inputs import Inputs


def on_query(shard: Inputs, wf: Workflow, item: InboxItem, body: r.QueryWorkflow) -> None:
    live = shard.run_in_memory(wf, body.run_id)
    if live is not None:
        _ask_live(shard, live, body)
        return
    run_id = shard.known_run(wf, body.run_id)
    if run_id is None:
        shard.refuse_closed_or_unknown(wf, item, body.run_id, body.request, None)
        return
    status = wf.closed[run_id].status
    rejected = _rejected(wf.id, run_id, status, body)
    if rejected is not None:
        shard.answer(body.request, rejected)
        return

    def read(closed: ClosedRun) -> None:
        try:
            instance = shard.closed_instance(closed)
        except Exception as error:  # user code and replay can raise anything; the question is what failed
            shard.answer(body.request, _cannot(wf.id, run_id, status, error))
            return
        shard.answer(body.request, _answer(instance, wf.id, run_id, status, body))
        if instance.spoiled:
            instance.close()
            closed.instance = None

    shard.with_closed_run(wf, run_id, body.request, read)


def _ask_live(shard: Inputs, live: LiveRun, body: r.QueryWorkflow) -> None:
    run, request = live.run, body.request
    rejected = _rejected(run.workflow_id, run.run_id, run.status, body)
    if rejected is not None:
        shard.answer_about(live, request, rejected)
        return
    if live.parked is not None or run.deferred:
        why = live.parked.message if live.parked else "its code has not seen all of its inputs yet"
        message = f'ODR-108: workflow "{run.workflow_id}" is parked and cannot answer: {why}'
        shard.answer_about(live, request, r.Refused("ODR-108", message, run.run_id, run.status))
        return
    try:
        instance = shard.instance(live)
    except Exception as error:
        shard.answer_about(live, request, _cannot(run.workflow_id, run.run_id, run.status, error))
        return
    answer = _answer(instance, run.workflow_id, run.run_id, run.status, body)
    if instance.spoiled:
        shard.drop_instance(live)
    if body.consistent:
        shard.writer.mark()
    shard.answer_about(live, request, answer)


def _answer(instance: WorkflowInstance, workflow_id: str, run_id: str, status: str, body: r.QueryWorkflow) -> Any:
    try:
        return instance.query(body.name, body.input, body.headers)
    except LookupError as error:
        return r.Refused("ODR-107", f"ODR-107: {error}", run_id, status)
    except Exception as error:
        return _cannot(workflow_id, run_id, status, error)


def _cannot(workflow_id: str, run_id: str, status: str, error: Exception) -> r.Refused:
    message = f'ODR-108: the code of workflow "{workflow_id}" cannot answer: {error}'
    return r.Refused("ODR-108", message, run_id, status)


def _rejected(workflow_id: str, run_id: str, status: str, body: r.QueryWorkflow) -> r.Refused | None:
    clean = status in (RunStatus.RUNNING, RunStatus.COMPLETED)
    match body.reject_condition:
        case QueryRejectCondition.NOT_OPEN if status != RunStatus.RUNNING:
            pass
        case QueryRejectCondition.NOT_COMPLETED_CLEANLY if not clean:
            pass
        case _:
            return None
    message = f'ODR-106: workflow "{workflow_id}" is {status}, and the query asked not to be answered then'
    return r.Refused("ODR-106", message, run_id, status)
