"""The ledger as the cold store alone tells it.

Here: its checkpoints, tiles and entry bundles, and the chain of them all; checkpoints that an auditor put aside. Not
here: the database (database_ledger.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.ledger.log_reading import refuse_former_format
from compliance_pipelines.verification.checkpoints import Store, read_cold_heads
from compliance_pipelines.verification.expiries import accept_expiries
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind
from compliance_pipelines.verification.key_records import check_key_records
from compliance_pipelines.verification.losses import accept_losses
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.segment_index import Source
from compliance_pipelines.verification.walk import Walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compliance_pipelines.ledger.checkpoint import Checkpoint
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.expiries import StatedExpiries
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.outside import OutsideView
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex


def check_bucket_ledger(  # noqa: PLR0913 - what one verification needs
    store: ObjectStore,
    keys: KeyChain,
    *,
    index: SegmentIndex,
    journal: Journal,
    progress: Progress,
    outside: OutsideView,
    remembered: Sequence[Checkpoint] = (),
    retention_years: int,
) -> tuple[int, StatedExpiries]:
    """Rebuild the ledger from tiles and entry bundles; the index gets its records.

    Args:
        store: the cold store.
        keys: of the ledger; that in charge must have signed.
        index: holds the records of the manifests, which are the witness where an object is missing or altered.
        journal: is told what is wrong.
        progress: told of records and checkpoints read.
        outside: gets the checkpoints, and says what nobody outside has seen.
        remembered: checkpoints that were put aside outside; the ledger must extend each of them.
        retention_years: for which archives are to be kept.

    Returns:
        How many segments the ledger has, and what it states about parts that expired.

    Raises:
        FormerFormatError: it is a ledger of format 1.
        ObjectStoreError: the store cannot be listed.
    """
    refuse_former_format(store)
    heads = read_cold_heads(store, keys, journal, outside)
    walk = Walk(store, heads, index=index, witness=Source.MANIFESTS, journal=journal, progress=progress)
    signed = {size: dict(roots) for size, roots in heads.roots()}
    for checkpoint in remembered:
        if checkpoint.size > walk.log_size:
            _find_rolled_back(checkpoint, walk.log_size, journal)
        elif checkpoint.size:
            signed.setdefault(checkpoint.size, {})[Store.REMEMBERED] = checkpoint.root
    for size, roots in sorted(signed.items()):
        walk.head(size, roots)
        journal.checked.checkpoints += 1
        progress(Stage.CHECKPOINTS, journal.checked.checkpoints, None)
    walk.finish()
    check_key_records(
        store, keys, heads.notes, size=walk.log_size, index=index, roots=walk.roots_before_keys, journal=journal
    )
    outside.finish(index, walk.log_size)
    accept_losses(index, walk.settled_size, journal)
    return walk.log_size, accept_expiries(index, walk.settled_size, retention_years, journal)


def _find_rolled_back(checkpoint: Checkpoint, size: int, journal: Journal) -> None:
    message = (
        f"the checkpoint that was put aside is of {checkpoint.size} records, and the ledger in the cold store ends at "
        f"{size}: it was put back to an older state, or cut off"
    )
    journal.find(Finding(kind=Kind.LEDGER_ROLLED_BACK, checkpoint=checkpoint.size, message=message))


def note_unknown(journal: Journal, key: str) -> None:
    """An object that the project does not write lies among those that it writes."""
    journal.note(
        Note(kind=NoteKind.OBJECT_UNKNOWN, key=key, message=f"{key!r} is nothing that belongs there; it was not read")
    )
