"""Until when the objects of the cold store are locked, by what their keys say.

Here: the rule for each kind of object. Not here: locking (object_store), and the expiry of archives.

Kept until the retention of its day ends is what names a day: parts and manifests, each day's last checkpoint, its time
stamp. So are the full tiles and bundles of the log, from the day on which they were written, because every later proof
leads through them. What is replaced or superseded is not locked: the newest checkpoint, partial tiles; nor is what
identifies the store, nor the objects of keys, which another story may have left behind; nor the records of
wrapped keys, which must be destroyable on the day on which their object must become unreadable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.clock import system_clock
from compliance_pipelines.encryption.wrapped_key import RECORDS
from compliance_pipelines.ledger.tiles import WIDTH, tile_of_key

if TYPE_CHECKING:
    from compliance_pipelines.base.clock import Clock

# Less is over before the object is there, by a clock that is a little ahead.
_SHORTEST: Final = timedelta(minutes=5)
_DAY: Final = re.compile(r"(?<![0-9])([0-9]{4}-[0-9]{2}-[0-9]{2})(?![0-9])[^/]*\Z")


@dataclass(frozen=True)
class ObjectRetention:
    """The rule for one period of retention; a :class:`compliance_pipelines.object_store.port.RetentionRule`.

    Attributes:
        years: for which archives are kept.
        clock: tells on which day a tile is written. The machine's: a shifted one must not lock for longer.
    """

    years: int
    clock: Clock = system_clock

    def __call__(self, key: str, /) -> datetime | None:
        """The end of the retention of what the key names; None where it is not locked.

        What is imported may be older than its retention. It is not locked: a service refuses an end that has passed.
        """
        end = self._end(key)
        return None if end is None or end <= self.clock() + _SHORTEST else end

    def _end(self, key: str) -> datetime | None:
        tile = tile_of_key(key)
        if tile is not None:
            return retention_end(self.clock().astimezone(UTC).date(), self.years) if tile.width == WIDTH else None
        day = None if key.startswith(RECORDS) else _day_of(key)
        return None if day is None else retention_end(day, self.years)


def retention_end(day: date, years: int) -> datetime:
    """The first moment at which what is of a day may go: so many calendar years after the day's end.

    A day that ends with the 28th of February ends so in each year.
    """
    end = day + timedelta(days=1)
    try:
        later = end.replace(year=end.year + years)
    except ValueError:  # the 29th of February of a year that has none
        later = date(end.year + years, 3, 1)
    return datetime.combine(later, time(), UTC)


def _day_of(key: str) -> date | None:
    match = _DAY.search(key)
    try:
        return None if match is None else date.fromisoformat(match[1])
    except ValueError:
        return None
