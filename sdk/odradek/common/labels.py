"""Values of labels that others choose, such as names of types: so many, and then one for all that come."""

from __future__ import annotations

from typing import Final

NAMES_MAX: Final = 1000
OTHERS: Final = "(others)"


class Names:
    """Of one label. Code that puts an ID into a name must not fill the memory of this process, and of Prometheus."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._names_max = names_max
        self._shown: set[str] = set()

    def shown(self, name: str) -> str:
        """The name, or ``OTHERS``."""
        if name not in self._shown:
            if len(self._shown) >= self._names_max:
                return OTHERS
            self._shown.add(name)
        return name
