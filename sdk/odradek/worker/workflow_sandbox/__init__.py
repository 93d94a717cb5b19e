"""Names of a sandbox, for code that was written for one. Modules are not imported anew for each run here.

Workflows are checked and guarded instead (``odradek.workflow.determinism``), so restrictions have no effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from odradek.worker.runners import WorkflowRunner
from odradek.workflow.determinism import RestrictedWorkflowAccessError

__all__ = ["RestrictedWorkflowAccessError", "SandboxMatcher", "SandboxRestrictions", "SandboxedWorkflowRunner"]


@dataclass(frozen=True)
class SandboxMatcher:
    """Accepted, without effect."""

    access: Any = ()
    use: Any = ()
    children: Any = field(default_factory=dict)


@dataclass(frozen=True)
class SandboxRestrictions:
    """Accepted, without effect."""

    passthrough_modules: Any = ()
    invalid_modules: Any = None
    invalid_module_members: Any = None
    passthrough_all_modules: bool = True
    default: ClassVar[SandboxRestrictions]

    def with_passthrough_modules(self, *modules: str) -> Self:
        return self

    def with_passthrough_all_modules(self) -> Self:
        return self


SandboxRestrictions.default = SandboxRestrictions()


class SandboxedWorkflowRunner(WorkflowRunner):
    """Workflows are checked and guarded, as they are by default; ``restrictions`` have no effect."""

    def __init__(self, restrictions: SandboxRestrictions = SandboxRestrictions.default, **other: Any) -> None:
        self.restrictions = restrictions
