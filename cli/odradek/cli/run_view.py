"""Runs as rows, tables and JSON. Decides nothing, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from odradek.cli.output import local_text, time_text
from odradek.cli.standing import clock, error_words, standing, status_word

if TYPE_CHECKING:
    from rich.table import Table

    from odradek.client import PendingWait, WorkflowExecution, WorkflowExecutionDescription


HIDDEN = "(shown with --values)"


def run_row(run: WorkflowExecution) -> list[str]:
    status = status_word(run) + (" (parked)" if run.parked else "")
    return [status, run.workflow_type, run.id, local_text(run.start_time), local_text(run.close_time), run.run_id]


def run_json(run: WorkflowExecution) -> dict[str, Any]:
    return {
        "workflow_id": run.id,
        "run_id": run.run_id,
        "workflow_type": run.workflow_type,
        "task_queue": run.task_queue,
        "status": status_word(run).lower().replace(" ", "-"),
        "start_time": time_text(run.start_time),
        "close_time": time_text(run.close_time),
        "version": run.version or None,
        "parked": _parked_json(run),
        "parent": _parent_json(run),
        "search_attributes": {pair.key.name: pair.value for pair in run.typed_search_attributes},
    }


def description_json(
    run: WorkflowExecutionDescription, memo: Mapping[str, Any], now: datetime, *, values: bool
) -> dict[str, Any]:
    return {
        **run_json(run),
        "standing": standing(run, now),
        "first_run_id": run.first_execution_run_id,
        "history_events": run.history_length,
        "history_bytes": run.history_size,
        "waits": [_wait_json(wait, values=values) for wait in run.waits],
        "memo": dict(memo),
        "summary": run.recorded_summary or None,
        "details": run.recorded_details or None,
        "current_details": run.current_details or None,
    }


def facts_table(run: WorkflowExecutionDescription, memo: Mapping[str, Any]) -> Table:
    """The facts of a run, a name and a value in each row."""
    from rich.markup import escape
    from rich.table import Table

    first = "" if run.first_execution_run_id == run.run_id else run.first_execution_run_id
    size = f", {run.history_size} bytes" if run.history_size else ""
    facts = {
        "workflow": run.id,
        "run": run.run_id,
        "first run": first,
        "type": run.workflow_type,
        "version": run.version,
        "task queue": run.task_queue,
        "namespace": run.namespace,
        "parent": _parent(run),
        "started": local_text(run.start_time),
        "closed": local_text(run.close_time),
        "history": f"{run.history_length} events{size}",
        "summary": run.recorded_summary,
        "details": run.recorded_details,
        "now": run.current_details,
        **{f"memo {name}": str(value) for name, value in memo.items()},
        **{pair.key.name: str(pair.value) for pair in run.typed_search_attributes},
    }
    if run.parked is not None:
        facts["parked"] = run.parked.message
        facts["parked since"] = local_text(run.parked.since)
        facts["next try"] = local_text(run.parked.next_try)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(escape(name), escape(value))
    return table


def waits_table(run: WorkflowExecutionDescription, now: datetime) -> Table:
    """What a run waits for, one in each row."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table("waits for", "name", "ID", "state", "attempt", "due", "worker", "last failure", box=box.SIMPLE_HEAD)
    for wait in run.waits:
        cells = [
            wait.kind,
            wait.name,
            wait.activity_id,
            wait.state,
            str(wait.attempt or ""),
            clock(wait.due_time, now) if wait.due_time else "",
            wait.worker,
            _failure(wait),
        ]
        table.add_row(*(escape(cell) for cell in cells))
    return table


def _failure(wait: PendingWait) -> str:
    return "" if wait.last_failure is None else error_words(wait.last_failure)


def _parent(run: WorkflowExecution) -> str:
    if run.parent_id is None:
        return ""
    where = "" if run.parent_namespace == run.namespace else f" of namespace {run.parent_namespace}"
    return f"{run.parent_id}{where}, run {run.parent_run_id}"


def _parent_json(run: WorkflowExecution) -> dict[str, Any] | None:
    if run.parent_id is None:
        return None
    return {
        "namespace": run.parent_namespace,
        "workflow_id": run.parent_id,
        "run_id": run.parent_run_id,
        "root_workflow_id": run.root_id,
        "root_run_id": run.root_run_id,
    }


def _parked_json(run: WorkflowExecution) -> dict[str, Any] | None:
    parked = run.parked
    if parked is None:
        return None
    return {
        "code": parked.code,
        "message": parked.message,
        "since": time_text(parked.since),
        "next_try": time_text(parked.next_try),
        "failures": parked.failures,
    }


def _wait_json(wait: PendingWait, *, values: bool) -> dict[str, Any]:
    return {
        "kind": wait.kind,
        "name": wait.name,
        "seq": wait.seq,
        "activity_id": wait.activity_id or None,
        "pause_reason": wait.pause_reason or None,
        "task_queue": wait.task_queue or None,
        "unserved_seconds": None if wait.unserved is None else wait.unserved.total_seconds(),
        "state": wait.state or None,
        "attempt": wait.attempt or None,
        "due_time": time_text(wait.due_time),
        "worker": wait.worker or None,
        "last_failure": _failure(wait) or None,
        "heartbeat_details": list(wait.heartbeat_details) if values else [HIDDEN for _ in wait.heartbeat_details],
    }
