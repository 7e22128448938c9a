"""Making proofs that an entry is in the ledger.

Here: where the entry is, the leaves of its segment, and that the proof is on record. Not here: the
file and its verification (proof_document.py); finding archived entries, which the archive does behind a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow.compute as pc

from compliance_pipelines.audit_log.canonical import leaf_hashes
from compliance_pipelines.audit_log.log import AuditLog
from compliance_pipelines.audit_log.reading import read_rows
from compliance_pipelines.audit_log.readings import Reading, record_reading
from compliance_pipelines.audit_log.system_entries import system_entry
from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.ledger import sql, store
from compliance_pipelines.ledger.log_reading import COSIGNED_KEY
from compliance_pipelines.ledger.merkle import inclusion_path, merkle_root
from compliance_pipelines.ledger.proof_document import InvalidProofError, proof_document, verify_proof
from compliance_pipelines.ledger.store_identity import check_identity
from compliance_pipelines.ledger.tile_proofs import TileTree
from compliance_pipelines.ledger.witnesses import load_policy
from compliance_pipelines.ledger.witnessing import read_signed_head
from compliance_pipelines.postgres.replica import in_recovery

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from datetime import date

    import pyarrow as pa
    import sqlalchemy

    from compliance_pipelines.audit_log.entry import JsonValue
    from compliance_pipelines.ledger.merkle import Hashes
    from compliance_pipelines.ledger.proof_document import ProvenEntry
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.services import Services

ACTION: Final = Reading.PROVE.value
_RESOURCE_TYPE: Final = "audit_entry"


class EntryNotFoundError(ComplianceError):
    """No store holds an entry of this id."""


class AmbiguousEntryError(ComplianceError):
    """The id stands on several days and the day has to be given; or twice on one, and nothing tells which is meant."""


class EntryNotSealedError(ComplianceError):
    """The entry is in no segment of a published checkpoint yet."""


class EntryDiffersError(ComplianceError):
    """What is stored is not what was sealed, so that nothing can be proved."""


@dataclass(frozen=True)
class FoundEntry:
    """An entry that was found in the cold store.

    Attributes:
        day: its UTC day.
        tx_id: its transaction id.
        batches: the rows of the part that holds it, in ENTRY_SCHEMA, ordered by id and timestamp.
    """

    day: date
    tx_id: int
    batches: Iterable[pa.RecordBatch]


class EntryFinder(Protocol):
    """Finds entries that left the hot store."""

    def find(self, log_entry_id: str, day: date | None) -> AbstractContextManager[FoundEntry | None]:
        """The entry, with the batches readable inside the context; None where no archive holds it.

        Raises:
            AmbiguousEntryError: archives of several days do, and no day was given.
        """


def prove(services: Services, log_entry_id: str, *, finder: EntryFinder, day: date | None = None) -> dict[str, Any]:
    """The proof document of an entry, hot or archived, as JSON values; that it was made is appended to the audit log.

    The proof leads to the newest checkpoint that the witnesses of LEDGER_WITNESSES agreed on; where there are none, or
    they have not seen the entry yet, to the last one that is in the cold store: nothing is proved which a restored
    database could not know. It was checked as its receiver will check it. On a replica, which takes no writes, nothing
    is appended; whoever hands the proof out says so.

    Args:
        services: the opened services.
        log_entry_id: of the entry.
        finder: asked where the hot store does not hold the entry.
        day: UTC day of the entry, where the id stands on several days or to search one day alone.

    Raises:
        ConfigurationError: LEDGER_WITNESSES cannot be used.
        LedgerError: the key, the database and the cold store do not belong together, or a tile of the log is missing.
        EntryNotFoundError: neither store holds it.
        AmbiguousEntryError: it stands on several days of one store, or twice on a day.
        EntryNotSealedError: it was appended a moment ago.
        EntryDiffersError: the rows do not lead to the segment's root, or the tiles to the checkpoint's.
        AppendNotPossibleError: that it was made cannot be put on record, so that it is not handed out.
    """
    place = _hot_place(services, log_entry_id, day)
    if place is not None:
        try:
            with read_rows(
                services.engine, day=place.segment.day, tx_from=place.segment.tx_from, tx_to=place.segment.tx_to
            ) as batches:
                document = _document(services, log_entry_id, place, batches)
        except EntryDiffersError:
            # No lock keeps a purge away while the rows are read: what is no longer there is in the archive.
            if _hot_place(services, log_entry_id, day) is not None:
                raise
            document = _archived(services, log_entry_id, finder, day)
    else:
        document = _archived(services, log_entry_id, finder, day)
    proven = _checked(services, document)
    _put_on_record(services, proven)
    return document


@dataclass(frozen=True)
class _Place:
    """The segment that an entry is in, and the checkpoint that it is proved with."""

    segment: Segment
    checkpoint: StoredCheckpoint


def _hot_place(services: Services, log_entry_id: str, day: date | None) -> _Place | None:
    """Where an entry of the hot store is sealed; None where the hot store does not hold it."""
    with services.engine.connect() as connection:
        check_identity(services, connection)
        places = connection.execute(sql.FIND_ENTRY, {"log_entry_id": log_entry_id}).all()
        days = [place.day for place in places if day is None or place.day == day]
        if len(days) > 1:
            raise _ambiguous(log_entry_id, days)
        if not days:
            return None
        (tx_id,) = (place.tx_id for place in places if place.day == days[0])
        return _place(services, connection, log_entry_id, days[0], tx_id)


def _archived(services: Services, log_entry_id: str, finder: EntryFinder, day: date | None) -> dict[str, Any]:
    with finder.find(log_entry_id, day) as found:
        if found is None:
            where = "neither store holds it" if day is None else f"neither store holds it on {day}"
            with services.engine.connect() as connection:
                known = ", as far as this replica has replayed" if in_recovery(connection) else ""
            raise EntryNotFoundError(f"there is no entry {log_entry_id}: {where}{known}")
        with services.engine.connect() as connection:
            place = _place(services, connection, log_entry_id, found.day, found.tx_id)
        return _document(services, log_entry_id, place, found.batches)


def _ambiguous(log_entry_id: str, days: list[date]) -> AmbiguousEntryError:
    if len(set(days)) == 1:
        return AmbiguousEntryError(
            f"{log_entry_id} stands {len(days)} times on {days[0]}, so that nothing tells which entry is meant"
        )
    named = ", ".join(sorted({str(each) for each in days}))
    return AmbiguousEntryError(f"{log_entry_id} stands on {named}: give the day with --day")


def _place(services: Services, connection: sqlalchemy.Connection, log_entry_id: str, day: date, tx_id: int) -> _Place:
    segment = store.segment_of_entry(connection, day, tx_id)
    if segment is None:
        raise EntryNotSealedError(f"entry {log_entry_id} is not sealed yet: run `compliance seal` and try again")
    checkpoint = store.last_published_checkpoint(connection)
    if checkpoint is None or checkpoint.size <= segment.seq:
        raise EntryNotSealedError(
            f"segment {segment.seq} is not in the cold store yet: run `compliance seal` and try again"
        )
    return _Place(segment, _cosigned(services, connection, segment) or checkpoint)


def _cosigned(services: Services, connection: sqlalchemy.Connection, segment: Segment) -> StoredCheckpoint | None:
    """The newest checkpoint that the witnesses agreed on, if it covers the segment and the database knows it."""
    policy = load_policy(services.settings)
    if policy is None:
        return None
    head = read_signed_head(services.store, COSIGNED_KEY, services.verifier_key, policy)
    if head is None or not head.agreed or head.checkpoint.size <= segment.seq:
        return None
    known = store.checkpoint_of_size(connection, head.checkpoint.size)
    return None if known is None or known.root != head.checkpoint.root else replace(known, note=head.note)


def _document(
    services: Services, log_entry_id: str, place: _Place, batches: Iterable[pa.RecordBatch]
) -> dict[str, Any]:
    segment, checkpoint = place.segment, place.checkpoint
    entry, index, leaves = _leaves_of_segment(segment, batches, log_entry_id)
    with services.engine.connect() as connection:
        keys = [each.record_bytes() for each in store.key_records(connection) if each.seq < checkpoint.size]
    return proof_document(
        entry=entry,
        entry_index=index,
        entry_path=inclusion_path(leaves, index),
        segment=segment,
        ledger_path=TileTree(services.store, checkpoint.size, checkpoint.root).inclusion_path(segment.seq),
        note=checkpoint.note,
        keys=keys,
    )


def _leaves_of_segment(
    segment: Segment, batches: Iterable[pa.RecordBatch], log_entry_id: str
) -> tuple[dict[str, Any], int, Hashes]:
    """The entry, its index in the segment, and the leaf hashes of the segment."""
    parts: list[Hashes] = []
    found: list[tuple[int, dict[str, Any]]] = []
    count = 0
    for batch in batches:
        tx_ids = batch.column("tx_id")
        rows = batch.filter(pc.and_(pc.greater_equal(tx_ids, segment.tx_from), pc.less(tx_ids, segment.tx_to)))
        hits = pc.indices_nonzero(pc.equal(rows.column("log_entry_id"), log_entry_id)).to_pylist()
        found += [(count + hit, rows.slice(hit, 1).to_pylist()[0]) for hit in hits]
        parts.append(leaf_hashes(rows))
        count += rows.num_rows
    if len(found) > 1:
        raise _ambiguous(log_entry_id, [segment.day] * len(found))
    if len(found) == 1:
        ((index, entry),) = found
        leaves = np.concatenate(parts)
        if merkle_root(leaves) == segment.root:
            return entry, index, leaves
    raise EntryDiffersError(
        f"{segment.day}: the stored entries of segment {segment.seq} are not those that were sealed; nothing can be "
        f"proved from them: run `compliance verify {segment.day}`"
    )


def _checked(services: Services, document: dict[str, Any]) -> ProvenEntry:
    """What the receiver will find; segment records that somebody altered are found here."""
    try:
        return verify_proof(document, services.verifier_key)
    except InvalidProofError as error:
        raise EntryDiffersError(
            f"the proof would not be valid: {error}; the ledger's tables or its tiles are not what was signed, or the "
            "signing key is not the ledger's: run `compliance verify --all`"
        ) from error


def _put_on_record(services: Services, proven: ProvenEntry) -> None:
    with services.engine.connect() as connection:
        if in_recovery(connection):
            return
    proved: str = proven.entry["log_entry_id"]
    particulars: dict[str, JsonValue] = {
        "day": proven.segment.day.isoformat(),
        "segment": proven.segment.seq,
        "checkpoint": proven.checkpoint.size,
    }
    if record_reading(services.engine, Reading.PROVE, proved, **particulars):
        return
    entry = system_entry(
        services.settings.audit_log_actor,
        action=ACTION,
        resource_type=_RESOURCE_TYPE,
        resource_id=proved,
        result="success",
        metadata=particulars,
    )
    AuditLog(services.engine, first_day=services.settings.audit_log_first_day).append(entry)
