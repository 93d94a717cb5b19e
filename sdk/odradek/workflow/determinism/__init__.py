"""Finds what would make a workflow decide otherwise in a replay: before it runs (``check``), and while (``guard``)."""

from odradek.workflow.determinism.check import NondeterministicCode, check, require
from odradek.workflow.determinism.findings import Finding
from odradek.workflow.runtime import RestrictedWorkflowAccessError

__all__ = ["Finding", "NondeterministicCode", "RestrictedWorkflowAccessError", "check", "require"]
