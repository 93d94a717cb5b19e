"""What stands behind ``host:port``, asked without Kafka's client.

It hears of a wrong security protocol only that it is disconnected. Nothing of the settings is sent.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ANSWER_SECONDS: Final = 2.0
ANSWER_BYTES_MAX: Final = 4096
_SASL_HANDSHAKE: Final = 17
_UNSUPPORTED_MECHANISM: Final = 33
_NO_MECHANISM: Final = b"odradek-asks-which"


def speaks_tls(server: str) -> bool:
    """Whether somebody at ``host:port`` answers to a greeting in TLS, whoever that is."""
    try:
        with _connected(server, _trusting()):
            return True
    except ssl.SSLError as error:  # such as that a certificate of ours is wanted
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def speaks_plainly(server: str) -> bool:
    """Whether a broker answers there without TLS."""
    return bool(_answer(server, None))


def sasl_mechanisms(server: str, *, tls: bool) -> tuple[str, ...]:
    """Those that a listener offers which wants SASL; none where it does not, or nobody answers."""
    try:
        return _offered(_answer(server, _trusting() if tls else None))
    except (struct.error, UnicodeDecodeError):
        return ()


def distrust(server: str, config: Mapping[str, Any]) -> str:
    """Why the certificate there is not trusted, in OpenSSL's words; empty where it is, or that cannot be told."""
    try:
        with _connected(server, _authorities(config)):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except OSError:
        return ""


@contextmanager
def _connected(server: str, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    with socket.create_connection((host, int(port)), ANSWER_SECONDS) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            yield wrapped


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _authorities(config: Mapping[str, Any]) -> ssl.SSLContext:
    place, pem = config.get("ssl.ca.location"), config.get("ssl.ca.pem")
    found: dict[str, Any] = {}
    if pem:
        found["cadata"] = pem
    elif place and place != "probe":
        found["capath" if Path(place).is_dir() else "cafile"] = place
    context = ssl.create_default_context(**found)
    # What Kafka's client lets pass is not what it has stumbled over.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if str(config.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    return context


def _handshake() -> bytes:
    """A request for a mechanism that nobody has: a listener with SASL answers with those that it has."""
    client = b"odradek"
    request = struct.pack(">hhih", _SASL_HANDSHAKE, 1, 0, len(client)) + client
    request += struct.pack(">h", len(_NO_MECHANISM)) + _NO_MECHANISM
    return struct.pack(">i", len(request)) + request


def _answer(server: str, context: ssl.SSLContext | None) -> bytes:
    """To a request of Kafka's protocol; empty if it is none of that protocol, or does not come."""
    try:
        with _connected(server, context) as connection:
            connection.sendall(_handshake())
            (size,) = struct.unpack(">i", _received(connection, 4))
            return _received(connection, size) if 0 < size <= ANSWER_BYTES_MAX else b""
    except OSError:
        return b""


def _received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("closed before its end")
        data += more
    return data


def _offered(answer: bytes) -> tuple[str, ...]:
    _, error, count = struct.unpack_from(">ihi", answer)
    if error != _UNSUPPORTED_MECHANISM:
        return ()
    names, at = [], struct.calcsize(">ihi")
    for _ in range(count):
        (length,) = struct.unpack_from(">h", answer, at)
        at += 2
        names.append(answer[at : at + length].decode())
        at += length
    return tuple(names)
