"""Each line that ends in ``# error: x`` or ``# warning: x`` is found, and no other."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePath
from random import choice as pick
from time import sleep as rest
from typing import Any

from odradek import workflow
from tests.sdk.unsafe_code import helpers
from tests.sdk.unsafe_code.helpers import Basket, allowed_region, read

COUNTS: dict[str, int] = {}
NAMES = ["ann", "bob"]
FIXED = ["ann", "bob"]
TOTAL = 0
log = logging.getLogger(__name__)


def count_in_an_activity() -> None:
    global TOTAL
    TOTAL += 1


@workflow.defn
class Clocks:
    @workflow.run
    async def run(self) -> None:
        time.time()  # error: time.time()
        datetime.now(UTC)  # error: datetime.datetime.now()
        dt.datetime.now()  # error: datetime.datetime.now()
        datetime.utcnow()  # error: datetime.datetime.utcnow()
        date.today()  # error: datetime.date.today()
        time.monotonic()  # error: time.monotonic()
        time.localtime()  # error: time.localtime()
        time.gmtime(0)
        datetime.fromtimestamp(0, UTC) + timedelta(days=1)
        datetime(2026, 1, 1).isoformat()
        workflow.now()
        workflow.time()
        asyncio.get_running_loop().time()

    @workflow.query
    def age(self) -> float:
        return time.perf_counter()  # error: time.perf_counter()


@workflow.defn
class Chance:
    @workflow.run
    async def run(self) -> None:
        random.random()  # error: random.random()
        pick([1, 2])  # error: random.choice()
        random.Random()  # error: random.Random()
        random.Random(7).random()
        uuid.uuid4()  # error: uuid.uuid4()
        uuid.uuid5(uuid.NAMESPACE_DNS, "a")
        secrets.token_hex()  # error: secrets.token_hex()
        os.urandom(2)  # error: os.urandom()
        workflow.random().random()
        workflow.uuid4()
        hash("a")  # warning: hash()
        id(self)  # warning: id()


@workflow.defn
class Outside:
    @workflow.run
    async def run(self, name: str, folder: Path) -> None:
        open(name)  # error: open()
        Path(name).read_text()  # error: pathlib.Path.read_text()
        (Path(name) / "x").exists()  # error: pathlib.Path.exists()
        folder.mkdir()  # error: pathlib.Path.mkdir()
        Path.cwd()  # error: pathlib.Path.cwd()
        PurePath(name).with_suffix(".txt")
        os.path.join(name, "x")
        os.path.exists(name)  # error: os.path.exists()
        os.listdir(name)  # error: os.listdir()
        shutil.rmtree(name)  # error: shutil.rmtree()
        socket.create_connection((name, 1))  # error: socket.create_connection()
        urllib.request.urlopen(name)  # error: urllib.request.urlopen()
        urllib.parse.quote(name)
        subprocess.run([name])  # error: subprocess.run()
        os.system(name)  # error: os.system()
        threading.Thread(target=print)  # error: threading.Thread()
        ThreadPoolExecutor(1)  # error: concurrent.futures.ThreadPoolExecutor()
        await asyncio.to_thread(print)  # error: asyncio.to_thread()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, print)  # error: asyncio.AbstractEventLoop.run_in_executor()
        await asyncio.create_subprocess_shell(name)  # error: asyncio.create_subprocess_shell()
        rest(1)  # error: time.sleep()
        input()  # error: input()
        os.getenv("A")  # error: os.getenv()
        os.environ.get("A")  # error: os.environ
        from shutil import copy as duplicate

        duplicate(name, name)  # error: shutil.copy()
        print(name)
        log.info("%s", name)
        workflow.logger.info(name)
        await asyncio.sleep(1)
        await workflow.sleep(1)
        json.loads(re.sub("a", "b", name))


@workflow.defn
class Shared:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.names: list[str] = []

    total = 0
    kept: list[str] = []

    @workflow.run
    async def run(self) -> None:
        global TOTAL  # error: global TOTAL
        TOTAL = 1
        COUNTS["a"] = 1  # error: a change of COUNTS
        COUNTS["a"] += 1  # error: a change of COUNTS
        del COUNTS["a"]  # error: a change of COUNTS
        NAMES.append("a")  # error: NAMES.append()
        Shared.total += 1  # error: a change of Shared.total
        Shared.kept.append("a")  # error: Shared.kept.append()
        helpers.SEEN.clear()  # error: helpers.SEEN.clear()
        helpers.remember("a")
        self.counts["a"] = 1
        self.names.append("a")
        self.total += 1
        local = list(helpers.LIMITS)
        local.append("a")
        helpers.known()
        self.shadow()

    def shadow(self) -> None:
        NAMES = ["a"]
        NAMES.append("b")

    @workflow.signal
    def add(self, name: str) -> None:
        COUNTS.update({name: 1})  # error: COUNTS.update()

    @workflow.update
    async def ask(self) -> int:
        return len(COUNTS) + TOTAL  # warning: COUNTS, warning: TOTAL

    @ask.validator
    def check(self) -> None:
        COUNTS.clear()  # error: COUNTS.clear()


@workflow.defn
class Order:
    @workflow.run
    async def run(self, given: set[str]) -> list[str]:
        names = {"a", "b"}
        for _ in names:  # warning: the order of names
            pass
        for _ in given:  # warning: the order of given
            pass
        for _ in sorted(names):
            pass
        for _ in {1, 2}:
            pass

        async def one(name: str) -> str:
            return name

        await asyncio.gather(*[one(name) for name in set(FIXED)])  # warning: the order of set(FIXED)
        done, _ = await asyncio.wait([asyncio.create_task(one("a"))])
        for _ in done:
            pass
        if max(len(name) for name in names) > 1 or "a" in names:
            return sorted(name.upper() for name in names)
        return list(names - given)  # warning: the order of names - given


@workflow.defn
class Helped:
    @workflow.run
    async def run(self) -> Any:
        helpers.through("a")
        self.help()
        basket = Basket()
        basket.add("a")
        basket.save()
        _ = basket.size
        allowed_region()
        helpers.region()
        await workflow.step(read, "a")
        await workflow.step(lambda: open("a").read(), name="read")
        await workflow.execute_activity(read, "a", start_to_close_timeout=timedelta(1))
        await workflow.wait_condition(lambda: time.time() > 1)  # error: time.time()

        def inner() -> None:
            time.sleep(1)  # error: time.sleep()

        def step_of_its_own() -> None:
            time.sleep(1)

        inner()
        await workflow.step(step_of_its_own)

    def help(self) -> None:
        open("a")  # error: open()

    def unused(self) -> None:
        open("a")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.store = helpers.Store()
        self.other = self.other if self.names else None  # type: ignore[has-type]

    @workflow.signal
    async def end(self, name: str) -> None:
        self.names.add(name)
        for _ in self.names:  # warning: the order of self.names
            pass
        self.store.save()


@workflow.defn
class Excused:
    @workflow.run
    async def run(self) -> None:
        time.time()  # odradek: deterministic
        helpers.region()  # odradek: deterministic
        helpers.stamped("a")  # odradek: deterministic
        self.whole()
        with workflow.unsafe.sandbox_unrestricted():
            open("a")
        with workflow.unsafe.imports_passed_through():
            import json as _

    def whole(self) -> None:  # odradek: deterministic
        open("a")


@workflow.defn(sandboxed=False)
class Unguarded:
    @workflow.run
    async def run(self) -> None:
        time.sleep(0)
