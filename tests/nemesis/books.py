"""The bank's books, a SQLite file: who has how much, what was entered why, and every execution of an activity.

Knows nothing of the engine, so that it can testify against it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

LOCK_SECONDS_MAX: Final = 120
"""Above the longest freeze of a process that may hold the lock."""
OPENING_BALANCE: Final = 1000

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS accounts (number INTEGER PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0));
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY, transfer TEXT NOT NULL, kind TEXT NOT NULL,
    account INTEGER NOT NULL, amount INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS executions (key TEXT NOT NULL, attempt INTEGER NOT NULL, pid INTEGER, time REAL NOT NULL);
"""


class Entry(NamedTuple):
    """``amount`` is what the account gets, below zero what it gives; zero: it was refused."""

    key: str
    transfer: str
    kind: str
    account: int
    amount: int


class Execution(NamedTuple):
    key: str
    attempt: int
    pid: int
    time: float


class Books:
    """May be used by several threads and processes; what a call returned from survives the end of the process."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file = sqlite3.connect(
            path, timeout=LOCK_SECONDS_MAX, check_same_thread=False, isolation_level=None, cached_statements=16
        )
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.executescript(_TABLES)

    def open_accounts(self, count: int) -> None:
        with self._transaction():
            self._file.executemany("INSERT INTO accounts VALUES (?, ?)", [(n, OPENING_BALANCE) for n in range(count)])

    def execute(self, key: str, attempt: int) -> None:
        """Note that an activity runs."""
        with self._transaction():
            self._note_execution(key, attempt)

    def enter(self, key: str, transfer: str, kind: str, account: int, amount: int, attempt: int) -> bool:
        """Enter it once for ``key``, however often it is asked for; False: the account has not got that much."""
        with self._transaction():
            self._note_execution(key, attempt)
            known = self._file.execute("SELECT amount FROM entries WHERE key = ?", (key,)).fetchone()
            if known is not None:
                return bool(known[0])
            (balance,) = self._file.execute("SELECT balance FROM accounts WHERE number = ?", (account,)).fetchone()
            entered = amount if balance + amount >= 0 else 0
            self._file.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (key, transfer, kind, account, entered))
            self._file.execute("UPDATE accounts SET balance = balance + ? WHERE number = ?", (entered, account))
            return entered != 0

    def balances(self) -> dict[int, int]:
        return dict(self._read("SELECT number, balance FROM accounts"))

    def entries(self) -> list[Entry]:
        return [Entry(*row) for row in self._read("SELECT * FROM entries")]

    def executions(self) -> list[Execution]:
        return [Execution(*row) for row in self._read("SELECT * FROM executions ORDER BY time")]

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _note_execution(self, key: str, attempt: int) -> None:
        self._file.execute("INSERT INTO executions VALUES (?, ?, ?, ?)", (key, attempt, os.getpid(), time.time()))

    def _read(self, query: str) -> list[Any]:
        with self._lock:
            return self._file.execute(query).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._file.execute("COMMIT")
