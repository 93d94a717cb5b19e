"""A logger for workflow code: it knows the run, and is silent while one is replayed."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from odradek.workflow.handlers import current_update
from odradek.workflow.runtime import current_or_none


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Logs with the run's facts, and is silent while a run is replayed.

    ``workflow_info_on_message``: append them to the message, as a dict. ``workflow_info_on_extra``: give them to
    handlers, one attribute each, and together as ``odradek_workflow``. ``full_workflow_info_on_extra``: also the whole
    ``workflow.info()``, as ``workflow_info``. ``log_during_replay``: log again what was logged.
    """

    workflow_info_on_message = True
    workflow_info_on_extra = True
    full_workflow_info_on_extra = False
    log_during_replay = False

    @property
    def base_logger(self) -> logging.Logger:
        """The logger beneath, for adding handlers and filters."""
        return self.logger

    def unsafe_disable_sandbox(self, value: bool = True) -> None:
        """Without effect: nothing is kept from handlers here."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        runtime = current_or_none()
        silent = runtime is not None and runtime.replaying and not self.log_during_replay
        return not silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        runtime = current_or_none()
        if runtime is None:
            return msg, kwargs
        facts = runtime.info
        details: dict[str, Any] = {
            "attempt": facts.attempt,
            "namespace": facts.namespace,
            "run_id": facts.run_id,
            "task_queue": facts.task_queue,
            "workflow_id": facts.workflow_id,
            "workflow_type": facts.workflow_type,
        }
        update = current_update.get()
        if update is not None:
            details |= {"update_id": update.id, "update_name": update.name}
        extra = dict(kwargs.get("extra") or {})
        if self.workflow_info_on_extra:
            extra.update(details, odradek_workflow=details)
        if self.full_workflow_info_on_extra:
            extra["workflow_info"] = facts
        if self.workflow_info_on_message:
            msg = f"{msg} ({details})"
        return msg, {**kwargs, "extra": extra}


logger = LoggerAdapter(logging.getLogger("odradek.workflow"), {})
"""A logger for workflow code."""
