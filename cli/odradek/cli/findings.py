"""What ``odradek doctor`` says of one thing, and what it could do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Repair:
    """A change that loses nothing. ``setting`` None: the topic is made."""

    topic: str
    setting: str | None = None
    found: str = ""
    wanted: str = ""

    @property
    def words(self) -> str:
        if self.setting is None:
            return f"make topic {self.topic}"
        return f"set {self.setting} of {self.topic} to {self.wanted} (it is {self.found})"


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    level: Level
    text: str
    advice: str = ""
    repair: Repair | None = None

    def as_json(self) -> dict[str, Any]:
        found = {"check": self.check, "level": self.level, "text": self.text, "advice": self.advice}
        return found | ({"repair": self.repair.words} if self.repair else {})


def some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
