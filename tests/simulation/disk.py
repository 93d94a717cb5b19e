"""The local disks: stores that lose what was not flushed, that are lost, or that come back from long ago."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from odradek.orchestrator.core.store import MemoryStore, Store
from tests.simulation.host import Hosts, Process

Image = dict[bytes, bytes]


class Disk:
    """Of one host: what has been flushed of each partition's store, and who holds it."""

    def __init__(self) -> None:
        self.images: dict[int, list[Image]] = {}
        """Every state that was ever flushed, so that an old one can come back."""
        self.held: dict[int, SimulatedStore] = {}

    def open(self, process: Process, partition: int) -> Store:
        if partition in self.held:  # by another process of this host, as RocksDB's lock says
            return MemoryStore()
        images = self.images.get(partition)
        store = self.held[partition] = SimulatedStore(self, process, partition, dict(images[-1]) if images else {})
        return store


class SimulatedStore(MemoryStore):
    def __init__(self, disk: Disk, process: Process, partition: int, image: Image) -> None:
        super().__init__()
        self._disk, self._process, self._partition = disk, process, partition
        self._items.update(image)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._process.touch()
        super().write(changes)

    def flush(self) -> None:
        self._process.touch()
        self._disk.images.setdefault(self._partition, []).append(dict(self._items))

    def clear(self) -> None:
        super().clear()
        self._disk.images.pop(self._partition, None)

    def close(self) -> None:
        self.flush()
        self.release()

    def release(self) -> None:
        """What is not flushed is gone."""
        if self._disk.held.get(self._partition) is self:
            del self._disk.held[self._partition]


class Disks:
    """``open`` takes the place of ``open_store``."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.disks = [Disk(), Disk()]
        self.of_process: dict[str, Disk] = {}

    def mount(self, process_name: str) -> None:
        """A process comes up on a host, perhaps on one where another has been."""
        self.of_process[process_name] = self._hosts.chance.choice(self.disks)

    def open(self, directory: Path | None, partition: int) -> Store:
        process = self._hosts.current
        assert process is not None
        store = self.of_process[process.name].open(process, partition)
        if isinstance(store, SimulatedStore):
            process.on_death.append(store.release)
            if store.get(b"m") is not None:
                self._hosts.happened["store resumed"] += 1
        return store

    def lose(self) -> bool:
        """A disk dies; what is open on it goes on."""
        disk = self._hosts.chance.choice(self.disks)
        if not disk.images:
            return False
        self._hosts.note("A DISK is lost")
        disk.images.clear()
        return True

    def age(self) -> bool:
        """A snapshot of a disk comes back."""
        disk = self._hosts.chance.choice(self.disks)
        old = [partition for partition, images in disk.images.items() if len(images) > 1 and partition not in disk.held]
        for partition in old:
            images = disk.images[partition]
            kept = self._hosts.chance.randrange(1, len(images))
            self._hosts.note("AN OLD STORE comes back, of partition", partition)
            disk.images[partition] = images[:kept]
        return bool(old)

    def __iter__(self) -> Iterator[Disk]:
        return iter(self.disks)
