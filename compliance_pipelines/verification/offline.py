"""Verification with a copy of the bucket and the public key, and nothing else: no database, no network, no settings.

Here: the order of the steps. Not here: the steps.

Manifests come first: they are signed, and hold segment records, so that they bear witness where a checkpoint object is
missing or altered. Then the ledger, then each object, then what is in no part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.bucket_ledger import check_bucket_ledger
from compliance_pipelines.verification.bucket_parts import BucketParts
from compliance_pipelines.verification.coverage import check_coverage, compare_parts
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Finding, Journal
from compliance_pipelines.verification.progress import Progress, silent
from compliance_pipelines.verification.segment_index import SegmentIndex
from compliance_pipelines.verification.strays import note_strays

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.ledger.checkpoint import VerifierKey
    from compliance_pipelines.verification.findings import Report


def verify_copy(
    directory: Path,
    key: VerifierKey,
    *,
    archived_through: date | None = None,
    progress: Progress = silent,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report:
    """Verify a copy of the bucket.

    Args:
        directory: the copy; nothing is written there.
        key: the key that must have signed checkpoints and manifests.
        archived_through: the last day of which the auditor knows that it must be archived: what is missing up to there
            is a finding. Without it, it is a note, because it may still be in PostgreSQL.
        progress: told what is through.
        on_finding: told each finding at once, so that those made before a failure are not lost.

    Raises:
        VerificationError: the directory is none, or holds nothing of an audit log.
        ObjectStoreError: the directory cannot be listed.
        TransientError: the disk is full.
    """
    if not directory.is_dir():
        raise VerificationError(f"{directory} is not a directory: give the directory of a copy of the bucket")
    store = LocalObjectStore(directory)
    journal = Journal(on_finding)
    with SegmentIndex.open(None) as index:
        parts = BucketParts(store, key, index, journal, progress)
        parts.read_manifests()
        size = check_bucket_ledger(store, key, index, journal, progress)
        if not parts.listed and not journal.checked.checkpoints:
            raise VerificationError(
                f"{directory} holds neither checkpoints nor archives, so that nothing can be verified: it must be the "
                "directory that holds audit-ledger/ and audit-archives/"
            )
        note_strays(store, journal)
        parts.check_objects()
        compare_parts(index, size, journal)
        check_coverage(index, parts.unclear_days, archived_through, journal)
    return journal.report()
