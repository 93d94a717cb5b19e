"""Tools for testing workflows and activities: environments with a clock that skips time, and a pytest plugin."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odradek.testing.activities import ActivityEnvironment
    from odradek.testing.environment import WorkflowEnvironment

__all__ = ["ActivityEnvironment", "WorkflowEnvironment"]


def __getattr__(name: str) -> object:
    # pytest imports this package for its plugin in every run, of projects that do not use it, too.
    if name == "ActivityEnvironment":
        return import_module("odradek.testing.activities").ActivityEnvironment
    if name == "WorkflowEnvironment":
        return import_module("odradek.testing.environment").WorkflowEnvironment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
