"""The ledger as the cold store alone tells it.

Here: every checkpoint object, its signature, and the chain of them all. Not here: the database (database_ledger.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from compliance_pipelines.base.streaming import run_ahead
from compliance_pipelines.verification.chain import Chain, Store
from compliance_pipelines.verification.checkpoints import UnknownObject, cold_checkpoints
from compliance_pipelines.verification.findings import Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import reason_of
from compliance_pipelines.verification.progress import Stage
from compliance_pipelines.verification.runs import CheckpointRuns
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.checkpoints import ColdCheckpoint
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

READ_AHEAD: Final = 16


def check_bucket_ledger(
    store: ObjectStore, key: VerifierKey, index: SegmentIndex, journal: Journal, progress: Progress
) -> int:
    """Rebuild the ledger from the checkpoint objects; the index gets its records.

    Args:
        store: the cold store.
        key: the key that must have signed.
        index: holds the records of the manifests, which are the witness where an object is missing or altered.
        journal: is told what is wrong.
        progress: told of checkpoints read.

    Returns:
        How many segments the ledger has.

    Raises:
        ObjectStoreError: the store cannot be listed.
    """
    chain = Chain(index, Source.MANIFESTS, journal)
    runs = CheckpointRuns(journal)
    with run_ahead(cold_checkpoints(store, key), depth=READ_AHEAD, name="checkpoint-reader") as checkpoints:
        for checkpoint in checkpoints:
            if isinstance(checkpoint, UnknownObject):
                note_unknown(journal, checkpoint.key)
                continue
            report_problem(journal, runs, checkpoint)
            runs.next_size()
            signed = {} if checkpoint.signed is None else {Store.COLD: checkpoint.signed.root}
            chain.step(checkpoint.size, signed, checkpoint.publication)
            journal.checked.checkpoints += 1
            progress(Stage.CHECKPOINTS, journal.checked.checkpoints, None)
    runs.finish()
    chain.finish()
    return chain.size


def report_problem(journal: Journal, runs: CheckpointRuns, checkpoint: ColdCheckpoint) -> None:
    """Say what is wrong with a checkpoint object by itself, or that nothing can be told about it."""
    if checkpoint.failure is not None:
        journal.cannot_tell(
            Undecided(f"checkpoint {checkpoint.size} could not be read: {reason_of(checkpoint.failure)}")
        )
    if checkpoint.problem is not None:
        runs.add(checkpoint.problem.kind, Store.COLD, checkpoint.size, checkpoint.problem.message, checkpoint.key)


def note_unknown(journal: Journal, key: str) -> None:
    """An object that the project does not write lies among those that it writes."""
    journal.note(
        Note(kind=NoteKind.OBJECT_UNKNOWN, key=key, message=f"{key!r} is nothing that belongs there; it was not read")
    )
