"""The options that every command has, before or after its name: which log, which namespace, how to speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from odradek.cli.errors import AddressMissing, LogConfigInvalid
from odradek.cli.modules import made

if TYPE_CHECKING:
    from odradek.activity.interceptors import Interceptor
    from odradek.converter import DataConverter
    from odradek.envconfig import ConnectionSettings
    from odradek.log import Log

DEV_FILE: Final = Path(".odradek/dev.db")
DEV_LOG: Final = f"sqlite:///{DEV_FILE}"


@dataclass
class Common:
    """What the common options say."""

    given_log: str | None = field(default=None, repr=False)
    given_namespace: str | None = None
    given_log_config: dict[str, str] = field(default_factory=dict, repr=False)
    given_schema_registry: str | None = field(default=None, repr=False)
    converter: str | None = None
    interceptor: list[str] = field(default_factory=list)
    verbose: bool = False
    log_format: str = "text"
    log_level: str = "info"

    @cached_property
    def settings(self) -> ConnectionSettings:
        """What the environment says; options go before it. Raises ``SettingFileUnreadable``."""
        from odradek.envconfig import ConnectionSettings

        return ConnectionSettings.read()

    @property
    def log(self) -> str | None:
        return self.given_log or self.settings.log

    @property
    def namespace(self) -> str:
        return self.given_namespace or self.settings.namespace or "default"

    @property
    def schema_registry(self) -> str | None:
        registry = self.settings.schema_registry
        return self.given_schema_registry or (registry.get_secret_value() if registry else None)

    def kafka_config(self) -> dict[str, str]:
        """What Kafka's client is told. Raises ``SettingsInvalid``, and ``ValueError`` for what cannot be read."""
        from odradek.log.kafka_secrets import hidden

        return {**self.settings.kafka(), **hidden(self.given_log_config)}

    @property
    def address(self) -> str:
        """Raises ``AddressMissing`` when nobody named a log."""
        log = self.log
        if log is None:
            raise AddressMissing(DEV_LOG if DEV_FILE.exists() else None)
        return log if "://" in log else f"kafka://{log}"

    @property
    def shown_address(self) -> str:
        """The same for people: credentials in it, where they do not belong, are not repeated."""
        from odradek.log.opening import shown

        return shown(self.address)

    def data_converter(self) -> DataConverter:
        """What payloads are read and written with. Raises ``ModuleUnusable``."""
        from odradek.converter import DataConverter

        if self.converter is None:
            return DataConverter.default
        converter: DataConverter = made(self.converter, DataConverter, "a DataConverter")
        return converter

    @cached_property
    def _interceptors(self) -> list[Any]:
        from odradek.activity.interceptors import Interceptor as OfWorkers
        from odradek.client import Interceptor as OfClients

        return [made(named, (OfClients, OfWorkers), "an interceptor") for named in self.interceptor]

    def worker_interceptors(self) -> list[Interceptor]:
        """Raises ``ModuleUnusable``."""
        from odradek.activity.interceptors import Interceptor

        return [one for one in self._interceptors if isinstance(one, Interceptor)]

    def client_options(self) -> dict[str, Any]:
        """What clients are made with beside their connection. Raises ``ModuleUnusable``."""
        from odradek.client import Interceptor

        return {
            "namespace": self.namespace,
            "data_converter": self.data_converter(),
            "interceptors": [one for one in self._interceptors if isinstance(one, Interceptor)],
        }

    def open_log(self) -> Log:
        from odradek.log import open_log

        return open_log(self.address, self.kafka_config())


def _setter(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        common = context.ensure_object(Common)
        if value not in (None, False):
            setattr(common, name, value)

    return keep


def _keep_config(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    common = context.ensure_object(Common)
    for given in value or ():
        from odradek.envconfig import read_log_config

        try:
            read = read_log_config(given)
        except ValueError as error:
            raise LogConfigInvalid(str(error)) from None
        _warn_of_secrets(given, read)
        common.given_log_config.update(read)


def _warn_of_secrets(given: str, read: dict[str, str]) -> None:
    from odradek.log.kafka_secrets import is_secret

    name = given.partition("=")[0].strip()
    if name in read and is_secret(name):
        text = f"Warning: whoever lists this host's processes sees {name}: set a variable, or name a file of settings."
        click.echo(text, err=True)


def _keep_interceptors(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    context.ensure_object(Common).interceptor.extend(value or ())


class _OfSettings(click.Option):
    """Its variable is shown in the help, and read by ``ConnectionSettings``."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        return None


def common_options(*, at_root: bool) -> list[click.Parameter]:
    """Fresh parameters; below the root they are hidden, and take nothing from the environment a second time."""

    def option(
        *names: str,
        envvar: str | None = None,
        callback: Any = None,
        kind: type[click.Option] = click.Option,
        **rest: Any,
    ) -> click.Option:
        name = names[-1].lstrip("-").replace("-", "_")
        keep = callback or _setter(f"given_{name}" if kind is _OfSettings else name)
        return kind(
            names,
            envvar=envvar if at_root else None,
            hidden=not at_root,
            expose_value=False,
            is_eager=True,
            show_envvar=True,
            callback=keep,
            **rest,
        )

    return [
        option(
            "--log",
            kind=_OfSettings,
            envvar="ODRADEK_LOG",
            metavar="ADDRESS",
            help="kafka://host:9092,host2:9092 or sqlite:///path.db",
        ),
        option(
            "--namespace",
            kind=_OfSettings,
            envvar="ODRADEK_NAMESPACE",
            metavar="NAME",
            help='Default: "default".',
        ),
        option(
            "--log-config",
            kind=_OfSettings,
            envvar="ODRADEK_LOG_CONFIG",
            metavar="FILE|KEY=VALUE",
            multiple=True,
            callback=_keep_config,
            help="librdkafka settings, repeatable. For SASL and TLS there are variables of their own.",
        ),
        option(
            "--schema-registry",
            kind=_OfSettings,
            envvar="ODRADEK_SCHEMA_REGISTRY",
            metavar="URL",
            help="Write records in the Schema Registry's wire format.",
        ),
        option(
            "--converter",
            envvar="ODRADEK_CONVERTER",
            metavar="MODULE:NAME",
            help="The DataConverter that payloads are written with, or a function that makes it.",
        ),
        option(
            "--interceptor",
            envvar="ODRADEK_INTERCEPTORS",
            metavar="MODULE:NAME",
            multiple=True,
            callback=_keep_interceptors,
            help="An interceptor, its class, or a function that makes it; repeatable, the first is outermost.",
        ),
        option("-v", "--verbose", is_flag=True, help="Tracebacks, and debug messages."),
        option(
            "--log-format",
            envvar="ODRADEK_LOG_FORMAT",
            type=click.Choice(["text", "json"]),
            help="Of the messages on stderr.",
        ),
        option(
            "--log-level",
            envvar="ODRADEK_LOG_LEVEL",
            type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        ),
    ]


class Command(click.Command):
    """A command that takes the common options too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.extend(common_options(at_root=False))


class Group(click.Group):
    """A group whose commands take the common options, and that takes them itself."""

    command_class = Command

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.extend(common_options(at_root=False))


pass_common = click.make_pass_decorator(Common, ensure=True)
