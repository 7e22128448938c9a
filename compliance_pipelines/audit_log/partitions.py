"""The partitions of `audit_logs`: a month each, split into days.

Here: making them ahead of time, moving strays to their day, dropping emptied months, and how far the days reach. Not
here: dropping a day, which only the purge does.

An entry without a day of its own goes to a default partition, so that no append fails for want of one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.database_errors import LockBusyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    import sqlalchemy

LOCK_TIMEOUT: Final = "2s"
LEAST_RUNWAY_DAYS: Final = 2
"""Days ahead that must have a partition: in two days somebody can find out why the daily job does not make more."""


class PartitionBusyError(LockBusyError):
    """A lock on the table was not to be had in time, or strays were in the way; nothing was changed."""


@dataclass(frozen=True)
class Strays:
    """Entries in a default partition."""

    partition: str
    count: int


@contextmanager
def _briefly_locking(connection: sqlalchemy.Connection, doing: str) -> Iterator[None]:
    """Give up after two seconds rather than queue in front of live traffic."""
    connection.execute(sql.SET_LOCAL_LOCK_TIMEOUT, {"timeout": LOCK_TIMEOUT})
    try:
        connection.execute(sql.LOCK_PARTITIONS)
        yield
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.CheckViolation):
            raise PartitionBusyError(
                f"{doing}: entries of that day stand in a default partition and must be moved first, which the daily "
                "job does; run it again"
            ) from error
        if isinstance(error.orig, (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)):
            raise PartitionBusyError(
                f"{doing}: the lock on audit_logs was not to be had within {LOCK_TIMEOUT}; run it again"
            ) from error
        raise


def ensure_days(connection: sqlalchemy.Connection, days: Iterable[date]) -> int:
    """Make the partitions of these days where they are missing; the caller commits.

    Returns:
        How many were made.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
    """
    existing = _existing_days(connection)
    wanted = sorted(set(days) - existing)
    if not wanted:
        return 0
    with _briefly_locking(connection, f"making the partition of {wanted[0]}"):
        return sum(bool(connection.execute(sql.CREATE_DAY, {"day": day}).scalar_one()) for day in wanted)


def make_room(connection: sqlalchemy.Connection, days: Iterable[date], first_day: date) -> int:
    """Make the partitions of these days where they are missing, strays or not; the caller commits.

    Args:
        connection: of a member of audit_archiver.
        days: not before `first_day`.
        first_day: strays of earlier days stay where they are.

    Returns:
        How many were made, those of moved strays not counted.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
    """
    missing = set(days) - _existing_days(connection)
    if not missing:
        return 0
    with _briefly_locking(connection, f"making room for {min(missing)}"):
        # No partition can be attached while entries that belong into it stand in a default partition.
        if strays(connection):
            move_strays(connection, first_day)
        return ensure_days(connection, missing)


def create_ahead(connection: sqlalchemy.Connection, today: date, days_ahead: int) -> int:
    """Make the partitions of today and the `days_ahead` days after it; the caller commits.

    Returns:
        How many were made.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
    """
    return ensure_days(connection, [today + timedelta(days=offset) for offset in range(days_ahead + 1)])


def move_strays(connection: sqlalchemy.Connection, first_day: date) -> int:
    """Move entries out of the default partitions into the partition of their day, unchanged; the caller commits.

    Args:
        connection: of a member of audit_archiver.
        first_day: entries of earlier days stay where they are.

    Returns:
        How many were moved.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
    """
    with _briefly_locking(connection, "moving strays to their day"):
        return int(connection.execute(sql.MOVE_STRAYS, {"first_day": first_day}).scalar_one())


def drop_empty_months(connection: sqlalchemy.Connection, before: date) -> int:
    """Drop the months before that of `before` which have no day and no entry left; the caller commits.

    Returns:
        How many were dropped.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
    """
    with _briefly_locking(connection, "dropping emptied months"):
        return int(connection.execute(sql.DROP_EMPTY_MONTHS, {"before": before}).scalar_one())


def runway(connection: sqlalchemy.Connection, today: date) -> int:
    """How many days after today, without gap, have a partition; -1 where today itself has none."""
    existing = _existing_days(connection)
    ahead = -1
    while today + timedelta(days=ahead + 1) in existing:
        ahead += 1
    return ahead


def strays(connection: sqlalchemy.Connection) -> list[Strays]:
    """The default partitions that hold entries."""
    return [Strays(row.partition, row.entries) for row in connection.execute(sql.STRAYS)]


def _existing_days(connection: sqlalchemy.Connection) -> set[date]:
    return set(connection.execute(sql.EXISTING_DAYS).scalars())
