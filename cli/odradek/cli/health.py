"""What Kubernetes and Prometheus ask a process for: /healthz, /readyz and /metrics, from a thread of their own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final, Self

import click

from odradek.cli.errors import PortTaken

LIVE_SECONDS: Final = 60.0
"""A process whose loop has not turned for so long is to be restarted; taking over a large partition stays below."""

Check = Callable[[], str]
"""What is wrong; an empty text when nothing is."""

_log = logging.getLogger("odradek.health")


class HealthServer:
    """Serves until ``close``; with the port 0 any free one is taken. Raises ``PortTaken``."""

    def __init__(self, host: str, port: int, *, alive: Check, ready: Check) -> None:
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise PortTaken(host, port, error.strerror or str(error)) from error
        self._server.checks = {"/healthz": alive, "/readyz": ready}
        self.port: int = self._server.server_address[1]
        self.url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{self.port}"  # noqa: S104
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="odradek-health", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    checks: dict[str, Check]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            self._answer(200, generate_latest(), CONTENT_TYPE_LATEST)
        elif path in self.server.checks:
            wrong = self.server.checks[path]()
            self._answer(503 if wrong else 200, f"{wrong or 'ok'}\n".encode())
        else:
            self._answer(404, b"/healthz, /readyz, /metrics\n")

    do_HEAD = do_GET  # noqa: N815 - the server's name for it

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug(format, *args)


class HealthPort(click.ParamType[int | None]):
    """A port, or ``off``."""

    name = "PORT|off"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "off":
            return None
        if str(value).isdigit() and 0 <= int(value) <= 65535:
            return int(value)
        return self.fail(f'"{value}" is neither a port nor "off"', param, ctx)


class HealthOptions:
    """Where to serve: ``--health-port`` and ``--health-host`` of a command."""

    def __init__(self, host: str, port: int | None, *, asked_for: bool) -> None:
        self.host, self.port, self.asked_for = host, port, asked_for

    def start(self, *, alive: Check, ready: Check) -> HealthServer | None:
        """Serve; a default port that is taken (a second process on this host) gives way to any free one."""
        if self.port is None:
            return None
        try:
            server = HealthServer(self.host, self.port, alive=alive, ready=ready)
        except PortTaken as error:
            if self.asked_for:
                raise
            _log.warning("%s Serving at any free port instead.", error.message)
            server = HealthServer(self.host, 0, alive=alive, ready=ready)
        _log.info("%s has /healthz, /readyz and /metrics", server.url, extra={"url": server.url})
        return server


def health_options(default_port: int, default_host: str = "0.0.0.0") -> Callable[[Any], Any]:  # noqa: S104
    """Adds ``--health-port`` and ``--health-host`` to a command, which gets them as ``health: HealthOptions``."""

    def decorate(function: Any) -> Any:
        import functools

        @click.option(
            "--health-port",
            type=HealthPort(),
            default=str(default_port),
            show_default=True,
            envvar="ODRADEK_HEALTH_PORT",
            show_envvar=True,
            help="Serves /healthz, /readyz and /metrics; 0 is any free port.",
        )
        @click.option(
            "--health-host",
            default=default_host,
            show_default=True,
            envvar="ODRADEK_HEALTH_HOST",
            metavar="HOST",
        )
        @functools.wraps(function)
        def command(*arguments: Any, health_port: int | None, health_host: str, **options: Any) -> Any:
            source = click.get_current_context().get_parameter_source("health_port")
            asked_for = source is not click.core.ParameterSource.DEFAULT
            return function(*arguments, health=HealthOptions(health_host, health_port, asked_for=asked_for), **options)

        return command

    return decorate
