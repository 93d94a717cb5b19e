"""Explores every state that a model can reach, breadth first, and prints the shortest way to one that must not be.

A model is a value with the safety devices that are in use; a state is any hashable value.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, NamedTuple, Self, TypeVar

S = TypeVar("S", bound=Hashable)
Step = tuple[object, ...]
"""What happened; put into words only when it stands in a trace."""


@dataclass(frozen=True)
class Model(ABC, Generic[S]):
    """Bounds are fields of the subclass; ``removed`` names the devices that are taken away."""

    DEVICES: ClassVar[dict[str, str]] = {}
    """Every safety device, with what it is in a sentence."""
    removed: frozenset[str] = frozenset()

    def without(self, *devices: str) -> Self:
        assert set(devices) <= set(self.DEVICES), devices
        return replace(self, removed=self.removed | frozenset(devices))

    def has(self, device: str) -> bool:
        return device not in self.removed

    @abstractmethod
    def initial(self) -> S: ...

    @abstractmethod
    def steps(self, state: S) -> Iterator[tuple[Step, S]]:
        """Everything that may happen next: (what, the state after it)."""

    @abstractmethod
    def broken(self, state: S) -> str | None:
        """The invariant that does not hold in this state."""


class Broken(NamedTuple):
    """An invariant, and the fewest steps to a state in which it does not hold."""

    why: str
    trace: list[str]
    state: object

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:2}. {step}" for number, step in enumerate(self.trace, 1))
        return f"{self.why}, after\n{steps}\n  in {self.state}"


class Result(NamedTuple):
    states: int
    complete: bool
    """Every reachable state was seen."""
    broken: Broken | None

    def __str__(self) -> str:
        if self.broken is not None:
            return f"VIOLATED ({self.states} states): {self.broken}"
        return f"holds in {'all' if self.complete else 'the first'} {self.states} states"


def explore(model: Model[S], states_max: int = 5_000_000) -> Result:
    """Look at every reachable state; stop at the first violation, or after ``states_max`` states."""
    collecting = gc.isenabled()
    gc.disable()  # millions of live tuples, and no cycles
    try:
        return _explore(model, states_max)
    finally:
        if collecting:
            gc.enable()


def _explore(model: Model[S], states_max: int) -> Result:
    first = model.initial()
    reached: dict[S, tuple[S, Step] | None] = {first: None}
    layer = [first]
    while layer:
        following: list[S] = []
        for state in layer:
            for step, after in model.steps(state):
                came = (state, step)
                if reached.setdefault(after, came) is not came:
                    continue
                why = model.broken(after)
                if why is not None:
                    return Result(len(reached), False, Broken(why, _trace(reached, after), after))
                following.append(after)
            if len(reached) > states_max:
                return Result(len(reached), False, None)
        layer = following
    return Result(len(reached), True, None)


def _trace(reached: dict[S, tuple[S, Step] | None], state: S) -> list[str]:
    steps: list[str] = []
    before = reached[state]
    while before is not None:
        steps.append(" ".join(str(part) for part in before[1]))
        before = reached[before[0]]
    return steps[::-1]
