"""What the static check finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of code that may do otherwise in a replay."""

    file: str
    line: int
    function: str
    """The qualified name of the function that the line is in."""
    what: str
    """The call, the assignment, the loop."""
    reason: str
    instead: str
    """What to write."""
    is_error: bool = True
    """Else a warning: it depends on what the code makes of it."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what} in {self.function}: {self.reason}; {self.instead}"
