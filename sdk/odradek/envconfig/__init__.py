"""Where to connect, from the environment: ``Client.connect(**ClientConfig.load_client_connect_config())``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from odradek.common.accepted import accept
from odradek.envconfig.settings import ConnectionSettings, read_log_config

__all__ = ["ClientConfig", "ClientConnectConfig", "ConnectionSettings", "read_log_config"]


class ClientConnectConfig(TypedDict, total=False):
    """Arguments of ``Client.connect``; only what the environment says is in it."""

    target_host: str
    namespace: str
    log_config: Mapping[str, str]
    schema_registry: str


class ClientConfig:
    """What the environment says, by the variables that the command line reads too; see ``ConnectionSettings``."""

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
        settings = ConnectionSettings.read(override_env_vars)
        config = ClientConnectConfig()
        if settings.log:
            config["target_host"] = settings.log
        if settings.namespace:
            config["namespace"] = settings.namespace
        if settings.schema_registry:
            config["schema_registry"] = settings.schema_registry.get_secret_value()
        if log_config := settings.kafka():
            config["log_config"] = log_config
        return config
