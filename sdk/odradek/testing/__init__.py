"""Tools for testing workflows and activities: environments with a clock that skips time, and a pytest plugin."""

from odradek.testing.activities import ActivityEnvironment
from odradek.testing.environment import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]
