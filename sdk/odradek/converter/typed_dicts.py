"""Before Python 3.12 pydantic takes the TypedDict of typing_extensions only. Here a hint is made anew with that one."""

from __future__ import annotations

import functools
import operator
import types
import typing
from typing import Any

import typing_extensions


def with_typed_dicts(hint: Any) -> Any:
    """The same hint; those that stand inside dataclasses and models are left as they are."""
    if typing.is_typeddict(hint):
        return _replaced(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if not arguments or origin is typing.Literal:
        return hint
    if origin in (typing.Required, typing.NotRequired, typing.Annotated):
        return origin[(with_typed_dicts(arguments[0]), *arguments[1:])]
    made = tuple(with_typed_dicts(argument) for argument in arguments)
    if origin in (types.UnionType, typing.Union):
        return functools.reduce(operator.or_, made)
    generic: Any = origin
    return generic[made] if isinstance(origin, type) else hint


@functools.cache
def _replaced(typed_dict: Any) -> Any:
    required = typed_dict.__required_keys__
    members = {
        name: typing.Required[with_typed_dicts(hint)]
        if name in required
        else typing.NotRequired[with_typed_dicts(hint)]
        for name, hint in typing.get_type_hints(typed_dict).items()
    }
    make: Any = typing_extensions.TypedDict
    return make(typed_dict.__name__, members)
