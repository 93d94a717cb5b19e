"""Nothing that stands in a record is ever imported, unpickled or evaluated: not names of types, not payloads."""

from __future__ import annotations

import ast
import json
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowHistory
from odradek.converter import ConverterError, DataConverter
from odradek.exceptions import OdradekError
from odradek.schemas import records as r
from odradek.schemas.codec import Codec
from odradek.testing import WorkflowEnvironment
from odradek.worker import Replayer, Worker

REPOSITORY = Path(__file__).parents[2]
READS_RECORDS: Final = ("schemas", "log", "sdk", "orchestrator", "workers")
"""The command imports what its user names on the command line, and nothing else: ``odradek orchestrator MODULE``."""
DANGEROUS: Final = frozenset(
    {
        "eval", "exec", "compile", "__import__", "import_module", "import_string", "locate", "ImportString", "pickle",
        "marshal", "shelve", "importlib", "imp", "runpy", "pydoc", "dill", "cloudpickle", "jsonpickle", "yaml",
    }
)  # fmt: skip
ALLOWED: Final = {
    ("log/odradek/log/kafka_security.py", "importlib"): "what oauth_cb names in the operator's settings",
    ("log/odradek/log/kafka_security.py", "import_module"): "what oauth_cb names in the operator's settings",
    ("schemas/odradek/schemas/compiled.py", "exec"): "the codec, from our own record types and before anything is read",
    ("schemas/odradek/schemas/codec.py", "importlib"): "only importlib.resources, for its own schema files",
    ("sdk/odradek/exceptions/__init__.py", "pickle"): "an error that its own process pickles or unpickles",
    ("sdk/odradek/testing/__init__.py", "importlib"): "its own modules, on first use",
    ("sdk/odradek/testing/__init__.py", "import_module"): "its own modules, on first use",
    ("sdk/odradek/common/build.py", "importlib"): "only importlib.metadata, for the version",
    ("workers/odradek/workers/worker.py", "pickle"): "whether a function can go to a process; nothing is read",
    ("workers/odradek/workers/processes.py", "pickle"): "whether an exception can leave the process that raised it",
}


def named(tree: ast.AST) -> Iterator[str]:
    """What a module imports, and what it calls by its bare name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (one.name.partition(".")[0] for one in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module.partition(".")[0], *(one.name for one in names))
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr="import_module" as name)):
                yield name
            case _:
                continue


def test_no_module_that_reads_records_can_import_or_evaluate() -> None:
    found = {
        (str(path.relative_to(REPOSITORY)), name)
        for root in READS_RECORDS
        for path in (REPOSITORY / root).rglob("*.py")
        for name in named(ast.parse(path.read_text()))
        if name in DANGEROUS
    }
    assert found == ALLOWED.keys()


# ----------------------------------------------------------------------------------------------- what is really done


class Watch:
    """An audit hook, which the interpreter keeps for good: it notes what is forbidden while ``armed``."""

    armed = False
    noticed: Final[list[str]] = []

    @classmethod
    def hook(cls, event: str, arguments: tuple[Any, ...]) -> None:
        if not cls.armed:
            return
        if event in FORBIDDEN or (event == "import" and str(arguments[0]).partition(".")[0] in NEVER_LOADED):
            cls.noticed.append(f"{event} {arguments!r:.200}")


FORBIDDEN: Final = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pickle.find_class"}
)
NEVER_LOADED: Final = ("antigravity", "this", "odradek_evil")
NAMES: Final = (
    "os.system", "os:system", "builtins.eval", "builtins.exec", "subprocess.Popen", "antigravity",
    "antigravity.geohash", "this:s", "odradek_evil.Card", "odradek_evil:run", "__import__('antigravity')",
    "python/object/apply:os.system", f"{__name__}.Bomb", "../../odradek_evil.py", "__init__", "__reduce__", "__class__",
)  # fmt: skip
"""As types of workflows, activities, failures, messages and payloads."""
sys.addaudithook(Watch.hook)


@contextmanager
def watched() -> Iterator[None]:
    Watch.noticed.clear()
    Watch.armed = True
    try:
        yield
    finally:
        Watch.armed = False
    assert not Watch.noticed, "\n".join(Watch.noticed)


@dataclass
class Bomb:
    """A dataclass that is there and that nobody asked for."""

    made = 0

    def __post_init__(self) -> None:
        Bomb.made += 1


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


def payloads(name: str) -> list[r.Payload]:
    pickled = pickle.dumps(Evil())
    metadata = {key: name.encode() for key in ("type", "class", "messageType", "python-type", "module", "encoding")}
    texts = (json.dumps(dict.fromkeys(("__class__", "__type__", "py/object", "$type"), name)), json.dumps(name))
    encodings = (
        "json/plain",
        "json/protobuf",
        "binary/protobuf",
        "binary/plain",
        "python/pickle",
        "json/external",
        name,
    )
    data = (*(text.encode() for text in texts), pickled)
    return [r.Payload(encoding, one, metadata) for encoding in encodings for one in data]


def failure(name: str) -> r.Failure:
    cause = r.Failure(r.FailureKind.ACTIVITY, "x", name, attributes=dict.fromkeys(("activity_type", "class"), name))
    details = payloads(name)[:1]
    return r.Failure(r.FailureKind.APPLICATION, "x", name, name, details=details, category=name, cause=cause)


def test_the_watch_sees_what_it_is_there_for() -> None:
    """So that the silence of the other tests means something."""

    def do_what_is_forbidden() -> None:
        with watched():
            pickle.loads(pickle.dumps(Bomb()))
            with suppress(ImportError):
                __import__("odradek_evil")

    with pytest.raises(AssertionError, match=r"pickle.find_class[\s\S]*import \('odradek_evil'"):
        do_what_is_forbidden()


@pytest.mark.parametrize("name", NAMES)
def test_payloads_and_failures_name_types_in_vain(name: str) -> None:
    converter, before = DataConverter.default, Bomb.made
    with watched():
        for payload in payloads(name):
            for hint in (None, Any, object, dict, str, int | str):
                with suppress(ConverterError):
                    converter.payload_converter.from_payload(payload, hint)
        error = converter.failure_converter.from_failure(failure(name), converter.payload_converter)
        assert isinstance(error, OdradekError)
        codec = Codec()
        record = r.InboxRecord(0, r.ActivityResult("run", 1, 1, name, 0, None, failure(name)))
        written = codec.encode(record)
        assert codec.encode(codec.decode(r.InboxRecord, written)) == written
    assert Bomb.made == before


@activity.defn
async def harmless(value: Any) -> Any:
    return value


@workflow.defn
class Harmless:
    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self, value: Any) -> Any:
        limit: Any = {"start_to_close_timeout": timedelta(seconds=20)}
        made = await workflow.execute_activity(harmless, value, **limit)
        await workflow.wait_condition(lambda: self.over)
        return made

    @workflow.signal
    def leave(self) -> None:
        self.over = True


async def test_a_fleet_that_is_sent_malicious_names_imports_nothing() -> None:
    async with await WorkflowEnvironment.start_local() as env:
        client: Client = env.client
        async with Worker(client, task_queue="q", workflows=[Harmless], activities=[harmless]):
            value = {"__class__": "antigravity.geohash", "py/object": "odradek_evil.Card"}
            handle = await client.start_workflow(Harmless.run, value, id="h", task_queue="q")
            with watched():
                for number, name in enumerate(NAMES):
                    unknown = await client.start_workflow(name, name, id=f"evil-{number}", task_queue="q")
                    await unknown.signal(name, value)
                    await handle.signal(name, value)
                    for question in (handle.query, handle.execute_update):
                        with pytest.raises(OdradekError):
                            await question(name, value)
                    await client.start_activity(
                        name, value, id=f"evil-{number}", task_queue="q", start_to_close_timeout=timedelta(seconds=5)
                    )
                await handle.signal(Harmless.leave)
                assert await handle.result() == value
                history = await handle.fetch_history()
                await Replayer(workflows=[Harmless]).replay_workflow(WorkflowHistory.from_json("h", history.to_json()))
