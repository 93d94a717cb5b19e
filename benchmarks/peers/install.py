"""Puts the peers into a cache folder with the ordinary clients of package registries, in fixed versions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RESTATE_SERVER, RESTATE_SDK = "1.7.12", "1.3.0"
DBOS = "3.4.0"
TEMPORAL_SERVER, TEMPORAL_CLI, TEMPORAL_SDK = "v1.32.0", "v1.5.1", "1.35.0"
"""Newer commands replace modules in their go.mod, which ``go install`` refuses. This one has server 1.29.1 in it."""
PYTHON_PACKAGES: Mapping[str, Sequence[str]] = {
    "restate": (f"restate-sdk=={RESTATE_SDK}", "hypercorn==0.18.0", "aiohttp==3.14.5", "uvloop==0.23.0"),
    "dbos": (f"dbos=={DBOS}", "psycopg[binary]==3.3.9"),
    "temporal": (f"temporalio=={TEMPORAL_SDK}",),
}
INSTALL_SECONDS_MAX = 1800


class Unavailable(Exception):
    """A contestant cannot take part here; the message says why, and what to install."""


class Cache:
    """The folder of what was installed. Each method installs what is missing and returns where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def python(self, peer: str) -> Path:
        """The interpreter of the peer's own environment: the one that runs this, so that no one has a quicker one."""
        packages = PYTHON_PACKAGES[peer]
        environment = self.folder / peer / "venv"
        python, stamp = environment / "bin" / "python", environment / "installed.txt"
        wanted = "\n".join((os.path.realpath(sys.executable), sys.version, *packages))
        if not stamp.exists() or stamp.read_text() != wanted:
            what = f"Python packages of {peer}"
            _run(what, [sys.executable, "-m", "venv", "--clear", str(environment)])
            _run(what, [str(python), "-m", "pip", "install", "-q", *packages])
            stamp.write_text(wanted)
        return python

    def restate_server(self) -> Path:
        _require("npm", "Node.js with npm")
        folder = self.folder / "restate" / f"server-{RESTATE_SERVER}"
        pattern = "node_modules/@restatedev/restate-server-*/bin/restate-server"
        if not list(folder.glob(pattern)):
            package = f"@restatedev/restate-server@{RESTATE_SERVER}"
            folder.mkdir(parents=True, exist_ok=True)
            command = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", str(folder), package]
            _run("Restate's server", command, cwd=folder)
        found = list(folder.glob(pattern))
        if not found:
            raise Unavailable(f"npm has no Restate server {RESTATE_SERVER} for this kind of machine")
        return found[0]

    def temporal_dev_server(self) -> Path:
        """Temporal's command with its development server."""
        return self._go("temporal", "github.com/temporalio/cli/cmd/temporal", TEMPORAL_CLI)

    def temporal_server(self) -> tuple[Path, Path]:
        """The server as production runs it, and the tool that makes its tables."""
        module = "go.temporal.io/server/cmd"
        server = self._go("server", f"{module}/server", TEMPORAL_SERVER)
        return server, self._go("sql", f"{module}/tools/sql", TEMPORAL_SERVER)

    def _go(self, program: str, package: str, version: str) -> Path:
        folder = self.folder / "temporal" / f"{program}-{version}"
        made = folder / program
        if not made.exists():
            _require("go", "Go")
            folder.mkdir(parents=True, exist_ok=True)
            _run(f"{package}@{version}", ["go", "install", f"{package}@{version}"], {"GOBIN": str(folder)})
        return made

    def postgres(self) -> Path:
        """The folder of PostgreSQL's programs: installed already, else from Debian's packages when we are root."""
        found = _postgres()
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            # Without a cluster of Debian's own, which would start and stay.
            settings = Path("/etc/postgresql-common/createcluster.conf")
            settings.parent.mkdir(exist_ok=True)
            if not settings.exists():
                settings.write_text("create_main_cluster = false\n")
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            keep = ["-o", "Dpkg::Options::=--force-confold"]
            _run("PostgreSQL", ["apt-get", "update", "-qq"], quiet)
            _run("PostgreSQL", ["apt-get", "install", "-y", "-qq", *keep, "postgresql"], quiet)
            found = _postgres()
        if found is None:
            raise Unavailable("no PostgreSQL: neither on the path nor under /usr/lib/postgresql; install its server")
        return found


def _postgres() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


def _require(program: str, name: str) -> None:
    if shutil.which(program) is None:
        raise Unavailable(f'{name} is not installed (no "{program}" on the path)')


def _run(
    what: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    words = [str(part) for part in command]
    print(f"installing {what}: {' '.join(words)}", file=sys.stderr)
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=INSTALL_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{what} could not be installed: {error}") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Unavailable(f"{what} could not be installed: {' / '.join(last)}")
