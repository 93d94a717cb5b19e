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
    """The lambda as it stands in its file, on one line."""
    columns = [(line, end_line, start, end) for line, end_line, start, end in code.co_positions() if line and end]
    first = code.co_firstlineno
    last = max((end_line or first for _, end_line, _, _ in columns), default=first)
    lines = [linecache.getline(code.co_filename, number) for number in range(first, last + 1)]
    if not "".join(lines).strip():
        return "lambda"
    ends = [end for _, end_line, _, end in columns if end_line == last and end is not None]
    if ends:
        lines[-1] = lines[-1].encode()[: max(ends)].decode(errors="replace")
    text = " ".join(" ".join(lines).split())
    found = text.rfind("lambda", 0, text.find("lambda") + 6) if text.count("lambda") == 1 else text.find("lambda")
    text = text[max(found, 0) :]
    return text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"
