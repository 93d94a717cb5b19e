"""What those who wait for the result of a parked run are told, where nobody is going to bring better code: in tests."""

from __future__ import annotations

import traceback

from odradek.schemas import records as r


def refusal(workflow_id: str, run_id: str, workflow_type: str, error: Exception) -> r.Refused:
    """``error`` is what parked the run; the code's own error, if there is one, is its cause."""
    cause = error.__cause__
    shown = "" if cause is None else "\n\n" + "".join(traceback.format_exception(cause)).rstrip()
    return r.Refused(
        "ODR-160",
        f'ODR-160: workflow "{workflow_id}" of type "{workflow_type}" is parked and would wait for better code for '
        f"ever: {error}. Put the code right, or let it raise ApplicationError (or a type of "
        f"failure_exception_types) where the workflow shall fail.{shown}",
        run_id,
        r.RunStatus.RUNNING,
    )
