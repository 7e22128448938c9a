"""Whether the database's segments of a day are those of the signed ledger in the cold store: all of them, unaltered.

Here: that what is to be used for archiving or dropping a day is what the proof says, and nothing else. Not here: the
proof (proven_records.py), the newest checkpoint and its signature (anchor.py), what exactly was altered, which
`compliance verify` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import TransientError
from compliance_pipelines.ledger.anchor import check_anchor
from compliance_pipelines.ledger.errors import LedgerError
from compliance_pipelines.ledger.losses import Voids
from compliance_pipelines.ledger.proven_records import NotProvenError, proven_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.services import Services


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
    of_day = _proven(connection, day, {newest.size: newest.root}) if newest.size else []
    for segment, record in zip(segments, of_day, strict=False):
        if segment != record:
            raise _differs(day, f"segment {record.seq} is another one than a moment ago")
    if len(segments) != len(of_day):
        raise _differs(day, f"it has {len(of_day)} segments in the ledger, and {len(segments)} were to be used")


def _proven(connection: sqlalchemy.Connection, day: date, roots: dict[int, bytes]) -> list[Segment]:
    """The segments of a day that are not void, by the signed ledger."""
    try:
        proven = proven_records(connection, [day], roots)
    except NotProvenError as error:
        raise _differs(day, str(error)) from error
    # A segment is void by a later record, which the proof covers, too. What the database says of it is not asked.
    voids = Voids.of(proven.statements)
    return [segment for segment in proven.segments if not voids.covers(segment.seq)]


def _differs(day: date, how: str) -> SegmentNotAnchoredError:
    return SegmentNotAnchoredError(
        f"{day}: the segment records in the database are not those of the signed ledger in the cold store: {how}. "
        "Somebody changed the ledger's tables: find out who did, and run `compliance verify --all`"
    )
