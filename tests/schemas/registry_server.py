"""A small Schema Registry: the calls that a process makes, and what tests want to know."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast
from urllib.parse import urlsplit


class FakeRegistry:
    """``schemas`` has every registered schema by ID. It never forgets, and checks no compatibility."""

    def __init__(self) -> None:
        self.schemas: dict[int, Any] = {}
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[str] = []
        self.refusal: tuple[int, str] | None = None
        """Status and message with which registering is refused."""
        self.garbage: str | None = None
        """What it answers to everything, if it is no registry at all."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        cast(Any, self._server).registry = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def find(self, subject: str, schema: Any) -> int | None:
        return next((known for known in self.subjects.get(subject, ()) if self.schemas[known] == schema), None)

    def register(self, subject: str, schema: Any) -> int:
        found = self.find(subject, schema)
        if found is None:
            found = 1000 + len(self.schemas)
            self.schemas[found] = schema
            self.subjects.setdefault(subject, []).append(found)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def registry(self) -> FakeRegistry:
        return cast(FakeRegistry, cast(Any, self.server).registry)

    def do_POST(self) -> None:
        """``/subjects/S`` looks a schema up, ``/subjects/S/versions`` registers it."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = urlsplit(self.path).path.strip("/").split("/")
        registry, subject, schema = self.registry, parts[1], json.loads(body["schema"])
        registering = parts[2:] == ["versions"]
        registry.requests.append(f"{'register' if registering else 'look up'} {subject}")
        if registering and registry.refusal is not None:
            status, message = registry.refusal
            self._answer(status, {"error_code": status, "message": message})
            return
        found = registry.register(subject, schema) if registering else registry.find(subject, schema)
        if found is None:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})
        else:
            version = registry.subjects[subject].index(found) + 1
            self._answer(200, {"subject": subject, "id": found, "version": version, "schema": body["schema"]})

    def _answer(self, status: int, value: Any) -> None:
        text = self.registry.garbage
        data = json.dumps(value).encode() if text is None else text.encode()
        self.send_response(status if text is None else 200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
