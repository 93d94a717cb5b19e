"""What can be wrong with a record's bytes, and with the registry of their schemas.

SchemaError
├── UnreadableRecord           ODR-002  bad input: goes to the dead-letter topic
├── NewerSchema                ODR-003  not bad input: a newer build must take the partition
├── SchemaRegistryMissing      ODR-004  the extra "schema-registry" is not installed
├── SchemaRegistryUnavailable  ODR-005  the registry does not answer, or not as one
└── SchemaRegistryRefused      ODR-006  the registry does not want the schema, or not from us
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


class SchemaRegistryMissing(SchemaError):
    """The registry's client is not installed. No message of these three repeats credentials."""

    code = "ODR-004"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f'{self.code}: the schema registry "{self.url}" needs a client that is not installed ({self.reason}): '
            'run "pip install odradek[schema-registry]", or unset ODRADEK_SCHEMA_REGISTRY'
        )


class SchemaRegistryUnavailable(SchemaError):
    """Trying again later may help."""

    code = "ODR-005"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return (
            f'{self.code}: the schema registry "{self.url}" does not answer: {self.reason}. Check the URL, that it '
            "runs, and that this host reaches it; a process starts without it only when no registry is named"
        )


class SchemaRegistryRefused(SchemaError):
    """It answers, and neither finds the schema nor registers it."""

    code = "ODR-006"

    def __init__(self, url: str, subject: str, level: int, reason: str) -> None:
        super().__init__(url, subject, level, reason)
        self.url = url
        self.subject = subject
        self.level = level
        self.reason = reason

    def __str__(self) -> str:
        return (
            f'{self.code}: the schema registry "{self.url}" refused the schema of subject "{self.subject}" at feature '
            f"level {self.level}: {self.reason}. Give this process the right to register, or register the schema from "
            f"schemas/v{self.level} of this build beforehand; the subject must be compatible with BACKWARD"
        )
