"""Verification with a copy of the bucket and the public key, and nothing else: no database, no network, no settings.

Here: the order of the steps. Not here: the steps.

Manifests come first: they are signed, and hold segment records, so that they bear witness where an object of the
ledger is missing or altered. Then the ledger, then each object, then what is in no part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compliance_pipelines.base.errors import ComplianceError
from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
from compliance_pipelines.ledger.store_identity import (
    IDENTITY_KEY,
    StoreIdentityAlteredError,
    read_identity,
)
from compliance_pipelines.object_store.local import LocalObjectStore
from compliance_pipelines.verification.bucket_ledger import check_bucket_ledger
from compliance_pipelines.verification.bucket_parts import BucketParts
from compliance_pipelines.verification.checkpoints import opened
from compliance_pipelines.verification.coverage import check_coverage, compare_parts
from compliance_pipelines.verification.errors import VerificationError
from compliance_pipelines.verification.findings import Finding, Journal, Kind, Note, NoteKind
from compliance_pipelines.verification.key_records import known_keys
from compliance_pipelines.verification.outside import Expected, OutsideView
from compliance_pipelines.verification.progress import Progress, silent
from compliance_pipelines.verification.segment_index import SegmentIndex
from compliance_pipelines.verification.strays import note_strays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date
    from pathlib import Path

    from compliance_pipelines.ledger.checkpoint import Checkpoint, VerifierKey
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.store_identity import StoreIdentity
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Report


def verify_copy(  # noqa: PLR0913 - what a person may say about it
    directory: Path,
    key: VerifierKey,
    *,
    archived_through: date | None = None,
    remembered: Sequence[bytes] = (),
    expected: Expected | None = None,
    archive_keys: KeyEncryptionKeys | None = None,
    progress: Progress = silent,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report:
    """Verify a copy of the bucket.

    Args:
        directory: the copy; nothing is written there.
        key: a key of the ledger that the auditor trusts, its first one or any later one.
        archived_through: the last day of which the auditor knows that it must be archived: what is missing up to there
            is a finding. Without it, it is a note, because it may still be in PostgreSQL.
        remembered: checkpoints (signed notes) that the auditor put aside: the ledger must extend each of them.
        expected: whose cosignatures and time stamps count; None for nobody's, which are not looked at then.
        archive_keys: what unwraps the keys of encrypted archives; without any, these are compared by their hash alone,
            and the report says that they were not read.
        progress: told what is through.
        on_finding: told each finding at once, so that those made before a failure are not lost.

    Raises:
        ConfigurationError: the witnesses' policy is another ledger's.
        VerificationError: the directory is none, or holds nothing of an audit log; a remembered checkpoint is not
            signed by the key.
        FormerFormatError: it is of format 1.
        StoreIdentityError: it is a store of another ledger than the key's.
        ObjectStoreError: the directory cannot be listed.
        TransientError: the disk is full.
    """
    if not directory.is_dir():
        raise VerificationError(f"{directory} is not a directory: give the directory of a copy of the bucket")
    store = LocalObjectStore(directory)
    keys = known_keys(store, key)
    put_aside = [_opened(note, keys) for note in remembered]
    journal = Journal(on_finding)
    counts = expected or Expected()
    counts.require_log(key)
    says = _says(store, keys, journal)
    with SegmentIndex.open(None) as index:
        parts = BucketParts(
            store, keys, index, archive_keys=archive_keys or KeyEncryptionKeys(), journal=journal, progress=progress
        )
        parts.read_manifests()
        size = check_bucket_ledger(
            store,
            keys,
            index=index,
            journal=journal,
            progress=progress,
            outside=OutsideView(counts, journal),
            remembered=put_aside,
        )
        if not parts.listed and not size and not journal.checked.checkpoints:
            raise VerificationError(
                f"{directory} holds neither checkpoints nor archives, so that nothing can be verified: it must be the "
                "directory that holds audit-ledger/ and audit-archives/"
            )
        if not says:
            message = f"{IDENTITY_KEY}, which says what store this is, is not there: the copy is not whole"
            journal.note(Note(kind=NoteKind.STORE_IDENTITY_MISSING, key=IDENTITY_KEY, message=message))
        note_strays(store, journal)
        parts.check_objects()
        compare_parts(index, size, journal)
        check_coverage(index, parts.unclear_days, archived_through, journal)
    return journal.report()


def _opened(note: bytes, keys: KeyChain) -> Checkpoint:
    checkpoint, problem = opened(note, keys, "the checkpoint that was put aside")
    if checkpoint is None:
        raise VerificationError(
            "nothing can be compared with it" if problem is None else f"nothing was verified: {problem.message}"
        )
    return checkpoint


def _says(store: ObjectStore, keys: KeyChain, journal: Journal) -> bool:
    """Whether the copy says what store it is, altered or not."""
    try:
        return read_identity(store, keys) is not None
    except StoreIdentityAlteredError as error:
        journal.find(Finding(kind=Kind.STORE_IDENTITY_ALTERED, key=IDENTITY_KEY, message=str(error)))
        return True


def identity_of_copy(directory: Path, key: VerifierKey) -> StoreIdentity | None:
    """Which store a directory is a copy of; None where it does not say, or not under this key."""
    try:
        store = LocalObjectStore(directory)
        return read_identity(store, known_keys(store, key))
    except ComplianceError:
        return None
