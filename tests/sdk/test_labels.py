"""Names that others choose do not fill the memory."""

from __future__ import annotations

from odradek.common.labels import OTHERS, Names


def test_so_many_names_are_shown_and_then_one_for_all() -> None:
    names = Names(2)
    assert [names.shown(name) for name in ("Order", "Refund", "Order-7", "Order", "Order-8")] == [
        "Order", "Refund", OTHERS, "Order", OTHERS,
    ]  # fmt: skip
