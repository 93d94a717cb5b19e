"""The record schemas in a Schema Registry: looked up there, registered where they are missing.

One subject per record type, named as the record (docs/decisions/0005-schema-registry.md). Needs the extra
``schema-registry``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from odradek.schemas.codec import FILES, source
from odradek.schemas.errors import SchemaRegistryMissing, SchemaRegistryRefused, SchemaRegistryUnavailable
from odradek.schemas.records import SCHEMA_VERSION

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import SchemaRegistryClient

TIMEOUT_SECONDS: Final = 5.0
"""For one answer of the registry, which is asked twice before it counts as unavailable."""
_NOT_FOUND: Final = 404

_known: dict[tuple[str, int], Mapping[type, int]] = {}
_asking: Final = threading.Lock()


def registry_ids(url: str, level: int = SCHEMA_VERSION) -> Mapping[type, int]:
    """The registry's IDs of the schemas of feature level ``level``, by record type: what ``Codec`` wants.

    A schema that the registry lacks is registered. Asked once per process. The URL may hold a user and a password.
    Raises ``SchemaRegistryMissing``, ``SchemaRegistryUnavailable`` and ``SchemaRegistryRefused``.
    """
    with _asking:
        found = _known.get((url, level))
        if found is None:
            with _client(url) as client:
                found = _known[url, level] = {kind: _id(client, url, kind, level) for kind in FILES}
        return found


def subject(record_type: type) -> str:
    """The subject of a record type: its full name, as Confluent's RecordNameStrategy has it."""
    return f"odradek.{record_type.__name__}"


def _client(url: str) -> SchemaRegistryClient:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise SchemaRegistryMissing(shown(url), str(error)) from error
    settings: dict[str, Any] = {"url": url, "timeout": TIMEOUT_SECONDS, "max.retries": 1, "retries.wait.ms": 500}
    try:
        return SchemaRegistryClient(settings)
    except (ValueError, TypeError, OSError) as error:
        raise SchemaRegistryUnavailable(shown(url), _reason(error, url)) from error


def _id(client: SchemaRegistryClient, url: str, record_type: type, level: int) -> int:
    """Looked up first: then a process needs no right to register what somebody else has registered."""
    from confluent_kafka.schema_registry import Schema
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    name = subject(record_type)
    schema = Schema(json.dumps(source(record_type, level)), "AVRO")
    try:
        try:
            return _checked(client.lookup_schema(name, schema).schema_id)
        except SchemaRegistryError as error:
            if error.http_status_code != _NOT_FOUND:
                raise
        return _checked(client.register_schema(name, schema))
    except SchemaRegistryError as error:
        reason = f"{error.error_message} (HTTP {error.http_status_code})"
        if error.http_status_code >= 500:
            raise SchemaRegistryUnavailable(shown(url), reason) from error
        raise SchemaRegistryRefused(shown(url), name, level, reason) from error
    except Exception as error:  # whatever its HTTP client raises, and answers that are none of a registry
        raise SchemaRegistryUnavailable(shown(url), _reason(error, url)) from error


def _checked(schema_id: int | None) -> int:
    if schema_id is None:
        raise ValueError("its answer names no ID")
    return schema_id


def _reason(error: Exception, url: str) -> str:
    return f"{type(error).__name__}: {error}".replace(url, shown(url))


def shown(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
