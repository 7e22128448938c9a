"""By when a request must be answered.

Here: the month of GDPR Article 12(3). Not here: who looks at it.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime


def last_day_in_time(received_at: datetime) -> date:
    """The last UTC day on which the answer is in time: the same day of the next month, or that month's last day.

    Regulation (EEC, Euratom) 1182/71, Article 3(2)(c). Where that day is a weekend or a public holiday the law gives a
    little longer, which is not used.
    """
    day = received_at.astimezone(UTC).date()
    year, month = day.year + day.month // 12, day.month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def days_left(deadline: date, now: datetime) -> int:
    """Whole days until the last day in time; 0 on that day, negative when it has passed."""
    return (deadline - now.astimezone(UTC).date()).days
