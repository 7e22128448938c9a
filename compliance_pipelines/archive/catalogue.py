"""What the database knows about days and their parts, and what follows from it.

Here: the states of days, what is due, the parts of a day, totals. Every state is derived from what is recorded; none
is stored. Not here: anything that changes a day.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.held_days import held_days
from compliance_pipelines.base.clock import days_before, utc_day
from compliance_pipelines.ledger.store import segment_of_row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from uuid import UUID

    import sqlalchemy

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services


class DayState(StrEnum):
    """How far a day has come."""

    OPEN = "open"
    SEALED = "sealed"
    ARCHIVED = "archived"
    VERIFIED = "verified"
    PURGED = "purged"
    EXPIRED = "expired"


@dataclass(frozen=True)
class ArchivedPart:
    """A committed part, as the catalogue has it. Hashes of files are hex, `root` is 32 bytes, times are UTC.

    `verified_store` is the id of the cold store that was read when it was verified.
    """

    day: date
    part: int
    archive_location: str
    object_key: str
    object_sha256: str
    object_bytes: int
    manifest_key: str
    manifest_sha256: str
    entry_count: int
    canonical_bytes: int
    first_id: int
    last_id: int
    root: bytes
    encryption: dict[str, Any] | None
    archived_at: datetime
    verified_at: datetime | None
    purged_at: datetime | None
    expired_at: datetime | None
    verified_store: UUID | None = None
    object_version: str | None = None
    manifest_version: str | None = None

    @property
    def versions(self) -> dict[str, str]:
        """What the store called the two objects when they were put, by key; nothing where it keeps no versions."""
        known = {self.object_key: self.object_version, self.manifest_key: self.manifest_version}
        return {key: version for key, version in known.items() if version is not None}


@dataclass(frozen=True)
class DayFacts:
    """What is recorded about one day: counts of segments, parts and entries, bytes in both stores.

    Attributes:
        unarchived_segments: sealed segments that are in no part.
        unarchived_entries: entries in them.
        archived_entries: entries in parts, whatever became of these.
        object_bytes: bytes of the parts that have not expired.
        canonical_bytes: bytes of the canonical encodings in them.
        hot_bytes: bytes of the day's table with its indexes; 0 where its entries are in a default partition.
    """

    day: date
    unarchived_segments: int = 0
    unarchived_entries: int = 0
    unsealed_entries: int = 0
    parts: int = 0
    verified_parts: int = 0
    purged_parts: int = 0
    expired_parts: int = 0
    last_verified_at: datetime | None = None
    archived_entries: int = 0
    purged_entries: int = 0
    expired_entries: int = 0
    object_bytes: int = 0
    canonical_bytes: int = 0
    hot_bytes: int = 0

    @property
    def sealed_entries(self) -> int:
        """Entries in segments: a part holds whole ones, and as many entries as they have."""
        return self.archived_entries + self.unarchived_entries

    @property
    def hot_entries(self) -> int:
        """Entries in PostgreSQL: sealed ones that were not purged, and those not sealed yet."""
        return self.sealed_entries + self.unsealed_entries - self.purged_entries

    @property
    def cold_entries(self) -> int:
        """Entries in parts that have not expired, whether they are still in PostgreSQL or not."""
        return self.archived_entries - self.expired_entries

    @property
    def total_entries(self) -> int:
        """Entries that exist, once each: the hot ones, and those that are only in the cold store."""
        return self.hot_entries + self.purged_entries - self.expired_entries

    def state(self, today: date) -> DayState:
        """The least advanced step that some entry of the day is at: a late entry takes a purged day back."""
        if self.day >= today or self.unsealed_entries:
            return DayState.OPEN
        if self.unarchived_segments:
            return DayState.SEALED
        if self.verified_parts < self.parts:
            return DayState.ARCHIVED
        if self.purged_parts < self.parts:
            return DayState.VERIFIED
        return DayState.PURGED if self.expired_parts < self.parts else DayState.EXPIRED


@dataclass(frozen=True)
class FinishedDays:
    """The days of which everything is archived and purged, added up.

    Attributes:
        purged: how many have parts in the cold store.
        expired: how many have none any more.
        cold_entries: entries in parts that have not expired.
        object_bytes: bytes of these parts.
        canonical_bytes: bytes of the canonical encodings in them.
    """

    purged: int
    expired: int
    cold_entries: int
    object_bytes: int
    canonical_bytes: int


@dataclass(frozen=True)
class Due:
    """The days that are due now, oldest first."""

    archive: tuple[date, ...]
    purge: tuple[date, ...]


@dataclass(frozen=True)
class NextDue:
    """The next step that falls due if nothing is added: what, which day, from when on."""

    action: Literal["archive", "purge"]
    day: date
    at: datetime


@dataclass(frozen=True)
class Totals:
    """Entries and bytes over all days."""

    hot_entries: int
    cold_entries: int
    total_entries: int
    hot_bytes: int
    cold_bytes: int
    canonical_bytes: int

    @property
    def compression(self) -> float | None:
        """Canonical bytes of the archived entries per byte in the cold store; None where nothing is archived."""
        return self.canonical_bytes / self.cold_bytes if self.cold_bytes else None


def day_bounds(day: date) -> dict[str, datetime]:
    """The first moment of the day and of the next one, as statements want them."""
    start = datetime.combine(day, time(), UTC)
    return {"day_start": start, "day_end": start + timedelta(days=1)}


def part_of_row(row: sqlalchemy.Row[Any]) -> ArchivedPart:
    """The part that a row with all columns of the catalogue is about."""
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public accessor
    values["root"] = bytes(values["root"])
    return ArchivedPart(**values)


def parts_of_day(connection: sqlalchemy.Connection, day: date) -> list[ArchivedPart]:
    """The committed parts of a day, in order."""
    return [part_of_row(row) for row in connection.execute(sql.PARTS_OF_DAY, {"day": day})]


def all_parts(connection: sqlalchemy.Connection) -> list[ArchivedPart]:
    """Every committed part, by day and number."""
    return [part_of_row(row) for row in connection.execute(sql.ALL_PARTS)]


def segments_of_day(connection: sqlalchemy.Connection, day: date) -> list[tuple[Segment, int | None]]:
    """The sealed segments of a day in order, each with the number of the part that holds it, or None."""
    return [(segment_of_row(row), row.part) for row in connection.execute(sql.SEGMENTS_OF_DAY, {"day": day})]


def segments_of_part(connection: sqlalchemy.Connection, part: ArchivedPart) -> list[Segment]:
    """The ledger's segments that a part holds, in order."""
    return [segment for segment, number in segments_of_day(connection, part.day) if number == part.part]


def _combined(
    connection: sqlalchemy.Connection,
    days: Sequence[date] | None,
    unarchived: sqlalchemy.MappingResult,
    unsealed: Mapping[date, int],
) -> dict[date, DayFacts]:
    found: dict[date, dict[str, Any]] = {}
    for rows in (unarchived, connection.execute(sql.PARTS_PER_DAY, {"days": days}).mappings()):
        for row in rows:
            found.setdefault(row["day"], {}).update(row)
    for day, entries in unsealed.items():
        found.setdefault(day, {"day": day})["unsealed_entries"] = entries
    for partition in connection.execute(sql.HOT_BYTES_PER_DAY, {"days": days}):
        if partition.day in found:
            found[partition.day]["hot_bytes"] = partition.hot_bytes
    return {known: DayFacts(**found[known]) for known in sorted(found)}


def _unsealed(connection: sqlalchemy.Connection) -> dict[date, int]:
    return {row.day: row.unsealed_entries for row in connection.execute(sql.UNSEALED_PER_DAY)}


def _facts(
    connection: sqlalchemy.Connection, days: Sequence[date] | None, unsealed: Mapping[date, int]
) -> dict[date, DayFacts]:
    backlog = connection.execute(sql.BACKLOG_PER_DAY, {"days": days}).mappings()
    return _combined(connection, days, backlog, unsealed)


def facts_of_days(connection: sqlalchemy.Connection, days: Sequence[date] | None = None) -> dict[date, DayFacts]:
    """The facts of those of the days, or of all, that have entries or parts, oldest first.

    What waits to be archived is what `archive_backlog` says, so that no segment is read.
    """
    unsealed = _unsealed(connection)
    if days is not None:
        unsealed = {day: unsealed[day] for day in days if day in unsealed}
    return _facts(connection, days, unsealed)


def facts_of_day(connection: sqlalchemy.Connection, day: date) -> DayFacts:
    """The facts of one day, of its segments themselves; all zero where nothing is known of it."""
    unarchived = connection.execute(sql.UNARCHIVED_OF_DAY, {"day": day}).mappings()
    entries = int(connection.execute(sql.UNSEALED_OF_DAY, day_bounds(day)).scalar_one())
    return _combined(connection, [day], unarchived, {day: entries} if entries else {}).get(day, DayFacts(day))


def unfinished_days(connection: sqlalchemy.Connection) -> list[DayFacts]:
    """The facts of the days that have entries in PostgreSQL, oldest first: all days but the :class:`FinishedDays`."""
    unsealed = _unsealed(connection)
    days = sorted({*connection.execute(sql.PENDING_DAYS).scalars(), *unsealed})
    return list(_facts(connection, days, unsealed).values()) if days else []


def finished_days(connection: sqlalchemy.Connection, unfinished: Sequence[DayFacts]) -> FinishedDays:
    """All other days than the unfinished ones, which were read in the same snapshot."""
    every = connection.execute(sql.PART_TOTALS).one()
    archived = [facts for facts in unfinished if facts.parts]
    kept = sum(facts.expired_parts < facts.parts for facts in archived)
    return FinishedDays(
        purged=every.kept_days - kept,
        expired=every.days - every.kept_days - (len(archived) - kept),
        cold_entries=every.cold_entries - sum(facts.cold_entries for facts in archived),
        object_bytes=every.object_bytes - sum(facts.object_bytes for facts in archived),
        canonical_bytes=every.canonical_bytes - sum(facts.canonical_bytes for facts in archived),
    )


def days_with_parts(connection: sqlalchemy.Connection, after: date, last: date, count: int) -> list[date]:
    """The next days after one, up to `last` and at most `count`, that have an archive; oldest first."""
    bounds = {"after": after, "last": last, "count": count}
    return list(connection.execute(sql.DAYS_WITH_PARTS, bounds).scalars())


def days_counted_short(connection: sqlalchemy.Connection, first: date, last: date) -> list[date]:
    """The days of which more waits than `archive_backlog` says, by what was sealed since the first of some days began.

    Nothing but a superuser's statement leads there, and from there to days that nothing asks for.
    """
    # In two statements, so that the second one is planned for what comes after.
    since = connection.execute(sql.FIRST_SEALED_SINCE, {"first": first, "last": last}).scalar_one()
    return list(connection.execute(sql.DAYS_COUNTED_SHORT, {"since": since}).scalars())


@contextmanager
def snapshot(services: Services) -> Iterator[sqlalchemy.Connection]:
    """A connection whose queries all see the same moment: facts taken on both sides of a commit would not add up."""
    with services.engine.connect() as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ")


def states_of_days(services: Services) -> dict[date, DayState]:
    """The state of every day that has entries or parts, oldest first."""
    today = utc_day(services.clock())
    with snapshot(services) as connection:
        return {day: facts.state(today) for day, facts in facts_of_days(connection).items()}


def day_summary(services: Services, day: date) -> tuple[DayState, DayFacts]:
    """The state of a day and what it is derived from."""
    with snapshot(services) as connection:
        facts = facts_of_day(connection, day)
    return facts.state(utc_day(services.clock())), facts


def archive_due_at(services: Services, day: date) -> datetime:
    """From when on a day is archived: the start of the first day that is more than the retention after it."""
    first = day + timedelta(days=services.settings.audit_log_retention_days + 1)
    return datetime.combine(first, time(), UTC)


def purge_due_at(services: Services, day: date, verified_at: datetime) -> datetime:
    """From when on a day is purged whose last part was verified at `verified_at`."""
    grace = timedelta(days=services.settings.audit_log_purge_grace_days)
    return max(verified_at + grace, archive_due_at(services, day))


def _archive_pending(facts: DayFacts) -> bool:
    return facts.unarchived_segments > 0 or facts.verified_parts < facts.parts


def due_among(services: Services, days: Sequence[DayFacts]) -> Due:
    """What is due among days whose facts are known."""
    now = services.clock()
    today = utc_day(now)
    cutoff = days_before(today, services.settings.audit_log_retention_days)
    archive = tuple(facts.day for facts in days if facts.day < cutoff and _archive_pending(facts))
    purge = tuple(
        facts.day
        for facts in days
        if facts.state(today) is DayState.VERIFIED
        and facts.last_verified_at is not None
        and purge_due_at(services, facts.day, facts.last_verified_at) <= now
    )
    return Due(archive, purge)


def due(services: Services) -> Due:
    """The days to archive and the days to purge now, oldest first; held days are archived and not purged."""
    with snapshot(services) as connection:
        wanted = due_among(services, unfinished_days(connection))
        held = held_days(connection, services, wanted.purge)
    return Due(wanted.archive, tuple(day for day in wanted.purge if day not in held))


def next_due_among(services: Services, days: Sequence[DayFacts], held: Collection[date] = ()) -> NextDue | None:
    """The earliest step that is due or will fall due, or None where nothing is pending.

    Args:
        services: the clock and the settings decide.
        days: their facts.
        held: days that a legal hold keeps from the purge.
    """
    today = utc_day(services.clock())
    steps: list[NextDue] = []
    for facts in days:
        state = facts.state(today)
        if state is DayState.VERIFIED and facts.last_verified_at is not None and facts.day not in held:
            steps.append(NextDue("purge", facts.day, purge_due_at(services, facts.day, facts.last_verified_at)))
        elif state in {DayState.OPEN, DayState.SEALED, DayState.ARCHIVED}:
            steps.append(NextDue("archive", facts.day, archive_due_at(services, facts.day)))
    return min(steps, key=lambda step: (step.at, step.day), default=None)


def totals_of(connection: sqlalchemy.Connection, unfinished: Sequence[DayFacts], finished: FinishedDays) -> Totals:
    """Entries and bytes over all days.

    Entries are added up from the ledger, the catalogue and what is not sealed yet, without counting rows; whether the
    rows are really there is for the verification to say.
    """
    return Totals(
        hot_entries=sum(facts.hot_entries for facts in unfinished),
        cold_entries=sum(facts.cold_entries for facts in unfinished) + finished.cold_entries,
        total_entries=sum(facts.total_entries for facts in unfinished) + finished.cold_entries,
        hot_bytes=int(connection.execute(sql.HOT_BYTES).scalar_one()),
        cold_bytes=sum(facts.object_bytes for facts in unfinished) + finished.object_bytes,
        canonical_bytes=sum(facts.canonical_bytes for facts in unfinished) + finished.canonical_bytes,
    )
