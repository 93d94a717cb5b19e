"""Workflow types that an operator has paused: their runs record what comes, and their code does not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from odradek.orchestrator.core.run import Run
from odradek.schemas import records as r

TYPE_PAUSED: Final = "ODR-206"


class TypePaused(Exception):
    """The code of this type's runs is not to run now."""

    def __init__(self, control: r.TypeControl) -> None:
        kind, why = control.workflow_type, f": {control.reason}" if control.reason else ""
        super().__init__(
            f'{TYPE_PAUSED}: workflow type "{kind}" is paused by an operator ({control.identity}){why}; '
            f'"odradek workflow resume-type {kind}" lets its runs go on'
        )
        self.since_ms = control.paused_ms


def refuse_paused(types: Mapping[str, r.TypeControl], run: Run) -> None:
    """Raises ``TypePaused``."""
    control = types.get(run.started.workflow_type) if run.started is not None else None
    if control is not None:
        raise TypePaused(control)


def as_parked(types: Mapping[str, r.TypeControl], run: Run, now_ms: int) -> r.Parked | None:
    """What is so of a run that nothing has come for since its type was paused."""
    control = types.get(run.started.workflow_type) if run.started is not None else None
    if control is None:
        return None
    return r.Parked(TYPE_PAUSED, str(TypePaused(control)), control.paused_ms, now_ms, 0)
