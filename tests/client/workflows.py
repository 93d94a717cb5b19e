"""Workflow classes as the decorators leave them, without the workflow package."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class Order:
    async def run(self, amount: int) -> list[int]:
        raise NotImplementedError

    async def approve(self, by: str) -> None:
        raise NotImplementedError

    def total(self) -> float:
        raise NotImplementedError

    def part(self, first: int, second: int) -> tuple[int, int]:
        raise NotImplementedError


class Anything:
    async def run(self) -> None:
        raise NotImplementedError


def _mark(target: Any, attribute: str, **fields: Any) -> None:
    setattr(target, f"__odradek_{attribute}_definition__", SimpleNamespace(**fields))


for _target in (Order, Order.run):
    _mark(_target, "workflow", name="Order", run_arg_types=[int], run_return_type=list[int])
_mark(Order.approve, "signal", name="approve")
_mark(Order.total, "query", name="total", ret_type=float)
_mark(Order.part, "query", name="part", ret_type=tuple[int, int])
_mark(Anything.run, "workflow", name=None, run_arg_types=None, run_return_type=None)
