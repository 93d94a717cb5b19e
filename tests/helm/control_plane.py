"""etcd and kube-apiserver as programs: found, or built through Go, which takes minutes: ``make api-server``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Final

from tests.programs import ProgramUnavailable, kept, place, program

PROGRAMS: Final = ("etcd", "kube-apiserver")
VARIABLE: Final = "KUBEBUILDER_ASSETS"
"""Names their folder, as it does for others' tests."""
SOURCES: Final = Path(__file__).parent / "kubernetes"
SAY_SECONDS: Final = 10.0


def programs() -> Path:
    """The folder that has them. Raises ``ProgramUnavailable``: they are not built by the way."""
    on_path = shutil.which(PROGRAMS[-1])
    places = [Path(os.environ[VARIABLE])] if VARIABLE in os.environ else []
    places += [place(_name()), *([Path(on_path).parent] if on_path else [])]
    for folder in places:
        if all((folder / name).is_file() for name in PROGRAMS):
            return folder
    raise ProgramUnavailable(
        f"the chart is NOT INSTALLED on an API server: there is no etcd and kube-apiserver in {places[-1]}; "
        f"build them once with: make api-server, or name their folder in {VARIABLE}"
    )


def build() -> Path:
    """The same, made in the cache if they are not there. Says how far it is on stderr."""
    return kept(_name(), _build)


def _name() -> str:
    """By all that goes into them."""
    files = sorted(file for file in SOURCES.rglob("*") if file.suffix in (".go", ".mod", ".sum"))
    return f"kubernetes@{sha256(b''.join(file.read_bytes() for file in files)).hexdigest()[:12]}"


def _build(folder: Path) -> None:
    go = program("go")
    _say("fetching modules")
    packages = len(_run([go, "list", "-deps", "./..."]).split())
    found = re.search(r"k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)", (SOURCES / "go.mod").read_text())
    assert found is not None
    version = "k8s.io/component-base/version"
    parts = {"gitVersion": f"v{'.'.join(found.groups())}", "gitMajor": found[1], "gitMinor": found[2]}
    flags = " ".join(["-s", "-w", *(f"-X {version}.{name}={value}" for name, value in parts.items())])
    command = [go, "build", "-v", "-mod=readonly", "-ldflags", flags, "-o", f"{folder}{os.sep}", "./..."]
    began = said = time.monotonic()
    with subprocess.Popen(command, cwd=SOURCES, stderr=subprocess.PIPE, text=True) as building:
        assert building.stderr is not None
        seen: list[str] = []
        for line in building.stderr:
            seen.append(line)
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                _say(f"compiling: {len(seen)} of at most {packages} packages, {said - began:.0f} s")
    if building.returncode != 0:
        raise ProgramUnavailable(f"{' '.join(command)} FAILED: {''.join(seen[-20:])}")
    _say(f"built {', '.join(PROGRAMS)} in {time.monotonic() - began:.0f} s")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramUnavailable(f"{' '.join(command)} FAILED: {done.stderr[-2000:]}")
    return done.stdout


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - it is a command


if __name__ == "__main__":
    try:
        _say(str(build()))
    except ProgramUnavailable as error:
        sys.exit(str(error))
