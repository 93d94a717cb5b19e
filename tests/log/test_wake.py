"""A reader of an embedded log that waits can be woken from another thread, and hands over nothing for it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from odradek.log import Log, open_log
from odradek.schemas.topics import Topics

LONG_SECONDS = 60.0


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    opened = open_log("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/log.db")
    opened.create_topics(Topics("ns").specs(1))
    return opened


def test_a_waiting_poll_returns_when_it_is_woken(log: Log) -> None:
    reading, woken = threading.Event(), threading.Event()
    readers: list[object] = []
    wake = [lambda: None]

    def read() -> None:
        reader = log.reader()
        readers.append(reader)
        reader.assign(Topics("ns").inbox, 0, 0)
        wake[0] = reader.wake
        reading.set()
        assert reader.poll(LONG_SECONDS) == []
        woken.set()
        began = time.monotonic()
        assert reader.poll(0.01) == []  # once is once
        assert time.monotonic() - began >= 0.01
        reader.close()

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(20)
    wake[0]()
    assert woken.wait(20)
    thread.join(20)
    assert not thread.is_alive()


def test_a_wake_before_the_poll_is_not_lost(log: Log) -> None:
    reader = log.reader()
    reader.assign(Topics("ns").inbox, 0, 0)
    reader.wake()
    began = time.monotonic()
    assert reader.poll(LONG_SECONDS) == []
    assert time.monotonic() - began < LONG_SECONDS / 2
    reader.close()
