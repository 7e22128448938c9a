"""Appending one entry, on an open connection.

Here: the order of the statements, which both logs take (log.py), and what entries of purged days need. Not here: many
entries (batches.py), connections (log.py).

What decides is looked at after the insert: it locks the entry's day until the transaction ends, so that a purge which
was not seen by then comes too late to hide that the entry is a repeat.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, Protocol, cast

import psycopg

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.entry import InvalidEntryError, UndatedEntry
from compliance_pipelines.audit_log.errors import conflict, purged_days
from compliance_pipelines.base.clock import utc_day

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import sqlalchemy
    from sqlalchemy.engine import AdaptedConnection

    from compliance_pipelines.audit_log.entry import AuditEntry

FIRST_DAY: Final = date(2015, 1, 1)
"""The default of AUDIT_LOG_FIRST_DAY."""

_ONE_DAY: Final = timedelta(days=1)


class ArchivedDay(Protocol):
    """The purged archives of one day."""

    def present(self, log_entry_ids: Collection[str]) -> dict[str, datetime]:
        """Those of the ids that they hold, each with its timestamp. Asks no database."""


class ArchivedIdSource(Protocol):
    """Knows the purged archives of each day."""

    def of_day(self, connection: sqlalchemy.Connection, day: date) -> ArchivedDay:
        """Those of a day, as the catalogue names them in the transaction of the append.

        On a connection of its own the source would wait for one that other appends have, which wait for theirs.
        """


@dataclass(frozen=True)
class Acceptance:
    """Which days' entries are taken.

    Attributes:
        first_day: entries of earlier days are refused (AUDIT_LOG_FIRST_DAY).
        archived_ids: tells repeats of entries whose day was purged; without it such entries are refused.
    """

    first_day: date
    archived_ids: ArchivedIdSource | None

    def check_day(self, day: date, log_entry_id: str) -> None:
        """Refuse an entry from before the first day.

        Raises:
            InvalidEntryError: its day is before `first_day`.
        """
        if day < self.first_day:
            raise InvalidEntryError(
                f"entry {log_entry_id!r} is of {day}, before the first day {self.first_day}: set AUDIT_LOG_FIRST_DAY "
                f"to an earlier day if it is right"
            )

    def archive_of(self, purged: Sequence[date]) -> ArchivedIdSource:
        """Who knows the entries of these purged days.

        Raises:
            PurgedDayError: nobody does.
        """
        if self.archived_ids is None:
            raise purged_days(purged)
        return self.archived_ids


def start_of(day: date) -> datetime:
    """The day's first moment, in UTC."""
    return datetime.combine(day, time(), UTC)


def dated(connection: sqlalchemy.Connection, entry: AuditEntry | UndatedEntry) -> AuditEntry:
    """The entry, with the time of the database's clock where it has none; to be appended at once.

    Raises:
        InvalidEntryError: it had no time, and a value of it cannot be stored.
    """
    if isinstance(entry, UndatedEntry):
        return entry.at(connection.execute(sql.MOMENT).scalar_one())
    return entry


def dated_apart(connection: sqlalchemy.Connection, entry: AuditEntry | UndatedEntry) -> AuditEntry:
    """The same in a transaction of its own, on a connection that has none open."""
    with connection.begin():
        return dated(connection, entry)


def insert(connection: sqlalchemy.Connection, entry: AuditEntry, accept: Acceptance) -> bool:
    """Insert one entry unless it is there; the caller commits.

    Returns:
        Whether it was new.

    Raises:
        InvalidEntryError: its day is before the first one.
    """
    accept.check_day(utc_day(entry.timestamp), entry.log_entry_id)
    parameters = {
        "log_entry_id": entry.log_entry_id,
        "timestamp": entry.timestamp,
        "user_id": entry.user_id,
        "action": entry.action,
        "resource_type": entry.resource_type,
        "resource_id": entry.resource_id,
        "result": entry.result,
        "metadata": entry.metadata_text,
    }
    return connection.execute(sql.INSERT_ENTRY, parameters).rowcount == 1


def append_one(connection: sqlalchemy.Connection, entry: AuditEntry, accept: Acceptance) -> bool:
    """Append one entry in a transaction of its own.

    Returns:
        Whether it was new.

    Raises:
        InvalidEntryError: its day is before the first one.
        EntryConflictError: its id stands at another time, on its day or on one beside it.
        PurgedDayError: its day was purged, and there is no archive to ask.
    """
    day = utc_day(entry.timestamp)
    with connection.begin() as transaction:
        if not insert(connection, entry, accept):
            return False
        _refuse_other_time(connection, entry, day)
        if purged := purged_among(connection, [day]):
            archived = ask_archive(connection, accept.archive_of(purged), day, [entry.log_entry_id])
            if archived_repeats([(entry.log_entry_id, entry.timestamp)], archived):
                transaction.rollback()
                return False
    return True


def _refuse_other_time(connection: sqlalchemy.Connection, entry: AuditEntry, day: date) -> None:
    bounds = {"since": start_of(day - _ONE_DAY), "until": start_of(day + 2 * _ONE_DAY)}
    found = connection.execute(
        sql.OTHER_TIMES_OF_ENTRY, {"log_entry_id": entry.log_entry_id, "timestamp": entry.timestamp, **bounds}
    )
    other = found.scalars().first()
    if other is not None:
        raise conflict([(entry.log_entry_id, entry.timestamp, other)])


def purged_among(connection: sqlalchemy.Connection, days: Collection[date]) -> list[date]:
    """Those of the days of which something was purged, oldest first."""
    return list(connection.execute(sql.PURGED_DAYS_AMONG, {"days": list(days)}).scalars())


def ask_archive(
    connection: sqlalchemy.Connection, archive: ArchivedIdSource, day: date, log_entry_ids: Collection[str]
) -> dict[str, datetime]:
    """What the archive answers; in a thread where the connection is an asynchronous one, so that its loop goes on."""
    archived = archive.of_day(connection, day)
    if isinstance(connection.connection.driver_connection, psycopg.AsyncConnection):
        adapted = cast("AdaptedConnection", connection.connection.dbapi_connection)
        return adapted.run_async(lambda _: asyncio.to_thread(archived.present, log_entry_ids))
    return archived.present(log_entry_ids)


def archived_repeats(entries: Sequence[tuple[str, datetime]], archived: Mapping[str, datetime]) -> list[str]:
    """The ids of those of the entries that the archive holds already.

    Args:
        entries: id and timestamp of each.
        archived: what the archive holds of these ids.

    Raises:
        EntryConflictError: it holds one at another time.
    """
    known = [(entry_id, moment) for entry_id, moment in entries if entry_id in archived]
    other = [(entry_id, moment, archived[entry_id]) for entry_id, moment in known if moment != archived[entry_id]]
    if other:
        raise conflict(other)
    return [entry_id for entry_id, _ in known]
