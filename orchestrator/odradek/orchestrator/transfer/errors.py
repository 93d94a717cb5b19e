"""What can be wrong with a transfer.

LogError
├── NamespaceServed        ODR-246  orchestrators are at work in it
├── NamespaceExists        ODR-247  the name that is to be made anew is taken
├── RunsDamaged            ODR-249  histories that cannot be read
├── CopyDiffers            ODR-250  what was written is not what was read
└── CopyUnfinished         ODR-251  a restore or a copy that did not come to its end
ValueError
└── BackupUnreadable       ODR-248  this is no backup, or not a whole one
"""

from __future__ import annotations

from collections.abc import Sequence

from odradek.log import LogError


class NamespaceServed(LogError):
    """Histories must stand still while they are read."""

    code = "ODR-246"

    def __init__(self, namespace: str, by: str) -> None:
        super().__init__(
            f'{self.code}: namespace "{namespace}" is being served ({by}), and must stand still while it is read: '
            "stop its orchestrators (SIGTERM), and start them again when this is done. Workers and clients may go on",
            namespace,
            by,
        )
        self.namespace, self.by = namespace, by


class NamespaceExists(LogError):
    code = "ODR-247"

    def __init__(self, namespace: str, topics: Sequence[str]) -> None:
        super().__init__(
            f'{self.code}: namespace "{namespace}" has topics already ({", ".join(topics)}): nothing is written over '
            "what is there; give another name, or delete the topics if an earlier attempt has left them",
            namespace,
            topics,
        )
        self.namespace, self.topics = namespace, topics


class BackupUnreadable(ValueError):
    code = "ODR-248"

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f'{self.code}: "{self.path}" is no whole backup: {self.problem}. Make one with "odradek backup FILE"'


class RunsDamaged(LogError):
    """``runs`` are pairs of workflow ID and run ID."""

    code = "ODR-249"

    def __init__(self, namespace: str, runs: Sequence[tuple[str, str]]) -> None:
        named = ", ".join(f'"{workflow_id}" (run {run_id})' for workflow_id, run_id in runs[:10])
        super().__init__(
            f'{self.code}: {len(runs)} runs of namespace "{namespace}" have history records that cannot be read, and '
            f'cannot be written anew: {named}. Terminate them ("odradek workflow terminate ID"), or leave them '
            "out with --skip-damaged",
            namespace,
            runs,
        )
        self.namespace, self.runs = namespace, runs


class CopyDiffers(LogError):
    code = "ODR-250"

    def __init__(self, namespace: str, found: str, wanted: str) -> None:
        super().__init__(
            f'{self.code}: what stands in namespace "{namespace}" now is not what was read: {found}, and it should be '
            f"{wanted}. Do not promote it: delete its topics, and do it again",
            namespace,
            found,
            wanted,
        )
        self.namespace, self.found, self.wanted = namespace, found, wanted


class CopyUnfinished(LogError):
    code = "ODR-251"

    def __init__(self, namespace: str, partition: int) -> None:
        super().__init__(
            f'{self.code}: namespace "{namespace}" is no whole copy (partition {partition} lacks the record that ends '
            "one): the restore or the copy broke off, or found that it differs, so it cannot be promoted. Delete its "
            "topics, and do it again",
            namespace,
            partition,
        )
        self.namespace, self.partition = namespace, partition
