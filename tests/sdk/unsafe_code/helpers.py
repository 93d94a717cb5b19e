"""What the workflows beside this call: ``# error: x`` says what the check finds in the line, and whose it is."""

from __future__ import annotations

import os
import time as clock
from dataclasses import dataclass, field
from pathlib import Path

SEEN: list[str] = []
LIMITS = {"small": 1}


def stamped(text: str) -> str:
    return f"{text} {clock.time()}"  # error: time.time()


def through(text: str) -> str:
    return stamped(text)


def region() -> str:
    return os.environ["REGION"]  # error: os.environ


def allowed_region() -> str:  # odradek: deterministic
    return os.environ["REGION"]


def remember(text: str) -> None:
    SEEN.append(text)  # error: SEEN.append()


def known() -> int:
    return LIMITS["small"]


def read(path: str) -> str:
    """Only ever passed on as a step."""
    return Path(path).read_text()


@dataclass
class Basket:
    goods: list[str] = field(default_factory=list)
    path: Path = Path("x")

    def __post_init__(self) -> None:
        self.path.exists()

    def add(self, text: str) -> None:
        self.goods.append(text)

    def save(self) -> None:
        with open("basket", "w") as file:  # error: open()
            file.write(",".join(self.goods))

    @property
    def size(self) -> int:
        return os.stat("basket").st_size  # error: os.stat()


class Store:
    def save(self) -> None:
        Path("store").write_text("x")  # error: pathlib.Path.write_text()
