"""Where records live: ``open_log("kafka://…" | "sqlite:///…" | "memory://…")``."""

from odradek.log.errors import (
    AccessDenied,
    AppendFailed,
    AppendQueueFull,
    CredentialsRefused,
    LogError,
    LogUnavailable,
    OffsetOutOfRange,
    RecordTooLarge,
    SettingsInvalid,
    TopicCreationRefused,
    TopicMissing,
)
from odradek.log.interface import (
    Appender,
    Committed,
    Log,
    Membership,
    MembershipListener,
    Offsets,
    OnAppended,
    Reader,
    Record,
    Standing,
    TopicInfo,
)
from odradek.log.opening import open_log
from odradek.log.partitioning import partition_of

__all__ = [
    "AccessDenied",
    "AppendFailed",
    "AppendQueueFull",
    "Appender",
    "Committed",
    "CredentialsRefused",
    "Log",
    "LogError",
    "LogUnavailable",
    "Membership",
    "MembershipListener",
    "OffsetOutOfRange",
    "Offsets",
    "OnAppended",
    "Reader",
    "Record",
    "RecordTooLarge",
    "SettingsInvalid",
    "Standing",
    "TopicCreationRefused",
    "TopicInfo",
    "TopicMissing",
    "open_log",
    "partition_of",
]
