"""The base of converters for one encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from odradek.schemas.records import Payload


class EncodingPayloadConverter(ABC):
    """Converts single values in one encoding, as a part of a ``CompositePayloadConverter``."""

    encoding: str
    """What stands in ``Payload.encoding`` of everything that this converter writes, and reads."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """None: this value is for another converter."""

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """The value, of this type if a hint is given. Raises ``PayloadUnreadable``."""
