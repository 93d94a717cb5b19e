"""Which versions are in use."""

from __future__ import annotations

from importlib import metadata


def odradek_version() -> str:
    return _version("odradek")


def librdkafka_version() -> str | None:
    try:
        from confluent_kafka import libversion
    except ImportError:
        return None
    return str(libversion()[0])


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"
