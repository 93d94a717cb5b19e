"""The commands of the chart's pods, as it gives them, on a real broker: hooks, probes, and an end in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odradek.testing.broker import free_port
from tests.helm.chart import REPOSITORY, Helm, Manifest, Rendered, container, environment

READY_SECONDS_MAX = 60.0

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def release(helm: Helm, kafka_broker: str) -> Rendered:
    return helm.render(
        values={
            "namespace": f"helm-{uuid.uuid4().hex[:8]}",
            "log": {"address": f"kafka://{kafka_broker}", "secretConfig": {"client.id": "from a secret"}},
            "orchestrators": {"modules": ["tests.cli.shop"]},
            "workers": {"mail": {"queue": "mail", "modules": ["tests.cli.shop"]}},
            "topics": {"partitions": 2, "replication": None},
            "doctor": {"run": "hook"},
            "replayGate": {"enabled": True},
        }
    )


class Pod:
    """A container's command in a process here, with its variables and files."""

    def __init__(self, one: Rendered, owner: Manifest, folder: Path) -> None:
        self.owner, self.output = owner, folder / "output"
        self.port = free_port()
        variables = environment(one, owner, folder, {}) | {"ODRADEK_HEALTH_PORT": str(self.port)}
        variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path) + os.pathsep + str(REPOSITORY)
        assert container(owner)["command"] == ["odradek"]
        command = [sys.executable, "-m", "odradek.cli", *container(owner)["args"]]
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, env=variables, cwd=folder, stdout=output, stderr=output)

    def answers(self, probe: str) -> bool:
        path = container(self.owner)[probe]["httpGet"]["path"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not (self.answers("startupProbe") and self.answers("readinessProbe")):
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def ended(self) -> int:
        """As when the pod is deleted: SIGTERM, and the grace."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(self.owner["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])


@contextmanager
def running(one: Rendered, owner: Manifest, folder: Path) -> Iterator[Pod]:
    folder.mkdir()
    pod = Pod(one, owner, folder)
    try:
        yield pod
    finally:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait()


def finished(one: Rendered, job: str, folder: Path) -> tuple[int, str]:
    with running(one, one.one("Job", f"shop-odradek-{job}"), folder) as pod:
        return pod.process.wait(READY_SECONDS_MAX), pod.output.read_text()


def test_a_release_from_hook_to_end(release: Rendered, tmp_path: Path) -> None:
    """Topics are made once; the doctor is content when, and only when, all is up; pods end in order.

    The replay gate wants a namespace, and leaves it as it is.
    """
    status, output = finished(release, "replay-gate", tmp_path / "gate-too-early")
    assert status != 0, output
    status, output = finished(release, "topics", tmp_path / "topics")
    assert status == 0, output
    assert ".tasks.mail" in output
    status, output = finished(release, "replay-gate", tmp_path / "gate")
    assert (status, output.splitlines()[0]) == (0, "0 open runs, 0 replayed: 0 would park"), output
    status, output = finished(release, "topics", tmp_path / "topics-again")
    assert status == 0, output
    assert [line for line in output.splitlines() if line.endswith("made")] == []
    status, output = finished(release, "doctor", tmp_path / "doctor-too-early")
    assert status == 1, output
    with (
        running(release, release.one("StatefulSet", "shop-odradek-orchestrators"), tmp_path / "orchestrator") as first,
        running(release, release.one("Deployment", "shop-odradek-workers-mail"), tmp_path / "worker") as second,
    ):
        first.wait_ready()
        second.wait_ready()
        assert first.answers("livenessProbe")
        status, output = finished(release, "doctor", tmp_path / "doctor")
        assert status == 0, output
        assert first.ended() == 0, first.output.read_text()
        assert second.ended() == 0, second.output.read_text()
        assert list((tmp_path / "orchestrator/var/lib/odradek").iterdir()), "the store is where the volume is"
