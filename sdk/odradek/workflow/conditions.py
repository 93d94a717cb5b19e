"""Names for what workflow code waits for: where a condition is written, and how it reads. For people, not for code."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

TEXT_LENGTH_MAX = 120


def condition_name(predicate: Callable[[], Any]) -> str:
    """``lambda: self.paid (orders.py:41)``; of a named function its qualified name."""
    function = getattr(predicate, "__func__", getattr(predicate, "func", predicate))
    code = getattr(function, "__code__", None)
    if code is None:
        return str(getattr(function, "__qualname__", type(predicate).__qualname__))
    where = f"{PurePath(code.co_filename).name}:{code.co_firstlineno}"
    name = _lambda_text(code) if code.co_name == "<lambda>" else function.__qualname__
    return f"{name} ({where})"


def _lambda_text(code: Any) -> str:
    """The lambda as it stands in its file, on one line; without the file, no more than that it is one."""
    places = [place for place in code.co_positions() if None not in place and place[3] > 0]
    first = code.co_firstlineno
    last = max((end_line for _, end_line, _, _ in places), default=first)
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not places or not all(lines):
        return "lambda"
    lines[-1] = lines[-1][: max(end for _, end_line, _, end in places if end_line == last)]
    begins = min((start for line, _, start, _ in places if line == first), default=len(lines[0]))
    lines[0] = lines[0][max(lines[0].rfind(b"lambda", 0, begins), 0) :]
    text = " ".join(b" ".join(lines).decode(errors="replace").split())
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"
