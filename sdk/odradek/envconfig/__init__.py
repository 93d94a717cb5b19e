"""Where to connect, from the environment: ``Client.connect(**ClientConfig.load_client_connect_config())``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from odradek.common.accepted import accept

__all__ = ["ClientConfig", "ClientConnectConfig", "read_log_config"]


_SUFFIXES = frozenset({".properties", ".conf", ".config", ".cfg", ".ini", ".env", ".txt"})


class ClientConnectConfig(TypedDict, total=False):
    """Arguments of ``Client.connect``; only what the environment says is in it."""

    target_host: str
    namespace: str
    log_config: Mapping[str, str]
    schema_registry: str


class ClientConfig:
    """What the environment says, by the variables that the command line reads too.

    ODRADEK_LOG is the log's address, ODRADEK_NAMESPACE the namespace, ODRADEK_LOG_CONFIG librdkafka settings (KEY=VALUE
    or files of them, with spaces between), ODRADEK_SCHEMA_REGISTRY a URL.
    """

    @staticmethod
    def load_client_connect_config(
        *, override_env_vars: Mapping[str, str] | None = None, **without_meaning: Any
    ) -> ClientConnectConfig:
        """Options of configuration files are accepted with one warning. Raises ``ValueError`` naming the variable."""
        accept(
            "load_client_connect_config",
            without_meaning,
            {"profile", "config_file", "config_source", "disable_file", "disable_env", "config_file_strict"},
        )
        env = {**os.environ, **(override_env_vars or {})}
        config = ClientConnectConfig()
        if address := env.get("ODRADEK_LOG"):
            config["target_host"] = address
        if namespace := env.get("ODRADEK_NAMESPACE"):
            config["namespace"] = namespace
        if registry := env.get("ODRADEK_SCHEMA_REGISTRY"):
            config["schema_registry"] = registry
        if settings := env.get("ODRADEK_LOG_CONFIG"):
            try:
                config["log_config"] = {k: v for given in settings.split() for k, v in read_log_config(given).items()}
            except ValueError as error:
                raise ValueError(f"ODR-181: ODRADEK_LOG_CONFIG {error}") from None
        return config


def read_log_config(given: str) -> dict[str, str]:
    """The settings of ``KEY=VALUE`` or of a properties file. Raises ``ValueError`` saying what is wrong with it."""
    path = Path(given)
    if "=" in given and not path.is_file():
        key, _, value = given.partition("=")
        return {key.strip(): value.strip()}
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(given, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    settings = {}
    for number, line in enumerate(lines, 1):
        if line and not line.startswith(("#", "!")):
            key, equals, value = line.partition("=")
            if not equals:
                raise _wrong(given, f'has no "=" in line {number}')
            settings[key.strip()] = value.strip()
    return settings


def _wrong(given: str, problem: str) -> ValueError:
    # What has no sign of a file may be the rest of a password with a space in it.
    is_file = Path(given).exists() or Path(given).suffix in _SUFFIXES or given.startswith(("/", "./", "../"))
    shown = f'"{given}"' if is_file else "one of its parts"
    return ValueError(f'{shown} {problem}: give KEY=VALUE, or a file with one "key=value" in each line')
