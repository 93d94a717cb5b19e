"""Cron schedules: five or six fields, ``@every 1h30m``, ``@daily`` and the like, with ``CRON_TZ=Zone`` in front."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = re.compile(r"@every\s+((?:\d+(?:h|m|s))+)")
_UNITS: Final = {"h": 3600, "m": 60, "s": 1}


class CronSchedule(NamedTuple):
    """When a workflow begins again; local times are those of ``zone``."""

    expression: str
    zone: ZoneInfo | None
    interval: timedelta | None

    @staticmethod
    @lru_cache(1024)
    def parse(text: str) -> CronSchedule:
        """Raises ``ValueError`` that names the schedule."""
        try:
            return _parse(text)
        except (CronSimError, ZoneInfoNotFoundError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise ValueError(
                f'ODR-111: cron schedule "{text}" cannot be read: {reason}. Give five fields '
                '(minute, hour, day, month, weekday) as in "30 9 * * MON-FRI", "@daily" or "@every 90m", with '
                '"CRON_TZ=Europe/Berlin " in front for local time'
            ) from None

    def next_after(self, time_ms: int) -> int:
        """The next time that is later than this one, both in milliseconds since 1970."""
        if self.interval is not None:
            step = int(self.interval.total_seconds() * 1000)
            return time_ms - time_ms % step + step
        after = datetime.fromtimestamp(time_ms / 1000, self.zone or UTC)
        return int(next(CronSim(self.expression, after)).timestamp() * 1000)


def _parse(text: str) -> CronSchedule:
    expression, zone = text.strip(), None
    if expression.startswith(("CRON_TZ=", "TZ=")):
        assignment, _, expression = expression.partition(" ")
        zone = ZoneInfo(assignment.partition("=")[2])
        expression = expression.strip()
    every = _EVERY.fullmatch(expression)
    if every is not None:
        seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(h|m|s)", every[1]))
        if seconds <= 0:
            raise ValueError("the interval is zero")
        return CronSchedule(expression, zone, timedelta(seconds=seconds))
    expression = _NAMED.get(expression, expression)
    next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)), None)
    return CronSchedule(expression, zone, None)
