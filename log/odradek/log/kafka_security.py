"""What librdkafka's security settings must say together, looked at before anybody is contacted.

Settings may hold secrets: an error names them, and never what they are.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from odradek.log.access import ANONYMOUS
from odradek.log.errors import OAuthCallbackUnusable, SettingFileUnreadable, SettingsContradict
from odradek.log.kafka_secrets import Secret

ENVIRONMENT: Final[Mapping[str, str]] = {
    "security.protocol": "ODRADEK_SECURITY_PROTOCOL",
    "sasl.mechanism": "ODRADEK_SASL_MECHANISM",
    "sasl.username": "ODRADEK_SASL_USERNAME",
    "sasl.password": "ODRADEK_SASL_PASSWORD",
    "oauth_cb": "ODRADEK_OAUTH_CALLBACK",
    "sasl.oauthbearer.token.endpoint.url": "ODRADEK_OAUTH_TOKEN_URL",
    "sasl.oauthbearer.client.id": "ODRADEK_OAUTH_CLIENT_ID",
    "sasl.oauthbearer.client.secret": "ODRADEK_OAUTH_CLIENT_SECRET",
    "sasl.oauthbearer.scope": "ODRADEK_OAUTH_SCOPE",
    "sasl.oauthbearer.extensions": "ODRADEK_OAUTH_EXTENSIONS",
    "ssl.ca.location": "ODRADEK_SSL_CA_FILE",
    "ssl.certificate.location": "ODRADEK_SSL_CERTIFICATE_FILE",
    "ssl.key.location": "ODRADEK_SSL_KEY_FILE",
    "ssl.key.password": "ODRADEK_SSL_KEY_PASSWORD",
    "odradek.access.check": "ODRADEK_ACCESS_CHECK",
}
"""librdkafka's names and one of our own, and the variables that say the same."""

ACCESS_CHECK: Final = "odradek.access.check"
"""Whether roles ask what they may do before they begin: "on" (the default) or "off"."""
PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI")
OAUTH_METHOD: Final = "sasl.oauthbearer.method"

_OIDC: Final = (
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
)
_CREDENTIALS: Final = ("sasl.username", "sasl.password", "oauth_cb")
_FILES: Final = ("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location")
_CERTIFICATES: Final = ("ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location")
_UNKNOWN: Final = re.compile(r'No such configuration property: "([^"]*)"')
_NAME: Final = re.compile(r"[a-z]+(\.[a-z]+)+")
_NO: Final = frozenset({"false", "f", "0"})
_LIKENESS: Final = 0.9
_SECRET_CHARACTERS_MIN: Final = 4

Config = Mapping[str, Any]


def check_security(config: Config) -> None:
    """Raises ``SettingsContradict`` and ``SettingFileUnreadable``, which name the setting and the next step."""
    protocol = protocol_of(config)
    if protocol not in PROTOCOLS:
        raise _wrong("security.protocol", "is none that Kafka knows", f"use one of {', '.join(PROTOCOLS)}")
    checks_access(config)
    if protocol.startswith("SASL"):
        _check_sasl(config)
    else:
        _refuse(config, ("sasl.mechanism", "sasl.mechanisms", *_CREDENTIALS), "SASL", protocol)
    if protocol.endswith("SSL"):
        _check_tls(config)
    else:
        _refuse(config, _FILES, "TLS", protocol)


def checks_access(config: Config) -> bool:
    """Raises ``SettingsContradict``."""
    given = str(config.get(ACCESS_CHECK, "on")).lower()
    if given not in ("on", "true", "off", "false"):  # YAML takes "off" for false
        raise _wrong(ACCESS_CHECK, "is neither on nor off", "give one of them")
    return given in ("on", "true")


def mechanism_of(config: Config) -> str:
    """Of the two names that librdkafka has for it."""
    return str(config.get("sasl.mechanism") or config.get("sasl.mechanisms") or "")


def protocol_of(config: Config) -> str:
    return str(config.get("security.protocol", "PLAINTEXT")).upper()


def principal_of(config: Config) -> str:
    """How ACLs name who connects, where the settings say it: a certificate or a token says it to brokers only."""
    protocol = protocol_of(config)
    if protocol == "PLAINTEXT" or (protocol == "SSL" and not any(config.get(name) for name in _CERTIFICATES)):
        return ANONYMOUS
    if protocol.startswith("SASL") and config.get("sasl.username"):
        return f"User:{config['sasl.username']}"
    return "User:NAME"


def is_tls(config: Config) -> bool:
    return protocol_of(config).endswith("SSL")


def is_sasl(config: Config) -> bool:
    return protocol_of(config).startswith("SASL")


class Risk(NamedTuple):
    """What others on the network get, or can pretend."""

    problem: str
    step: str


def risks_of(config: Config) -> list[Risk]:
    """Those of settings that protect less than it seems."""
    protocol, mechanism, risks = protocol_of(config), mechanism_of(config), []
    if protocol == "SASL_PLAINTEXT" and mechanism in ("PLAIN", "OAUTHBEARER"):
        what = "password" if mechanism == "PLAIN" else "token"
        step = f"set {_shown('security.protocol')} to SASL_SSL"
        risks.append(Risk(f"{mechanism} without TLS sends the {what} readable by everybody", step))
    if is_tls(config):
        if str(config.get("enable.ssl.certificate.verification", "")).lower() in _NO:
            step = "leave enable.ssl.certificate.verification away"
            risks.append(Risk("nobody looks at the brokers' certificates", step))
        elif str(config.get("ssl.endpoint.identification.algorithm", "")).lower() == "none":
            step = "leave ssl.endpoint.identification.algorithm away"
            risks.append(Risk("whoever has any certificate of the authority passes for a broker", step))
    return risks


def refused(reason: str, config: Config) -> SettingsContradict:
    """Settings that Kafka's client does not take; ``reason`` is what it says."""
    unknown = _UNKNOWN.search(reason)
    if unknown is None:
        for value in config.values():
            if isinstance(value, Secret) and len(value) >= _SECRET_CHARACTERS_MIN:
                reason = reason.replace(value, "…")
        problem = f"is refused by it ({reason})"
        return SettingsContradict("what Kafka's client is told", problem, "correct it, or leave it away")
    name = unknown[1]
    near = get_close_matches(name, ENVIRONMENT, 1, _LIKENESS)
    # What is not like a name may be the rest of a password with a space in it.
    shown = f'"{name}"' if near or _NAME.fullmatch(name) else "one of the settings"
    step = f'perhaps "{near[0]}" was meant' if near else "correct it, or leave it away"
    return SettingsContradict(shown, "is none that Kafka's client knows", step)


def oauth_callback(named: Any) -> Callable[..., Any]:
    """The function at ``MODULE:NAME``, or the one that was given. Raises ``OAuthCallbackUnusable``."""
    if callable(named):
        return named  # type: ignore[no-any-return]
    module, colon, name = str(named).partition(":")
    if not colon:
        raise OAuthCallbackUnusable(str(named), "it does not say which function of the module")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the module raises while it is imported
        # Only the kind of the error: its text may say what the module has read of its secrets.
        reason = str(error) if isinstance(error, ImportError | AttributeError) else type(error).__name__
        raise OAuthCallbackUnusable(str(named), reason) from None
    if not callable(found):
        raise OAuthCallbackUnusable(str(named), "it is no function")
    return found  # type: ignore[no-any-return]


def _check_sasl(config: Config) -> None:
    mechanism = mechanism_of(config)
    if not mechanism:
        raise _missing(config, "sasl.mechanism", "is not set", f"use one of {', '.join(MECHANISMS)}")
    if mechanism != (config.get("sasl.mechanisms") or mechanism):
        raise _wrong("sasl.mechanism", "and sasl.mechanisms differ, which are two names of one setting", "give one")
    if mechanism not in MECHANISMS:
        shown = f' "{mechanism}"' if re.fullmatch(r"[A-Za-z0-9_-]{1,20}", mechanism) else ""
        raise _wrong("sasl.mechanism", f"{shown} is not known".strip(), f"use one of {', '.join(MECHANISMS)}")
    if mechanism == "OAUTHBEARER":
        _check_oauth(config)
    elif mechanism != "GSSAPI":
        for name in ("sasl.username", "sasl.password"):
            if not config.get(name):
                raise _missing(config, name, f"is not set, and {mechanism} needs it", _where(name))


def _check_oauth(config: Config) -> None:
    method = str(config.get(OAUTH_METHOD, "default")).lower()
    if config.get("oauth_cb"):
        if method == "oidc":
            raise _wrong("oauth_cb", "and the settings of a token endpoint are both given", "give one of them")
        return
    if method == "oidc":
        others = ("sasl.oauthbearer.grant.type", "sasl.oauthbearer.metadata.authentication.type")
        if not any(config.get(name) for name in others):
            for name in _OIDC:
                if not config.get(name):
                    raise _missing(config, name, "is not set, and tokens come from there", _where(name))
    elif str(config.get("enable.sasl.oauthbearer.unsecure.jwt", "")).lower() != "true":
        step = f"set {ENVIRONMENT[_OIDC[0]]} (OIDC), or {ENVIRONMENT['oauth_cb']}=MODULE:NAME"
        raise _wrong("sasl.mechanism", "is OAUTHBEARER, and nothing says where tokens come from", step)


def _check_tls(config: Config) -> None:
    for name in _FILES:
        path = config.get(name)
        if path and not (name == "ssl.ca.location" and (path == "probe" or Path(path).is_dir())):
            _check_file(name, path)
    has = {
        part: any(config.get(f"ssl.{part}.{form}") for form in ("location", "pem")) for part in ("certificate", "key")
    }
    if has["certificate"] != has["key"]:
        missing = "ssl.key.location" if has["certificate"] else "ssl.certificate.location"
        other = "certificate" if has["certificate"] else "key"
        raise _missing(config, missing, f"is not set, and a client's {other} is of no use without it", _where(missing))


def _check_file(name: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise SettingFileUnreadable(_shown(name), path, error.strerror or type(error).__name__) from None


def _refuse(config: Config, names: tuple[str, ...], what: str, protocol: str) -> None:
    for name in names:
        if config.get(name):
            step = f"set {_shown('security.protocol')} to one with {what}, or leave the other away"
            raise _wrong(name, f"is given, and security.protocol {protocol} has no {what}", step)


def _missing(config: Config, name: str, problem: str, step: str) -> SettingsContradict:
    """Where something is given that looks like it, that is the slip."""
    slips = get_close_matches(name, [given for given in config if given not in ENVIRONMENT], 1, _LIKENESS)
    if slips:
        return SettingsContradict(f'"{slips[0]}"', "is none that Kafka's client knows", f'perhaps "{name}" was meant')
    return _wrong(name, problem, step)


def _wrong(name: str, problem: str, step: str) -> SettingsContradict:
    return SettingsContradict(_shown(name), problem, step)


def _shown(name: str) -> str:
    return f"{name} ({ENVIRONMENT[name]})" if name in ENVIRONMENT else name


def _where(name: str) -> str:
    return f"set {ENVIRONMENT[name]}, or {name} in the log's settings"
