"""Arguments on the command line: JSON values and durations."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from odradek.cli.errors import InputInvalid

NUMBER_MAX: Final = 100 * 366 * 24 * 3600
"""A hundred years in seconds."""
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def json_value(option: str, given: str) -> Any:
    """The value of a JSON text, or of the file behind an ``@``. Raises ``InputInvalid``."""
    try:
        text = Path(given[1:]).read_text() if given.startswith("@") else given
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        problem = f"is not JSON ({error}): a text needs its quotes, as in '\"text\"'"
        raise InputInvalid(option, given, problem) from None


def _values(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(json_value("--input", one) for one in given)


def input_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds ``--input``, whose values the command gets as a tuple."""
    text = "One argument as JSON, or @FILE; repeatable, in order."
    return click.option("--input", multiple=True, metavar="JSON", callback=_values, help=text)(function)


class Number(click.FloatRange):
    """A number in a range; none that Python's durations cannot be, such as ``nan`` and ``inf``."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        number = float(super().convert(value, parameter, context))
        if not abs(number) <= NUMBER_MAX:
            self.fail(f"{value} is no number up to {NUMBER_MAX:,}.", parameter, context)
        return number


def seconds_option(name: str, text: str) -> Decorator:
    """Adds an option in seconds, which the command gets as a duration."""

    def to_duration(context: click.Context, parameter: click.Parameter, seconds: float | None) -> timedelta | None:
        return None if seconds is None else timedelta(seconds=seconds)

    return click.option(name, type=Number(0, min_open=True), metavar="SECONDS", callback=to_duration, help=text)
