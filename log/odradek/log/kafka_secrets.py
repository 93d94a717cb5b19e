"""Settings that are secrets: they show nothing where they are printed, and may change in their files meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

_SECRET: Final = re.compile(r"password|secret|passphrase|\.pem$|^sasl\.oauthbearer\.config$")


class Secret(str):
    """A text that is not shown where values are: in a ``repr``, and in tracebacks with variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class FileSecret(Secret):
    """One that stands in a file, and may be another one there by now."""

    source: Callable[[], str] | None

    def __new__(cls, text: str, source: Callable[[], str] | None = None) -> Self:
        made = super().__new__(cls, text)
        made.source = source
        return made

    def read(self) -> Secret:
        """As it is now; as it was, while nothing can be read: mounts are replaced, too."""
        try:
            return Secret((self.source and self.source()) or self)
        except (OSError, ValueError, KeyError):
            return Secret(self)


def is_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def hidden(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings, of which the secret ones do not show what they are."""
    return {name: _hidden(value) if is_secret(name) else value for name, value in config.items()}


def _hidden(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) and not isinstance(value, Secret) else value
