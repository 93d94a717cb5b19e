"""What the command says when something goes wrong: one line and an exit code for every exception.

CliError (click.ClickException)
├── AddressMissing        ODR-180  nobody said which log
├── LogConfigInvalid      ODR-181  --log-config is neither a file nor KEY=VALUE
├── ModuleUnusable        ODR-182  a module cannot be imported
├── NothingToRun          ODR-183  a module has no workflows or activities
├── PortTaken             ODR-184  the health port is in use
├── InputInvalid          ODR-185  an argument is not JSON
├── ProcessEnded          ODR-186  one of several processes ended
├── NeedsConfirmation     ODR-187  a destroying command without --yes and without a terminal
├── LogFileMissing        ODR-188  a command that only asks found no log
├── NamespaceMissing      ODR-189  … or no such namespace in it
├── FeatureLevelRefused   ODR-190  a feature level that this build does not know, or below that of the namespace
├── DeadLetterMissing     ODR-168  no dead letter of this ID
├── DeadLettersNotNamed   ODR-209  dead letters are to be sent again, and nobody said which
└── RetentionRefused      ODR-256  for how long a topic is to keep its records
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import NamedTuple

import click

from odradek.cli.exits import ExitCode
from odradek.cli.standing import error_words


class CliError(click.ClickException):
    """An error of the command itself; its message has a code and the next step."""

    exit_code = int(ExitCode.USAGE)
    code = ""

    def __init__(self, message: str) -> None:
        super().__init__(f"{self.code}: {message}")


class AddressMissing(CliError):
    code = "ODR-180"

    def __init__(self, dev_log: str | None) -> None:
        found = f" A development log stands here: --log {dev_log}" if dev_log else ""
        super().__init__(
            "no log was named: give --log kafka://host:9092 (or sqlite:///path.db), or set ODRADEK_LOG." + found
        )


class LogConfigInvalid(CliError):
    code = "ODR-181"

    def __init__(self, problem: str) -> None:
        super().__init__(f"--log-config {problem}")


class ModuleUnusable(CliError):
    code = "ODR-182"

    def __init__(self, module: str, problem: str) -> None:
        super().__init__(f'module "{module}" cannot be imported: {problem}')


class NothingToRun(CliError):
    code = "ODR-183"

    def __init__(self, modules: str, wanted: str, found: str) -> None:
        super().__init__(f"no {wanted} in {modules}; found: {found}.")


class PortTaken(CliError):
    code = "ODR-184"
    exit_code = int(ExitCode.FAILED)

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(
            f"health and metrics cannot be served at {host}:{port}: {problem}. "
            f"Choose another --health-port, 0 for any free one, or off."
        )


class InputInvalid(CliError):
    code = "ODR-185"

    def __init__(self, option: str, given: str, problem: str) -> None:
        super().__init__(f"{option} {given!r} {problem}.")


class HistoryUnreadable(CliError):
    code = "ODR-163"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(
            f'"{name}" is no recorded history ({problem}): write one with "odradek workflow history ID --json".'
        )


class ProcessEnded(CliError):
    code = "ODR-186"

    def __init__(self, what: str, pid: int, status: int) -> None:
        super().__init__(f"{what} (process {pid}) ended with status {status}, so all of them were stopped.")
        self.exit_code = status if 0 < status < 128 else int(ExitCode.FAILED)  # type: ignore[misc]  # it is that of the process


class NeedsConfirmation(CliError):
    code = "ODR-187"

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} needs a confirmation, and there is no terminal to ask on: add --yes.")


class LogFileMissing(CliError):
    code = "ODR-188"
    exit_code = int(ExitCode.NOT_FOUND)

    def __init__(self, address: str) -> None:
        super().__init__(
            f'there is no file for "{address}". "odradek dev", an orchestrator or "odradek topics create" makes one; '
            f"a relative path is looked for in the current directory."
        )


class NamespaceMissing(CliError):
    code = "ODR-189"
    exit_code = int(ExitCode.NOT_FOUND)

    def __init__(self, namespace: str, address: str, others: list[str]) -> None:
        known = ", ".join(f'"{name}"' for name in others) or "none"
        super().__init__(
            f'there is no namespace "{namespace}" at {address}; there are: {known}. '
            f'Correct --namespace, or make it with "odradek topics create".'
        )


class FeatureLevelRefused(CliError):
    code = "ODR-190"
    exit_code = int(ExitCode.USAGE)

    def __init__(self, namespace: str, level: int, problem: str) -> None:
        super().__init__(f'the feature level of namespace "{namespace}" cannot become {level}: {problem}.')


class DeadLetterMissing(CliError):
    code = "ODR-168"
    exit_code = int(ExitCode.NOT_FOUND)

    def __init__(self, letter_id: str) -> None:
        super().__init__(
            f'there is no dead letter "{letter_id}", or the filters leave it out: "odradek dead-letter list" has their '
            "IDs; they are kept for the retention of their topic."
        )


class DeadLettersNotNamed(CliError):
    code = "ODR-209"

    def __init__(self) -> None:
        super().__init__("say which dead letters are to be sent again: their IDs, or --all (with --code or --topic).")


class RetentionRefused(CliError):
    code = "ODR-256"

    def __init__(self, given: str, problem: str) -> None:
        super().__init__(f'--set "{given}": {problem}.')


class Explained(NamedTuple):
    text: str
    exit_code: ExitCode
    expected: bool
    """Whether it is an error that users can meet, rather than a defect."""


def explain(error: BaseException) -> Explained:
    """One line for any exception, and the exit code for it."""
    name, text = type(error).__name__, " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return Explained("Interrupted.", ExitCode.INTERRUPTED, expected=True)
    coded = text.startswith("ODR-")
    exit_code = _by_status(error) or _BY_NAME.get(name)
    if name in ("WorkflowFailureError", "WorkflowUpdateFailedError", "ActivityFailureError"):
        return Explained(_causes(error), ExitCode.FAILED, expected=True)
    if exit_code is not None or coded:
        fallback = ExitCode.USAGE if isinstance(error, ValueError) else ExitCode.FAILED
        return Explained(text or name, exit_code or fallback, expected=True)
    unexpected = f"ODR-199: unexpected {name}: {text}. Run it again with -v for the traceback."
    return Explained(unexpected, ExitCode.FAILED, expected=False)


# By name, so that the look-up imports nothing that was not in use.
_BY_NAME = {
    "NewerSchema": ExitCode.NEWER_SCHEMA,
    "TopicMissing": ExitCode.NOT_FOUND,
    "LogUnavailable": ExitCode.UNREACHABLE,
    "SchemaRegistryUnavailable": ExitCode.UNREACHABLE,
    "AddressInvalid": ExitCode.USAGE,
    "ActivityAlreadyStartedError": ExitCode.CONFLICT,
    "WorkflowAlreadyStartedError": ExitCode.CONFLICT,
    "WorkflowQueryFailedError": ExitCode.FAILED,
    "WorkflowQueryRejectedError": ExitCode.FAILED,
    "WorkflowUpdateRPCTimeoutOrCancelledError": ExitCode.TIMEOUT,
}
_BY_STATUS = {
    "INVALID_ARGUMENT": ExitCode.USAGE,
    "DEADLINE_EXCEEDED": ExitCode.TIMEOUT,
    "NOT_FOUND": ExitCode.NOT_FOUND,
    "ALREADY_EXISTS": ExitCode.CONFLICT,
    "UNAVAILABLE": ExitCode.UNREACHABLE,
}


def _by_status(error: BaseException) -> ExitCode | None:
    if type(error).__name__ != "RPCError":
        return None
    status = getattr(getattr(error, "status", None), "name", "")
    return _BY_STATUS.get(status, ExitCode.FAILED)


def _causes(error: BaseException) -> str:
    """``Workflow execution failed: ActivityError: … ← CardDeclined: …``"""
    parts, cause = [], error.__cause__
    while cause is not None:
        parts.append(error_words(cause))
        cause = cause.__cause__
    return f"{error}: {' ← '.join(parts)}"


def report(error: BaseException, *, verbose: bool) -> ExitCode:
    """Say on stderr what happened; with ``verbose`` the traceback too."""
    if isinstance(error, OSError) and error.errno == errno.EPIPE:
        return ExitCode.FAILED
    text, exit_code, expected = explain(error)
    if verbose and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error, file=sys.stderr)
    click.echo(f"Error: {text}" if expected else text, err=True)
    return exit_code
