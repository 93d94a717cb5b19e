"""The logger of activities: adds the facts of the attempt to every line."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from odradek.activity._context import _current


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds the attempt's facts to the message (``activity_info_on_message``) and to ``extra`` as ``odradek_activity``.

    ``full_activity_info_on_extra`` puts the whole ``Info`` there too, as ``activity_info``. All three can be switched.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        self.activity_info_on_extra = True
        self.full_activity_info_on_extra = False

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        context = _current.get(None)
        extra: dict[str, Any] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        if context is not None:
            facts = context.info._logger_details()
            if self.activity_info_on_message:
                msg = f"{msg} ({facts})"
            if self.activity_info_on_extra:
                extra["odradek_activity"] = facts
            if self.full_activity_info_on_extra:
                extra["activity_info"] = context.info
        kwargs["extra"] = extra
        return msg, kwargs

    @property
    def base_logger(self) -> logging.Logger:
        """The logger without the additions, to set levels and handlers on."""
        return self.logger


logger = LoggerAdapter(logging.getLogger("odradek.activity"), None)
