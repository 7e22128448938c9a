"""Losses that were accepted after a failover or a restore: each is shown, and what it voids is looked for no more.

Here: the statements about losses in the ledger that was proven, and the segments that they void; whether the database
keeps to them. Not here: the form of such a statement (ledger/losses.py).

Only a statement that a signed root covers voids anything. Whoever can sign can state a loss, and so each is shown,
every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.base.counting import counted
from compliance_pipelines.ledger.losses import Loss, Voids, is_loss
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.verification import sql
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    import sqlalchemy

    from compliance_pipelines.ledger.records import Statement
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.segment_index import SegmentIndex


def accept_losses(index: SegmentIndex, proven: int, journal: Journal) -> Voids:
    """Note every loss that the ledger states, and take what it voids from among the segments of their days.

    Args:
        index: holds the ledger under Source.LEDGER.
        proven: how many of its records are known to be those that were signed.
        journal: is told.

    Returns:
        What is void.
    """
    voids = Voids()
    for statement in index.statements(Source.LEDGER, proven):
        if not is_loss(statement):
            continue
        try:
            loss = Loss.of(statement)
        except MalformedRecordError as error:
            message = f"{error}; it voids nothing"
            journal.find(Finding(kind=Kind.SEGMENT_ALTERED, segment=statement.seq, message=message))
            continue
        segments = [
            segment for first, after in loss.ranges for segment in index.segments_between(Source.LEDGER, first, after)
        ]
        journal.note(_note(statement, loss, segments))
        voids.add(loss.ranges)
    index.void(voids.ranges)
    return voids


def _note(statement: Statement, loss: Loss, segments: list[Segment]) -> Note:
    said = f"{statement.sealed_at:%Y-%m-%d %H:%M} UTC by {loss.author}: {loss.reason}"
    if not segments:
        message = f"record {statement.seq}: a database was recovered without a loss, {said}"
        return Note(kind=NoteKind.LOSS_ACCEPTED, message=message)
    days = sorted({segment.day for segment in segments})
    of = f"of {days[0]}" if len(days) == 1 else f"of {days[0]} to {days[-1]}"
    ids = f"ids {min(each.first_id for each in segments)} to {max(each.last_id for each in segments)}"
    first, last = segments[0], segments[-1]
    sealed = f"sealed {first.sealed_at:%Y-%m-%d %H:%M:%S} to {last.sealed_at:%Y-%m-%d %H:%M:%S} UTC"
    lost = counted(len(segments), "segment")
    return Note(
        kind=NoteKind.LOSS_ACCEPTED,
        day=days[0] if len(days) == 1 else None,
        segment=first.seq,
        message=f"record {statement.seq}: {lost} {of} lost (from segment {first.seq} on, {loss.entries:,} entries, "
        f"{ids}, {sealed}), of whose entries {loss.found:,} stood in their place; accepted {said}",
    )


def check_places(connection: sqlalchemy.Connection, voids: Voids, proven: int, journal: Journal) -> None:
    """Whether the database looks entries up by the segments that are not void, and by no other.

    Args:
        connection: to the database.
        voids: what is void by the ledger.
        proven: see :func:`accept_losses`; what came since is not judged.
        journal: is told.
    """
    for seq in connection.execute(sql.SEGMENTS_AMONG_STATEMENTS).scalars():
        if seq < proven and not voids.covers(seq):
            message = f"segment {seq} was hidden in the database: it stands among the records that are void, and is not"
            journal.find(Finding(kind=Kind.SEGMENT_ALTERED, segment=seq, message=message))
    for first, after in voids.ranges:
        for seq in connection.execute(sql.SEGMENTS_STANDING, {"first": first, "after": after}).scalars():
            message = f"segment {seq} in the database is void by an accepted loss, and entries are looked up by it"
            journal.find(Finding(kind=Kind.SEGMENT_ALTERED, segment=seq, message=message))
