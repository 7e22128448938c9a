"""When each part was last read back from the cold store, and what follows from it.

Here: the last reading of each part, which parts are due to be read, overdue or damaged, and writing a reading down. Not
here: reading (scrub.py).

A part was last read when it was verified or purged, which read all of it, or by a scrub. A reading counts for the store
that was read. One that did not come to its end is recorded nowhere: the part stays due.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.self_audit import audit_log, damage_entry
from compliance_pipelines.base.clock import utc_day

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from uuid import UUID

    import sqlalchemy

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.readback import PartCheck
    from compliance_pipelines.services import Services

# Reading begins before the time is over, so that a store that is down for some days makes nothing overdue.
_LEAD_SHARE: Final = 6


@dataclass(frozen=True)
class LastReading:
    """A part that is kept, and its last reading.

    Attributes:
        object_bytes: of its object, as the catalogue has it.
        archived_at: when it was recorded.
        read_at: when it was last read to its end; None where it never was in this store.
        damage: what that reading found, one message each; empty where the part was whole.
    """

    day: date
    part: int
    object_bytes: int
    archived_at: datetime
    read_at: datetime | None
    damage: tuple[str, ...] = ()

    @property
    def unread_since(self) -> datetime:
        """Since when nobody has read it."""
        return self.read_at or self.archived_at

    def is_due(self, now: datetime, days: int) -> bool:
        """Whether it is to be read now, a while before the days are over."""
        return self.read_at is None or self.read_at + timedelta(days=days - days // _LEAD_SHARE) <= now

    def is_overdue(self, now: datetime, days: int) -> bool:
        """Whether it should have been read before."""
        return self.unread_since + timedelta(days=days) < now


@dataclass(frozen=True)
class ScrubState:
    """How well the archives are looked after.

    Attributes:
        parts: how many are kept.
        object_bytes: of their objects.
        unread_since: the earliest moment since which a part was not read; None where there is none.
        overdue: parts that should have been read before, longest unread first.
        damaged: parts that the last reading found damaged, oldest day first.
        needed_bytes_per_day: what a day's budget must be at least, for all to be read in time.
        budget_bytes_per_day: what it is.
    """

    parts: int
    object_bytes: int
    unread_since: datetime | None
    overdue: tuple[LastReading, ...]
    damaged: tuple[LastReading, ...]
    needed_bytes_per_day: int
    budget_bytes_per_day: int

    @property
    def budget_suffices(self) -> bool:
        """Whether all parts can be read in time."""
        return self.needed_bytes_per_day <= self.budget_bytes_per_day


def last_readings(connection: sqlalchemy.Connection) -> list[LastReading]:
    """Every part that has not expired, those that were never read first, then the longest unread."""
    return [
        LastReading(row.day, row.part, row.object_bytes, row.archived_at, row.read_at, tuple(row.damage or ()))
        for row in connection.execute(sql.LAST_READINGS)
    ]


def scrub_state(services: Services, connection: sqlalchemy.Connection) -> ScrubState:
    """How well the archives are looked after now."""
    now, settings = services.clock(), services.settings
    days = settings.audit_archive_scrub_days
    parts = last_readings(connection)
    object_bytes = sum(part.object_bytes for part in parts)
    return ScrubState(
        parts=len(parts),
        object_bytes=object_bytes,
        unread_since=min((part.unread_since for part in parts), default=None),
        overdue=tuple(part for part in parts if part.is_overdue(now, days)),
        damaged=tuple(sorted((part for part in parts if part.damage), key=lambda part: (part.day, part.part))),
        needed_bytes_per_day=-(-object_bytes // days),
        budget_bytes_per_day=settings.audit_archive_scrub_bytes_per_day,
    )


def due_readings(services: Services, connection: sqlalchemy.Connection) -> list[LastReading]:
    """The parts to be read now, in this order: never read, longest unread, then damaged ones that may be whole again.

    Those are looked at once a day, so that what somebody brought back is not called damaged for months.
    """
    now = services.clock()
    today = datetime.combine(utc_day(now), time(), UTC)
    parts = last_readings(connection)
    due = [part for part in parts if part.is_due(now, services.settings.audit_archive_scrub_days)]
    again = [part for part in parts if part.damage and part.unread_since < today and part not in due]
    return [*due, *again]


def bytes_read_today(services: Services, connection: sqlalchemy.Connection) -> int:
    """How many bytes of objects scrubs have read since the UTC day began."""
    since = datetime.combine(utc_day(services.clock()), time(), UTC)
    return int(connection.execute(sql.BYTES_SCRUBBED_SINCE, {"since": since}).scalar_one())


def record_scrub(
    services: Services, connection: sqlalchemy.Connection, part: ArchivedPart, checked: PartCheck, store_id: UUID
) -> bool:
    """Write down, in the connection's transaction, what a reading found; new damage gets an audit entry with it.

    Returns:
        False where the catalogue says something else of the part by now: then nothing was recorded.
    """
    damage = [finding.message for finding in checked.findings]
    row = {
        "day": part.day,
        "part": part.part,
        "store_id": store_id,
        "object_bytes": checked.object_bytes,
        "damage": json.dumps(damage) if damage else None,
        **as_read(part),
    }
    was_damaged = is_known_to_be_damaged(connection, part, store_id)
    if not connection.execute(sql.INSERT_SCRUB, row).rowcount:
        return False
    if damage and not was_damaged:
        audit_log(services).append_within(connection, damage_entry(services, part, checked))
    return True


def is_known_to_be_damaged(connection: sqlalchemy.Connection, part: ArchivedPart, store_id: UUID) -> bool:
    """Whether the last reading that was recorded found it damaged."""
    row = {"day": part.day, "part": part.part, "store_id": store_id}
    return bool(connection.execute(sql.IS_KNOWN_TO_BE_DAMAGED, row).scalar())


def as_read(part: ArchivedPart) -> dict[str, Any]:
    """What of a part's row says which objects were read."""
    return {
        "object_key": part.object_key,
        "object_version": part.object_version,
        "manifest_sha256": part.manifest_sha256,
        "manifest_version": part.manifest_version,
    }


def in_words(parts: Sequence[LastReading], most: int = 10) -> str:
    """Days and numbers of parts, the first few."""
    named = ", ".join(f"{part.day} part {part.part}" for part in parts[:most])
    return named if len(parts) <= most else f"{named} and {len(parts) - most} more"
