"""Which entries of published segments a database still has, after a failover or a restore to an earlier moment.

Here: hashing what stands in the segments' ranges of transaction ids, and judging each segment by it. Not here: which
segments those are (gap.py), and what is done about it (recovery.py).

Ranges of transaction ids are those of sealing passes: two of them are the same or have no id in common.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.errors import LedgerForkError
from compliance_pipelines.ledger.hashing import HashedRows, SegmentHasher
from compliance_pipelines.ledger.losses import Loss, Voids, is_loss
from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.ledger.gap import Gap
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.services import Services

_SIGN_OF_LIFE_SECONDS: Final = 30.0


class Span(NamedTuple):
    """Transaction ids of a sealing pass."""

    tx_from: int
    tx_to: int


def span_of(segment: Segment) -> Span:
    """The transaction ids of a segment."""
    return Span(segment.tx_from, segment.tx_to)


class ArchivedEntries(Protocol):
    """Knows what committed parts hold that the database's catalogue does not know.

    Their entries stay in the cold store alone, unless they are :class:`ReturningEntries`.
    """

    def held(self, day: date) -> Collection[Segment]:
        """The segments of a day that such parts hold.

        Raises:
            ManifestError: what lies there as a manifest is none of ours, so that it cannot be told.
            ObjectStoreError: the store failed.
        """

    def record(self, owner: sqlalchemy.Connection, found: Survey) -> Mapping[str, JsonValue]:
        """Write what the database is to know of these parts, after the ledger's records; the caller commits.

        Args:
            owner: of the tables, in the transaction of the recovery.
            found: which segments are in archives alone.

        Returns:
            What the audit entry about the recovery says of it.

        Raises:
            ComplianceError: they cannot be recorded; nothing is.
        """


@runtime_checkable
class ReturningEntries(ArchivedEntries, Protocol):
    """Brings entries that archives alone hold back into the hot store."""

    def put_back(self, owner: sqlalchemy.Engine, day: date, segments: Collection[Segment]) -> None:
        """Write the entries of these segments, as they were, into the hot store, unless they are there.

        Raises:
            EntriesInTheWayError: one of them was appended again.
            PartDamagedError: a part does not hold what was committed.
            ObjectStoreError: the store failed.
        """


@dataclass(frozen=True)
class Lost:
    """A segment whose entries are not all there, or not as they were sealed.

    Attributes:
        found: how many entries stand in its range of transaction ids now, whoever wrote them.
    """

    segment: Segment
    found: int


@dataclass(frozen=True)
class Survey:
    """The segments that the database lacks, each judged; and what no segment holds.

    Attributes:
        intact: all their entries are in PostgreSQL as they were sealed.
        archived: their entries are not, but a committed part of the cold store holds them.
        lost: neither.
        void: those that a loss had voided before that was accepted for another database.
        withdrawn: segments of the database that such a loss voids.
        unsealed: what stands in ranges of transaction ids that were sealed, and belongs to no segment of its day; in
            order.
    """

    intact: tuple[Segment, ...] = ()
    archived: tuple[Segment, ...] = ()
    lost: tuple[Lost, ...] = ()
    void: tuple[Segment, ...] = ()
    withdrawn: tuple[Segment, ...] = ()
    unsealed: Mapping[tuple[Span, date], HashedRows] = field(default_factory=dict)

    def after_return(self, returned: Collection[Segment]) -> Survey:
        """The same, where some of the intact ones are so because they were put back: they are the archived ones."""
        intact = tuple(segment for segment in self.intact if segment not in returned)
        return replace(self, intact=intact, archived=tuple(each for each in self.intact if each in returned))


def survey(services: Services, connection: sqlalchemy.Connection, gap: Gap, archives: ArchivedEntries) -> Survey:
    """Judge every segment that the database lacks.

    Args:
        services: the opened services.
        connection: to the database, without an open transaction; it is used now and then meanwhile.
        gap: what the database lacks.
        archives: what the cold store's parts hold.

    Raises:
        MalformedRecordError: a loss that was accepted before cannot be read.
        ReadingError: the entries could not be read.
        ComplianceError: whatever `archives` raises.
    """
    segments = [record for record in gap.records if isinstance(record, Segment)]
    with connection.begin():
        withdrawn = _withdrawn(connection, gap)
    spans = sorted({span_of(segment) for segment in [*segments, *withdrawn]})
    if not spans:
        return Survey()
    with connection.begin():
        others = store.segments_of_transactions(connection, spans[0].tx_from, spans[-1].tx_to)
    hashed = _hashed(services, connection, spans)
    held = {segment for day in {segment.day for segment in segments} for segment in archives.held(day)}
    return judged(gap.records, hashed, held=held, withdrawn=withdrawn, others=others)


def judged(
    records: Sequence[LedgerRecord],
    hashed: Mapping[tuple[Span, date], HashedRows],
    *,
    held: Collection[Segment] = (),
    withdrawn: Collection[Segment] = (),
    others: Collection[Segment] = (),
) -> Survey:
    """Judge segments by what stands in their ranges of transaction ids.

    Args:
        records: of the ledger, from the first one on that the database lacks.
        hashed: what stands in each range of theirs, by day.
        held: the segments that committed parts hold.
        withdrawn: segments of the database that a loss among the records voids.
        others: all segments that the database looks entries up by, in these ranges.

    Raises:
        MalformedRecordError: a loss among the records cannot be read.
    """
    voids = Voids.of(records)
    segments = [record for record in records if isinstance(record, Segment)]
    intact, archived, lost = [], [], []
    for segment in segments:
        rows = hashed.get((span_of(segment), segment.day))
        if voids.covers(segment.seq):
            continue
        if rows is not None and _are_those_of(rows, segment):
            intact.append(segment)
        elif segment in held:
            archived.append(segment)
        else:
            lost.append(Lost(segment, 0 if rows is None else rows.entry_count))
    standing = {*intact, *archived, *others} - set(withdrawn)
    taken = {(span_of(segment), segment.day) for segment in standing}
    return Survey(
        intact=tuple(intact),
        archived=tuple(archived),
        lost=tuple(lost),
        void=tuple(segment for segment in segments if voids.covers(segment.seq)),
        withdrawn=tuple(withdrawn),
        unsealed={where: rows for where, rows in sorted(hashed.items(), key=itemgetter(0)) if where not in taken},
    )


def new_segments(found: Survey, first_seq: int, now: datetime) -> list[Segment]:
    """Records of what no segment holds, in the ranges of the passes that sealed it before.

    Args:
        found: the survey.
        first_seq: seq of the first of them.
        now: when they are sealed.
    """
    return [
        Segment(
            seq=seq,
            day=day,
            tx_from=span.tx_from,
            tx_to=span.tx_to,
            first_id=rows.first_id,
            last_id=rows.last_id,
            entry_count=rows.entry_count,
            root=rows.root,
            sealed_at=now,
        )
        for seq, ((span, day), rows) in enumerate(found.unsealed.items(), first_seq)
    ]


def _are_those_of(rows: HashedRows, segment: Segment) -> bool:
    return (rows.entry_count, rows.root, rows.first_id, rows.last_id) == (
        segment.entry_count,
        segment.root,
        segment.first_id,
        segment.last_id,
    )


def _withdrawn(connection: sqlalchemy.Connection, gap: Gap) -> list[Segment]:
    """Segments that the database looks entries up by, and that are void by a loss that it does not know."""
    losses = [Loss.of(record) for record in gap.records if is_loss(record)]
    ranges = [each for loss in losses for each in loss.ranges if each[0] < gap.known.size]
    return [
        segment
        for first, after in ranges
        for segment in store.segments_between(connection, first, min(after, gap.known.size))
    ]


def _hashed(
    services: Services, connection: sqlalchemy.Connection, spans: Sequence[Span]
) -> dict[tuple[Span, date], HashedRows]:
    """What stands in each range of transaction ids, by day; nothing where nothing does."""
    for before, after in pairwise(spans):
        if before.tx_to > after.tx_from:
            raise LedgerForkError(
                f"the ledger in the cold store has segments of the transaction ids {before.tx_from} to {before.tx_to} "
                f"and {after.tx_from} to {after.tx_to}, as no sealing makes them: run `compliance verify --all`"
            )
    whole = Span(spans[0].tx_from, spans[-1].tx_to)
    with connection.begin():
        days = [row.day for row in connection.execute(sql.UNSEALED_PER_DAY, whole._asdict())]
    found: dict[tuple[Span, date], HashedRows] = {}
    said = monotonic()
    for day in days:
        hasher = SegmentHasher(spans)
        with (
            read_rows(services.engine, day=day, tx_from=whole.tx_from, tx_to=whole.tx_to) as rows,
            run_ahead(rows, depth=2, name="recovery-reader") as batches,
        ):
            for batch in batches:
                hasher.feed(batch)
                if monotonic() - said > _SIGN_OF_LIFE_SECONDS:
                    said = monotonic()
                    with connection.begin():
                        connection.execute(sql.SIGN_OF_LIFE)
        results = ((span, hasher.result(number)) for number, span in enumerate(spans))
        found.update({(span, day): result for span, result in results if result.entry_count})
    return found
