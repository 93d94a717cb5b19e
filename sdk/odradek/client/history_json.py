"""Histories as JSON that people can read, and back without a loss. Pure.

A record is an object without the fields that have their default; a member of a union says its ``type``; JSON payloads
are shown as JSON, wherever that gives the same bytes when read again.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from odradek.schemas.compiled import members
from odradek.schemas.records import Event, Payload

_JSON: Final = "json/plain"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME: Final = " ms"


def event_to_json(event: Event) -> dict[str, Any]:
    shown = record_to_json(event)
    del shown["body"], shown["time_ms"]
    body = record_to_json(event.body)
    return {"type": type(event.body).__name__, "time": _time_to_json(event.time_ms), **shown, "body": body}


def event_from_json(shown: Mapping[str, Any]) -> Event:
    """Raises ``ValueError`` for what is no event."""
    body_type = _event_types().get(shown.get("type", ""))
    if body_type is None:
        raise ValueError(f"{shown.get('type')!r} is no type of event that this build knows")
    rest = {name: value for name, value in shown.items() if name not in ("type", "time", "body")}
    try:
        body = _record_from_json(body_type, shown.get("body", {}))
        return Event(body=body, time_ms=_time_from_json(shown["time"]), **rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no event of type {body_type.__name__}: {error!r}") from error


def payload_to_json(payload: Payload) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if payload.encoding != _JSON:
        shown["encoding"] = payload.encoding
    if payload.metadata:
        shown["metadata"] = {name: _bytes_to_json(value) for name, value in payload.metadata.items()}
    if not payload.data:
        return shown or {"encoding": payload.encoding}
    if payload.encoding == _JSON:
        for form, dump in _DUMPS.items():
            found = _exact_json(payload.data, dump)
            if found is not None:
                return {**shown, form: found[0]}
    return {**shown, **_bytes_to_json(payload.data)}


def payload_from_json(shown: Mapping[str, Any]) -> Payload:
    metadata = {name: _bytes_from_json(value) for name, value in shown.get("metadata", {}).items()}
    form = next((form for form in _DUMPS if form in shown), None)
    data = _bytes_from_json(shown) if form is None else _DUMPS[form](shown[form])
    return Payload(shown.get("encoding", _JSON), data, metadata)


# -------------------------------------------------------------------------------------------------------- records


def record_to_json(record: Any) -> dict[str, Any]:
    """Of any record; what is in a union does not say its type."""
    shown = {}
    record_type: Any = type(record)
    for field, _ in _fields(record_type):
        value = getattr(record, field.name)
        if not _is_default(field, value):
            shown[field.name] = _to_json(value)
    return shown


def _to_json(value: Any) -> Any:
    if isinstance(value, Payload):
        return payload_to_json(value)
    if dataclasses.is_dataclass(value):
        return record_to_json(value)
    if isinstance(value, Mapping):
        return {name: _to_json(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_to_json(item) for item in value]
    return value


def _record_from_json(record_type: Any, shown: Mapping[str, Any]) -> Any:
    hints = {field.name: hint for field, hint in _fields(record_type)}
    return record_type(**{name: _from_json(hints[name], value) for name, value in shown.items()})


def _from_json(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    kind = members(hint)[0][0]
    arguments = typing.get_args(kind)
    if kind is Payload:
        return payload_from_json(value)
    if dataclasses.is_dataclass(kind):
        return _record_from_json(kind, value)
    if isinstance(value, dict):
        return {name: _from_json(arguments[1], item) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(_from_json(arguments[0], item) for item in value)
    return value


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    if field.default == ():
        return len(value) == 0
    return field.default is not dataclasses.MISSING and bool(value == field.default)


@cache
def _fields(record_type: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(record_type)
    return [(field, hints[field.name]) for field in dataclasses.fields(typing.cast(Any, record_type))]


@cache
def _event_types() -> dict[str, type]:
    kinds, _ = members(typing.get_type_hints(Event)["body"])
    return {kind.__name__: kind for kind in kinds}


# ---------------------------------------------------------------------------------------------------------- values


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _compact_ascii(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_DUMPS: Final = {"json": _compact, "json_ascii": _compact_ascii}
"""How a value becomes bytes again, by the name under which it is shown."""


def _exact_json(data: bytes, dump: typing.Callable[[Any], bytes]) -> tuple[Any] | None:
    """The value, if ``dump`` makes the same bytes of it: else showing it as JSON would change the history."""
    try:
        value = json.loads(data)
        return (value,) if dump(value) == data else None
    except (ValueError, RecursionError):
        return None


def _bytes_to_json(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _bytes_from_json(shown: Mapping[str, Any]) -> bytes:
    if "base64" in shown:
        return base64.b64decode(shown["base64"], validate=True)
    return str(shown.get("text", "")).encode()


def _time_to_json(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"
    except (ValueError, OverflowError, OSError):  # a history that was changed can say any number
        return f"{time_ms}{_NO_TIME}"


def _time_from_json(text: str) -> int:
    if text.endswith(_NO_TIME):
        return int(text.removesuffix(_NO_TIME))
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)
