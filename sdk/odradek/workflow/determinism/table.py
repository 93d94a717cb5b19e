"""What workflow code must not call, and what to write instead: one table, its names resolved to live objects."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_STEP: Final = "do it in a step (await workflow.step(function, …)) or an activity"


@dataclass(frozen=True, slots=True)
class Rule:
    """A group of calls.

    ``names`` are dotted, and ``{a b}`` stands for several; a trailing ``()`` means: without arguments only.
    """

    reason: str
    instead: str
    names: str


_OS_ELSEWHERE: Final = (
    "fspath fsencode fsdecode strerror WCOREDUMP WEXITSTATUS WIFCONTINUED WIFEXITED WIFSIGNALED WIFSTOPPED WSTOPSIG "
    "WTERMSIG major minor makedev waitstatus_to_exitcode get_exec_path getenv getenvb putenv unsetenv urandom "
    "getrandom system popen fork forkpty posix_spawn posix_spawnp kill killpg register_at_fork"
)
"""What only computes, and what has a rule of its own."""
_OS: Final = " ".join(
    name
    for name, value in sorted(vars(os).items())
    if inspect.isroutine(value) and not name.startswith("_") and name not in _OS_ELSEWHERE.split()
)

RULES: Final = (
    Rule(
        "the clock of the process tells another time in each replay",
        "write workflow.now(), or workflow.time() for seconds",
        "datetime.datetime.{now utcnow today} datetime.date.today "
        "time.{time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns "
        "thread_time clock_gettime clock_gettime_ns localtime() gmtime() ctime() asctime()}",
    ),
    Rule(
        "it blocks the thread that serves all workflows of the partition, and no replay skips it",
        "write await asyncio.sleep(…) or await workflow.sleep(…), which make a durable timer",
        "time.sleep",
    ),
    Rule(
        "it gives another value in each replay",
        "write workflow.random(), a random.Random that is seeded from the run",
        "random.{random randint randrange uniform choice choices sample shuffle gauss normalvariate "
        "triangular betavariate "
        "expovariate gammavariate lognormvariate vonmisesvariate paretovariate weibullvariate getrandbits "
        "randbytes seed setstate binomialvariate Random() SystemRandom} ",
    ),
    Rule(
        "it gives another value in each replay, and what replays could repeat would be no secret",
        _STEP + "; workflow.random() is for chance, not for secrets",
        "secrets.{token_bytes token_hex token_urlsafe randbelow randbits choice SystemRandom} os.{urandom getrandom}",
    ),
    Rule("it gives another ID in each replay", "write workflow.uuid4()", "uuid.{uuid1 uuid4 uuid6 uuid7 uuid8}"),
    Rule(
        "the environment differs from process to process",
        "pass the value as an input, read it at the top of the module into a constant that never changes, or in a step",
        "os.{getenv getenvb putenv unsetenv}",
    ),
    Rule(
        "files may be others when the code is replayed, or in another place",
        _STEP,
        f"builtins.open io.{{open open_code FileIO}} os.{{{_OS}}} "
        "os.path.{exists lexists isfile isdir islink ismount getsize getmtime getatime getctime realpath "
        "abspath samefile expanduser expandvars} "
        "pathlib.Path.{open read_text read_bytes write_text write_bytes exists is_file is_dir is_symlink "
        "is_mount iterdir "
        "glob rglob walk mkdir rmdir unlink rename replace touch stat lstat chmod resolve absolute "
        "expanduser owner group symlink_to hardlink_to readlink samefile cwd home} "
        "shutil.{copy copy2 copyfile copyfileobj copymode copystat copytree rmtree move disk_usage chown "
        "which make_archive unpack_archive get_terminal_size} glob.{glob iglob} "
        "tempfile.{NamedTemporaryFile TemporaryFile SpooledTemporaryFile TemporaryDirectory mkstemp mkdtemp mktemp "
        "gettempdir} sqlite3.connect",
    ),
    Rule(
        "the network may answer otherwise when the code is replayed",
        _STEP,
        "socket.{socket create_connection create_server getaddrinfo gethostbyname gethostbyaddr gethostname getfqdn} "
        "urllib.request.{urlopen urlretrieve} http.client.{HTTPConnection HTTPSConnection} smtplib.{SMTP SMTP_SSL} "
        "ftplib.FTP requests.{get post put patch delete head options request session Session} "
        "httpx.{get post put patch delete head options request stream Client AsyncClient} "
        "aiohttp.{request ClientSession} urllib3.{request PoolManager} boto3.{client resource} redis.{Redis from_url} "
        "psycopg.connect psycopg2.connect asyncpg.{connect create_pool} pymongo.MongoClient sqlalchemy.create_engine "
        "asyncio.{open_connection start_server open_unix_connection start_unix_server}",
    ),
    Rule(
        "another process ends at another time, and otherwise, in a replay",
        _STEP,
        "subprocess.{run call check_call check_output getoutput getstatusoutput Popen} multiprocessing.{Process Pool} "
        "os.{system popen fork forkpty posix_spawn posix_spawnp kill killpg} "
        "asyncio.{create_subprocess_exec create_subprocess_shell}",
    ),
    Rule(
        "threads run in an order that no replay repeats",
        "write asyncio.create_task(…) for what goes on at the same time; what computes long is for a step or "
        "an activity",
        "threading.{Thread Timer} _thread.start_new_thread concurrent.futures.{ThreadPoolExecutor ProcessPoolExecutor} "
        "asyncio.{to_thread run run_coroutine_threadsafe} asyncio.AbstractEventLoop.{run_in_executor "
        "call_soon_threadsafe}",
    ),
    Rule("nobody answers it in a replay", "let people answer by a signal or an update", "builtins.input"),
)
ENVIRONMENT: Final = next(rule for rule in RULES if "getenv" in rule.names)
SHARED: Final = Rule(
    "what all runs share differs from one replay to the next",
    "keep it in an attribute of self, pass it as an input, or change it in a step",
    "",
)
"""Of mutable state of a module or class."""


def _dotted(names: str) -> Iterator[str]:
    for prefix, group, name in re.findall(r"([\w.]+)\{([^}]*)\}|(\S+)", names):
        yield from (prefix + one for one in group.split()) if group else (name,)


NAMES: Final[Mapping[str, Rule]] = {name: rule for rule in RULES for name in _dotted(rule.names)}
WITHOUT_ARGUMENTS: Final = frozenset(name[:-2] for name in NAMES if name.endswith("()"))


def refused() -> dict[Any, tuple[str, Rule]]:
    """The table by object, of the modules that are imported already. None is imported for it."""
    found: dict[Any, tuple[str, Rule]] = {}
    for name, rule in NAMES.items():
        dotted = name.removesuffix("()")
        value = _live(dotted)
        if value is not None:
            for one in (value, getattr(value, "__wrapped__", value)):
                found.setdefault(one, (dotted.removeprefix("builtins."), rule))
    return found


def _live(dotted: str) -> Any:
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:cut]))
        if module is not None:
            value: Any = vars(module).get(parts[cut])  # not getattr, by which some modules import their parts
            for part in parts[cut + 1 :]:
                value = getattr(value, part, None)
            return value
    return None
