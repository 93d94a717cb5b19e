"""``workflow erase``, ``topics retention`` and ``namespace prune-listings``."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path

from odradek.log import open_log
from odradek.log.namespace import append_all, create_namespace, open_namespace, read_to_end
from odradek.schemas import records as r
from odradek.schemas.topics import DAY_MS
from tests.cli.conftest import Fleet, run_command

NOW_MS = int(time.time() * 1000)


def test_a_workflow_is_erased_when_it_is_closed(fleet: Fleet) -> None:
    """Asked for twice, and for what nobody knows, it is done already."""
    fleet.start("Order", "erase-1", "--input", '"A1"')
    asked = fleet.run("workflow", "erase", "erase-1")
    assert (asked.exit_code, "ODR-187" in asked.stderr) == (2, True)
    refused = fleet.run("workflow", "erase", "erase-1", "--yes")
    assert (refused.exit_code, "ODR-252" in refused.stderr) == (1, True)
    done = fleet.run("workflow", "erase", "erase-1", "--terminate", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["listed"] >= 1
    for workflow_id in ("erase-1", "nobody"):
        again = fleet.run("workflow", "erase", workflow_id, "--terminate", "--yes")
        assert again.stdout == f'erased workflow "{workflow_id}": 0 records of listings, 0 keys of payloads\n'
    assert "erase-1" not in fleet.run("workflow", "list").stdout
    assert "ODR-253" in fleet.run("workflow", "result", "erase-1").stderr
    fleet.start("Quick", "erase-1", "--input", '"A2"')
    assert "charged A2" in fleet.run("workflow", "result", "erase-1").stdout


def test_retention_is_shown_and_changed(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "shop")
    with closing(open_log(where[1])) as log:
        create_namespace(log, "shop", partitions=1, queues=("mail",))
    shown = json.loads(run_command(*where, "topics", "retention", "--json").stdout)
    assert {one["topic"]: one["days"] for one in shown} == {
        "shop.archive": 7,
        "shop.dead-letter": 28,
        "shop.replies": 0.0208,
        "shop.tasks.mail": 7,
    }
    changes = ("--set", "archive=2", "--set", "tasks.mail=14", "--set", "dead-letter=ever")
    changed = run_command(*where, "topics", "retention", *changes)
    assert changed.exit_code == 0, changed.output
    assert "for ever" in changed.stdout
    with closing(open_log(where[1])) as log:
        found = {topic: log.topic(topic) for topic in ("shop.archive", "shop.tasks.mail", "shop.dead-letter")}
    kept = {topic: info.config["retention.ms"] for topic, info in found.items() if info}
    assert kept == {"shop.archive": f"{2 * DAY_MS}", "shop.tasks.mail": f"{14 * DAY_MS}", "shop.dead-letter": "-1"}
    checked = run_command(*where, "topics", "check", "--json")
    assert [(one["topic"], one["matters"]) for one in json.loads(checked.stdout)] == [("shop.archive", False)]
    assert checked.exit_code == 0
    no_times = ("archive", "archive=soon", "archive=inf", "archive=nan")
    for wrong in (*no_times, "history=1", "tasks.mail=0.5", "tasks.nobody=7", "replies=0.001"):
        refused = run_command(*where, "topics", "retention", "--set", "archive=3", "--set", wrong)
        assert (refused.exit_code, "ODR-256" in refused.stderr) == (2, True), wrong
    with closing(open_log(where[1])) as log:
        archive = log.topic("shop.archive")
    assert archive is not None
    assert archive.config["retention.ms"] == f"{2 * DAY_MS}"  # all or nothing


def test_listings_lose_what_closed_long_ago_and_old_copies(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "shop")

    def shown(run_id: str, claim: int, n: int, closed_ms: int | None) -> tuple[bytes, bytes]:
        status = r.RunStatus.RUNNING if closed_ms is None else r.RunStatus.COMPLETED
        record = r.VisibilityRecord("wf", run_id, claim, n, "T", "q", status, NOW_MS - 90 * DAY_MS, closed_ms)
        return f"{run_id}\0{claim}".encode(), names.codec.encode(record)

    with closing(open_log(where[1])) as log:
        create_namespace(log, "shop", partitions=1)
        names = open_namespace(log, "shop")
        records = [
            shown("old", 0, 1, None),
            shown("old", 7, 3, NOW_MS - 60 * DAY_MS),
            shown("open", 7, 2, None),
            shown("open", 0, 9, None),
            shown("young", 7, 2, NOW_MS - 2 * DAY_MS),
            (b"unreadable", b"?"),
        ]
        append_all(log, "shop.visibility", 0, dict(records))
    done = run_command(*where, "namespace", "prune-listings", "--closed-before", "30", "--json")
    assert json.loads(done.stdout) == {"runs": 1, "records": 3, "left": 2}
    with closing(open_log(where[1])) as log:
        last = {record.key: record.value for record in read_to_end(log, "shop.visibility", 0)}
    assert {key for key, value in last.items() if value is not None} == {b"open\x007", b"young\x007", b"unreadable"}
    again = run_command(*where, "namespace", "prune-listings", "--closed-before", "30")
    assert again.stdout == "0 runs and 0 records taken out, 2 runs are left\n"


def test_the_topic_of_keys_is_made_checked_and_exported_on_request(tmp_path: Path) -> None:
    where = ("--log", f"sqlite:///{tmp_path}/log.db", "--namespace", "shop")
    assert "shop.keys" not in run_command(*where, "topics", "create", "--partitions", "2").stdout
    assert "shop.keys" in run_command(*where, "topics", "create", "--keys").stdout
    assert run_command(*where, "topics", "check").stderr.endswith("8 topics are as they should be\n")
    with closing(open_log(where[1])) as log:
        info = log.topic("shop.keys")
    assert info is not None
    assert (info.partitions, info.config["cleanup.policy"]) == (1, "compact")
    assert "shop.keys" in run_command(*where, "topics", "export", "--keys").stdout
    assert "shop.keys" not in run_command(*where, "topics", "export").stdout
