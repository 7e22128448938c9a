"""DuckDB over the staged files, with nothing else in reach.

Here: the connection's settings, the one relation, running a statement. Not here: what a statement may be
(statement.py), the scan of the files (relation.py).

Nothing is spilled to disk: DuckDB encrypts what it spills only with an extension that would have to be downloaded, and
refuses to without. So a query that needs more memory than it may have fails.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Final

import duckdb
import pyarrow as pa

from compliance_pipelines.base.interruption import cancelled_by_signals, check_stopped
from compliance_pipelines.search.errors import QueryFailedError
from compliance_pipelines.search.period import Period
from compliance_pipelines.search.relation import Entries
from compliance_pipelines.search.statement import RELATION, checked_statement, one_line
from compliance_pipelines.search_filters import Wanted

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_STAGED: Final = "staged"
_THREADS: Final = 2
_BATCH_ROWS: Final = 10_000
_MEMORY_TO_CHECK_MB: Final = 64
_SETTINGS: Final = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
    "temp_directory": "",
    "threads": str(_THREADS),
}
# Columns in the order of the requirement, and where an entry comes from.
_VIEW: Final = f"""
    CREATE VIEW {RELATION} AS
    SELECT id, log_entry_id, "timestamp", user_id, action, resource_type, resource_id, result, metadata, created_at,
           commitment IS NOT NULL AS blinded, day, source
    FROM {_STAGED}
"""  # noqa: S608 - constants only
_COUNT: Final = f"SELECT count(*) FROM {RELATION}"  # noqa: S608 - constants only
_NEWEST_FIRST: Final = f'SELECT * FROM {RELATION} ORDER BY "timestamp" DESC, id DESC'  # noqa: S608 - constants only
_OLDEST_FIRST: Final = f'SELECT * FROM {RELATION} ORDER BY "timestamp", id'  # noqa: S608 - constants only


class Engine:
    """A connection over the entries of one search."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, entries: Entries) -> None:
        self._connection = connection
        self._entries = entries

    def check(self, text: str) -> None:
        """See whether a person's query could be run, without running it.

        Raises:
            QueryRefusedError: it is no single SELECT over the relation.
            QueryFailedError: it names what there is not.
        """
        statement = checked_statement(self._connection, text)
        with _as_query_errors():
            self._connection.sql(statement)

    @contextmanager
    def query(self, text: str) -> Iterator[pa.RecordBatchReader]:
        """The rows of a person's query, as a stream.

        Raises:
            QueryRefusedError: it is no single SELECT over the relation.
            QueryFailedError: it is wrong, or needs too much memory; raised while iterating, too.
        """
        with self._run(checked_statement(self._connection, text)) as rows:
            yield rows

    def count(self) -> int:
        """How many entries there are."""
        with self._run(_COUNT) as rows:
            return int(rows.read_all().column(0)[0].as_py())

    @contextmanager
    def entries(self, *, limit: int | None, oldest_first: bool) -> Iterator[Iterator[pa.RecordBatch]]:
        """The entries by their time, as a stream; one day is sorted at a time.

        Args:
            limit: how many at most; None: all.
            oldest_first: else the newest come first.

        Raises:
            QueryFailedError: a day needs too much memory; raised while iterating.
        """
        with closing(self._by_day(limit, oldest_first=oldest_first)) as batches:
            yield batches

    def _by_day(self, limit: int | None, *, oldest_first: bool) -> Generator[pa.RecordBatch]:
        left = limit
        order = _OLDEST_FIRST if oldest_first else _NEWEST_FIRST
        for day in sorted(self._entries.days, reverse=not oldest_first):
            if left == 0:
                return
            self._connection.register(_STAGED, self._entries.of_day(day))
            with self._run(order if left is None else f"{order} LIMIT {left:d}") as rows:
                for batch in rows:
                    left = None if left is None else left - batch.num_rows
                    yield batch

    @contextmanager
    def _run(self, statement: duckdb.Statement | str) -> Iterator[pa.RecordBatchReader]:
        with cancelled_by_signals(self._connection.interrupt):
            with _as_query_errors():
                reader = self._connection.execute(statement).to_arrow_reader(_BATCH_ROWS)
            # What goes wrong with whoever takes the rows, such as a pipe that nobody reads, is not the query's.
            yield pa.RecordBatchReader.from_batches(reader.schema, _read(reader))


def _read(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _as_query_errors():
        yield from reader


@contextmanager
def _as_query_errors() -> Iterator[None]:
    """Raise what DuckDB and Arrow say as what it means."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        check_stopped()
        said = one_line(error)
        if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in said:
            raise QueryFailedError(
                "the query needs more memory than it may have: ask for less (columns, a LIMIT, a shorter time), or "
                "raise AUDIT_SEARCH_MEMORY_MB"
            ) from error
        raise QueryFailedError(f"the query failed: {said}") from error


@contextmanager
def opened_engine(entries: Entries, memory_mb: int) -> Iterator[Engine]:
    """An engine over some entries.

    Args:
        entries: the relation.
        memory_mb: that DuckDB may use, in units of 2**20 bytes.
    """
    connection = duckdb.connect(":memory:", config={**_SETTINGS, "memory_limit": f"{memory_mb}MiB"})
    try:
        connection.execute("SET TimeZone = 'UTC'")
        # It would be drawn on standard output, in the middle of a result.
        connection.execute("SET enable_progress_bar = false")
        connection.register(_STAGED, entries)
        connection.execute(_VIEW)
        connection.execute("SET lock_configuration = true")
        yield Engine(connection, entries)
    finally:
        # Closing waits for what is at work, which nobody wants any more: without this for all of a query that was left.
        connection.interrupt()
        connection.close()


def refuse_wrong_query(text: str) -> None:
    """Let a text pass that is one SELECT over the relation, as far as can be told before there are any entries.

    Raises:
        QueryRefusedError: it is something else.
        QueryFailedError: it names columns or functions that there are not.
    """
    with opened_engine(Entries([], Period.of(None, None), Wanted()), _MEMORY_TO_CHECK_MB) as engine:
        engine.check(text)
