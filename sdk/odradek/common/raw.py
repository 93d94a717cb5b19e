"""A value that no converter touches."""

from __future__ import annotations

from dataclasses import dataclass

from odradek.schemas.records import Payload


@dataclass(frozen=True)
class RawValue:
    """A payload handed over as it is: as an argument or result it is not converted, as a type hint it asks for that.

    A codec still applies. Dynamic workflows and activities receive their arguments like this.
    """

    payload: Payload
