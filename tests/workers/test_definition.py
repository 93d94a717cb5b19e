"""What can be an activity, and what it says about itself."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest

from odradek import activity
from odradek.activity import InvalidActivity, _Definition
from odradek.common import RawValue


@activity.defn
def plain(text: str, count: int = 1) -> list[str]:
    return [text] * count


def test_name_types_and_kind_are_read_from_the_function() -> None:
    definition = _Definition.must_from_callable(plain)
    assert (definition.name, definition.arg_types, definition.ret_type) == ("plain", (str, int), list[str])
    assert not definition.is_async
    assert plain("a", 2) == ["a", "a"]


def test_bound_methods_and_partials_are_called_as_given() -> None:
    class Shop:
        @activity.defn(name="ship-it", no_thread_cancel_exception=True)
        async def ship(self, order: str) -> None: ...

    definition = _Definition.must_from_callable(Shop().ship)
    assert (definition.name, definition.arg_types, definition.is_async) == ("ship-it", (str,), True)
    assert definition.no_thread_cancel_exception
    assert _Definition.must_from_callable(Shop.ship).name == "ship-it"
    bound = _Definition.must_from_callable(functools.partial(plain, "x"))
    assert bound.fn() == ["x"]


def test_missing_annotations_mean_no_types() -> None:
    @activity.defn
    async def untyped(a, b: int): ...  # type: ignore[no-untyped-def]  # noqa: ANN001,ANN202

    assert _Definition.must_from_callable(untyped).arg_types is None


def test_mistakes_are_found_at_the_definition() -> None:
    with pytest.raises(InvalidActivity, match="keyword-only"):

        @activity.defn
        def keyword_only(*, a: int) -> None: ...

    with pytest.raises(InvalidActivity, match="cannot have a name"):

        @activity.defn(name="x", dynamic=True)
        def named(arguments: Sequence[RawValue]) -> None: ...

    with pytest.raises(InvalidActivity, match=r"Sequence\[RawValue\]"):

        @activity.defn(dynamic=True)
        def wrong(argument: str) -> None: ...

    undecorated: Any = print
    with pytest.raises(TypeError, match="ODR-125"):
        _Definition.must_from_callable(undecorated)
