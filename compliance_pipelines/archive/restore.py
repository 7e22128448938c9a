"""Bringing an archived day back into PostgreSQL, to be queried.

Here: loading parts into a table of their own, verified while loading, and dropping such tables. Not here: putting rows
back into the hot store, which nothing does.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import psycopg
import psycopg.errors

from compliance_pipelines.archive import sql
from compliance_pipelines.archive.catalogue import ArchivedPart, parts_of_day, segments_of_part
from compliance_pipelines.archive.copy_text import copy_lines
from compliance_pipelines.archive.errors import RestoreError
from compliance_pipelines.archive.locking import LOCK_TIMEOUT
from compliance_pipelines.archive.progress import Phase, Progress, silent
from compliance_pipelines.archive.readback import ColdArchive, check_part
from compliance_pipelines.archive.self_audit import audit_log, restore_entry
from compliance_pipelines.audit_log.entry import COLUMNS
from compliance_pipelines.database_errors import passing_errors_as_transient
from compliance_pipelines.ledger.store_identity import check_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import pyarrow as pa
    import sqlalchemy
    from psycopg.sql import Composed

    from compliance_pipelines.services import Services

_TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_REFUSALS: Final = (psycopg.errors.InsufficientPrivilege, psycopg.errors.WrongObjectType)


@dataclass(frozen=True)
class RestoreResult:
    """A restored day: the table with its schema, the parts loaded, rows in it, seconds taken."""

    day: date
    table: str
    parts: tuple[int, ...]
    entry_count: int
    seconds: float


def default_table(day: date) -> str:
    """The table that a day is restored into unless another is named."""
    return f"audit_logs_{day:%Y_%m_%d}"


def restore_day(
    services: Services, day: date, into: str | None = None, *, progress: Progress = silent
) -> RestoreResult:
    """Load every part of a day into a table of the schema `audit_restored`, exactly as the rows were.

    Everything happens in one transaction: a table of that name is replaced, and stays as it was where a part turns out
    to be damaged. Rows stream; a day of any size fits in memory.

    Args:
        services: the opened services.
        day: the UTC day.
        into: name of the table; None is :func:`default_table`.
        progress: told of rows loaded.

    Raises:
        LedgerError: the key, the database and the cold store do not belong together.
        RestoreError: nothing of the day is in the cold store any more, or the table cannot be made.
        PartDamagedError: a part is not what was committed; nothing was loaded.
        ObjectStoreError: the store failed; nothing was loaded.
        TransientError: the table was locked, or the connection was lost.
    """
    started = monotonic()
    table = _checked_name(default_table(day) if into is None else into)
    with (
        passing_errors_as_transient(f"the restore of {day}"),
        _refusals_as_restore_errors(table),
        services.engine.begin() as connection,
    ):
        check_identity(services, connection)
        parts = _parts(connection, day)
        connection.execute(sql.SET_LOCAL_LOCK_TIMEOUT, {"timeout": LOCK_TIMEOUT})
        connection.execute(sql.LOCK_RESTORED_TABLE, {"name": table})
        for statement in (sql.drop_restored_table, sql.create_restored_table, sql.let_readers_read):
            _execute(connection, statement(table))
        for part in parts:
            _load(services, connection, part, table, progress)
        entry_count = sum(part.entry_count for part in parts)
        qualified = f"{sql.RESTORED_SCHEMA}.{table}"
        audit_log(services).append_within(connection, restore_entry(services, day, parts, table=qualified))
    return RestoreResult(day, qualified, tuple(part.part for part in parts), entry_count, monotonic() - started)


def _checked_name(table: str) -> str:
    if _TABLE_NAME.fullmatch(table) is None:
        raise RestoreError(
            f"{table!r} cannot be the name of a restored table: use at most 63 lower-case letters, digits and "
            f"underscores, beginning with a letter or an underscore"
        )
    return table


@contextmanager
def _refusals_as_restore_errors(table: str) -> Iterator[None]:
    """Raise RestoreError where PostgreSQL refuses to replace or make the table."""
    try:
        yield
    except _REFUSALS as error:
        raise RestoreError(
            f"{sql.RESTORED_SCHEMA}.{table} cannot be made or dropped: {' '.join(str(error).split())}. Choose another "
            f"table with --into, or let its owner drop it"
        ) from error


def _parts(connection: sqlalchemy.Connection, day: date) -> list[ArchivedPart]:
    parts = parts_of_day(connection, day)
    if not parts:
        raise RestoreError(f"{day} has no archive: its entries, if there are any, are in PostgreSQL (audit_logs)")
    expired = [part for part in parts if part.expired_at is not None]
    if expired:
        numbers = ", ".join(str(part.part) for part in expired)
        raise RestoreError(f"{day} cannot be restored: its part {numbers} expired and is no longer in the cold store")
    return parts


def _driver(connection: sqlalchemy.Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError(f"the engine's driver is {type(driver).__name__} where psycopg's is needed")
    return driver


def _execute(connection: sqlalchemy.Connection, statement: Composed) -> None:
    _driver(connection).execute(statement)


def _load(
    services: Services, connection: sqlalchemy.Connection, part: ArchivedPart, table: str, progress: Progress
) -> None:
    segments = segments_of_part(connection, part)
    statement = sql.copy_into_restored_table(table, list(COLUMNS))
    with _driver(connection).cursor() as cursor, cursor.copy(statement) as copy:

        def write(batch: pa.RecordBatch) -> None:
            for lines in copy_lines(batch):
                copy.write(lines)

        def tell(phase: Phase, rows: int, total_rows: int) -> None:
            del phase
            progress(Phase.RESTORE, rows, total_rows)

        check_part(ColdArchive.of(services), part, segments, on_batch=write, progress=tell).raise_if_damaged()


def restored_tables(connection: sqlalchemy.Connection) -> list[str]:
    """The names of the restored tables, without their schema."""
    return list(connection.execute(sql.RESTORED_TABLES, {"schema": sql.RESTORED_SCHEMA}).scalars())


def drop_restored(services: Services, table: str | None = None) -> tuple[str, ...]:
    """Drop one restored table, or all of them.

    Returns:
        the names of those that were dropped, without their schema.

    Raises:
        RestoreError: there is no restored table of that name, or it belongs to somebody else.
        TransientError: it was locked, or the connection was lost.
    """
    with passing_errors_as_transient("dropping restored tables"), services.engine.begin() as connection:
        present = restored_tables(connection)
        if table is not None and table not in present:
            raise RestoreError(f"there is no restored table {table!r}; there are: {', '.join(present) or 'none'}")
        dropped = present if table is None else [table]
        connection.execute(sql.SET_LOCAL_LOCK_TIMEOUT, {"timeout": LOCK_TIMEOUT})
        for name in dropped:
            with _refusals_as_restore_errors(name):
                _execute(connection, sql.drop_restored_table(name))
    return tuple(dropped)
