"""A worker as somebody writes it in another language: by docs/reference/records.md, with fastavro and the schema files.

Nothing here may come from odradek's own codec, records or workers.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest

from odradek import workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.exceptions import ActivityError, ApplicationError
from odradek.log import Log, open_log
from odradek.orchestrator.settings import OrchestratorSettings
from odradek.worker import Worker

FILES = Path(__file__).parents[2] / "schemas" / "odradek" / "schemas" / "v1"
SCHEMAS = {name: fastavro.parse_schema(json.loads((FILES / f"{name}.avsc").read_text())) for name in ("task", "inbox")}
WORKERS_SCHEMA = fastavro.parse_schema(json.loads((FILES / "workers.avsc").read_text()))


@workflow.defn
class Translation:
    @workflow.run
    async def run(self, text: str) -> str:
        done: str = await workflow.execute_activity(
            "translate",
            args=[text, 2],
            result_type=str,
            task_queue="foreign",
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )
        return done


class ForeignWorker(threading.Thread):
    """Steps 1 to 9 of the page. Fails each first attempt, to see that it is tried again."""

    def __init__(self, log: Log, namespace: str) -> None:
        super().__init__(daemon=True)
        self.log, self.namespace, self.worker = log, namespace, "some-random-text"
        self.stopping = threading.Event()
        self.attempts: list[int] = []

    def run(self) -> None:
        reader, appender = self.log.reader(), self.log.appender()
        topic = f"{self.namespace}.tasks.foreign"
        while self.log.topic(topic) is None and not self.stopping.is_set():
            time.sleep(0.01)
        info = self.log.topic(topic)
        for partition in range(info.partitions if info else 0):
            reader.assign(topic, partition, 0)
        lease = {"worker": self.worker, "identity": "a robot", "task_queue": "foreign", "reply_partition": 0}
        body = ("odradek.WorkerLease", {**lease, "ended": False})
        written = self.written(WORKERS_SCHEMA, {"schema_version": 1, "body": body})
        appender.append(f"{self.namespace}.workers", 0, b"w\0" + self.worker.encode(), written)
        while not self.stopping.is_set():
            for record in reader.poll(0.01):
                assert record.value is not None
                for answer in self.answers(self.read(record.value)):
                    appender.append(*answer)
            appender.poll()
        reader.close()
        appender.close()

    def read(self, value: bytes) -> dict[str, Any]:
        data = io.BytesIO(value[5:] if value[0] == 0 else value)
        task: Any = fastavro.schemaless_reader(data, SCHEMAS["task"], None)
        return dict(task)

    def answers(self, task: dict[str, Any]) -> list[tuple[str, int, bytes, bytes]]:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > task["expires_ms"]:
            return []
        self.attempts.append(task["attempt"])
        which = {"run_id": task["run_id"], "seq": task["seq"], "attempt": task["attempt"]}
        about = {**which, "worker": self.worker, "started_ms": now_ms}
        bodies: list[tuple[str, dict[str, Any]]] = [("odradek.ActivityStarted", about)]
        text, times = (json.loads(payload["data"]) for payload in task["input"])
        if text == "impossible":
            failure = {"kind": "application", "message": "no words", "type": "Untranslatable", "non_retryable": True}
            bodies.append(("odradek.ActivityResult", {**about, "result": None, "failure": failure}))
        elif task["attempt"] == 1:
            failure = {"kind": "application", "message": "not yet", "type": "Busy"}
            bodies.append(("odradek.ActivityResult", {**about, "result": None, "failure": failure}))
        else:
            payload = {"encoding": "json/plain", "data": json.dumps(text.upper() * times).encode(), "metadata": {}}
            bodies.append(("odradek.ActivityResult", {**about, "result": payload, "failure": None}))
        topic, key = f"{task['namespace']}.inbox", task["workflow_id"].encode()
        values = [{"schema_version": 1, "sent_ms": now_ms, "body": body} for body in bodies]
        return [(topic, task["inbox_partition"], key, self.written(SCHEMAS["inbox"], value)) for value in values]

    @staticmethod
    def written(schema: Any, value: Any) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        return out.getvalue()


async def _translated(text: str, workflow_id: str) -> tuple[str, ForeignWorker]:
    address = f"memory://foreign-{workflow_id}"
    log = open_log(address)
    async with await Client.connect(address, namespace="shop") as client:
        foreign = ForeignWorker(log, "shop")
        foreign.start()
        settings = OrchestratorSettings(checkpoint_seconds=0.1)
        try:
            async with Worker(client, task_queue="t", workflows=[Translation], orchestrator_settings=settings):
                handle = await client.start_workflow(Translation.run, text, id=workflow_id, task_queue="t")
                return await asyncio.wait_for(handle.result(), 20), foreign
        finally:
            foreign.stopping.set()
            await asyncio.to_thread(foreign.join)


def test_result_after_a_retry() -> None:
    result, foreign = asyncio.run(_translated("ho", "w1"))
    assert result == "HOHO"
    assert foreign.attempts == [1, 2]


def test_failure_that_ends_the_activity() -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        asyncio.run(_translated("impossible", "w2"))
    error = caught.value.cause
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.type, error.cause.message) == ("Untranslatable", "no words")
