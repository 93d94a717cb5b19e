"""The error of a request to a namespace that was not answered, or not as hoped, with the status codes of gRPC."""

from __future__ import annotations

from enum import IntEnum

from odradek.exceptions import OdradekError

__all__ = ["RPCError", "RPCStatusCode"]


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
        self, message: str, status: RPCStatusCode, raw_grpc_status: bytes = b"", *, code: str | None = None
    ) -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status
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
