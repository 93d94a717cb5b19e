"""The harness at work, with as little of it as there can be. Nothing here asks how long it takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.peers.client import LoadClient, WorkFailed
from benchmarks.peers.compare import compare
from benchmarks.peers.contestants import base, make
from benchmarks.peers.contestants.kafka import OnSqlite, SharedBroker
from benchmarks.peers.counter import STEPS, WAITING, Counter
from benchmarks.peers.install import Cache, Unavailable
from benchmarks.peers.measure import Measuring
from benchmarks.peers.processes import Processes
from benchmarks.peers.works import WORKS, Plan

TINY = Plan(
    warm_seconds=0.1,
    repeats=1,
    chain_seconds=0.1,
    chains_max=40,
    latency_count=2,
    half_load_seconds=0.1,
    fan_out=10,
    callers=(1, 2),
    callers_seconds=0.1,
    equal_per_second=1,
    histories=(2, 4),
    sleepers_max=5,
    settle_seconds=0,
    recovered=2,
    minutes=5,
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    made.stop_all()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_our_chain_through_the_harness(tmp_path: Path) -> None:
    """On the embedded log, with all works but recovery, which waits for sessions to end."""
    works = frozenset(WORKS) - {"recovery"}
    run = compare(["odradek-sqlite"], works, TINY, Cache(tmp_path / "cache"), tmp_path / "scratch", quick=True)
    assert [(found.work, found.error) for found in run.measurements if found.error] == []
    assert run.entrants[0].left_out == ""
    for kind in ("remote", "local"):
        for work in ("chain", "latency", "half_load", "equal_load", "fan_out", "load", "history"):
            found = run.find("odradek-sqlite", work, kind)
            assert found is not None, (work, kind)
            assert all(sample.count > 0 for sample in found.samples)
            assert set(found.samples[0].cpu_seconds) == {"engine", "worker", "client"}
    sleepers, signals = (run.find("odradek-sqlite", work, "") for work in ("sleepers", "signals"))
    assert sleepers is not None
    assert signals is not None
    assert sleepers.samples[0].count == signals.samples[0].count == 5
    assert "bytes engine" in sleepers.samples[0].facts
    running = " ".join(" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True))
    assert str(tmp_path) not in running


def test_who_cannot_be_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(self: OnSqlite) -> dict[str, str]:
        raise Unavailable("there is no SQLite")

    monkeypatch.setattr(OnSqlite, "install", install)
    run = compare(["odradek-sqlite"], frozenset(WORKS), TINY, Cache(tmp_path), tmp_path / "scratch", quick=True)
    assert run.measurements == []
    assert run.entrants[0].left_out == "there is no SQLite"
    assert "!!! odradek on SQLite is LEFT OUT: there is no SQLite" in capsys.readouterr().err


def test_a_peer_without_its_tools_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    cache = Cache(tmp_path / "cache")
    with pytest.raises(Unavailable, match="npm"):
        cache.restate_server()
    with pytest.raises(Unavailable, match='no "go" on the path'):
        cache.temporal_server()


def test_every_contestant_can_be_made(tmp_path: Path) -> None:
    from benchmarks.peers.contestants import CONTESTANTS

    for name in CONTESTANTS:
        made = make(name, Cache(tmp_path / "cache"), tmp_path / name, SharedBroker(tmp_path / "broker"))
        assert isinstance(made, base.Contestant)
        assert set(made.kinds) <= {"remote", "local"}
        assert made.works <= set(WORKS)
        assert made.durability


def test_counts_survive_their_process(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "counter")
    code = (
        "import os, signal, sys; from pathlib import Path; from benchmarks.peers.counter import Counter\n"
        "counter = Counter(Path(sys.argv[1])); counter.add(0); counter.add(0); counter.add(1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "counter")], check=False, cwd=Path(__file__).parents[2])
    assert (counter.read(STEPS), counter.read(WAITING)) == (2, 1)
    counter.zero()
    assert counter.read(STEPS) == 0


def test_cpu_time_of_children_counts_also_when_they_have_ended(processes: Processes) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    code = (
        f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {burn!r}])\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    processes.spawn("parent", [sys.executable, "-c", code])
    processes.wait_for_line("parent")
    assert processes.cpu_seconds()["parent"] >= 0.3
    assert processes.memory_bytes()["parent"] > 0


def test_a_kill_takes_the_children_along(processes: Processes) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('ready', flush=True); time.sleep(60)"
    parent = processes.spawn("parent", [sys.executable, "-c", code])
    processes.wait_for_line("parent")
    (child,) = psutil.Process(parent.pid).children()
    processes.kill("parent")
    assert psutil.wait_procs([child], timeout=10)[1] == []
    assert processes.cpu_seconds() == {}


def test_a_process_that_ends_before_it_is_ready_shows_its_last_words(processes: Processes) -> None:
    processes.spawn("worker", [sys.executable, "-c", "raise SystemExit('no such queue')"])
    with pytest.raises(RuntimeError, match="no such queue"):
        processes.wait_for_line("worker")


def test_a_client_that_ends_is_an_error_with_its_log(processes: Processes) -> None:
    with pytest.raises(WorkFailed, match="it has ended"):
        LoadClient(processes, [sys.executable, "-c", "pass"], {})


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(processes: Processes) -> None:
    code = "print('{}', flush=True); import time; time.sleep(60)"
    client = LoadClient(processes, [sys.executable, "-c", code], {})
    with pytest.raises(WorkFailed, match="asked chain: no answer"):
        client.ask("chain", 0.01)
    with pytest.raises(WorkFailed, match="still owes the answer to chain"):
        client.ask("latency")


def test_a_work_that_fails_leaves_its_reason_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """With a client that fails at fan-outs."""
    contestant = OnSqlite(Cache(tmp_path / "cache"), tmp_path / "contestant")
    code = (
        "import json, sys\nprint('{}', flush=True)\n"
        "for line in sys.stdin:\n"
        "    do = json.loads(line)['do']\n"
        "    fine = {'seconds': 1.0, 'workflows': 10, 'latencies_ms': [5.0]}\n"
        "    print(json.dumps({'error': 'out of order'} if do == 'fan_out' else fine), flush=True)\n"
    )
    try:
        contestant.client = LoadClient(contestant.processes, [sys.executable, "-c", code], {})
        found = Measuring(contestant, TINY, frozenset({"fan_out", "history"})).all()
    finally:
        contestant.stop()
    said = [(one.work, one.kind, len(one.samples), one.error) for one in found]
    assert said == [
        (work, kind, samples, error)
        for kind in ("remote", "local")
        for work, samples, error in (("fan_out", 0, "fan_out: out of order"), ("history", 2, ""))
    ]
