"""Appending many entries by COPY, in one transaction.

Here: how a batch is cut into chunks, and the two ways in which a chunk is stored. Not here: COPY itself
(postgres/copying.py), connections (log.py).

Almost always every entry is new: a chunk is copied right into `audit_logs`, where the first repeat makes COPY fail.
Then the chunk alone is undone and goes through a temporary table, from which what is new is inserted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import psycopg.errors

from compliance_pipelines.audit_log import sql
from compliance_pipelines.audit_log.appending import (
    Acceptance,
    archived_repeats,
    ask_archive,
    purged_among,
    start_of,
)
from compliance_pipelines.audit_log.entry_batches import APPENDED_SCHEMA, JSONB_COLUMNS, EntryColumns
from compliance_pipelines.audit_log.errors import conflict
from compliance_pipelines.postgres.copying import CopyTarget, copy_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.audit_log.entry import AuditEntry

_ONE_DAY: Final = timedelta(days=1)
# Large, because PostgreSQL keeps account of the subtransaction that each chunk is; small enough to be kept in memory.
_CHUNK_ENTRIES: Final = 20_000
_CHUNK_CHARACTERS: Final = 8 * 2**20
# About two thousand entries: Arrow works a column at a time, and has a price for each column of each piece.
_PIECE_CHARACTERS: Final = 2**19
# In the time in which one entry is looked up in the indexes of three days, PostgreSQL reads this much of them.
_BYTES_READ_PER_LOOKUP: Final = 2048
_NAMED: Final = 5

_HOT_TABLE: Final = CopyTarget(("public", "audit_logs"), APPENDED_SCHEMA, JSONB_COLUMNS)
_STAGING: Final = CopyTarget(("audit_append",), APPENDED_SCHEMA, JSONB_COLUMNS)


@dataclass(frozen=True)
class AppendResult:
    """How many entries were new, and how many had been appended before."""

    new: int = 0
    repeated: int = 0

    def __add__(self, other: AppendResult) -> AppendResult:
        return AppendResult(self.new + other.new, self.repeated + other.repeated)


class _Chunk:
    """A part of the batch, kept as Arrow batches in case that it must be sent again.

    Entries are not kept: thousands of objects that live on would keep Python's garbage collector busy.

    Attributes:
        ids: the log_entry_id of each entry that was read so far.
        times: the timestamp of each, in UTC.
        days: theirs, each with the count of its entries.
        last: nothing follows.
    """

    def __init__(self, entries: Iterator[AuditEntry], accept: Acceptance) -> None:
        self._source = entries
        self._accept = accept
        self._pieces: list[pa.RecordBatch] = []
        self._characters = 0
        self.ids: list[str] = []
        self.times: list[datetime] = []
        self.days: Counter[date] = Counter()
        self.last = False

    def read(self) -> Iterator[pa.RecordBatch]:
        """Read a chunk, piece by piece.

        Raises:
            InvalidEntryError: an entry's day is before the first one.
        """
        piece = EntryColumns()
        for entry in self._source:
            self._note(entry)
            self._characters += piece.add(entry)
            if piece.characters >= _PIECE_CHARACTERS:
                yield self._kept(piece)
                piece = EntryColumns()
            if len(self.ids) >= _CHUNK_ENTRIES or self._characters >= _CHUNK_CHARACTERS:
                break
        else:
            self.last = True
        if piece.count:
            yield self._kept(piece)

    def _note(self, entry: AuditEntry) -> None:
        day = entry.timestamp.date()
        if day not in self.days:
            self._accept.check_day(day, entry.log_entry_id)
        self.days[day] += 1
        self.ids.append(entry.log_entry_id)
        self.times.append(entry.timestamp)

    def _kept(self, entries: EntryColumns) -> pa.RecordBatch:
        piece = entries.batch()
        self._pieces.append(piece)
        return piece

    def again(self) -> Iterator[pa.RecordBatch]:
        """What was read of it, or all of it where nothing was; what was not read belongs to the next chunk."""
        return iter(self._pieces) if self._pieces else self.read()

    def of_day(self, day: date) -> list[tuple[str, datetime]]:
        """Id and timestamp of those entries that are of a day."""
        return [pair for pair in zip(self.ids, self.times, strict=True) if pair[1].date() == day]


def append_batch(connection: sqlalchemy.Connection, entries: Iterable[AuditEntry], accept: Acceptance) -> AppendResult:
    """Append entries in a transaction of their own, all of them or none.

    Args:
        connection: without an open transaction. The entries must not be read from it.
        entries: of any days; read once, a chunk at a time.
        accept: which days' entries are taken.

    Raises:
        InvalidEntryError: an entry's day is before the first one.
        EntryConflictError: an id stands at two times on days that are the same or beside each other.
        PurgedDayError: a day was purged, and there is no archive to ask.
    """
    with connection.begin():
        return _Batch(connection, accept).append(iter(entries))


class _Batch:
    """One transaction's work."""

    def __init__(self, connection: sqlalchemy.Connection, accept: Acceptance) -> None:
        self._connection = connection
        self._accept = accept
        self._days: Counter[date] = Counter()
        self._has_staging = False

    def append(self, entries: Iterator[AuditEntry]) -> AppendResult:
        before = self._connection.execute(sql.NEXT_ID).scalar_one()
        result = AppendResult()
        # Repeats come in runs: a delivery that is made again, from somewhere in the middle on.
        expect_repeats = last = False
        while not last:
            chunk = _Chunk(entries, self._accept)
            new = None if expect_repeats else self._copy(chunk)
            if new is None:
                new = self._stage_and_insert(chunk)
            stored = AppendResult(new, len(chunk.ids) - new)
            expect_repeats = stored.repeated > 0
            result += stored
            self._days.update(chunk.days)
            last = chunk.last
        if result.new:
            self._refuse_other_times(before)
        return result

    def _copy(self, chunk: _Chunk) -> int | None:
        """Copy a chunk into the table; None where that cannot be, and was undone."""
        undoable = self._connection.begin_nested()
        try:
            new = copy_in(self._connection, _HOT_TABLE, chunk.read())
        except psycopg.errors.UniqueViolation:
            undoable.rollback()
            return None
        if purged_among(self._connection, chunk.days):
            undoable.rollback()
            return None
        undoable.commit()
        return new

    def _stage_and_insert(self, chunk: _Chunk) -> int:
        """Store what is new of a chunk that has repeats, or entries of purged days; how many that were."""
        if not self._has_staging:
            self._connection.execute(sql.CREATE_STAGING)
            self._has_staging = True
        copy_in(self._connection, _STAGING, chunk.again())
        looked_up: set[date] = set()
        while True:
            for day in sorted(set(purged_among(self._connection, chunk.days)) - looked_up):
                self._drop_archived(chunk, day)
                looked_up.add(day)
            undoable = self._connection.begin_nested()
            new = self._connection.execute(sql.INSERT_STAGED).rowcount
            if looked_up.issuperset(purged_among(self._connection, chunk.days)):
                break
            # A day was purged in this moment; what was inserted for it may be a repeat.
            undoable.rollback()
        undoable.commit()
        self._connection.execute(sql.EMPTY_STAGING)
        return new

    def _drop_archived(self, chunk: _Chunk, day: date) -> None:
        entries = chunk.of_day(day)
        archive = self._accept.archive_of([day])
        archived = ask_archive(self._connection, archive, day, {log_entry_id for log_entry_id, _ in entries})
        self._connection.execute(
            sql.DELETE_STAGED,
            {
                "log_entry_ids": archived_repeats(entries, archived),
                "since": start_of(day),
                "until": start_of(day + _ONE_DAY),
            },
        )

    def _refuse_other_times(self, before: int) -> None:
        """Refuse the batch where an id of it stands at another time near its own, in the batch included."""
        for day, count in sorted(self._days.items()):
            bounds = {
                "before": before,
                "since": start_of(day - _ONE_DAY),
                "until": start_of(day + 2 * _ONE_DAY),
                "start": start_of(day),
                "end": start_of(day + _ONE_DAY),
                "most": _NAMED,
            }
            if self._stored_bytes_near(day) < count * _BYTES_READ_PER_LOOKUP and not self._has_suspects(bounds):
                continue
            found = self._connection.execute(sql.NEW_ENTRIES_AT_OTHER_TIMES, bounds).all()
            if found:
                raise conflict([(row.log_entry_id, row.timestamp, row.other) for row in found])

    def _stored_bytes_near(self, day: date) -> int:
        near = [day - _ONE_DAY, day, day + _ONE_DAY]
        names = {f"audit_logs_{each:{form}}" for each in near for form in ("%Y_%m_%d", "%Y_%m_default")}
        parameters = {"partitions": [*names, "audit_logs_default"]}
        return int(self._connection.execute(sql.STORED_BYTES, parameters).scalar_one())

    def _has_suspects(self, bounds: dict[str, object]) -> bool:
        return self._connection.execute(sql.IDS_AT_SEVERAL_TIMES, bounds).first() is not None
