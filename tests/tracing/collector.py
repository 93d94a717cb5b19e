"""A real OpenTelemetry Collector, from its own parts: ``make collector`` builds it, which takes minutes."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from odradek.testing.broker import free_ports
from tests import programs

SOURCES: Final = Path(__file__).parent / "otelcol"
START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 30.0


@dataclass(frozen=True)
class Span:
    """As it stands in the collector's file."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool


class Collector:
    """One that runs; ``endpoint`` takes OTLP over HTTP."""

    def __init__(self, port: int, file: Path, process: subprocess.Popen[bytes]) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._file, self._process = file, process

    def stop(self) -> list[Span]:
        """All that came in. It writes the rest as it ends."""
        self._process.terminate()
        self._process.wait(STOP_SECONDS_MAX)
        return [span for line in self._file.read_text().splitlines() for span in _spans(json.loads(line))]


def program() -> Path:
    """Raises ``ProgramUnavailable`` where it has not been built."""
    name = programs.name_of(SOURCES)
    if not programs.place(name).is_dir():
        programs.program("go")
        raise programs.ProgramUnavailable('the OpenTelemetry Collector is NOT BUILT: "make collector" does it')
    return build()


def build() -> Path:
    name = programs.name_of(SOURCES)
    return programs.kept(name, lambda folder: programs.build(SOURCES, folder)) / SOURCES.name


@contextmanager
def collector(folder: Path) -> Iterator[Collector]:
    """Raises ``ProgramUnavailable``."""
    found, (port,), file = program(), free_ports(1), folder / "spans.jsonl"
    (folder / "collector.yaml").write_text(json.dumps(_configuration(port, file)))
    with (folder / "collector.log").open("wb") as output:
        command = [str(found), f"--config=file:{folder / 'collector.yaml'}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _await_port(port, process, folder / "collector.log")
        yield Collector(port, file, process)
    finally:
        process.kill()
        process.wait()


def _configuration(port: int, file: Path) -> dict[str, Any]:
    """JSON is YAML."""
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"file": {"path": str(file)}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
        },
    }


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"no collector listens at port {port}: {log.read_text()[-2000:]}")


def _spans(exported: dict[str, Any]) -> Iterator[Span]:
    for of_resource in exported["resourceSpans"]:
        resource = _attributes(of_resource["resource"])
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                yield Span(
                    span["name"],
                    resource["service.name"],
                    span["traceId"],
                    span["spanId"],
                    span.get("parentSpanId", ""),
                    _attributes(span),
                    span.get("status", {}).get("code") == STATUS_ERROR,
                )


STATUS_ERROR: Final = 2


def _attributes(of: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", ())}


if __name__ == "__main__":
    print(build())  # noqa: T201
