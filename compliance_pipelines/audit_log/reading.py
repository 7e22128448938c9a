"""Reading entries as Arrow batches, in constant memory.

Here: the one query that sealing, archiving, purging, proving and verifying read rows with. Not here: what they do with
the rows.

ADBC hands over PostgreSQL's binary COPY as Arrow; metadata travels as its exact text, because the ledger hashes it.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcDatabase, AdbcStatement
from adbc_driver_manager._reader import AdbcRecordBatchReader
from psycopg import sql

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.database import libpq_uri
from compliance_pipelines.errors import ComplianceError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

HOT_TABLE: Final = ("public", "audit_logs")

_BATCH_BYTES: Final = 8 * 2**20
_SELECT: Final = sql.SQL(
    'SELECT id, log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result,'
    ' metadata::text AS metadata, created_at, tx_id FROM {table} AS entry WHERE {conditions} ORDER BY id, "timestamp"'
)
# Of rows that break a rule of the table, no text is ever asked for: it may be larger than PostgreSQL can return.
_NOT_QUARANTINED: Final = sql.SQL(
    'NOT EXISTS (SELECT FROM public.audit_quarantine AS held WHERE held.id = entry.id AND held."timestamp" ='
    ' entry."timestamp")'
)
# Classes of SQLSTATE: connection, rollback, resources, operator intervention; and a lock that was not to be had.
_PASSING: Final = ("08", "40", "53", "57", "55P03")


# What the driver knows of a database, the types of all its tables among it, takes it a tenth of a second to read where
# there are a few hundred partitions: once for each engine, not for each reading. No connection stays open.
_DATABASES: Final[WeakKeyDictionary[sqlalchemy.Engine, AdbcDatabase]] = WeakKeyDictionary()
_DATABASES_LOCK: Final = Lock()


class ReadingError(TransientError):
    """The rows could not be read to their end; nothing was changed, and reading again may succeed."""


class UnreadableRowsError(ComplianceError):
    """PostgreSQL cannot return the rows as they are, or refuses to: reading again ends the same way."""


def rows_query(*, day: date | None, tx_from: int | None, tx_to: int | None, table: tuple[str, str] = HOT_TABLE) -> str:
    """The query for the entries of a day whose transaction ids lie in [tx_from, tx_to), without quarantined ones.

    Bounds of the day are literals, so that PostgreSQL reads the day's partition alone.
    """
    conditions: list[sql.Composable] = [_NOT_QUARANTINED] if table == HOT_TABLE else []
    if day is not None:
        midnight = datetime.combine(day, time(), UTC)
        for operator, moment in ((">=", midnight), ("<", midnight + timedelta(days=1))):
            conditions.append(sql.SQL('"timestamp" ' + operator + " {}").format(sql.Literal(moment.isoformat())))
    if tx_from is not None:
        conditions.append(sql.SQL("tx_id >= {}").format(sql.Literal(tx_from)))
    if tx_to is not None:
        conditions.append(sql.SQL("tx_id < {}").format(sql.Literal(tx_to)))
    return _SELECT.format(
        table=sql.Identifier(*table), conditions=sql.SQL(" AND ").join(conditions or [sql.SQL("true")])
    ).as_string(None)


@contextmanager
def read_rows(
    engine: sqlalchemy.Engine,
    *,
    day: date | None,
    tx_from: int | None = None,
    tx_to: int | None = None,
    table: tuple[str, str] = HOT_TABLE,
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Stream entries in ENTRY_SCHEMA, ordered by id and timestamp: one COPY, so one snapshot, on its own connection.

    Two entries of a day have the same id where the sequence went back, as it may after a failover.

    Args:
        engine: names the database; its pool is not used.
        day: UTC day of the entries' timestamps; None for all.
        tx_from: first transaction id, inclusive; None for no bound.
        tx_to: last transaction id, exclusive; None for no bound.
        table: schema and name, where it is not the hot store.

    Raises:
        ReadingError: the connection could not be made or was lost; raised while iterating, too.
        UnreadableRowsError: the database refuses to return the rows; raised while iterating.
    """
    query = rows_query(day=day, tx_from=tx_from, tx_to=tx_to, table=table)
    where = "the audit log" if day is None else f"the entries of {day}"
    try:
        connection = AdbcConnection(_database(engine))
    except adbc_driver_manager.Error as error:
        raise ReadingError(f"{where} cannot be read: {_first_line(error)}; is the database reachable?") from None
    with connection, AdbcStatement(connection) as statement:
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
        statement.set_sql_query(query)
        yield _batches(statement, where)


def _database(engine: sqlalchemy.Engine) -> AdbcDatabase:
    with _DATABASES_LOCK:
        database = _DATABASES.get(engine)
        if database is None:
            database = _DATABASES[engine] = adbc_driver_postgresql.connect(libpq_uri(engine.url))
        return database


def _batches(statement: AdbcStatement, where: str) -> Iterator[pa.RecordBatch]:
    try:
        stream, _ = statement.execute_query()
        # Arrow's own reader drops the SQLSTATE of what ends the stream.
        with closing(AdbcRecordBatchReader._import_from_c(stream.address)) as batches:  # noqa: SLF001
            for batch in batches:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=ENTRY_SCHEMA)
    except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
        sqlstate = getattr(error, "sqlstate", None)
        if sqlstate is not None and not sqlstate.startswith(_PASSING):
            raise UnreadableRowsError(
                f"{where} cannot be read: {_first_line(error)}; it stays so until somebody mends it: `compliance db "
                f"check` tells more"
            ) from error
        raise ReadingError(f"reading {where} stopped half-way: {_first_line(error)}; run it again") from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
