"""The short way to trust the database's segments of some days: its records lead to what the newest checkpoint signs.

Here: what is signed, and the ledger of these days for whoever compares entries. Not here: the proof (proven_records.py
in the ledger), and what is wrong where it fails, which only the comparison of everything tells (database_ledger.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from compliance_pipelines.ledger import store as ledger_store
from compliance_pipelines.ledger.errors import TilesAlteredError
from compliance_pipelines.ledger.expiries import is_expiry
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY
from compliance_pipelines.ledger.losses import Loss, is_loss
from compliance_pipelines.ledger.merkle import ProofError, verify_consistency
from compliance_pipelines.ledger.proven_records import NotProvenError, ProvenRecords, proven_records
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.ledger.tile_proofs import TileTree
from compliance_pipelines.verification.checkpoints import judged, read_one
from compliance_pipelines.verification.database_ledger import KnownLedger, ledger_snapshot
from compliance_pipelines.verification.expiries import accept_expiries
from compliance_pipelines.verification.losses import accept_losses
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.checkpoint import Checkpoint
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.outside import OutsideView
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex


def anchored_ledger(  # noqa: PLR0913 - what one look needs
    services: Services,
    keys: KeyChain,
    days: Collection[date],
    index: SegmentIndex,
    *,
    journal: Journal,
    progress: Progress,
    outside: OutsideView,
) -> KnownLedger | None:
    """The ledger, with the segments of these days in the index; None where anything at all does not fit.

    Args:
        services: the opened services.
        keys: those of the ledger.
        days: whose segments are wanted.
        index: gets them, and the losses that were stated since before the days.
        journal: is told of these losses, and of how many records were looked at.
        progress: told of records read.
        outside: gets the checkpoints, where everything fits.

    Raises:
        ObjectStoreError: the store failed.
        sqlalchemy.exc.DBAPIError: the database failed.
    """
    # Before the snapshot: what is published is committed before, so that the snapshot knows it.
    heads = [(key, read_one(services.store, key, keys)) for key in (COSIGNED_KEY, CHECKPOINT_KEY)]
    (_, cosigned), (_, newest) = heads
    if cosigned is None and services.store.stat(COSIGNED_KEY) is not None:
        return None
    with ledger_snapshot(services) as connection:
        last = ledger_store.last_checkpoint(connection)
        signed = [None if head is None else head[0] for head in (newest, cosigned)]
        roots = _signed_roots(services, keys, connection, last, *signed)
        proven = None if roots is None else _proven(connection, last, roots, days, progress)
        if proven is None:
            return None
        try:
            _add(connection, index, proven)
        except MalformedRecordError:
            return None
    for key, head in heads:
        if head is not None:
            outside.note_read(key, head[1], head[0])
    accept_losses(index, proven.size, journal)
    years = services.settings.audit_cold_storage_retention_years
    expiries = accept_expiries(index, proven.size, years, journal)
    journal.checked.segments = proven.size - proven.first
    journal.checked.checkpoints = 1 if proven.size else 0
    return KnownLedger(proven.size, proven.tx_horizon, journal.replica is not None, expiries)


def _signed_roots(  # noqa: PLR0913, PLR0917 - what signs for a size
    services: Services,
    keys: KeyChain,
    connection: sqlalchemy.Connection,
    last: StoredCheckpoint | None,
    newest: Checkpoint | None,
    cosigned: Checkpoint | None,
) -> dict[int, bytes] | None:
    """What is signed for each size that the records must lead to; None where two things are, or one is not there."""
    if newest is None and (
        ledger_store.last_published_size(connection) or services.store.stat(CHECKPOINT_KEY) is not None
    ):
        return None
    roots: dict[int, bytes] = {}
    if last is not None:
        row = judged(last, keys, {})
        if row.problems or row.signed is None:
            return None
        roots[last.size] = row.signed.root
    if newest is not None and cosigned is not None and cosigned.size < newest.size:
        # It may be old, where witnesses were given up: the tiles prove it, whatever lies between.
        if not _begins_with(services.store, newest, cosigned):
            return None
        cosigned = None
    for checkpoint in (newest, cosigned):
        if checkpoint is not None and roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            return None
    return roots


def _begins_with(store: ObjectStore, newest: Checkpoint, smaller: Checkpoint) -> bool:
    """Whether the ledger of a checkpoint begins with that of a smaller one."""
    try:
        path = TileTree(store, newest.size, newest.root).consistency_path(smaller.size)
        verify_consistency(smaller.size, newest.size, smaller.root, newest.root, path)
    except (TilesAlteredError, ProofError):
        return False
    return True


def _proven(
    connection: sqlalchemy.Connection,
    last: StoredCheckpoint | None,
    roots: dict[int, bytes],
    days: Collection[date],
    progress: Progress,
) -> ProvenRecords | None:
    """The records since before the days, and before all that losses among them void; None where one does not fit."""
    size = 0 if last is None else last.size
    if max(roots, default=0) > size or ledger_store.last_seq(connection) != (size - 1 if size else None):
        return None
    if last is None:
        return ProvenRecords(0, 0, 0, (), ())
    most = size
    while True:
        try:
            proven = proven_records(connection, days, roots, most=most, told=partial(progress, Stage.SEGMENTS))
            most = min((first for loss in _losses(proven) for first, _ in loss.ranges), default=proven.first)
        except (NotProvenError, MalformedRecordError):
            return None
        if most >= proven.first:
            return proven if proven.tx_horizon == last.tx_horizon else None


def _losses(proven: ProvenRecords) -> list[Loss]:
    return [Loss.of(record) for record in proven.statements if is_loss(record)]


def _add(connection: sqlalchemy.Connection, index: SegmentIndex, proven: ProvenRecords) -> None:
    """Let the index know of the days' segments, of the losses, and of the segments that the notes on losses tell of."""
    losses = [record for record in proven.statements if is_loss(record)]
    expiries = [record for record in proven.statements if is_expiry(record)]
    index.add(Source.LEDGER, [*proven.segments, *losses, *expiries])
    for loss in _losses(proven):
        for first, after in loss.ranges:
            index.add(Source.LEDGER, ledger_store.records_between(connection, first, after))
