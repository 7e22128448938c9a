"""Whether a stream of rows is what was sealed.

Here: the comparison of rows with segment records, and naming what differs. Not here: where the rows come from (the
hot store, a part), what follows from a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger.hashing import SegmentHasher

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from compliance_pipelines.ledger.hashing import HashedRows
    from compliance_pipelines.ledger.segments import Segment

_SHOWN_IDS: Final = 5


class Change(StrEnum):
    """What happened to sealed rows."""

    ALTERED = "altered"
    DELETED = "deleted"
    INSERTED = "inserted"


@dataclass(frozen=True)
class Difference:
    """One segment whose rows are not those that were sealed; no segment for rows that are in none."""

    change: Change
    segment: Segment | None
    message: str


class SealedRows:
    """Hashes rows as they pass and compares them with the segments that they should be.

    Args:
        segments: records of one day, in any order; rows outside their ranges of transaction ids count as inserted.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = tuple(segments)
        self._hasher = SegmentHasher(segments)

    def feed(self, batch: pa.RecordBatch) -> None:
        """Take the next rows, in ENTRY_SCHEMA, ordered by id and timestamp."""
        self._hasher.feed(batch)

    @property
    def rows(self) -> int:
        """How many rows passed."""
        return self._hasher.rows

    @property
    def canonical_bytes(self) -> int:
        """Length of their canonical encodings."""
        return self._hasher.canonical_bytes

    def differences(self) -> list[Difference]:
        """What differs from the ledger, segment by segment; empty when every row is exactly as it was sealed."""
        found = [
            difference
            for index, segment in enumerate(self._segments)
            if (difference := _difference(segment, self._hasher.result(index))) is not None
        ]
        strays = self._hasher.stray_rows
        if strays:
            shown = ", ".join(self._hasher.stray_entry_ids[:_SHOWN_IDS])
            more = ", ..." if strays > _SHOWN_IDS else ""
            found.append(
                Difference(Change.INSERTED, None, f"{_entries(strays)} outside every segment inserted ({shown}{more})")
            )
        if self._hasher.blinded_rows:
            found.append(
                Difference(
                    Change.ALTERED,
                    None,
                    f"{_entries(self._hasher.blinded_rows)} blinded, which nothing in this version does or reads",
                )
            )
        return found


def _entries(count: int) -> str:
    return "1 entry was" if count == 1 else f"{count} entries were"


def _difference(segment: Segment, found: HashedRows) -> Difference | None:
    """How the rows of one segment differ. Rows that were both deleted and inserted in equal number look altered."""
    name = f"segment {segment.seq}"
    if found.entry_count < segment.entry_count:
        missing = segment.entry_count - found.entry_count
        return Difference(
            Change.DELETED, segment, f"{_entries(missing)} deleted from {name}, which had {segment.entry_count}"
        )
    if found.entry_count > segment.entry_count:
        extra = found.entry_count - segment.entry_count
        return Difference(
            Change.INSERTED, segment, f"{_entries(extra)} inserted into {name}, which had {segment.entry_count}"
        )
    if (found.root, found.first_id, found.last_id) != (segment.root, segment.first_id, segment.last_id):
        return Difference(
            Change.ALTERED, segment, f"at least one of the {segment.entry_count} entries of {name} was altered"
        )
    return None
