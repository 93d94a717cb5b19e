"""Messages of the processes on stderr: lines for people, or JSON objects with every fact of ``extra``."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from typing import Final

from odradek.cli.options import Common

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and whatever came in ``extra`` (the workflow's facts, …)."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, milliseconds = int(record.created), int(record.msecs)
        shown: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        shown.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            shown["exception"] = self.formatException(record.exc_info)
        return json.dumps(shown, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    default_msec_format = "%s.%03d"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S")


class _Stderr(io.TextIOBase):
    """Whatever is stderr at the moment."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def set_up(common: Common, *, quiet: bool = False) -> None:
    """Send messages to stderr as the options say; ``quiet``: warnings only, for commands that ask and go."""
    handler = logging.StreamHandler(_Stderr())
    handler.setFormatter(JsonFormatter() if common.log_format == "json" else TextFormatter())
    level = "debug" if common.verbose else "warning" if quiet else common.log_level
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if not common.verbose:
        logging.getLogger("asyncio").setLevel(logging.WARNING)
