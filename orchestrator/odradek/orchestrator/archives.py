"""Reads the histories of closed runs from the archive, in threads of its own: a slow read holds nothing else up."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from odradek.client.history import read_archive
from odradek.log.namespace import Namespace
from odradek.orchestrator.core.effects import ReadArchive
from odradek.orchestrator.owned import OwnedPartition
from odradek.schemas import records as r
from odradek.service import RPCError

_log = logging.getLogger("odradek.orchestrator.archives")

READERS: Final = 2


class ArchiveReads:
    """``ask`` and ``done`` belong to the orchestrator's thread; ``wake`` is called from others when there is news."""

    def __init__(self, namespace: Namespace, wake: Callable[[], None]) -> None:
        self._namespace = namespace
        self._wake = wake
        self._threads: ThreadPoolExecutor | None = None
        self.done: deque[tuple[OwnedPartition, ReadArchive, Sequence[r.Event] | str]] = deque()
        """What has been read, or why it could not be."""

    def ask(self, owned: OwnedPartition, effect: ReadArchive) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="odradek-archive")
        self._threads.submit(self._read, owned, effect)

    def _read(self, owned: OwnedPartition, effect: ReadArchive) -> None:
        events: Sequence[r.Event] | str
        try:
            events = read_archive(self._namespace, effect.workflow_id, effect.parts)
        except RPCError as error:
            events = str(error)
        except Exception as error:  # whoever asked must get an answer
            _log.exception("the history of a closed run cannot be read")
            events = f'ODR-134: the history of closed workflow "{effect.workflow_id}" cannot be read: {error}'
        self.done.append((owned, effect, events))
        self._wake()

    def close(self) -> None:
        """Begin no further reads; what is being read is of no more use."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
