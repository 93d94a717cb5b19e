"""Options that code from elsewhere gives, and that have no meaning here: accepted, with one warning each."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from typing import Any

_log = logging.getLogger("odradek")
_warned: set[tuple[str, str]] = set()


def accept(owner: str, options: Mapping[str, Any], without_meaning: Container[str]) -> None:
    """Raises ``TypeError`` for an option that nobody knows; one that is empty or None is passed over in silence."""
    for name, value in options.items():
        if name not in without_meaning:
            raise TypeError(f'{owner} has no option "{name}"')
        if value not in (None, (), [], {}, False, "") and (owner, name) not in _warned:
            _warned.add((owner, name))
            _log.warning('the option "%s" of %s has no meaning here and is ignored', name, owner)
