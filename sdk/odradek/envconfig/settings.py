"""Where to connect and how, from the environment and from files: one class, which clients and the command read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from odradek.log.errors import SettingFileUnreadable, SettingsContradict
from odradek.log.kafka_secrets import FileSecret, hidden, is_secret
from odradek.log.kafka_security import ENVIRONMENT, OAUTH_METHOD

PREFIX: Final = "ODRADEK_"
_SUFFIXES: Final = frozenset({".properties", ".conf", ".config", ".cfg", ".ini", ".env", ".txt"})
_FROM_FILES: Final = ("sasl_password", "oauth_client_secret", "ssl_key_password")
"""Secrets, which may stand in a file that ``…_file`` names."""
_OF_SECURITY: Final = tuple(f"{PREFIX}{group}_" for group in ("SECURITY", "SASL", "OAUTH", "SSL"))
"""All variables that begin so are ours: one that is none of them is a slip, and not somebody else's."""

_IN_FILE: Final = re.compile(r"^\s*(?:export\s+)?(\w+)\s*=", re.MULTILINE)


class ConnectionSettings(BaseSettings):
    """Each field is read from the variable ``ODRADEK_<FIELD>``; secrets show nothing wherever they are printed.

    ``ODRADEK_ENV_FILE`` names a file of such variables, which the environment itself goes before.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    log: str | None = Field(default=None, repr=False)
    """An address, in which credentials are refused later."""
    namespace: str | None = None
    log_config: SecretStr | None = None
    """librdkafka settings: KEY=VALUE, or files of them, with spaces between."""
    schema_registry: SecretStr | None = None

    security_protocol: str | None = None
    """Where nothing says it: SASL_SSL with a user or tokens, SSL with certificates."""
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    sasl_password_file: str | None = None
    oauth_callback: str | None = None
    """MODULE:NAME of a function that makes tokens."""
    oauth_token_url: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: SecretStr | None = None
    oauth_client_secret_file: str | None = None
    oauth_scope: str | None = None
    oauth_extensions: str | None = None
    ssl_ca_file: str | None = None
    ssl_certificate_file: str | None = None
    ssl_key_file: str | None = None
    ssl_key_password: SecretStr | None = None
    ssl_key_password_file: str | None = None
    access_check: str | None = None
    """Whether roles ask what they may do before they begin: on (the default) or off."""

    @classmethod
    def read(cls, variables: Mapping[str, str] | None = None, env_file: str | None = None) -> Self:
        """From the environment, in which ``variables`` go before what it says.

        Raises ``SettingFileUnreadable``, and ``SettingsContradict`` for a variable of security that there is not.
        """
        given: dict[str, Any] = {
            name.removeprefix(PREFIX).lower(): value or None
            for name, value in (variables or {}).items()
            if name.startswith(PREFIX)
        }
        file = env_file or given.pop("env_file", None) or _EnvFile().env_file
        written = "" if file is None else _text(PREFIX + "ENV_FILE", file)  # one that is not there would be passed over
        cls._check_names([*(variables or {}), *os.environ, *_IN_FILE.findall(written)])
        return cls(_env_file=file, **given)  # type: ignore[call-arg]

    @classmethod
    def _check_names(cls, names: Iterable[str]) -> None:
        known = [f"{PREFIX}{field.upper()}" for field in cls.model_fields]
        for name in names:
            if name.startswith(_OF_SECURITY) and name not in known:
                near = get_close_matches(name, known, 1)
                step = f"perhaps {near[0]} was meant" if near else "docs/how-to/secure-kafka.md has all of them"
                raise SettingsContradict(name, "is no variable that anybody reads", step)

    def kafka(self) -> dict[str, str]:
        """All of it in librdkafka's terms; a ``repr`` of it shows no secret.

        Raises ``SettingsInvalid``, and ``ValueError`` for ``log_config``.
        """
        config = self._from_log_config()
        for name, variable in ENVIRONMENT.items():
            value = self._value(variable.removeprefix(PREFIX).lower())
            if value is not None and config.setdefault(name, value) != value:
                raise SettingsContradict(variable, f"is not what {PREFIX}LOG_CONFIG says in {name}", "give one of them")
        if self.oauth_token_url:
            config.setdefault(OAUTH_METHOD, "oidc")
        if self.oauth_token_url or self.oauth_callback:
            config.setdefault("sasl.mechanism", "OAUTHBEARER")
        if "security.protocol" not in config and (implied := _implied_protocol(config)):
            config["security.protocol"] = implied
        return hidden(config)

    def _from_log_config(self) -> dict[str, str]:
        given = self.log_config.get_secret_value() if self.log_config else ""
        try:
            return {key: value for part in given.split() for key, value in read_log_config(part).items()}
        except ValueError as error:
            raise ValueError(f"ODR-181: {PREFIX}LOG_CONFIG {error}") from None

    def _value(self, field: str) -> str | None:
        value = getattr(self, field)
        path = getattr(self, f"{field}_file", None) if field in _FROM_FILES else None
        if path is None:
            return value.get_secret_value() if isinstance(value, SecretStr) else value
        variable = PREFIX + field.upper()
        if value is not None:
            raise SettingsContradict(variable, f"and {variable}_FILE are both set", "unset one of them")
        read = partial(_secret_in, f"{variable}_FILE", path)
        return FileSecret(read(), read)


class _EnvFile(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore")

    env_file: str | None = None


def _implied_protocol(config: Mapping[str, str]) -> str | None:
    if any(name.startswith("sasl.") or name == "oauth_cb" for name in config):
        return "SASL_SSL"
    return "SSL" if any(name.startswith("ssl.") for name in config) else None


def _secret_in(variable: str, path: str) -> str:
    return _text(variable, path).rstrip("\r\n")


def _setting_in(path: str, name: str) -> str:
    return read_log_config(path)[name]


def _text(variable: str, path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingFileUnreadable(variable, path, getattr(error, "strerror", None) or "it is no text") from None


def read_log_config(given: str) -> dict[str, str]:
    """The settings of ``KEY=VALUE`` or of a properties file. Raises ``ValueError`` saying what is wrong with it."""
    path = Path(given)
    if "=" in given and not _there(path):
        key, _, value = given.partition("=")
        return {key.strip(): value.strip()}
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(given, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    settings: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if line and not line.startswith(("#", "!")):
            key, equals, value = line.partition("=")
            if not equals:
                raise _wrong(given, f'has no "=" in line {number}')
            settings[key.strip()] = value.strip()
    secrets = {
        name: FileSecret(settings[name], partial(_setting_in, given, name)) for name in settings if is_secret(name)
    }
    return {**settings, **secrets}


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a password may be longer than any file's name
        return False


def _wrong(given: str, problem: str) -> ValueError:
    # What has no sign of a file may be the rest of a password with a space in it.
    is_file = _there(Path(given)) or Path(given).suffix in _SUFFIXES or given.startswith(("/", "./", "../"))
    shown = f'"{given}"' if is_file else "one of its parts"
    return ValueError(f'{shown} {problem}: give KEY=VALUE, or a file with one "key=value" in each line')
