"""The records of the database in batches, with their leaves: for whoever goes through millions of them.

Here: segments column by column, packed into the bytes that the ledger hashes, statements among them, no place left
empty. Not here: what the leaves lead to (proven_records.py), records one by one (store.py).

The database is asked for the columns' values and for no hash: what is hashed are the bytes that are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from compliance_pipelines.base.hashing import DIGEST_BYTES, sha256_of_rows
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.ledger.segments import RECORD_BYTES, Segment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy.typing as npt
    import sqlalchemy

    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.ledger.records import LedgerRecord

_AT_ONCE: Final = 20_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# PostgreSQL counts from here; its infinities are the ends of the range of the numbers.
_THEIR_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_DAYS: Final = tuple(each.toordinal() - _THEIR_EPOCH.toordinal() for each in (date.min, date.max))
_A_DAY: Final = timedelta(days=1) // _MICROSECOND
_MOMENTS: Final = (_DAYS[0] * _A_DAY, (_DAYS[1] + 1) * _A_DAY - 1)
_NUMBERS: Final = ("tx_from", "tx_to", "first_id", "last_id", "entry_count")
_KIND: Final = 1
# What is hashed: the prefix of a leaf, then the record (segments.py).
_LEAF: Final = np.dtype(
    [
        ("prefix", "u1"),
        ("kind", "u1"),
        ("seq", ">i8"),
        ("day", ">i4"),
        *((name, ">i8") for name in _NUMBERS),
        ("root", "u1", DIGEST_BYTES),
        ("sealed_at", ">i8"),
    ]
)


class MissingRecordError(MalformedRecordError):
    """A place among the records is empty, or two records stand there.

    Args:
        seq: the place.
        how: what is wrong with it.
    """

    def __init__(self, seq: int, how: str) -> None:
        super().__init__(f"record {seq} {how}")


@dataclass(frozen=True)
class PackedRecords:
    """Consecutive records.

    Attributes:
        first: seq of the first one.
        leaves: of all of them, in order.
        statements: those that nothing looks entries up by, in order.
    """

    first: int
    leaves: Hashes
    statements: tuple[LedgerRecord, ...]
    _segments: npt.NDArray[np.void]

    def first_sealed_at(self) -> datetime:
        """When the first of them was sealed."""
        if self.statements and self.statements[0].seq == self.first:
            return self.statements[0].sealed_at
        return _segment(self._segments[0]).sealed_at

    def last_tx_to(self) -> int:
        """Where the last of them ends."""
        if self.statements and self.statements[-1].seq == self.first + len(self.leaves) - 1:
            return self.statements[-1].tx_to
        return int(self._segments["tx_to"][-1])

    def of_days(self, days: Collection[date]) -> list[Segment]:
        """The segments of some days, void ones included, in order."""
        wanted = np.array([each.toordinal() - _EPOCH.toordinal() for each in days], dtype=np.int64)
        rows = self._segments[np.isin(self._segments["day"], wanted)]
        void = [each for each in self.statements if isinstance(each, Segment) and each.day in days]
        return sorted([*map(_segment, rows), *void], key=lambda record: record.seq)


def packed_records(connection: sqlalchemy.Connection, first: int, after: int) -> Iterator[PackedRecords]:
    """The records with `first` <= seq < `after` in batches, without a gap.

    Raises:
        MalformedRecordError: a record is missing, stands there twice, or is none.
    """
    for start in range(first, after, _AT_ONCE):
        yield _packed(connection, start, min(start + _AT_ONCE, after))


def _packed(connection: sqlalchemy.Connection, first: int, after: int) -> PackedRecords:
    segments = _segments(connection.execute(sql.SEGMENT_COLUMNS_BETWEEN, {"first": first, "after": after}).one())
    statements = tuple(store.statements_between(connection, first, after))
    leaves = np.zeros((after - first, DIGEST_BYTES), dtype=np.uint8)
    places = segments["seq"].astype(np.int64) - first
    leaves[places] = sha256_of_rows(segments.view(np.uint8).reshape(len(segments), _LEAF.itemsize))
    taken = np.zeros(after - first, dtype=np.int64)
    np.add.at(taken, places, 1)
    for statement in statements:
        leaves[statement.seq - first] = np.frombuffer(statement.leaf_hash(), dtype=np.uint8)
        taken[statement.seq - first] += 1
    if (taken != 1).any():
        place = int(np.flatnonzero(taken != 1)[0])
        raise MissingRecordError(first + place, "is missing" if not taken[place] else "is there twice")
    return PackedRecords(first, leaves, statements, segments)


def _segments(columns: sqlalchemy.Row[Any]) -> npt.NDArray[np.void]:
    """The records, in the order of seq, as they are hashed."""
    days, moments = np.frombuffer(columns.day, ">i4").astype(np.int64), np.frombuffer(columns.sealed_at, ">i8")
    _check_range("day", days, *_DAYS)
    _check_range("moment", moments, *_MOMENTS)
    rows = np.zeros(columns.segments, dtype=_LEAF)
    rows["kind"] = _KIND
    rows["seq"] = np.frombuffer(columns.seq, ">i8")
    rows["day"] = days + (_THEIR_EPOCH - _EPOCH).days
    for name in _NUMBERS:
        rows[name] = np.frombuffer(getattr(columns, name), ">i8")
    if len(columns.root) != DIGEST_BYTES * len(rows):
        raise MalformedRecordError(f"the roots of {len(rows):,} segments have {len(columns.root):,} bytes")
    rows["root"] = np.frombuffer(columns.root, np.uint8).reshape(-1, DIGEST_BYTES)
    rows["sealed_at"] = moments.astype(np.int64) + (_THEIR_EPOCH - _EPOCH) // _MICROSECOND
    return rows


def _check_range(what: str, values: npt.NDArray[Any], least: int, most: int) -> None:
    if len(values) and not least <= values.min() <= values.max() <= most:
        raise MalformedRecordError(f"a segment has a {what} outside the years 1 to 9999")


def _segment(row: np.void) -> Segment:
    return Segment.from_record(row.tobytes()[-RECORD_BYTES:])
