"""The partitions of `audit_logs`: months, split into days, where there are tables; and what has none.

Here: making the tables of days, dropping those that are empty, and how many there are. Not here: removing the entries
of a day, which only the purge does.

A day has a table of its own where live traffic is expected, or where an import brings very many entries. The entries
of every other day stay in a default partition for good, so that no append fails for want of a partition, and a long
sparse history needs no tables. Everything is done in steps that are transactions of their own and wait for a lock for
a tenth of a second: appends that queue behind such a wait must not notice it.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import psycopg.errors
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log import sql
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import LockBusyError, is_busy
from compliance_pipelines.postgres.holders import table_locks_held
from compliance_pipelines.postgres.locks import bound_waits, retry_while_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date

    import sqlalchemy

LEAST_RUNWAY_DAYS: Final = 2
"""Days ahead that must have a partition: in two days somebody can find out why the daily job does not make more."""
DENSE_DAY_ENTRIES: Final = 200_000
"""From that many entries on, an import's day gets a table: dropping it takes no time, deleting them takes seconds."""
MOST_DAY_TABLES: Final = 200
"""An import makes no table beyond these: twice what the default retention needs."""
SLOW_PURGE_ENTRIES: Final = 1_000_000
"""A day with that many entries in a default partition takes minutes to purge."""


_LOCK_PATIENCE: Final = timedelta(milliseconds=100)
_STATEMENTS_AT_ONCE: Final = 4
_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0)
# Entries of yesterday still come a little late.
_LATE_DAYS: Final = 1


class PartitionBusyError(LockBusyError):
    """A lock on the table was not to be had in time; nothing was changed."""


class PartitionLimitError(ComplianceError):
    """There is no room for another partition in the server's lock table; entries go to a default partition."""


class PartitionRepairError(ComplianceError):
    """Empty partitions could not be looked at or dropped; what was dropped before stays so."""


@dataclass(frozen=True)
class Strays:
    """Entries in a default partition.

    Attributes:
        partition: its name.
        count: entries in it.
        largest_day: the day that has most of them.
        largest_day_count: how many that is.
    """

    partition: str
    count: int
    largest_day: date
    largest_day_count: int


@dataclass(frozen=True)
class LockRoom:
    """What a statement over all partitions needs of the lock table that all sessions of a server share.

    Attributes:
        relations: partitions of every level, the table included.
        locks_per_relation: one for it and one for each of its indexes.
        most_relations: with more of them, fewer than four such statements would fit at once (audit_lock_room).
        slots: max_locks_per_transaction times the sessions that the server may have.
    """

    relations: int
    locks_per_relation: int
    most_relations: int
    slots: int

    @property
    def is_exceeded(self) -> bool:
        """Whether there are more partitions than the lock table has room for."""
        return self.relations > self.most_relations

    @property
    def remedy(self) -> str:
        """How to make the lock table large enough for the partitions that are there."""
        times = -(-_STATEMENTS_AT_ONCE * self.relations * self.locks_per_relation // self.slots)
        return f"raise max_locks_per_transaction to {times} times its value and restart the server"


@dataclass(frozen=True)
class Dropped:
    """What was dropped because it was empty, and how many tables had to be left because they were in use."""

    days: int
    months: int
    busy: int


@contextmanager
def _briefly_locking(connection: sqlalchemy.Connection, doing: str) -> Iterator[None]:
    """Give up soon rather than queue in front of live traffic."""
    bound_waits(connection, _LOCK_PATIENCE)
    try:
        yield
    except DBAPIError as error:
        if is_busy(error):
            held = table_locks_held(conninfo_of(connection.engine))
            raise PartitionBusyError(
                f"{doing}: a lock on audit_logs was not to be had within {_LOCK_PATIENCE.total_seconds():g} s{held}; "
                "run it again"
            ) from error
        if isinstance(error.orig, psycopg.errors.ConfigurationLimitExceeded):
            diagnosed = error.orig.diag
            raise PartitionLimitError(f"{diagnosed.message_primary}. {diagnosed.message_hint}") from error
        raise


def ensure_days(connection: sqlalchemy.Connection, days: Iterable[date]) -> int:
    """Make the tables of these days where they are missing and can be made; the caller commits.

    A day that has entries in a default partition keeps them there, and gets no table. Nor does one whose default
    partition would have to be read for long; :func:`create_ahead` can do that without a lock.

    Returns:
        How many were made.

    Raises:
        PartitionBusyError: a lock was not to be had in time.
        PartitionLimitError: the server's lock table has no room for them.
    """
    wanted = sorted(set(days) - existing_days(connection))
    if not wanted:
        return 0
    with _briefly_locking(connection, f"making the partition of {wanted[0]}"):
        return sum(bool(connection.execute(sql.CREATE_DAY, {"day": day}).scalar_one()) for day in wanted)


def create_ahead(
    engine: sqlalchemy.Engine, today: date, days_ahead: int, *, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Make the tables of today and the `days_ahead` days after it, each in transactions of its own.

    Args:
        engine: connects as a member of audit_archiver.
        today: the UTC day.
        days_ahead: how many more.
        sleep: waits between attempts to get a lock, in seconds.

    Returns:
        How many were made.

    Raises:
        PartitionBusyError: live traffic was in the way each time.
        PartitionLimitError: the server's lock table has no room for them.
    """
    wanted = [today + timedelta(days=offset) for offset in range(days_ahead + 1)]
    return sum(_make_day(engine, day, sleep) for day in _missing(engine, wanted))


def make_room(
    engine: sqlalchemy.Engine, entries_per_day: Mapping[date, int], *, sleep: Callable[[float], None] = time.sleep
) -> int:
    """Make tables for those of an import's days that bring very many entries, as far as there is room.

    Args:
        engine: connects as a member of audit_archiver.
        entries_per_day: how many entries each day gets.
        sleep: waits between attempts to get a lock, in seconds.

    Returns:
        How many were made. The entries of the other days go to a default partition, which is right for them.

    Raises:
        PartitionBusyError: live traffic was in the way each time.
    """
    dense = sorted(day for day, entries in entries_per_day.items() if entries >= DENSE_DAY_ENTRIES)
    if not dense:
        return 0
    with engine.connect() as connection:
        room = max(0, MOST_DAY_TABLES - len(existing_days(connection)))
    try:
        return sum(_make_day(engine, day, sleep) for day in _missing(engine, dense)[:room])
    except PartitionLimitError:
        return 0


def _missing(engine: sqlalchemy.Engine, days: Iterable[date]) -> list[date]:
    with engine.connect() as connection:
        existing = existing_days(connection)
    return [day for day in days if day not in existing]


def _make_day(engine: sqlalchemy.Engine, day: date, sleep: Callable[[float], None]) -> bool:
    """Make a day's table; where its default partition is large, read that before, under a lock that disturbs nobody."""

    def step(statement: sqlalchemy.TextClause, **parameters: object) -> str | bool | None:
        def work() -> str | bool | None:
            with engine.begin() as connection, _briefly_locking(connection, f"making the partition of {day}"):
                result: str | bool | None = connection.execute(statement, parameters).scalar_one()
                return result

        return retry_while_busy(work, sleep=sleep, pauses=_PAUSES_SECONDS)

    fenced = step(sql.MAKE_FENCE, day=day)
    if fenced is None:
        return step(sql.CREATE_DAY, day=day) is True
    try:
        step(sql.CLOSE_FENCE, partition=fenced)
        return step(sql.CREATE_DAY, day=day) is True
    finally:
        step(sql.DROP_FENCE, partition=fenced)


def drop_empty(
    engine: sqlalchemy.Engine,
    today: date,
    *,
    sleep: Callable[[float], None] = time.sleep,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Dropped:
    """Drop the tables of past days that have no entry, and the months that have no day left.

    Each in a transaction of its own: it can be stopped at any moment and run again. An append that waits for a table
    that is dropped goes to the default partition. What is in use is left for the next time.

    Args:
        engine: connects as a member of audit_archiver.
        today: the UTC day. The tables of today and yesterday are kept.
        sleep: waits between attempts to get a lock, in seconds.
        progress: told how many of how many empty tables are through.
    """
    with engine.connect() as connection:
        days = list(connection.execute(sql.EMPTY_DAYS, {"before": today - timedelta(days=_LATE_DAYS)}).scalars())
    dropped = busy = 0
    for number, day in enumerate(days, start=1):
        outcome = _drop_step(engine, sql.DROP_EMPTY_DAY, day, sleep)
        dropped += outcome is True
        busy += outcome is None
        progress(number, len(days))
    outcomes = _drop_months(engine, today, sleep)
    return Dropped(dropped, outcomes.count(True), busy + outcomes.count(None))


def drop_empty_months(engine: sqlalchemy.Engine, today: date, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Drop past months that have no day left, as :func:`drop_empty` does; returns how many."""
    return _drop_months(engine, today, sleep).count(True)


def _drop_months(engine: sqlalchemy.Engine, today: date, sleep: Callable[[float], None]) -> list[bool | None]:
    with engine.connect() as connection:
        months = list(connection.execute(sql.MONTHS_WITHOUT_DAYS, {"before": today}).scalars())
    return [_drop_step(engine, sql.DROP_EMPTY_MONTH, month, sleep) for month in months]


def _drop_step(
    engine: sqlalchemy.Engine, statement: sqlalchemy.TextClause, day: date, sleep: Callable[[float], None]
) -> bool | None:
    """Whether it was dropped; None where live traffic was in the way each time."""

    def drop() -> bool:
        with engine.begin() as connection, _briefly_locking(connection, f"dropping the empty partition of {day}"):
            return bool(connection.execute(statement, {"day": day}).scalar_one())

    try:
        return retry_while_busy(drop, sleep=sleep, pauses=_PAUSES_SECONDS)
    except PartitionBusyError:
        return None


def lock_room(connection: sqlalchemy.Connection) -> LockRoom:
    """How many partitions there are, and how many the lock table of the server has room for."""
    return LockRoom(*connection.execute(sql.LOCK_ROOM).one())


def runway(connection: sqlalchemy.Connection, today: date) -> int:
    """How many days after today, without gap, have a partition; -1 where today itself has none."""
    existing = existing_days(connection)
    ahead = -1
    while today + timedelta(days=ahead + 1) in existing:
        ahead += 1
    return ahead


def began_without_table(connection: sqlalchemy.Connection, today: date) -> bool:
    """Whether today alone has no table: its first entries came before the daily job did, and keep it where it is."""
    return runway(connection, today) < 0 and runway(connection, today + timedelta(days=1)) >= LEAST_RUNWAY_DAYS


def strays(connection: sqlalchemy.Connection) -> list[Strays]:
    """The default partitions that hold entries; reads them."""
    return [Strays(*row) for row in connection.execute(sql.STRAYS)]


def existing_days(connection: sqlalchemy.Connection) -> set[date]:
    """The days that have a table of their own."""
    return set(connection.execute(sql.EXISTING_DAYS).scalars())
