"""Claim check: payloads from a size on are kept in a store, and records hold a reference to them.

What is stored is what the codec made, so a store sees ciphertext. A reference says the driver, the driver's claim, and
the hash of what was stored: what comes back is checked against it, whatever the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from odradek.converter.errors import (
    ConverterError,
    ExternalStorageInvalid,
    PayloadUnreadable,
    StorageDriverUnknown,
    StorageUnavailable,
    StoredPayloadDamaged,
)
from odradek.schemas.records import Payload

REFERENCE_ENCODING: Final = "json/external-storage-reference"
REFERENCE_BYTES: Final = 256
"""What a stored payload counts for in the size of a history, whatever its reference takes."""
THRESHOLD_BYTES: Final = 256 * 1024
STORED_BYTES_MAX: Final = 64 * 1024 * 1024
CACHE_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class StorageDriverClaim:
    """What a driver needs to find a payload again."""

    claim_data: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StorageDriverWorkflowInfo:
    """The workflow that a payload is for."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


@dataclass(frozen=True, kw_only=True)
class StorageDriverActivityInfo:
    """The activity that a payload is for, or from."""

    namespace: str
    id: str | None = None
    run_id: str | None = None
    type: str | None = None


StorageTarget = StorageDriverActivityInfo | StorageDriverWorkflowInfo


@dataclass(frozen=True)
class StorageDriverStoreContext:
    """Whom what is stored belongs to, where that is known."""

    target: StorageTarget | None = None


@dataclass(frozen=True)
class StorageDriverSelectContext:
    """The same, for ``ExternalStorage.driver_selector``."""

    target: StorageTarget | None = None


@dataclass(frozen=True)
class StorageDriverRetrieveContext:
    """Nothing yet."""


class StorageDriver(ABC):
    """A place for payloads. Called from several event loops: what is bound to one is not to be kept.

    Raise ``StoredPayloadMissing`` for what is not there; anything else that is raised becomes ``StorageUnavailable``,
    which is tried again. The same payload may be stored any number of times: keys made of the content keep it once.
    """

    @abstractmethod
    def name(self) -> str:
        """Unique among the drivers of a data converter. It stands in histories: keep it."""

    def type(self) -> str:
        """The kind of driver; the name of the class unless overridden."""
        return type(self).__name__

    @abstractmethod
    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """One claim for each, when they are durable."""

    @abstractmethod
    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """One payload for each."""


@dataclass(frozen=True)
class ExternalStorage:
    """Which payloads are kept elsewhere, and where. Raises ``ExternalStorageInvalid``, a ``ValueError``."""

    drivers: Sequence[StorageDriver]
    """Looked up by name when a payload is read; keep old ones here for as long as histories are kept."""
    driver_selector: Callable[[StorageDriverSelectContext, Payload], StorageDriver | None] | None = None
    """Which of the drivers stores a payload; None: it stays in the record. Needed when there are several drivers.

    Called in workflows, too: it must not decide by anything but what it is given.
    """
    payload_size_threshold: int = THRESHOLD_BYTES
    """Bytes from which on a payload is stored: 256 KiB."""
    stored_payload_bytes_max: int = STORED_BYTES_MAX
    """What is larger, 64 MiB, is not stored, and so refused as too large (ODR-105)."""
    cache_bytes_max: int = CACHE_BYTES_MAX
    """What a process keeps of payloads that its workflows read, so that a replay does not fetch them again: 64 MiB."""
    _by_name: dict[str, StorageDriver] = field(init=False, repr=False, compare=False)
    cache: PayloadCache = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {driver.name(): driver for driver in self.drivers}
        if not self.drivers:
            raise ExternalStorageInvalid("drivers is empty, and must have at least one driver")
        if len(by_name) < len(self.drivers):
            names = ", ".join(driver.name() for driver in self.drivers)
            raise ExternalStorageInvalid(f"two drivers have one name ({names}); give each its own")
        if len(self.drivers) > 1 and self.driver_selector is None:
            raise ExternalStorageInvalid("with several drivers, driver_selector must say which one stores a payload")
        if self.payload_size_threshold < 0:
            raise ExternalStorageInvalid(
                f"payload_size_threshold is {self.payload_size_threshold}, and must be 0 or more"
            )
        object.__setattr__(self, "_by_name", by_name)
        object.__setattr__(self, "cache", PayloadCache(self.cache_bytes_max))

    def driver_for(self, payload: Payload, target: StorageTarget | None = None) -> StorageDriver | None:
        """The driver that stores this payload; None: it is not stored."""
        if not self.payload_size_threshold <= size_of(payload) <= self.stored_payload_bytes_max:
            return None
        if is_reference(payload):
            return None
        if self.driver_selector is None:
            return self.drivers[0]
        driver = self.driver_selector(StorageDriverSelectContext(target), payload)
        if driver is not None and self._by_name.get(driver.name()) is not driver:
            raise ExternalStorageInvalid(f'driver_selector chose "{driver.name()}", which is not among the drivers')
        return driver

    async def store(self, payloads: Sequence[Payload], target: StorageTarget | None = None) -> list[Payload]:
        """The same payloads, with references in the place of those that are stored. Raises ``StorageUnavailable``."""
        chosen = [self.driver_for(payload, target) for payload in payloads]

        async def stored(payload: Payload, driver: StorageDriver | None) -> Payload:
            if driver is None:
                return payload
            work = driver.store(StorageDriverStoreContext(target), [payload])
            claim = _only(await _driven(driver, work), driver)
            return _reference(driver, claim, payload)

        if not any(chosen):
            return list(payloads)
        return await asyncio.gather(*map(stored, payloads, chosen))

    async def retrieve(self, payloads: Sequence[Payload]) -> list[Payload]:
        """The reverse. Raises any ``StorageError``."""
        if not any(map(is_reference, payloads)):
            return list(payloads)
        return await asyncio.gather(*map(self._retrieved, payloads))

    async def _retrieved(self, payload: Payload) -> Payload:
        if not is_reference(payload):
            return payload
        name, claim, digest = read_reference(payload)
        driver = self._by_name.get(name)
        if driver is None:
            raise StorageDriverUnknown(name, sorted(self._by_name))
        work = driver.retrieve(StorageDriverRetrieveContext(), [claim])
        found: Payload = _only(await _driven(driver, work), driver)
        if digest_of(found) != digest:
            raise StoredPayloadDamaged(name, _shown(claim))
        return found


class PayloadCache:
    """What was retrieved last, by the hash of its content."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max, self._bytes = bytes_max, 0
        self._kept: OrderedDict[str, Payload] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, reference: Payload) -> Payload | None:
        digest = read_reference(reference)[2]
        with self._lock:
            if digest not in self._kept:
                return None
            self._kept.move_to_end(digest)
            return self._kept[digest]

    def keep(self, reference: Payload, payload: Payload) -> None:
        digest, size = read_reference(reference)[2], size_of(payload)
        with self._lock:
            if digest in self._kept or size > self._bytes_max:
                return
            self._kept[digest] = payload
            self._bytes += size
            while self._bytes > self._bytes_max:
                self._bytes -= size_of(self._kept.popitem(last=False)[1])


def is_reference(payload: Payload) -> bool:
    return payload.encoding == REFERENCE_ENCODING


def size_of(payload: Payload) -> int:
    size = len(payload.data)
    if payload.metadata:
        size += sum(len(name) + len(value) for name, value in payload.metadata.items())
    return size


def to_stored(payload: Payload) -> bytes:
    """A payload as one run of bytes, the same for equal payloads: what drivers keep, and what is hashed."""
    metadata = {name: value.hex() for name, value in sorted(payload.metadata.items())}
    head = json.dumps([payload.encoding, metadata], separators=(",", ":")).encode()
    return b"%d\n%b%b" % (len(head), head, payload.data)


def from_stored(stored: bytes) -> Payload:
    """The reverse. Raises ``ValueError`` for what is no payload."""
    length, separator, rest = stored.partition(b"\n")
    if not separator or not length.isdigit():
        raise ValueError("it does not begin as a stored payload does")
    encoding, metadata = json.loads(rest[: int(length)])
    return Payload(encoding, rest[int(length) :], {name: bytes.fromhex(value) for name, value in metadata.items()})


def digest_of(payload: Payload) -> str:
    """SHA-256 of what is stored, in hexadecimal."""
    return hashlib.sha256(to_stored(payload)).hexdigest()


def _reference(driver: StorageDriver, claim: StorageDriverClaim, payload: Payload) -> Payload:
    facts = {
        "driver": driver.name(),
        "claim": dict(claim.claim_data),
        "sha256": digest_of(payload),
        "bytes": size_of(payload),
        "encoding": payload.encoding,
    }
    return Payload(REFERENCE_ENCODING, json.dumps(facts, separators=(",", ":")).encode())


def read_reference(reference: Payload) -> tuple[str, StorageDriverClaim, str]:
    try:
        facts = json.loads(reference.data)
        return facts["driver"], StorageDriverClaim(facts["claim"]), facts["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        reason = type(error).__name__
        raise PayloadUnreadable("a reference to a stored payload", reference.encoding, 0, reason) from None


async def _driven(driver: StorageDriver, work: Any) -> Sequence[Any]:
    try:
        result: Sequence[Any] = await work
    except ConverterError:
        raise
    except Exception as error:
        raise StorageUnavailable(driver.name(), f"{type(error).__name__}: {error}") from error
    return result


def _only(returned: Sequence[Any], driver: StorageDriver) -> Any:
    if len(returned) != 1:
        raise ExternalStorageInvalid(f'driver "{driver.name()}" was given 1 item and returned {len(returned)}')
    return returned[0]


def _shown(claim: StorageDriverClaim) -> str:
    return ", ".join(f"{name}={value}" for name, value in claim.claim_data.items())
