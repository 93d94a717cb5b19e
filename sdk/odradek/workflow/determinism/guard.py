"""Refuses files, sockets, processes and threads to workflow code while it runs, by Python's audit events.

Nothing is imported anew and no call is wrapped: the interpreter tells of such a call itself, and all that a run pays is
one look at the names of the events that its code causes.
"""

from __future__ import annotations

import sys
import threading
import time
from asyncio import events
from functools import cache, wraps
from types import FrameType
from typing import Any, Final

from odradek.workflow.runtime import RestrictedWorkflowAccessError, querying, unrestricted

_STEP: Final = "do it in a step (await workflow.step(function, …)) or an activity"
_FILES: Final = f"files are for steps and activities: {_STEP}"
_NETWORK: Final = f"the network is for steps and activities: {_STEP}"
_PROCESSES: Final = f"other processes are for steps and activities: {_STEP}"

REFUSED: Final = {
    **dict.fromkeys(
        (
            "open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link",
            "os.symlink", "os.truncate", "os.chmod", "os.chown", "os.utime", "os.chdir", "os.walk", "glob.glob",
            "shutil.copyfile", "shutil.copytree", "shutil.move", "shutil.rmtree", "shutil.make_archive",
            "shutil.unpack_archive", "tempfile.mkstemp", "tempfile.mkdtemp", "sqlite3.connect", "pathlib.Path.glob",
            "pathlib.Path.rglob",
        ),
        _FILES,
    ),
    **dict.fromkeys(
        (
            "socket.__new__", "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg",
            "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.gethostname",
            "socket.getnameinfo", "urllib.Request",
            "http.client.connect", "http.client.send", "smtplib.connect", "ftplib.connect", "imaplib.open",
        ),
        _NETWORK,
    ),
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.kill"),
        _PROCESSES,
    ),
    **dict.fromkeys(
        ("os.putenv", "os.unsetenv"), "the environment is the whole process's: keep the value in an attribute of self"
    ),
    **dict.fromkeys(
        ("_thread.start_new_thread", "_thread.start_joinable_thread"),
        "threads run in an order that no replay repeats: write asyncio.create_task(…), or use a step or an activity",
    ),
    "time.sleep": "it holds up all workflows of the partition: write await asyncio.sleep(…) or await workflow.sleep(…)",
    "builtins.input": "nobody answers in a replay: let people answer by a signal or an update",
}  # fmt: skip

_HARMLESS: Final = frozenset((
    "importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", "pkgutil", "logging", "loguru",
    "linecache", "traceback", "tokenize", "warnings", "inspect", "weakref", "zoneinfo", "encodings", "coverage", "pdb",
    "bdb", "pydevd", "_pydevd_bundle", "opentelemetry", "odradek",
))  # fmt: skip
"""Who may do so in the name of workflow code, since nothing of it comes back to the code but what is the same always:
imports, logging, tracebacks, debuggers; and what finalizes objects of others."""

_TIME_ZONES: Final = ("/zoneinfo/", "/tzdata/")


@cache
def install() -> None:
    """Watch workflow code of this process from now on: once, and for good, as audit hooks are."""
    sys.addaudithook(_hook)
    # Events that this version of Python has not got.
    if sys.version_info < (3, 13):
        _wrap(time, "sleep", "time.sleep")
    if sys.version_info < (3, 12):
        _wrap(threading.Thread, "start", "_thread.start_new_thread")


def _wrap(owner: Any, name: str, event: str) -> None:
    function = getattr(owner, name)

    @wraps(function)
    def watched(*args: Any) -> Any:
        _hook(event, args)
        return function(*args)

    setattr(owner, name, watched)


def _hook(event: str, args: tuple[Any, ...], refused: dict[str, str] = REFUSED) -> None:
    if event in refused:
        loop = events._get_running_loop()
        if loop is not None and hasattr(loop, "odradek_runtime"):
            _refuse(loop.odradek_runtime, event, args)


def _refuse(runtime: Any, event: str, args: tuple[Any, ...]) -> None:
    if not runtime.restricted or unrestricted.get() or _is_harmless(sys._getframe(2), event, args):
        return
    value = next((repr(arg) for arg in args if isinstance(arg, str | bytes | tuple | list | float)), "")
    error = RestrictedWorkflowAccessError(event, value[:200], REFUSED[event])
    if not querying.get():
        runtime.callback_failed(error)
    raise error


def _is_harmless(frame: FrameType | None, event: str, args: tuple[Any, ...]) -> bool:
    if event == "open" and (isinstance(args[0], int) or any(part in str(args[0]) for part in _TIME_ZONES)):
        return True  # a descriptor that is open already, and what a time zone is
    while frame is not None:
        if frame.f_globals is globals():
            frame = frame.f_back
            continue
        package, _, rest = frame.f_globals.get("__name__", "").partition(".")
        if package in _HARMLESS:
            # Ours: below the loop that runs the code stands the code, above it nobody asks in the code's name.
            return not (package == "odradek" and rest.startswith(("workflow.", "orchestrator.core.")))
        if package == "asyncio" and frame.f_code.co_name == "_run":
            return False
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
