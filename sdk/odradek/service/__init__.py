"""The error of a request to a namespace that was not answered, or not as hoped, with the status codes of gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from odradek.exceptions import OdradekError

__all__ = [
    "ConnectConfig",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "RPCError",
    "RPCStatusCode",
    "RetryConfig",
    "TLSConfig",
]


RpcMetadata = Mapping[str, str | bytes]
"""Headers of a request to a server: accepted, and of no effect, as there is none."""
NO_RPC_METADATA: Final[RpcMetadata] = MappingProxyType({})


@dataclass(frozen=True)
class TLSConfig:
    """How brokers are spoken to over TLS; PEM texts, as bytes. Other settings go into ``log_config``."""

    server_root_ca_cert: bytes | None = None
    """Who the brokers' certificates must be from; None: whom the host trusts."""
    domain: str | None = None
    """Without meaning here: brokers are called by the names that they advertise."""
    client_cert: bytes | None = None
    client_private_key: bytes | None = field(default=None, repr=False)

    def to_log_config(self) -> dict[str, str]:
        """The same in librdkafka's terms. Raises ``ValueError`` for a certificate without its key, or the reverse."""
        if (self.client_cert is None) != (self.client_private_key is None):
            raise ValueError("client_cert and client_private_key are needed together")
        pem = {
            "ssl.ca.pem": self.server_root_ca_cert,
            "ssl.certificate.pem": self.client_cert,
            "ssl.key.pem": self.client_private_key,
        }
        return {"security.protocol": "ssl"} | {name: text.decode() for name, text in pem.items() if text is not None}


@dataclass
class ConnectConfig:
    """Where a client connects to, and how; plugins may change it."""

    target_host: str
    tls: bool | TLSConfig | None = None
    log_config: Mapping[str, str] = field(default_factory=dict, repr=False)
    """librdkafka settings; they win over ``tls``."""
    lazy: bool = False
    schema_registry: str | None = field(default=None, repr=False)

    def all_log_config(self) -> dict[str, str]:
        tls = TLSConfig() if self.tls is True else self.tls
        return {**(tls.to_log_config() if tls else {}), **self.log_config}


@dataclass(frozen=True)
class _Accepted:
    """Options of a connection by gRPC, for code that names them. There is none here, so they have no effect."""

    def __init__(self, *args: Any, **options: Any) -> None: ...


class RetryConfig(_Accepted): ...


class KeepAliveConfig(_Accepted): ...


class HttpConnectProxyConfig(_Accepted): ...


class RPCStatusCode(IntEnum):
    """What kind of error it is; names and numbers are those of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(OdradekError):
    """A request failed. ``status`` says what kind of failure it is, ``code`` names the page in the docs."""

    code: str  # type: ignore[misc]  # the page depends on what went wrong

    def __init__(
        self,
        message: str,
        status: RPCStatusCode,
        raw_grpc_status: bytes = b"",
        *,
        code: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status
        self.retry_after_seconds = retry_after_seconds
        """Not None: nothing was done, for want of room; the same call may succeed after this long."""
        self.code = code or (message.partition(":")[0] if message.startswith("ODR-") else "")

    @property
    def message(self) -> str:
        return self._message

    @property
    def status(self) -> RPCStatusCode:
        return self._status

    @property
    def raw_grpc_status(self) -> bytes:
        """Always empty: there is no gRPC here. Kept for code that was written for it."""
        return self._raw_grpc_status
