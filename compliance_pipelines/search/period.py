"""A stretch of time that is searched.

Here: its bounds and its UTC days. Not here: how a person writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from compliance_pipelines.audit_log.entry import FIRST_YEAR, LAST_YEAR
from compliance_pipelines.search.errors import SearchError

if TYPE_CHECKING:
    from typing import Self

_DAY = timedelta(days=1)
_FIRST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Period:
    """From one time, which belongs to it, to another, which does not; both in UTC.

    Raises:
        SearchError: it ends before it begins, or has no length.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise SearchError(f"{self}: there is no time between the two")

    @classmethod
    def of(cls, start: datetime | date | None, end: datetime | date | None) -> Self:
        """The stretch between two bounds.

        Args:
            start: a time, or a UTC day, from whose beginning on; None: from the first entry on.
            end: a time, or a UTC day, to whose end; None: to the last entry.

        Raises:
            SearchError: it ends before it begins.
        """
        return cls(
            _FIRST if start is None else _moment(start, 0),
            _END if end is None else _moment(end, 1),
        )

    @property
    def first_day(self) -> date:
        """The UTC day in which it begins."""
        return self.start.date()

    @property
    def last_day(self) -> date:
        """The last UTC day of which something belongs to it."""
        return (self.end - timedelta(microseconds=1)).date()

    def part_of(self, day: date) -> Period | None:
        """What of a day belongs to it, where that is not the whole day."""
        start = datetime.combine(day, time(), UTC)
        bounds = max(start, self.start), min(start + _DAY, self.end)
        return None if bounds == (start, start + _DAY) else Period(*bounds)

    def to_json(self) -> dict[str, str | None]:
        """Both bounds as ISO 8601; None where there is none."""
        return {
            "from": None if self.start == _FIRST else self.start.isoformat(),
            "to": None if self.end == _END else self.end.isoformat(),
        }

    def __str__(self) -> str:
        said = self.to_json()
        return f"from {said['from'] or 'the first entry'} to {said['to'] or 'the last one'}"


def _moment(bound: datetime | date, days: int) -> datetime:
    """The moment of a bound; of a day, its beginning or as many days later."""
    if isinstance(bound, datetime):
        return bound.astimezone(UTC)
    return datetime.combine(bound, time(), UTC) + days * _DAY
