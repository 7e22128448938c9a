"""Records and checkpoints of the ledger as the database holds them.

Here: rows to records and back. Not here: sealing, publishing, what a difference means.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from compliance_pipelines.ledger import sql
from compliance_pipelines.ledger.expiries import Expiry, is_expiry
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.losses import Loss, is_loss
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.segments import Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import date, datetime

    import sqlalchemy

    from compliance_pipelines.ledger.records import LedgerRecord, Statement

_STREAMED: Final = {"yield_per": 10_000}


@dataclass(frozen=True)
class StoredCheckpoint:
    """A signed tree head as the database holds it.

    Attributes:
        size: records in the tree.
        root: 32 bytes.
        tx_horizon: every entry with a smaller transaction id was sealed.
        frontier: the tree's frontier nodes, 32 bytes each, joined.
        note: the signed note.
        signed_at: aware.
    """

    size: int
    root: bytes
    tx_horizon: int
    frontier: bytes
    note: str
    signed_at: datetime

    @property
    def head(self) -> LedgerHead:
        """The ledger up to here, as the database says it is."""
        return LedgerHead(self.size, self.frontier, self.tx_horizon)


def _checkpoint(row: sqlalchemy.Row[Any]) -> StoredCheckpoint:
    return StoredCheckpoint(
        size=row.size,
        root=bytes(row.root),
        tx_horizon=row.tx_horizon,
        frontier=bytes(row.frontier),
        note=row.note,
        signed_at=row.signed_at,
    )


def segment_of_row(row: sqlalchemy.Row[Any]) -> Segment:
    """The record that a row with the columns of `ledger_segments` holds."""
    return Segment(
        seq=row.seq,
        day=row.day,
        tx_from=row.tx_from,
        tx_to=row.tx_to,
        first_id=row.first_id,
        last_id=row.last_id,
        entry_count=row.entry_count,
        root=bytes(row.root),
        sealed_at=row.sealed_at,
    )


def last_checkpoint(connection: sqlalchemy.Connection) -> StoredCheckpoint | None:
    """The largest checkpoint; None before the first sealing."""
    row = connection.execute(sql.LAST_CHECKPOINT).first()
    return None if row is None else _checkpoint(row)


def checkpoint_of_size(connection: sqlalchemy.Connection, size: int) -> StoredCheckpoint | None:
    """The checkpoint of a tree of this size, if one was signed."""
    row = connection.execute(sql.CHECKPOINT_OF_SIZE, {"size": size}).first()
    return None if row is None else _checkpoint(row)


def checkpoints(connection: sqlalchemy.Connection) -> Iterator[StoredCheckpoint]:
    """Every checkpoint, smallest first, streamed."""
    for row in connection.execute(sql.CHECKPOINTS, execution_options=_STREAMED):
        yield _checkpoint(row)


def unpublished_checkpoints(connection: sqlalchemy.Connection) -> list[StoredCheckpoint]:
    """The checkpoints that are not known to be in the cold store, smallest first."""
    return [_checkpoint(row) for row in connection.execute(sql.UNPUBLISHED_CHECKPOINTS)]


def last_published_size(connection: sqlalchemy.Connection) -> int | None:
    """The size of the largest checkpoint known to be in the cold store."""
    size: int | None = connection.execute(sql.LAST_PUBLISHED_SIZE).scalar_one()
    return size


def last_published_checkpoint(connection: sqlalchemy.Connection) -> StoredCheckpoint | None:
    """The largest checkpoint known to be in the cold store: what may be given to somebody outside.

    A later one may still be lost with the database, and another of its size take its place.
    """
    size = last_published_size(connection)
    return None if size is None else checkpoint_of_size(connection, size)


def records_between(connection: sqlalchemy.Connection, first: int, after: int) -> list[LedgerRecord]:
    """The records with `first` <= seq < `after`, in order.

    Raises:
        MalformedRecordError: a statement's bytes are none.
    """
    return list(_records(connection, first, after))


def records(
    connection: sqlalchemy.Connection,
    *,
    after: int | None = None,
    malformed: Callable[[int], None] | None = None,
) -> Iterator[LedgerRecord]:
    """Every record in order, streamed; with `after`, those with a smaller seq.

    Args:
        connection: to the database.
        after: the seq before which it ends.
        malformed: told the seq of a statement whose bytes are none, which is left out.

    Raises:
        MalformedRecordError: a statement's bytes are none, and nobody is told.
    """
    yield from _records(connection, 0, 2**62 if after is None else after, malformed)


def _records(
    connection: sqlalchemy.Connection, first: int, after: int, malformed: Callable[[int], None] | None = None
) -> Iterator[LedgerRecord]:
    bounds = {"first": first, "after": after}
    segments = connection.execute(sql.SEGMENTS_BETWEEN, bounds, execution_options=_STREAMED)
    statements = connection.execute(sql.STATEMENTS_BETWEEN, bounds, execution_options=_STREAMED)
    yield from merge(map(segment_of_row, segments), _statements(statements, malformed), key=attrgetter("seq"))


def _statements(rows: Iterable[sqlalchemy.Row[Any]], malformed: Callable[[int], None] | None) -> Iterator[LedgerRecord]:
    for row in rows:
        try:
            yield _statement_of_row(row)
        except MalformedRecordError:
            if malformed is None:
                raise
            malformed(row.seq)


def _statement_of_row(row: sqlalchemy.Row[Any]) -> LedgerRecord:
    where = f"record {row.seq} in ledger_statements was altered"
    try:
        record = record_of(bytes(row.record))
    except MalformedRecordError as error:
        raise MalformedRecordError(f"{where}: {error}") from error
    if record.seq != row.seq:
        raise MalformedRecordError(f"{where}: it says that it is record {record.seq}")
    return record


def statements_between(connection: sqlalchemy.Connection, first: int, after: int) -> list[LedgerRecord]:
    """The records with `first` <= seq < `after` that nothing looks entries up by, in order.

    Raises:
        MalformedRecordError: the bytes of one are none.
    """
    return list(_statements(connection.execute(sql.STATEMENTS_BETWEEN, {"first": first, "after": after}), None))


def last_seq(connection: sqlalchemy.Connection) -> int | None:
    """The largest seq of a record; None where there is none."""
    seq: int | None = connection.execute(sql.LAST_SEQ).scalar_one()
    return seq


def first_segment_of(connection: sqlalchemy.Connection, days: Collection[date]) -> int | None:
    """The smallest seq of a segment of some days that is not void; None where there is none."""
    seq: int | None = connection.execute(sql.FIRST_SEGMENT_OF_DAYS, {"days": list(days)}).scalar_one()
    return seq


def sealed_before(connection: sqlalchemy.Connection, seq: int, moment: datetime) -> bool:
    """Whether the first segment from `seq` on was sealed before a moment; False where there is none."""
    return bool(connection.execute(sql.NEXT_SEALED_BEFORE, {"seq": seq, "before": moment}).scalar())


def last_checkpoint_up_to(connection: sqlalchemy.Connection, most: int) -> StoredCheckpoint | None:
    """The largest checkpoint of a size up to `most`; None where there is none."""
    row = connection.execute(sql.LAST_CHECKPOINT_UP_TO, {"most": most}).first()
    return None if row is None else _checkpoint(row)


def losses(connection: sqlalchemy.Connection) -> list[tuple[Statement, Loss]]:
    """The statements about losses, in order, and what they say.

    Raises:
        MalformedRecordError: the bytes of one are those of no record, or state no loss.
    """
    found = [record for record in _statements(connection.execute(sql.LOSSES), None) if is_loss(record)]
    return [(statement, Loss.of(statement)) for statement in found]


def expiries(connection: sqlalchemy.Connection) -> list[tuple[Statement, Expiry]]:
    """The statements about expiries, in order, and what they say.

    Raises:
        MalformedRecordError: the bytes of one are those of no record, or state no expiry.
    """
    found = [record for record in _statements(connection.execute(sql.EXPIRIES), None) if is_expiry(record)]
    return [(statement, Expiry.of(statement)) for statement in found]


def segments_between(connection: sqlalchemy.Connection, first: int, after: int) -> list[Segment]:
    """The segments with `first` <= seq < `after` that entries are looked up by, in order: those that are not void."""
    return [segment_of_row(row) for row in connection.execute(sql.SEGMENTS_BETWEEN, {"first": first, "after": after})]


def segments_of_transactions(connection: sqlalchemy.Connection, tx_from: int, tx_to: int) -> list[Segment]:
    """The segments that begin in a range of transaction ids, those that are void left out."""
    rows = connection.execute(sql.SEGMENTS_OF_TRANSACTIONS, {"tx_from": tx_from, "tx_to": tx_to})
    return [segment_of_row(row) for row in rows]


def withdraw(connection: sqlalchemy.Connection, void: Sequence[Segment]) -> None:
    """Keep segments as records alone, so that no entry is looked up by them; of the owner, who commits."""
    if void:
        connection.execute(sql.LET_SEGMENTS_GO)
        connection.execute(sql.WITHDRAW_SEGMENTS, {"seqs": [segment.seq for segment in void]})
        connection.execute(sql.KEEP_SEGMENTS)
        insert_statements(connection, void)


def insert_published(connection: sqlalchemy.Connection, checkpoint: StoredCheckpoint, object_key: str) -> None:
    """Write a checkpoint that is in the cold store already; the caller commits."""
    connection.execute(sql.INSERT_CHECKPOINT, vars(checkpoint))
    connection.execute(sql.INSERT_PUBLICATION, {"size": checkpoint.size, "object_key": object_key})


def key_records(connection: sqlalchemy.Connection) -> list[LedgerRecord]:
    """The records about keys, those left out whose bytes are none; nothing in them is believed but their signatures."""
    return list(_statements(connection.execute(sql.KEY_STATEMENTS), lambda _seq: None))


def segment_of_entry(connection: sqlalchemy.Connection, day: date, tx_id: int) -> Segment | None:
    """The segment that covers an entry; None where it is not sealed."""
    row = connection.execute(sql.SEGMENT_OF_ENTRY, {"day": day, "tx_id": tx_id}).first()
    return None if row is None else segment_of_row(row)


def insert(connection: sqlalchemy.Connection, new: Sequence[LedgerRecord], checkpoint: StoredCheckpoint) -> None:
    """Write records and the checkpoint over them; the caller commits."""
    insert_records(connection, new)
    connection.execute(sql.INSERT_CHECKPOINT, vars(checkpoint))


def insert_records(connection: sqlalchemy.Connection, new: Sequence[LedgerRecord]) -> None:
    """Write records, segments as what entries are looked up by; the caller commits."""
    segments = [record for record in new if isinstance(record, Segment)]
    if segments:
        connection.execute(sql.INSERT_SEGMENT, [vars(segment) for segment in segments])
    insert_statements(connection, [record for record in new if not isinstance(record, Segment)])


def insert_statements(connection: sqlalchemy.Connection, new: Sequence[LedgerRecord]) -> None:
    """Write records that nothing looks entries up by; the caller commits."""
    if new:
        rows = [{"seq": record.seq, "record": record.record_bytes()} for record in new]
        connection.execute(sql.INSERT_STATEMENT, rows)


def last_sealed_entry(connection: sqlalchemy.Connection) -> str | None:
    """The id of the entry that was sealed last; None where nothing is sealed, or where that entry was purged."""
    found: str | None = connection.execute(sql.LAST_SEALED_ENTRY).scalar()
    return found
