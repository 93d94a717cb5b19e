"""What can be wrong with a record's bytes.

SchemaError
 ├─ UnreadableRecord   bad input: goes to the dead-letter topic
 └─ NewerSchema        not bad input: a newer build must take the partition
"""

from __future__ import annotations


class SchemaError(Exception):
    code = ""


class UnreadableRecord(SchemaError):
    code = "ODR-002"

    def __init__(self, record_type: str, reason: str) -> None:
        super().__init__(record_type, reason)
        self.record_type = record_type
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: these bytes are no {self.record_type}: {self.reason}"


class NewerSchema(SchemaError):
    code = "ODR-003"

    def __init__(self, record_type: str, version: int, known: int) -> None:
        super().__init__(record_type, version, known)
        self.record_type = record_type
        self.version = version
        self.known = known

    def __str__(self) -> str:
        return (
            f"{self.code}: a {self.record_type} was written with schema version {self.version}, and this build knows "
            f"versions up to {self.known}: deploy a newer odradek"
        )
