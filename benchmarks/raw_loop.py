"""The limit: the same messages through the same topics, in the same processes, without workflow code.

client → inbox → orchestrator (history, then a task once that is acknowledged) → worker → inbox … → replies
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from odradek.log import Appender, Log, Reader, open_log
from odradek.schemas.topics import Topics

BATCH = 1000


def everything(log: Log, topic: str) -> Reader:
    """A reader of all partitions of a topic, from where they end now."""
    info = log.topic(topic)
    assert info is not None
    reader = log.reader()
    for partition in range(info.partitions):
        reader.assign(topic, partition, log.offsets(topic, partition).end)
    return reader


def orchestrate(log: Log, topics: Topics, queue: str, steps: int) -> None:
    """Each message becomes a history record; once acknowledged, a task, or after the last step a reply."""
    reader, history, outputs = everything(log, topics.inbox), log.appender(), log.appender()
    tasks = topics.tasks(queue)
    print("ready", flush=True)
    while True:
        acked = history.poll(0)
        outputs.poll(0)
        records = reader.poll(0 if history.in_flight or acked else 0.05, BATCH)
        if not records and history.in_flight:
            history.poll(0.001)
        for record in records:
            value = record.value or b"\0"
            done = value[0] >= steps
            following = bytes([value[0] + 1]) + value[1:]
            target = topics.replies if done else tasks

            def emit(offset: int | None, error: Any, r: Any = record, t: str = target, v: bytes = following) -> None:
                outputs.append(t, 0 if t == topics.replies else r.partition, r.key, v)

            history.append(topics.history, record.partition, record.key, following, emit)


def work(log: Log, topics: Topics, queue: str) -> None:
    """Each task goes back to the inbox."""
    reader, appender = everything(log, topics.tasks(queue)), log.appender()
    print("ready", flush=True)
    while True:
        appender.poll(0)
        for record in reader.poll(0.005 if appender.in_flight else 0.05, BATCH):
            appender.append(topics.inbox, record.partition, record.key, record.value)


class RawClient:
    """Starts loops, and waits for their ends."""

    def __init__(self, log: Log, topics: Topics, payload: bytes) -> None:
        self._appender: Appender = log.appender()
        self._reader = log.reader()
        self._reader.assign(topics.replies, 0, log.offsets(topics.replies, 0).end)
        self._inbox, self._payload = topics.inbox, payload
        info = log.topic(topics.inbox)
        assert info is not None
        self._partitions = info.partitions

    def run(self, count: int) -> float:
        """Seconds for ``count`` loops, all started at once."""
        began = time.perf_counter()
        for number in range(count):
            key = b"raw-%d-%d" % (number, count)
            self._appender.append(self._inbox, number % self._partitions, key, b"\0" + self._payload)
        got = 0
        while got < count:
            self._appender.poll(0)
            got += len(self._reader.poll(0.05, BATCH))
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["orchestrator", "worker"])
    parser.add_argument("--log", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    log, topics = open_log(options.log), Topics(options.namespace)
    if options.role == "orchestrator":
        orchestrate(log, topics, options.queue, options.steps)
    else:
        work(log, topics, options.queue)


if __name__ == "__main__":
    main()
