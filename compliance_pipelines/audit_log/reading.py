"""Reading entries as Arrow batches, in constant memory.

Here: the one query that sealing, archiving, purging, proving and verifying read rows with, in a session of its own. Not
here: what they do with the rows.

ADBC hands over PostgreSQL's binary COPY as Arrow; metadata travels as its exact text, because the ledger hashes it.

Nobody who reads keeps a transaction open in another session meanwhile: should a third one wait for that transaction,
and this session for the third, PostgreSQL could not see that nobody goes on.
"""

from __future__ import annotations

from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import adbc_driver_manager
import adbc_driver_postgresql
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcDatabase, AdbcStatement
from adbc_driver_manager._reader import AdbcRecordBatchReader
from psycopg import sql
from sqlalchemy.exc import DBAPIError

from compliance_pipelines.audit_log.entry import ENTRY_SCHEMA
from compliance_pipelines.audit_log.packed_rows import GROUP_ENTRIES, NotPackableError, packed, unpacked
from compliance_pipelines.base.errors import ComplianceError, TransientError
from compliance_pipelines.base.interruption import cancelled_by_signals
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.postgres.engine import conninfo_of
from compliance_pipelines.postgres.errors import is_passing
from compliance_pipelines.postgres.sessions import pin_session, require_own_sessions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import sqlalchemy
    from adbc_driver_manager import ArrowArrayStreamHandle

HOT_TABLE: Final = ("public", "audit_logs")

_BATCH_BYTES: Final = 8 * 2**20
_ONE_SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Where a row stands, in which table, and which transaction wrote it there: another version has another of these.
_ROW_VERSIONS: Final = sql.SQL("""
    SELECT count(*)::text AS count,
           coalesce(sum(hashtextextended(tableoid::text || ctid::text || xmin::text, 0)), 0)::text AS fingerprint
    FROM public.audit_logs WHERE {conditions}
""")
# A commitment of another length becomes one of 32 bytes: that there is one is a finding, and should end no reading.
_COMMITMENT: Final = sql.SQL("CASE octet_length(commitment) WHEN 32 THEN commitment ELSE sha256(commitment) END")
_SELECT: Final = sql.SQL(
    'SELECT id, log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result,'
    " metadata::text AS metadata, created_at, tx_id, uuid_send(nonce) AS nonce, {commitment} AS commitment"
    ' FROM {table} AS entry WHERE {conditions} ORDER BY id, "timestamp"'
)
_EXPORT: Final = "SELECT pg_export_snapshot() AS snapshot"
_WITHOUT_WAITING: Final = "SET LOCAL lock_timeout = '100ms'"
_LOCK_TO_READ: Final = "LOCK TABLE public.audit_logs IN ACCESS SHARE MODE"
_SAME_SNAPSHOT: Final = sql.SQL("SET TRANSACTION SNAPSHOT {}")
_ENDS: Final = sql.SQL("""
    SELECT min(id)::text AS first, max(id)::text AS last,
           (EXISTS (SELECT FROM public.audit_quarantine AS held WHERE {conditions}))::text AS quarantined
    FROM public.audit_logs WHERE {conditions}
""")
_OF_GROUP: Final = sql.SQL("id BETWEEN low AND low + {most}").format(most=sql.Literal(GROUP_ENTRIES - 1))
# A group is found by an index, whatever PostgreSQL thinks of a table that it has no statistics of.
_BY_INDEX: Final = "SET LOCAL enable_seqscan = off"
# Fewer are read as fast one by one. Where most ids between the first and the last are others', groups would be small.
_MANY: Final = 16_384
# A dozen chunks are in memory at once while a day is archived; smaller ones take longer for each entry.
_CHUNK_IDS: Final = 256 * GROUP_ENTRIES
_MOST_IDS_EACH: Final = 4
_LARGEST_ID: Final = 2**62
# Of rows that break a rule of the table, no text is ever asked for: it may be larger than PostgreSQL can return.
_NOT_QUARANTINED: Final = sql.SQL(
    'NOT EXISTS (SELECT FROM public.audit_quarantine AS held WHERE held.id = entry.id AND held."timestamp" ='
    ' entry."timestamp")'
)


# What the driver knows of a database, the types of all its tables among it, takes it a tenth of a second to read where
# there are a few hundred partitions: once for each engine, not for each reading. No connection stays open.
_DATABASES: Final[WeakKeyDictionary[sqlalchemy.Engine, AdbcDatabase]] = WeakKeyDictionary()
_DATABASES_LOCK: Final = Lock()


class ReadingError(TransientError):
    """The rows could not be read to their end; nothing was changed, and reading again may succeed."""


class UnreadableRowsError(ComplianceError):
    """PostgreSQL cannot return the rows as they are, or refuses to: reading again ends the same way."""


@dataclass(frozen=True)
class RowVersions:
    """Which versions of a day's rows there are.

    A version is never changed in place: who finds the same count and sum again finds the rows that were read. That
    another set of versions has them too is as likely as one in 2**64.
    """

    count: int
    fingerprint: str


def _of_day(day: date) -> sql.Composable:
    """The condition that an entry is of a day; its bounds are literals, so that the day's partition alone is read."""
    start = datetime.combine(day, time(), UTC)
    bounds = (sql.Literal(moment.isoformat()) for moment in (start, start + timedelta(days=1)))
    return sql.SQL('"timestamp" >= {} AND "timestamp" < {}').format(*bounds)


@dataclass(frozen=True)
class _Which:
    """The entries of a day whose transaction ids lie in [tx_from, tx_to); None is no bound."""

    day: date | None
    tx_from: int | None
    tx_to: int | None

    def conditions(self) -> list[sql.Composable]:
        bounds = (("tx_id >= {}", self.tx_from), ("tx_id < {}", self.tx_to))
        of_day = [] if self.day is None else [_of_day(self.day)]
        return of_day + [sql.SQL(text).format(sql.Literal(bound)) for text, bound in bounds if bound is not None]

    def __str__(self) -> str:
        return "the audit log" if self.day is None else f"the entries of {self.day}"


def _select(table: tuple[str, str], conditions: list[sql.Composable], commitment: sql.Composable) -> sql.Composed:
    return _SELECT.format(
        commitment=commitment,
        table=sql.Identifier(*table),
        conditions=sql.SQL(" AND ").join(conditions or [sql.SQL("true")]),
    )


def _query(which: _Which, table: tuple[str, str], *, from_id: int | None = None, most: int | None = None) -> str:
    """The query for entries one by one, without quarantined ones."""
    conditions: list[sql.Composable] = [_NOT_QUARANTINED] if table == HOT_TABLE else []
    if from_id is not None:
        conditions.append(sql.SQL("id >= {}").format(sql.Literal(from_id)))
    query = _select(table, conditions + which.conditions(), _COMMITMENT).as_string(None)
    return query if most is None else f"{query} LIMIT {most}"


@dataclass(frozen=True)
class Selection:
    """Some of the entries of a day. An empty set of names is any.

    Attributes:
        since: entries from this time on; aware. None: from the beginning of the day.
        until: entries before this time; aware. None: to its end.
    """

    since: datetime | None = None
    until: datetime | None = None
    user_ids: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    resource_types: frozenset[str] = frozenset()
    resource_ids: frozenset[str] = frozenset()

    def conditions(self) -> list[sql.Composable]:
        """What holds of these entries, as conditions on their columns."""
        bounds = (('"timestamp" >= {}', self.since), ('"timestamp" < {}', self.until))
        names = (
            ("user_id", self.user_ids),
            ("action", self.actions),
            ("resource_type", self.resource_types),
            ("resource_id", self.resource_ids),
        )
        found: list[sql.Composable] = [
            sql.SQL(text).format(sql.Literal(bound.isoformat())) for text, bound in bounds if bound is not None
        ]
        return found + [
            sql.SQL("{} = ANY({})").format(sql.Identifier(column), sql.Literal(sorted(wanted)))
            for column, wanted in names
            if wanted
        ]


class SnapshotReader:
    """One session that sees the entries of one moment, and cannot write."""

    def __init__(self, engine: sqlalchemy.Engine, connection: AdbcConnection) -> None:
        self._engine = engine
        self._connection = connection

    @contextmanager
    def rows(
        self,
        *,
        day: date | None,
        tx_from: int | None = None,
        tx_to: int | None = None,
        table: tuple[str, str] = HOT_TABLE,
        about: int = 0,
    ) -> Iterator[Iterator[pa.RecordBatch]]:
        """Stream entries in ENTRY_SCHEMA, ordered by id and timestamp.

        Two entries of a day have the same id where the sequence went back, as it may after a failover.

        Args:
            day: UTC day of the entries' timestamps; None for all.
            tx_from: first transaction id, inclusive; None for no bound.
            tx_to: last transaction id, exclusive; None for no bound.
            table: schema and name, where it is not the hot store.
            about: how many entries of the day are expected, as far as the caller knows: many are read faster. What is
                read does not depend on it.

        Raises:
            ReadingError: the connection was lost; raised while iterating, too.
            UnreadableRowsError: PostgreSQL refuses; raised while iterating, too.
        """
        which = _Which(day, tx_from, tx_to)
        with closing(self._rows(which, table, about)) as batches:
            yield batches

    def _rows(self, which: _Which, table: tuple[str, str], about: int) -> Generator[pa.RecordBatch]:
        ends = None if which.day is None or about < _MANY or table != HOT_TABLE else self._ends(which.day)
        if ends is None or ends[1] - ends[0] >= about * _MOST_IDS_EACH:
            yield from self._one_by_one(which, table)
            return
        from_id = ends[0]
        try:
            for batch in self._packed(which, *ends):
                yield batch
                from_id = batch.column("id")[-1].as_py() + 1
        except NotPackableError:
            yield from self._one_by_one(which, table, from_id=from_id)

    def _ends(self, day: date) -> tuple[int, int] | None:
        """The first and the last id of a day; None where they do not help."""
        with _as_reading_errors(f"the entries of {day}"):
            found = _only_row(self._connection, _ENDS.format(conditions=_of_day(day)).as_string(None))
        if found["first"] is None or found["last"] is None or found["quarantined"] != "false":
            return None
        first, last = int(found["first"]), int(found["last"])
        return (first, last) if -_LARGEST_ID < first <= last < _LARGEST_ID else None

    def _packed(self, which: _Which, first_id: int, last_id: int) -> Iterator[pa.RecordBatch]:
        """Chunks of ids, which two sessions read by turns: writing texts of JSONB is most of it, and one process's."""
        rows = _select(HOT_TABLE, [_OF_GROUP, *which.conditions()], sql.Identifier("commitment"))
        with ExitStack() as stack:
            sessions = [self._connection, *stack.enter_context(self._beside(which))]
            streams = []
            for number, session in enumerate(sessions):
                starts = range(first_id + number * _CHUNK_IDS, last_id + 1, len(sessions) * _CHUNK_IDS)
                chunks = _chunks(session, str(which), rows, starts, last_id)
                stack.enter_context(closing(chunks))
                streams.append(stack.enter_context(run_ahead(chunks, depth=1, name=f"groups-reader-{number}")))
            for _, batch in merge(*streams, key=itemgetter(0)):
                yield batch

    @contextmanager
    def _beside(self, which: _Which) -> Iterator[list[AdbcConnection]]:
        """A second session that sees the same moment and has locked the same tables; none where it cannot be had.

        Where somebody waits for the first session, this one would wait for them, and the first for it: it gives up at
        once, and having its locks it need not wait later.
        """
        with ExitStack() as stack:
            try:
                with _as_reading_errors(str(which)):
                    snapshot = _only_row(self._connection, _EXPORT)["snapshot"] or ""
                second = stack.enter_context(_session(self._engine, snapshot))
                with _as_reading_errors(str(which)):
                    _execute(second, _WITHOUT_WAITING)
                for _ in _stream(second, _query(which, HOT_TABLE, most=0), str(which)):
                    pass
            except (ReadingError, UnreadableRowsError):
                stack.close()
                yield []
            else:
                yield [second]

    def _one_by_one(
        self, which: _Which, table: tuple[str, str], *, from_id: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        yield from _as_entries(_stream(self._connection, _query(which, table, from_id=from_id), str(which)))

    @contextmanager
    def selected(self, day: date, selection: Selection) -> Iterator[Iterator[pa.RecordBatch]]:
        """Stream some entries of a day in ENTRY_SCHEMA, ordered by id and timestamp; without quarantined ones.

        Args:
            day: UTC day of the entries' timestamps.
            selection: which.

        Raises:
            ReadingError: the connection was lost; raised while iterating, too.
            UnreadableRowsError: PostgreSQL refuses; raised while iterating, too.
        """
        which = _Which(day, None, None)
        conditions = [_NOT_QUARANTINED, *which.conditions(), *selection.conditions()]
        query = _select(HOT_TABLE, conditions, _COMMITMENT).as_string(None)
        with closing(_as_entries(_stream(self._connection, query, str(which)))) as batches:
            yield batches

    def export(self) -> str:
        """Lock all partitions against being dropped, and name the moment, so that other sessions can see the same.

        It must be the first that is asked of the session: a partition that is dropped between the moment and the lock
        would be missing without a word.

        Raises:
            ReadingError: the connection was lost, or somebody holds a lock for long.
            UnreadableRowsError: PostgreSQL refuses.
        """
        with _as_reading_errors("the audit log"):
            _execute(self._connection, _LOCK_TO_READ)
            return _only_row(self._connection, _EXPORT)["snapshot"] or ""

    def row_versions(self, day: date) -> RowVersions:
        """The versions of the rows of a day that this moment has.

        Raises:
            ReadingError: the connection was lost.
            UnreadableRowsError: PostgreSQL refuses.
        """
        with _as_reading_errors(f"the entries of {day}"):
            row = _only_row(self._connection, row_versions_query(day))
        return RowVersions(int(row["count"] or 0), row["fingerprint"] or "")


def row_versions_query(day: date) -> str:
    """The query for the :class:`RowVersions` of a day: one row with the texts `count` and `fingerprint`."""
    return _ROW_VERSIONS.format(conditions=_of_day(day)).as_string(None)


def _as_entries(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    """What a query for entries returns, in ENTRY_SCHEMA."""
    for batch in batches:
        columns = [column.cast(field.type) for column, field in zip(batch.columns, ENTRY_SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=ENTRY_SCHEMA)


def _stream(connection: AdbcConnection, query: str, where: str) -> Iterator[pa.RecordBatch]:
    """What a query returns: one COPY."""
    with _as_reading_errors(where), AdbcStatement(connection) as statement:
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)})
        statement.set_sql_query(query)
        stream, _ = statement.execute_query()
        with _reader(stream) as batches:
            yield from batches


def _chunks(
    connection: AdbcConnection, where: str, rows: sql.Composable, starts: range, last_id: int
) -> Generator[tuple[int, pa.RecordBatch]]:
    """The entries of some chunks of ids, each with the first id of its chunk."""
    with _as_reading_errors(where):
        _execute(connection, _BY_INDEX)
    for start in starts:
        query = packed(rows, start, min(start + _CHUNK_IDS - 1, last_id))
        for groups in _stream(connection, query, where):
            batch = unpacked(groups)
            if batch.num_rows:
                yield start, batch


def _execute(connection: AdbcConnection, query: str) -> None:
    with AdbcStatement(connection) as statement:
        statement.set_sql_query(query)
        statement.execute_update()


@contextmanager
def open_snapshot(engine: sqlalchemy.Engine) -> Iterator[SnapshotReader]:
    """Open a session of its own, pinned as every session is, in a read-only transaction of one snapshot.

    Args:
        engine: names the database; its pool is not used.

    Raises:
        ReadingError: the connection could not be made.
        SessionSettingError: the session does not have the settings that the code relies on.
        SharedSessionError: a connection pooler gives it to others meanwhile.
    """
    with _session(engine) as connection:
        yield SnapshotReader(engine, connection)


@contextmanager
def _session(engine: sqlalchemy.Engine, snapshot: str | None = None) -> Iterator[AdbcConnection]:
    """A session for :func:`open_snapshot`, or one more of the same moment."""
    with _as_reading_errors("the audit log"):
        require_own_sessions(engine)
        connection = AdbcConnection(_database(engine))
    with connection, cancelled_by_signals(connection.cancel):
        with _as_reading_errors("the audit log"):
            pin_session(lambda statement: _only_row(connection, statement))
            connection.set_autocommit(False)
            _execute(connection, _ONE_SNAPSHOT)
            if snapshot is not None:
                _execute(connection, _SAME_SNAPSHOT.format(sql.Literal(snapshot)).as_string(None))
        try:
            yield connection
        finally:
            with suppress(adbc_driver_manager.Error):
                connection.rollback()


@contextmanager
def read_rows(
    engine: sqlalchemy.Engine,
    *,
    day: date | None,
    tx_from: int | None = None,
    tx_to: int | None = None,
    about: int = 0,
) -> Iterator[Iterator[pa.RecordBatch]]:
    """Stream entries as :meth:`SnapshotReader.rows` does, in a session that ends with the block."""
    with (
        open_snapshot(engine) as snapshot,
        snapshot.rows(day=day, tx_from=tx_from, tx_to=tx_to, about=about) as batches,
    ):
        yield batches


def _database(engine: sqlalchemy.Engine) -> AdbcDatabase:
    with _DATABASES_LOCK:
        database = _DATABASES.get(engine)
        if database is None:
            database = _DATABASES[engine] = adbc_driver_postgresql.connect(conninfo_of(engine).for_libpq())
        return database


def _only_row(connection: AdbcConnection, query: str) -> dict[str, str | None]:
    """The one row of a query whose columns are all text."""
    with AdbcStatement(connection) as statement:
        # COPY takes no set_config(), and a few values need none.
        statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        statement.set_sql_query(query)
        stream, _ = statement.execute_query()
        with _reader(stream) as reader:
            (row,) = reader.read_all().to_pylist()
    return dict(row)


def _reader(stream: ArrowArrayStreamHandle) -> closing[AdbcRecordBatchReader]:
    """The batches of a stream; Arrow's own reader drops the SQLSTATE of what ends it."""
    return closing(AdbcRecordBatchReader._import_from_c(stream.address))  # noqa: SLF001


@contextmanager
def _as_reading_errors(where: str) -> Iterator[None]:
    """Raise what the driver, or Arrow in its place, says of a reading as what it means."""
    try:
        yield
    except adbc_driver_manager.Error as error:
        raise _reading_error(where, error, passing=is_passing(error)) from error
    except DBAPIError as error:
        cause = error.orig if isinstance(error.orig, Exception) else error
        raise _reading_error(where, cause, passing=is_passing(error)) from error
    except (pa.ArrowException, OSError) as error:
        raise _reading_error(where, error, passing=isinstance(error, OSError)) from error


def _reading_error(where: str, error: Exception, *, passing: bool) -> ComplianceError:
    # The driver's text begins with the whole statement.
    reason = " ".join(str(error).rpartition("ERROR:")[2].split()) or type(error).__name__
    if passing:
        return ReadingError(f"{where} could not be read to the end: {reason}; run it again")
    return UnreadableRowsError(
        f"{where} cannot be read: {reason}; it stays so until somebody mends it: `compliance check` tells more"
    )
