"""By when a request must be answered.

Here: the month of GDPR Article 12(3), and the two further ones. Not here: who looks at it, and who extends it.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime


def last_day_in_time(received_at: datetime, *, months: int = 1) -> date:
    """The last UTC day on which the answer is in time: the same day some months later, or that month's last day.

    Regulation (EEC, Euratom) 1182/71, Article 3(2)(c). Where that day is a weekend or a public holiday the law gives a
    little longer, which is not used.

    Args:
        received_at: when the request was received, aware.
        months: one; three where the period was extended by two further months.
    """
    day = received_at.astimezone(UTC).date()
    year, month = day.year + (day.month - 1 + months) // 12, (day.month - 1 + months) % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def days_left(deadline: date, now: datetime) -> int:
    """Whole days until the last day in time; 0 on that day, negative when it has passed."""
    return (deadline - now.astimezone(UTC).date()).days
