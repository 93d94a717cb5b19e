"""What code from elsewhere names as its way to run workflows: there is one way here, and it imports nothing anew."""

from __future__ import annotations


class WorkflowRunner:
    """Accepted where a worker is made, and without effect."""


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """How workflows always run here: in the modules as they were imported."""
