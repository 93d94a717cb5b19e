"""What can go wrong with a log. Each error names the value at fault and the next step, has fields, and can be pickled.

LogError
├── AddressInvalid        ODR-010  the address names no log
├── LogUnavailable        ODR-011  nobody answers, or not in time
│   ├── CredentialsRefused ODR-228  the brokers do not let this client in
│   └── AccessDenied       ODR-229  … or not do this
├── SettingsInvalid                 the settings for Kafka's security
│   ├── SettingsContradict     ODR-225  one is missing, unknown, or against another
│   ├── SettingFileUnreadable  ODR-226  a file that one of them names
│   └── OAuthCallbackUnusable  ODR-227  what is to get tokens cannot be imported
├── TopicMissing          ODR-012  no such topic or partition
├── TopicCreationRefused  ODR-013  the log does not want this topic
├── TopicChangeRefused    ODR-230  … or not so
├── OffsetOutOfRange      ODR-014  the position is not there (any more)
├── RecordTooLarge        ODR-015  above the limit of the topic or the client
├── AppendQueueFull       ODR-016  too much is in flight
└── AppendFailed          ODR-017  refused, or of unknown fate
"""

from __future__ import annotations


class LogError(Exception):
    """The root of all errors of a log."""

    def __init__(self, message: str, *fields: object) -> None:
        super().__init__(message)
        self._fields = fields

    def __reduce__(self) -> tuple[type[LogError], tuple[object, ...]]:
        return type(self), self._fields


class AddressInvalid(LogError, ValueError):
    """The address of a log cannot be understood. The message never repeats credentials."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f'ODR-010: log address "{address}" is not valid: {reason}. Use "kafka://host:9092,host2:9092", '
            f'"sqlite:///relative/path.db", "sqlite:////absolute/path.db" or "memory://name".',
            address,
            reason,
        )
        self.address = address
        self.reason = reason


class LogUnavailable(LogError):
    """The log did not answer, or not in time. Trying again later may help."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f'ODR-011: the log at "{address}" does not answer: {reason}. '
            f"Check that it runs, that this host reaches it, and its security settings.",
            address,
            reason,
        )
        self.address = address
        self.reason = reason


class CredentialsRefused(LogUnavailable):
    """The brokers answer, and do not let this client in, or it does not trust them."""

    def __init__(self, address: str, reason: str) -> None:
        LogError.__init__(
            self,
            f'ODR-228: the log at "{address}" and these settings do not go together: {reason}. Correct user, password, '
            f'token, certificates or security.protocol ("odradek doctor" tries them), then start again.',
            address,
            reason,
        )
        self.address = address
        self.reason = reason


class AccessDenied(LogUnavailable):
    """The principal may not do this. ``commands`` add the ACLs that are missing."""

    def __init__(self, address: str, what: str, commands: tuple[str, ...]) -> None:
        LogError.__init__(
            self,
            f'ODR-229: the log at "{address}" does not allow this principal to {what}. '
            f"Ask for the missing rights: {'; '.join(commands)}",
            address,
            what,
            commands,
        )
        self.address = address
        self.reason = f"no right to {what}"
        self.what = what
        self.commands = commands


class SettingsInvalid(LogError, ValueError):
    """How Kafka is to be spoken to cannot be. Messages name settings, and nothing secret of what they are."""


class SettingsContradict(SettingsInvalid):
    """A setting is missing, unknown, or contradicts another one."""

    def __init__(self, setting: str, problem: str, step: str) -> None:
        super().__init__(f"ODR-225: {setting} {problem}: {step}.", setting, problem, step)
        self.setting = setting
        self.problem = problem
        self.step = step


class SettingFileUnreadable(SettingsInvalid):
    """A file that a setting names is not there, or cannot be read."""

    def __init__(self, setting: str, path: str, reason: str) -> None:
        super().__init__(
            f'ODR-226: {setting} names the file "{path}", which cannot be read ({reason}): correct the path, or mount '
            f"the file (the secret) there.",
            setting,
            path,
            reason,
        )
        self.setting = setting
        self.path = path
        self.reason = reason


class OAuthCallbackUnusable(SettingsInvalid):
    """The function that is to get tokens cannot be imported."""

    def __init__(self, named: str, reason: str) -> None:
        super().__init__(
            f'ODR-227: oauth_cb (ODRADEK_OAUTH_CALLBACK) names "{named}", which cannot be used: {reason}. Give '
            f"MODULE:NAME of a function that takes one text and returns (token, expiry in seconds since 1970).",
            named,
            reason,
        )
        self.named = named
        self.reason = reason


class TopicMissing(LogError):
    """The topic, or this partition of it, does not exist."""

    def __init__(self, topic: str, partition: int | None = None) -> None:
        what = f'topic "{topic}"' if partition is None else f'partition {partition} of topic "{topic}"'
        super().__init__(
            f"ODR-012: {what} does not exist. Create the topics of the namespace first, or correct the name.",
            topic,
            partition,
        )
        self.topic = topic
        self.partition = partition


class TopicCreationRefused(LogError):
    """The log refused to create a topic."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(
            f'ODR-013: topic "{topic}" could not be created: {reason}. '
            f"Change its settings, ask for the right to create topics, or have it created by your operators.",
            topic,
            reason,
        )
        self.topic = topic
        self.reason = reason


class TopicChangeRefused(LogError):
    """The log refused to change the settings of a topic."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__(
            f'ODR-230: the settings of topic "{topic}" could not be changed: {reason}. '
            f"Ask for the right to change them (AlterConfigs), or have it done by your operators.",
            topic,
            reason,
        )
        self.topic = topic
        self.reason = reason


class OffsetOutOfRange(LogError):
    """A reader's position does not exist: it was deleted, or it was never written."""

    def __init__(self, topic: str, partition: int, offset: int, begin: int, end: int) -> None:
        super().__init__(
            f'ODR-014: offset {offset} of partition {partition} of topic "{topic}" cannot be read: '
            f"the partition holds {begin} to {end} (exclusive). Start again from a position inside.",
            topic,
            partition,
            offset,
            begin,
            end,
        )
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.begin = begin
        self.end = end


class RecordTooLarge(LogError):
    """A record is above the limit; nothing was appended. ``record_bytes_max`` is None when the broker did not say."""

    def __init__(self, topic: str, partition: int, record_bytes: int, record_bytes_max: int | None) -> None:
        limit = "its limit" if record_bytes_max is None else f"the limit of {record_bytes_max} bytes"
        super().__init__(
            f'ODR-015: a record of {record_bytes} bytes for partition {partition} of topic "{topic}" is above {limit}. '
            f"Make the payload smaller, or raise the topic's max.message.bytes.",
            topic,
            partition,
            record_bytes,
            record_bytes_max,
        )
        self.topic = topic
        self.partition = partition
        self.record_bytes = record_bytes
        self.record_bytes_max = record_bytes_max


class AppendQueueFull(LogError):
    """Too many records are in flight; poll the appender and try again."""

    def __init__(self, topic: str, in_flight: int) -> None:
        super().__init__(
            f'ODR-016: {in_flight} records are in flight, no more fit; the next one was for topic "{topic}". '
            f"Poll the appender, then append again.",
            topic,
            in_flight,
        )
        self.topic = topic
        self.in_flight = in_flight


class AppendFailed(LogError):
    """A record was refused, or its fate is unknown. After a fatal one the appender can only be discarded."""

    def __init__(self, topic: str, partition: int, reason: str, fatal: bool = False) -> None:
        step = "Discard the appender and make a new one." if fatal else "Check the log, then append again."
        super().__init__(
            f'ODR-017: an append to partition {partition} of topic "{topic}" failed: {reason}. {step}',
            topic,
            partition,
            reason,
            fatal,
        )
        self.topic = topic
        self.partition = partition
        self.reason = reason
        self.fatal = fatal
