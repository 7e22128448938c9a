"""What the ledger in the cold store has and the database has not: after a failover, or a restore to an earlier moment.

Here: the records and checkpoints that the database lacks, proven against the signed checkpoint. Not here: whether their
entries are there, and what is done about it (recovery.py).

The database's own records must be the beginning of the signed ledger: put before those of the entry bundles, they must
lead to the signed root, which no other records do (SHA-256).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compliance_pipelines.ledger import store
from compliance_pipelines.ledger.anchor import check_known, read_published
from compliance_pipelines.ledger.errors import ColdStoreRolledBackError, LedgerForkError, TilesAlteredError
from compliance_pipelines.ledger.head import LedgerHead
from compliance_pipelines.ledger.log_reading import (
    CHECKPOINT_KEY,
    COSIGNED_KEY,
    DAYS,
    MOST_NOTE_BYTES,
    day_of_key,
    opened,
    read_records,
)
from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.records import MalformedRecordError, record_of
from compliance_pipelines.ledger.store import StoredCheckpoint
from compliance_pipelines.object_store.bounded import read_bounded
from compliance_pipelines.object_store.port import ObjectMissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.log_reading import LogHead
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class Gap:
    """What the database lacks.

    Attributes:
        log: the head of the log in the cold store.
        known: the ledger as the database has it.
        records: those that the cold store has and the database has not, in order; none where nothing is lacking.
        checkpoints: the checkpoints over them that the cold store has: the last one of each day, and the newest.
    """

    log: LogHead
    known: LedgerHead
    records: tuple[LedgerRecord, ...] = ()
    checkpoints: tuple[StoredCheckpoint, ...] = ()


def read_gap(services: Services, connection: sqlalchemy.Connection) -> Gap:
    """Compare the ledgers of both stores.

    Args:
        services: the opened services.
        connection: to the database, in a transaction.

    Raises:
        LedgerForkError: the database's records are not the beginning of the ledger in the cold store.
        LedgerError: the cold store holds less than was published, or it was altered.
        ObjectStoreError: the store failed.
    """
    log = read_published(services, connection)
    _refuse_older_than_cosigned(services, log)
    last = store.last_checkpoint(connection)
    known = LedgerHead() if last is None else last.head
    if known.size >= log.head.size:
        check_known(services, connection, log)
        return Gap(log, known)
    known = _proven_beginning(connection, known)
    records = tuple(_records(services, known.size, log.head.size))
    end = known.extended(records)
    if end.root != log.head.root:
        where = services.store.locate(CHECKPOINT_KEY)
        raise LedgerForkError(
            f"the {known.size} records of the database are not the beginning of the ledger in the cold store, whose "
            f"checkpoint {log.head.size} ({where}) is signed over root {log.head.root.hex()}: the database was changed "
            "or sealed another ledger, or the cold store's entry bundles were altered: run `compliance verify --all`"
        )
    notes = dict(_day_notes(services, known, log, records))
    notes[log.head.size] = log.note
    return Gap(log, known, records, tuple(_checkpoints(log.chain(services.verifier_key), known, records, notes)))


def _proven_beginning(connection: sqlalchemy.Connection, known: LedgerHead) -> LedgerHead:
    """The head that the database's records lead to, not what it says of it."""
    tree, horizon = CompactRange(), 0
    for record in store.records(connection, after=known.size):
        if record.seq != tree.size:
            break
        tree.append(record.leaf_hash())
        horizon = record.tx_to
    proven = LedgerHead(tree.size, b"".join(tree.nodes), horizon)
    if proven != known:
        raise LedgerForkError(
            f"the database's segment records do not lead to its own checkpoint of {known.size}: somebody changed the "
            "ledger's tables: find out who did, and run `compliance verify --all`"
        )
    return proven


def _records(services: Services, first: int, size: int) -> Iterator[LedgerRecord]:
    for seq, data in enumerate(read_records(services.store, first, size), first):
        try:
            record = record_of(data)
        except MalformedRecordError as error:
            raise TilesAlteredError(f"record {seq} in the cold store is none: {error}") from error
        if record.seq != seq:
            raise TilesAlteredError(f"record {seq} in the cold store says that it is record {record.seq}")
        yield record


def _refuse_older_than_cosigned(services: Services, log: LogHead) -> None:
    where = services.store.locate(COSIGNED_KEY)
    with suppress(ObjectMissingError):
        _size_within(services, log, read_bounded(services.store, COSIGNED_KEY, MOST_NOTE_BYTES), where)


def _size_within(services: Services, log: LogHead, note: bytes, where: str) -> int:
    """The size of a checkpoint of before, which is no larger than the newest one."""
    size = opened(note, log.chain(services.verifier_key), where).size
    if size > log.head.size:
        raise ColdStoreRolledBackError(
            f"{where} is the checkpoint of {size} records, and the newest one in the cold store is of "
            f"{log.head.size}: the cold store was put back to an older state; restore the newer objects first"
        )
    return size


def _day_notes(
    services: Services, known: LedgerHead, log: LogHead, records: tuple[LedgerRecord, ...]
) -> Iterator[tuple[int, str]]:
    """The notes that were kept for the days since the database's end, by size."""
    first_day: date = records[0].sealed_at.date()
    for info in services.store.list(DAYS):
        day = day_of_key(info.key)
        if day is None or day < first_day:
            continue
        where = services.store.locate(info.key)
        note = read_bounded(services.store, info.key, MOST_NOTE_BYTES)
        size = _size_within(services, log, note, where)
        if known.size < size < log.head.size:
            yield size, note.decode()


def _checkpoints(
    keys: KeyChain, known: LedgerHead, records: tuple[LedgerRecord, ...], notes: Mapping[int, str]
) -> Iterator[StoredCheckpoint]:
    head = known
    for size, note in sorted(notes.items()):
        added = records[head.size - known.size : size - known.size]
        head = head.extended(added)
        signed = opened(note.encode(), keys, f"checkpoint {size} in the cold store")
        if signed.root != head.root:
            raise LedgerForkError(
                f"checkpoint {size}, which the cold store keeps for its day, is signed over root {signed.root.hex()}, "
                f"and the records lead to {head.root.hex()}: run `compliance verify --all`"
            )
        yield StoredCheckpoint(size, head.root, head.tx_horizon, head.frontier, note, added[-1].sealed_at)
