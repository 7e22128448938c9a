"""The short way to trust the database's segment records: they lead to what the cold store's newest checkpoint signs.

Here: the proof that the records of the database, all of them, are those that were published. It reads one object, and
so serves the verification of single days. Not here: what is wrong where the proof fails, which only the comparison of
everything tells (database_ledger.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger import store as ledger_store
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY, COSIGNED_KEY
from compliance_pipelines.ledger.losses import Loss, is_loss
from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.checkpoints import judged, read_one
from compliance_pipelines.verification.database_ledger import KnownLedger, ledger_snapshot
from compliance_pipelines.verification.losses import accept_losses
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.checkpoint import Checkpoint
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.store import StoredCheckpoint
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.outside import OutsideView
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

_TOLD_EVERY: Final = 10_000


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
        index: gets them.
        journal: is told of the losses that were accepted.
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
        size = 0 if last is None else last.size
        signed = [None if head is None else head[0] for head in (newest, cosigned)]
        roots = _signed_roots(services, keys, connection, last, *signed)
        if roots is None:
            return None
        try:
            horizon = _horizon_of_proven(connection, size, roots=roots, days=days, index=index, progress=progress)
            if horizon is None or (last is not None and horizon != last.tx_horizon):
                return None
            _add_lost(connection, index, size)
        except MalformedRecordError:
            return None
    for key, head in heads:
        if head is not None:
            outside.note_read(key, head[1], head[0])
    accept_losses(index, size, journal)
    return KnownLedger(size, horizon)


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
    for checkpoint in (newest, cosigned):
        if checkpoint is not None and roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
            return None
    return roots


def _horizon_of_proven(  # noqa: PLR0913 - what one pass over the records needs
    connection: sqlalchemy.Connection,
    size: int,
    *,
    roots: dict[int, bytes],
    days: Collection[date],
    index: SegmentIndex,
    progress: Progress,
) -> int | None:
    """Where the last segment ends, if the records lead to every one of the roots and no record is left over."""
    tree = CompactRange()
    wanted: list[LedgerRecord] = []
    horizon = 0
    for record in ledger_store.records(connection):
        if record.seq != tree.size:
            return None
        tree.append(record.leaf_hash())
        expected = roots.pop(tree.size, None)
        if expected is not None and tree.root() != expected:
            return None
        horizon = record.tx_to
        if is_loss(record) or (isinstance(record, Segment) and record.day in days):
            wanted.append(record)
        if tree.size % _TOLD_EVERY == 0:
            progress(Stage.SEGMENTS, tree.size, size)
    if tree.size != size or roots:
        return None
    index.add(Source.LEDGER, wanted)
    return horizon


def _add_lost(connection: sqlalchemy.Connection, index: SegmentIndex, size: int) -> None:
    """Let the index know of all segments that were lost, which the losses' notes tell of."""
    for statement in filter(is_loss, index.statements(Source.LEDGER, size)):
        for first, after in Loss.of(statement).ranges:
            index.add(Source.LEDGER, ledger_store.records_between(connection, first, after))
