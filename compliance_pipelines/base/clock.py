"""The clock that code is given, so that tests and `--as-of` can give it another.

Here: the type, the real clock, and what a day is. Not here: schedules.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

Clock = Callable[[], datetime]


def system_clock() -> datetime:
    """The machine's time, in UTC."""
    return datetime.now(UTC)


def utc_day(moment: datetime) -> date:
    """The UTC calendar day of an aware datetime."""
    return moment.astimezone(UTC).date()


def clock_at(moment: datetime) -> Clock:
    """A clock that starts at `moment` and goes on at the real pace."""
    shift = moment - system_clock()

    def shifted() -> datetime:
        return system_clock() + shift

    return shifted


def days_before(day: date, count: int) -> date:
    """The day `count` days before `day`."""
    return day - timedelta(days=count)
