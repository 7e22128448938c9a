"""The short way to trust the database's segment records: they lead to what the cold store's newest checkpoint signs.

Here: the proof that the records of the database, all of them, are those that were published. It reads one object, and
so serves the verification of single days. Not here: what is wrong where the proof fails, which only the comparison of
everything tells (database_ledger.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.ledger import store as ledger_store
from compliance_pipelines.ledger.log_reading import CHECKPOINT_KEY
from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.ledger.records import MalformedRecordError
from compliance_pipelines.ledger.segments import Segment
from compliance_pipelines.verification.checkpoints import judged, read_newest
from compliance_pipelines.verification.database_ledger import KnownLedger, ledger_snapshot
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    import sqlalchemy

    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.services import Services
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

_TOLD_EVERY: Final = 10_000


def anchored_ledger(
    services: Services, keys: KeyChain, days: Collection[date], index: SegmentIndex, progress: Progress
) -> KnownLedger | None:
    """The ledger, with the segments of these days in the index; None where anything at all does not fit.

    Raises:
        ObjectStoreError: the store failed.
        sqlalchemy.exc.DBAPIError: the database failed.
    """
    # Before the snapshot: what is published is committed before, so that the snapshot knows it.
    newest = read_newest(services.store, keys)
    with ledger_snapshot(services) as connection:
        last = ledger_store.last_checkpoint(connection)
        published = ledger_store.last_published_size(connection) or 0
        roots: dict[int, bytes] = {}
        if newest is not None:
            roots[newest.size] = newest.root
        elif published or services.store.stat(CHECKPOINT_KEY) is not None:
            return None
        if last is not None:
            row = judged(last, keys, {})
            if row.problems or row.signed is None or roots.setdefault(last.size, row.signed.root) != row.signed.root:
                return None
        size = 0 if last is None else last.size
        try:
            horizon = _horizon_of_proven(connection, size, roots=roots, days=days, index=index, progress=progress)
        except MalformedRecordError:
            return None
    if horizon is None or (last is not None and horizon != last.tx_horizon):
        return None
    return KnownLedger(size, horizon)


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
    wanted: list[Segment] = []
    horizon = 0
    for record in ledger_store.records(connection):
        if record.seq != tree.size:
            return None
        tree.append(record.leaf_hash())
        expected = roots.pop(tree.size, None)
        if expected is not None and tree.root() != expected:
            return None
        horizon = record.tx_to
        if isinstance(record, Segment) and record.day in days:
            wanted.append(record)
        if tree.size % _TOLD_EVERY == 0:
            progress(Stage.SEGMENTS, tree.size, size)
    if tree.size != size or roots:
        return None
    index.add(Source.LEDGER, wanted)
    return horizon
