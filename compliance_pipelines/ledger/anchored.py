"""Whether the database's segments of a day are those of the signed ledger in the cold store: all of them, unaltered.

Here: the proof, for whoever archives or drops a day because of these segments. Not here: the newest checkpoint and its
signature (anchor.py); what exactly was altered, which `compliance verify` says.

Nobody signs what a database says: its administrator may alter a row and the root of its segment, or remove both. So the
records of the database, from a checkpoint before the day's beginning to the newest one in the cold store, must lead to
the root that is signed there. No other records do, none can be left out, and a frontier that was altered leads nowhere
(SHA-256). Before the day began none of its entries could be sealed, because no entry is later than its transaction by
more than minutes: a record that was sealed a day earlier, which the proof covers, marks where the proof may begin.

Cost: a few small objects are read, and the records of about as many days as have passed since the day are hashed, about
130,000 for one that is 90 days old where sealing runs every minute, which takes 2 seconds. Memory: those of the day,
and a batch.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.losses import Voids
from compliance_pipelines.ledger.merkle import FrontierError
from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.services import Services

# More than the future that an entry may lie in, and than a clock is set back by.
_BEFORE_THE_DAY: Final = timedelta(days=1)
_BATCH: Final = 10_000


class SegmentNotAnchoredError(LedgerError):
    """The database's segments of a day are not those of the signed ledger; nothing was archived or dropped."""


class SegmentNotPublishedError(SegmentNotAnchoredError, TransientError):
    """A segment is in no checkpoint of the cold store yet; the next sealing pass puts it there."""


def check_anchored(
    services: Services, connection: sqlalchemy.Connection, day: date, segments: Sequence[Segment]
) -> None:
    """Let the segments of a day pass if they are all that the signed ledger has of it, as it has them.

    Args:
        services: the opened services.
        connection: to the database.
        day: the UTC day.
        segments: what the database says are all segments of the day, in order.

    Raises:
        SegmentNotAnchoredError: they are not.
        SegmentNotPublishedError: one was sealed a moment ago, or its publication failed.
        LedgerError: the cold store and the database do not tell the same story about the newest checkpoint.
        ObjectStoreError: the store failed.
    """
    newest = check_anchor(services, connection).head
    unpublished = [segment.seq for segment in segments if segment.seq >= newest.size]
    if unpublished:
        raise SegmentNotPublishedError(
            f"{day}: segment {unpublished[0]} is in no checkpoint of the cold store, which ends at {newest.size} "
            "records: run `compliance seal`; if that does not publish it, run `compliance verify --all`"
        )
    before = datetime.combine(day, time(), UTC) - _BEFORE_THE_DAY
    most = min([newest.size - 1, *(segment.seq for segment in segments)])
    beginning = head = _beginning(connection, before, most)
    of_day: list[Segment] = []
    # A segment is void by a later record, which the proof covers, too. What the database says of it is not asked.
    voids = Voids()
    try:
        while head.size < newest.size:
            records = _records_from(connection, day, head.size, min(head.size + _BATCH, newest.size))
            if head is beginning and head.size and records[0].sealed_at >= before:
                raise _differs(day, f"record {records[0].seq} is another one than a moment ago")
            of_day += [record for record in records if isinstance(record, Segment) and record.day == day]
            voids.take_all(records)
            head = head.extended(records)
        proven = head.root == newest.root
    except FrontierError:
        proven = False
    if not proven:
        raise _differs(
            day, f"they do not lead to the root {newest.root.hex()} that is signed over {newest.size} records"
        )
    of_day = [segment for segment in of_day if not voids.covers(segment.seq)]
    for segment, record in zip(segments, of_day, strict=False):
        if segment != record:
            raise _differs(day, f"segment {record.seq} is another one than a moment ago")
    if len(segments) != len(of_day):
        raise _differs(day, f"it has {len(of_day)} segments in the ledger, and {len(segments)} were to be used")


def _beginning(connection: sqlalchemy.Connection, before: datetime, most: int) -> LedgerHead:
    """A head of the ledger from before the day began, as the database says it: what it leads to proves it."""
    size: int | None = connection.execute(sql.LAST_SIZE_SEALED_BEFORE, {"before": before, "most": most}).scalar()
    known = None if size is None else store.checkpoint_of_size(connection, size)
    return LedgerHead() if known is None else known.head


def _records_from(connection: sqlalchemy.Connection, day: date, first: int, after: int) -> list[LedgerRecord]:
    records = store.records_between(connection, first, after)
    if not records or [record.seq for record in records] != list(range(first, first + len(records))):
        raise _differs(day, f"record {_first_missing(records, first)} is missing")
    return records


def _first_missing(records: Sequence[LedgerRecord], first: int) -> int:
    found = {record.seq for record in records}
    return next(seq for seq in range(first, first + len(records) + 1) if seq not in found)


def _differs(day: date, how: str) -> SegmentNotAnchoredError:
    return SegmentNotAnchoredError(
        f"{day}: the segment records in the database are not those of the signed ledger in the cold store: {how}. "
        "Somebody changed the ledger's tables: find out who did, and run `compliance verify --all`"
    )
