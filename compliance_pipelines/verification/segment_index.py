"""Records of more than one origin, on disk, so that ten years of them need no memory.

Here: a temporary SQLite file with what each source says about a record of the ledger, the comparisons between
sources, and which parts hold which segments. Not here: which source is right (chain.py).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.archive.staging import staging_file
from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.records import Statement
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from compliance_pipelines.archive.layout import PartKey
    from compliance_pipelines.ledger.records import LedgerRecord

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LEAST: Final = -(2**63)
_MOST: Final = 2**63 - 1
_MOST_ENTRIES: Final = 2**40
_ROWS_AT_ONCE: Final = 10_000
_NO_SEGMENT: Final = (None,) * 8


class Source(IntEnum):
    """Who says it.

    LEDGER is what the signed checkpoints lead to, as far as it is known; the others are witnesses.
    """

    LEDGER = 0
    DATABASE = 1
    MANIFESTS = 2


@dataclass(frozen=True)
class Unheld:
    """The segments of one day that no part holds.

    Attributes:
        first_seq: the first of them.
        last_seq: the last of them.
        last_held: the last segment of the day that a part holds; None where none does.
    """

    day: date
    first_seq: int
    last_seq: int
    segments: int
    entries: int
    last_held: int | None


def fits_index(record: LedgerRecord) -> bool:
    """Whether a record's numbers are such as a sealing could have written."""
    if isinstance(record, Statement):
        return record.seq >= 0
    segment = record
    numbers = (segment.seq, segment.tx_from, segment.tx_to, segment.first_id, segment.last_id)
    return (
        all(_LEAST <= number <= _MOST for number in numbers)
        and segment.seq >= 0
        and 0 < segment.entry_count <= _MOST_ENTRIES
        and segment.tx_from < segment.tx_to
    )


def _bound(seq: int) -> int:
    return max(_LEAST, min(seq, _MOST))


class SegmentIndex:
    """What each source says about each record. To be used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, staging: Path | None) -> Iterator[SegmentIndex]:
        """An empty index in a file that is removed at the end.

        Args:
            staging: directory for the file; None is one of the system's.

        Raises:
            TransientError: the file cannot be made or written; raised by every use of the index, too.
        """
        with staging_file(staging, ".segments") as path:
            try:
                connection = sqlite3.connect(path, isolation_level=None)
                try:
                    for statement in (*sql.INDEX_OPTIONS, *sql.CREATE_INDEX, "BEGIN"):
                        connection.execute(statement)
                    yield cls(connection)
                finally:
                    connection.close()
            except sqlite3.Error as error:
                raise TransientError(
                    f"the temporary file {path} cannot be used: {error}; free space there and run it again"
                ) from error

    def add(self, source: Source, records: Iterable[LedgerRecord]) -> None:
        """Take what a source says; a record that it spoke of before is replaced."""
        rows = (_row(source, record) for record in records)
        while chunk := list(islice(rows, _ROWS_AT_ONCE)):
            self._connection.executemany(sql.ADD_RECORD, chunk)

    def fill(self, source: Source, other: Source, first: int, after: int) -> None:
        """Let `source` say what `other` says of the records in [first, after) about which it says nothing."""
        self._connection.execute(sql.FILL_RECORDS, (source, other, _bound(first), _bound(after)))

    def adopt(self, source: Source, other: Source, first: int, after: int) -> None:
        """Let `source` say what `other` says of the records in [first, after), whatever it said before."""
        self._connection.execute(sql.ADOPT_RECORDS, (source, other, _bound(first), _bound(after)))

    def count(self, source: Source, first: int, after: int) -> int:
        """How many of the records in [first, after) a source speaks of."""
        bounds = (source, _bound(first), _bound(after))
        return int(self._connection.execute(sql.COUNT_RECORDS, bounds).fetchone()[0])

    def between(self, source: Source, first: int, after: int) -> Iterator[LedgerRecord]:
        """The records in [first, after) that a source speaks of, in order, streamed."""
        for row in self._connection.execute(sql.RECORDS_BETWEEN, (source, _bound(first), _bound(after))):
            yield _record(row)

    def one(self, source: Source, seq: int) -> LedgerRecord | None:
        """One record; None where the source does not speak of it."""
        row = self._connection.execute(sql.ONE_RECORD, (source, _bound(seq))).fetchone()
        return None if row is None else _record(row)

    def ends(self, source: Source, first: int, after: int) -> dict[int, int]:
        """Where the segments in [first, after) of which a source speaks end: `tx_to` by seq."""
        return dict(self._connection.execute(sql.ENDS_BETWEEN, (source, _bound(first), _bound(after))))

    def void(self, ranges: Iterable[tuple[int, int]]) -> None:
        """The segments in these ranges, first and after, are not among those of a day, and wait for no part.

        Ranges that are added have no segment in common, with each other or with those of before.
        """
        self._connection.executemany(sql.ADD_VOID, ((_bound(first), _bound(after)) for first, after in ranges))

    def segments_between(self, source: Source, first: int, after: int) -> Iterator[Segment]:
        """The segments in [first, after), void or not, in order."""
        bounds = (source, _bound(first), _bound(after))
        for row in self._connection.execute(sql.SEGMENTS_BETWEEN, bounds):
            yield _segment(row[:-1])

    def statements(self, source: Source, after: int = _MOST) -> list[Statement]:
        """The statements of which a source speaks, before `after`, in order."""
        rows = self._connection.execute(sql.STATEMENTS, (source, _bound(after)))
        return [Statement.from_record(row[-1]) for row in rows]

    def of_day(self, source: Source, day: date) -> list[Segment]:
        """The segments of a day in order, without those that are void."""
        return [_segment(row[:-1]) for row in self._connection.execute(sql.SEGMENTS_OF_DAY, (source, day.toordinal()))]

    def days(self, source: Source) -> list[date]:
        """The days that a source has segments of that are not void, oldest first."""
        return [date.fromordinal(row[0]) for row in self._connection.execute(sql.DAYS_OF_SEGMENTS, (source,))]

    def differing(self, one: Source, other: Source, first: int, after: int) -> Iterator[tuple[int, date | None]]:
        """Seq and day (as `one` has it) of the records in [first, after) of which both speak, and not the same.

        A statement has no day.
        """
        bounds = (one, other, _bound(first), _bound(after))
        for seq, day in self._connection.execute(sql.DIFFERING_RECORDS, bounds):
            yield seq, _day(day)

    def only_in(self, one: Source, other: Source, first: int, after: int) -> Iterator[tuple[int, date | None]]:
        """Seq and day of the records in [first, after) of which `one` speaks and `other` does not."""
        bounds = (one, _bound(first), _bound(after), other)
        for seq, day in self._connection.execute(sql.RECORDS_OF_ONE_ONLY, bounds):
            yield seq, _day(day)

    def add_part(self, key: PartKey, segments: Iterable[Segment], object_sha256: str | None = None) -> None:
        """A part holds these segments; its object has this SHA-256 (hex), where a manifest commits it."""
        part = (key.day.toordinal(), _bound(key.part), key.object_key, object_sha256)
        part_id = self._connection.execute(sql.ADD_PART, part).lastrowid
        self._connection.executemany(sql.ADD_HELD, ((segment.seq, part_id) for segment in segments))

    def object_with(self, sha256: str) -> str | None:
        """The key of the object that a manifest commits with this SHA-256 (hex); None where none does."""
        found = self._connection.execute(sql.KEY_WITH_SHA256, (sha256,)).fetchone()
        return None if found is None else str(found[0])

    def held_among(self, segments: Sequence[Segment]) -> set[int]:
        """Those of the segments that are in some part, by seq."""
        numbers = json.dumps([segment.seq for segment in segments])
        return {seq for (seq,) in self._connection.execute(sql.HELD_AMONG, (numbers,))}

    def held_twice(self) -> Iterator[tuple[int, date, str]]:
        """Segments that more than one part holds: seq, day, and the keys of the objects in words."""
        for seq, day, keys in self._connection.execute(sql.SEGMENTS_HELD_TWICE):
            yield seq, date.fromordinal(day), keys

    def last_held(self) -> tuple[int, date, str] | None:
        """The largest seq that a part holds, with the part's day and the key of its object."""
        seq, day, key = self._connection.execute(sql.LAST_HELD).fetchone()
        return None if seq is None else (seq, date.fromordinal(day), key)

    def last_day_held(self) -> date | None:
        """The newest day that has a committed part."""
        (day,) = self._connection.execute(sql.LAST_DAY_HELD).fetchone()
        return None if day is None else date.fromordinal(day)

    def unheld(self) -> Iterator[Unheld]:
        """The segments of the ledger that no part holds and that are not void, day by day."""
        for day, *numbers in self._connection.execute(sql.SEGMENTS_NOT_HELD, (Source.LEDGER,)):
            yield Unheld(date.fromordinal(day), *numbers)


def _day(ordinal: int | None) -> date | None:
    return None if ordinal is None else date.fromordinal(ordinal)


def _row(source: Source, record: LedgerRecord) -> tuple[Any, ...]:
    if isinstance(record, Statement):
        return (source, record.seq, *_NO_SEGMENT, record.record_bytes())
    segment = record
    return (
        source,
        segment.seq,
        segment.day.toordinal(),
        segment.tx_from,
        segment.tx_to,
        segment.first_id,
        segment.last_id,
        segment.entry_count,
        segment.root,
        (segment.sealed_at - _EPOCH) // _MICROSECOND,
        None,
    )


def _record(row: tuple[Any, ...]) -> LedgerRecord:
    *segment, record = row
    return _segment(tuple(segment)) if record is None else Statement.from_record(record)


def _segment(row: tuple[Any, ...]) -> Segment:
    seq, day, tx_from, tx_to, first_id, last_id, entry_count, root, sealed_at = row
    return Segment(
        seq=seq,
        day=date.fromordinal(day),
        tx_from=tx_from,
        tx_to=tx_to,
        first_id=first_id,
        last_id=last_id,
        entry_count=entry_count,
        root=root,
        sealed_at=_EPOCH + sealed_at * _MICROSECOND,
    )
