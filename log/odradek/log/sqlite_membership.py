"""Membership of a group of the embedded log: a small thread keeps the session, as Kafka's clients do it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock, Thread
from time import monotonic_ns, sleep
from typing import Final

from odradek.log.errors import TopicMissing
from odradek.log.groups import Answer, Group
from odradek.log.interface import Committed, Membership, MembershipListener
from odradek.log.sqlite_storage import Storage
from odradek.log.wakeup import Bell, Ringer, bells_folder

HEARTBEAT_SECONDS_MAX: Final = 1.5
ASK_SECONDS_MAX: Final = 1
COMPLAIN_AGAIN_SECONDS: Final = 30

_logger = logging.getLogger("odradek.log.sqlite")


def _boot_ms() -> int:
    """A clock that all processes of the host share, and that nobody sets."""
    return monotonic_ns() // 1_000_000


class SqliteMembership(Membership):
    def __init__(
        self, path: Path, group: str, topic: str, listener: MembershipListener, session_timeout_seconds: float
    ) -> None:
        self._group = group
        self._topic = topic
        self._listener = listener
        self._session_ms = int(session_timeout_seconds * 1000)
        self._storage = Storage(path)
        self._bell = Bell(bells_folder(path), "member")
        self._ringer = Ringer(bells_folder(path), "member")
        # Guards the storage and everything that both threads touch; never held while the listener runs.
        self._lock = Lock()
        self._name = uuid.uuid4().hex
        self._held: frozenset[int] = frozenset()
        self._answer: Answer | None = None
        self._to_commit: dict[int, Committed] = {}
        self._to_release: set[int] = set()
        self._beaten_ms = _boot_ms()
        self._complain_ms = 0
        self._closing = False
        if self._storage.topic(topic) is None:
            self._release_resources()
            raise TopicMissing(topic)
        self._joined = False
        self._is_lost = False
        self._beat()
        self._thread = Thread(target=self._keep_alive, name="odradek-log-membership", daemon=True)
        self._thread.start()

    def poll(self) -> None:
        if self._closing:
            return
        if _boot_ms() - self._beaten_ms > self._session_ms:
            # This process was stopped: ask before believing.
            self._ask()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._follow(answer)

    @property
    def partitions(self) -> frozenset[int]:
        return self._held

    def commit(self, positions: Mapping[int, Committed]) -> None:
        with self._lock:
            self._to_commit.update(positions)
        self._bell.ring()

    def flush_commits(self, timeout_seconds: float) -> None:
        with self._lock:  # a heartbeat that has taken them has written them when it lets go of this
            waiting = bool(self._to_commit)
        if waiting:
            self._beat()

    def committed(self, partitions: Iterable[int], timeout_seconds: float = 10) -> dict[int, Committed]:
        self.flush_commits(timeout_seconds)
        with self._lock:
            found = self._storage.committed(self._group, self._topic)
        return {p: Committed(*found[p]) for p in partitions if p in found}

    def close(self) -> None:
        if self._closing:
            return
        held, self._held = self._held, frozenset()
        if held:
            self._listener.revoked(sorted(held))
        self._closing = True
        self._bell.ring()
        self._thread.join()
        self._beat()
        self._release_resources()

    def _follow(self, answer: Answer) -> None:
        if not answer.known:
            lost, self._held = self._held, frozenset()
            if lost:
                self._listener.lost(sorted(lost))
            with self._lock:
                self._is_lost = False
            self._bell.ring()
            return
        added = answer.held - self._held
        if added:
            self._held |= added
            self._listener.assigned(sorted(added))
        going = answer.to_release & self._held
        if going:
            self._listener.revoked(sorted(going))
            self._held -= going
            with self._lock:
                self._to_release |= going
            self._bell.ring()

    def _keep_alive(self) -> None:
        interval = min(HEARTBEAT_SECONDS_MAX, self._session_ms / 3000)
        while not self._closing:
            try:
                self._bell.wait(interval)
                if not self._closing:
                    self._beat()
            except Exception:
                # The session runs out if this goes on; the owner hears of it in its next poll.
                _logger.exception('heartbeat of group "%s" failed', self._group)

    def _ask(self) -> None:
        self._bell.ring()
        # The thread's heartbeat, which has begun or is about to.
        asked_ms = _boot_ms()
        deadline_ms = asked_ms + ASK_SECONDS_MAX * 1000
        while self._beaten_ms < asked_ms and _boot_ms() < deadline_ms:
            sleep(0.001)
        if self._beaten_ms < asked_ms and asked_ms >= self._complain_ms:
            # Nobody can write, so nobody can have taken anything over, either.
            self._complain_ms = asked_ms + COMPLAIN_AGAIN_SECONDS * 1000
            _logger.warning(
                'no heartbeat of group "%s" gets through: does a process that is stopped hold the lock of %s?',
                self._group,
                self._storage.path,
            )

    def _beat(self) -> None:
        """Commits, releases and the heartbeat, in one transaction."""
        with self._lock:
            commits, self._to_commit = self._to_commit, {}
            released, self._to_release = self._to_release, set()
            with self._storage.transaction() as connection:
                topic = self._storage.topic(self._topic)
                group = self._load(0 if topic is None else topic.partitions)
                before = group.version
                now_ms = _boot_ms()
                self._write_commits(group, commits)
                answer = self._speak(group, released, now_ms)
                connection.execute(
                    "INSERT OR REPLACE INTO groups VALUES (?, ?, ?)", (self._group, self._topic, group.to_json())
                )
            self._beaten_ms = now_ms
            if answer is not None:
                self._answer = answer
        if group.version != before:
            self._ringer.ring()

    def _load(self, partitions: int) -> Group:
        row = self._storage.connection.execute(
            "SELECT state FROM groups WHERE name = ? AND topic = ?", (self._group, self._topic)
        ).fetchone()
        group = Group(partitions) if row is None else Group.from_json(row[0])
        group.resize(partitions)
        return group

    def _speak(self, group: Group, released: set[int], now_ms: int) -> Answer | None:
        if self._closing:
            group.leave(self._name)
            return None
        if self._is_lost:
            # Only when the owner has heard of it does it join again, as somebody new.
            return None
        if not self._joined:
            self._joined = True
            return group.join(self._name, self._session_ms, now_ms)
        answer = group.release(self._name, released, now_ms) if released else group.heartbeat(self._name, now_ms)
        if not answer.known:
            self._name = uuid.uuid4().hex
            self._joined = False
            self._is_lost = True
        return answer

    def _write_commits(self, group: Group, commits: Mapping[int, Committed]) -> None:
        for partition, (offset, metadata) in commits.items():
            if group.holds(self._name, partition):
                self._storage.connection.execute(
                    "INSERT OR REPLACE INTO commits VALUES (?, ?, ?, ?, ?)",
                    (self._group, self._topic, partition, offset, metadata),
                )
            else:
                _logger.warning('commit of partition %d of group "%s" dropped: not its holder', partition, self._group)

    def _release_resources(self) -> None:
        self._bell.close()
        self._ringer.close()
        self._storage.close()
