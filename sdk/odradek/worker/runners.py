"""What code from elsewhere names as its way to run workflows: nothing is imported anew here, guarded or not."""

from __future__ import annotations


class WorkflowRunner:
    """How a worker or a replayer runs workflows."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Neither checks workflows when they are registered nor guards them while they run."""


def is_sandboxed(runner: WorkflowRunner | None, *, debug_mode: bool) -> bool:
    """Whether workflows are checked and guarded."""
    return not (debug_mode or isinstance(runner, UnsandboxedWorkflowRunner))
