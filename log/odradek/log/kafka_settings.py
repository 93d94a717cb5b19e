"""How each Kafka client is configured: our defaults, then the user's settings, then what the protocol depends on.

Settings may hold secrets: nothing here or above logs them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from odradek.log.kafka_secrets import FileSecret
from odradek.log.kafka_security import oauth_callback

CLIENT_RECORD_BYTES_MAX: Final = 8 * 1024 * 1024
COMPLAIN_AGAIN_SECONDS: Final = 30
REFUSED_SECONDS: Final = 1.0
"""Once may be a broker on its way out; still refused after so long, it is meant."""
_REFUSALS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})
_TLS_WORDS: Final = "SSL routines"
"""What a broker says to a client's certificate comes after the handshake, and as trouble of the connection."""
UNTRUSTED: Final = "certificate verify failed"
"""The client's words for a broker's certificate that it does not trust, whatever the reason."""
OAUTH_GAVE_NONE: Final = "OAuth token not set"
"""A client is not made without one, however often its function is asked meanwhile."""
_SASL_WORDS: Final = "might require SASL"
"""A guess of the client's, when it is disconnected as soon as it is connected."""

Settings = dict[str, Any]

_logger = logging.getLogger("odradek.log.kafka")
client_logger: Final = logging.getLogger("odradek.log.kafka.client")

_COMMON: Final[Settings] = {
    "client.id": "odradek",
    "socket.nagle.disable": True,
    "socket.keepalive.enable": True,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "retry.backoff.ms": 20,
    "topic.metadata.refresh.fast.interval.ms": 50,
    "message.max.bytes": CLIENT_RECORD_BYTES_MAX,
    "receive.message.max.bytes": 64 * 1024 * 1024,
    "enable.metrics.push": False,
    # The client repeats itself at the lower levels for as long as a broker is away; error_cb tells us once.
    "log_level": 2,
}

_APPENDER: Final[Settings] = {
    "linger.ms": 0,
    "max.in.flight.requests.per.connection": 1,
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 1_048_576,
}

_APPENDER_FIXED: Final[Settings] = {
    "enable.idempotence": True,
    "acks": "all",
    # A record that the client gives up may land all the same, and the next one at the place of one given up.
    "message.timeout.ms": 0,
}

_READER: Final[Settings] = {
    "fetch.wait.max.ms": 100,
    "fetch.min.bytes": 1,
    "fetch.error.backoff.ms": 50,
    # The default leaves a partition alone for a second when the queue is full, and the queue is meant to be full.
    "fetch.queue.backoff.ms": 2,
    "fetch.max.bytes": 16 * 1024 * 1024,
    "max.partition.fetch.bytes": CLIENT_RECORD_BYTES_MAX,
    "queued.min.messages": 5_000,
    "queued.max.messages.kbytes": 32 * 1024,
}

_READER_FIXED: Final[Settings] = {
    "group.id": "odradek-reader",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "group.protocol": "classic",
}


def common_settings(servers: str, config: Mapping[str, str]) -> Settings:
    """Secrets of files as they are now. ``error_cb`` is the ``Complaints`` of the client that is made with these."""
    settings: Settings = {**_COMMON, "bootstrap.servers": servers, **config}
    settings.update({name: value.read() for name, value in config.items() if isinstance(value, FileSecret)})
    settings["error_cb"] = Complaints(servers, config.get("sasl.password"), settings)
    if "oauth_cb" in settings:
        settings["oauth_cb"] = oauth_callback(settings["oauth_cb"])
    return settings


def appender_settings(servers: str, config: Mapping[str, str]) -> Settings:
    return {**_APPENDER, **common_settings(servers, config), **_APPENDER_FIXED}


def reader_settings(servers: str, config: Mapping[str, str]) -> Settings:
    return {**_READER, **common_settings(servers, config), **_READER_FIXED}


def membership_settings(servers: str, config: Mapping[str, str], group: str, session_ms: int) -> Settings:
    fixed: Settings = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "queued.min.messages": 1,
    }
    if config.get("group.protocol") != "consumer":
        # With the newer protocol the broker sets these, and the client refuses them.
        fixed["partition.assignment.strategy"] = "cooperative-sticky"
        fixed["session.timeout.ms"] = session_ms
        fixed["heartbeat.interval.ms"] = max(100, min(500, session_ms // 3))
    poll_ms = max(300_000, session_ms)
    return {"max.poll.interval.ms": poll_ms, **common_settings(servers, config), **fixed}


def error_of(exception: KafkaException) -> KafkaError:
    """What went wrong, as a code; the client puts it into the exception's arguments."""
    error: Any = exception.args[0]
    return error if isinstance(error, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


class Complaints:
    """Logs what a client has to say of its brokers, each kind once per half minute.

    ``password``: where it stands now what ``settings`` say. A refused one is looked for there again.
    """

    def __init__(self, servers: str, password: str | None = None, settings: Mapping[str, Any] | None = None) -> None:
        self._servers = servers
        self._password = password
        self._user, self._known = ((settings or {}).get(f"sasl.{name}") for name in ("username", "password"))
        self.is_renewed = False
        """The client has another password to be told."""
        self._told: dict[int, float] = {}
        self._refusal = ""
        self._refused_since = 0.0
        self.all_down = False
        """Since the last answer the client has lost every broker."""

    def __call__(self, error: KafkaError) -> None:
        self.all_down |= error.code() == KafkaError._ALL_BROKERS_DOWN or _SASL_WORDS in error.str()
        if error.code() in _REFUSALS or _TLS_WORDS in error.str():
            self._refused_since = self._refused_since if self._refusal else time.monotonic()
            self._refusal = error.str()
        if error.code() == KafkaError._AUTHENTICATION:
            self.look_again()
        self.tell(error.code(), error.str())

    @property
    def refusal(self) -> str | None:
        """Why the brokers do not let this client in; None when they do, or may yet."""
        long_enough = time.monotonic() - self._refused_since >= REFUSED_SECONDS
        return self._refusal if self._refusal and long_enough else None

    def answered(self) -> None:
        """A broker has let this client in."""
        self._refusal = ""
        self.all_down = False

    def look_again(self) -> None:
        """Whether the file has another password by now."""
        if self._refusal and isinstance(self._password, FileSecret):
            now = self._password.read()
            self.is_renewed, self._known = self.is_renewed or now != self._known, now

    def renew(self, client: Any) -> None:
        """Tell the client the password that its file holds now. Not to be called within a callback of the client."""
        self.is_renewed = False
        self._refusal = ""
        client.set_sasl_credentials(self._user, self._known)
        _logger.info("kafka at %s: the password is another one in its file now, and is tried", self._servers)

    def tell(self, kind: int, text: str) -> None:
        now = time.monotonic()
        if now - self._told.get(kind, float("-inf")) >= COMPLAIN_AGAIN_SECONDS:
            self._told[kind] = now
            _logger.warning("kafka at %s: %s (trying on)", self._servers, text)
