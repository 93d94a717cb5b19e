"""Parents and children as clients and the command show them."""

from __future__ import annotations

import io

from rich.console import Console

from odradek.cli.run_view import facts_table, run_json
from odradek.client import PendingWait, WorkflowExecutionDescription
from odradek.client.description import WorkflowExecution
from odradek.client.filter_parsing import parse_filter
from odradek.client.listing import Run
from odradek.converter import DataConverter
from odradek.schemas.records import Description, ParentLink, VisibilityRecord, Wait

PARENT = ParentLink("shop", "order-1", "r0", 3, "tour-7", "r9")
CHILD = VisibilityRecord("charge", "r1", 1, 1, "Charge", "q", "running", 0, parent=PARENT)
ALONE = VisibilityRecord("order-2", "r2", 1, 1, "Order", "q", "running", 0)


def test_listed_child_names_its_parent_and_its_root() -> None:
    child = WorkflowExecution.of_visibility(CHILD, "payments", DataConverter.default)
    assert (child.parent_id, child.parent_run_id, child.parent_namespace) == ("order-1", "r0", "shop")
    assert (child.root_id, child.root_run_id) == ("tour-7", "r9")
    alone = WorkflowExecution.of_visibility(ALONE, "payments", DataConverter.default)
    assert (alone.parent_id, alone.parent_run_id, alone.root_id, alone.root_run_id) == (None, None, "order-2", "r2")
    assert run_json(child)["parent"]["workflow_id"] == "order-1"
    assert run_json(alone)["parent"] is None


def test_children_are_found_by_their_parent() -> None:
    wanted = parse_filter("ParentWorkflowId = 'order-1' AND ParentRunId = 'r0'")
    assert [wanted.matches(Run(record)) for record in (CHILD, ALONE)] == [True, False]


async def test_command_shows_the_parent() -> None:
    wait = Wait("child", 'Receipt "r"', 1, state="starting")
    description = Description("r1", "r1", "Charge", "q", "running", 0, None, 2, 90, [wait], parent=PARENT)
    shown = await WorkflowExecutionDescription.of(description, "charge", "payments", DataConverter.default)
    assert shown.waits == [PendingWait("child", 'Receipt "r"', 1, state="starting")]
    out = io.StringIO()
    Console(width=200, file=out).print(facts_table(shown, {}))
    assert "order-1 of namespace shop, run r0" in out.getvalue()
