"""The parts in the cold store as it alone tells them: manifests, objects, and objects without a manifest.

Here: the listing, reading every manifest, checking every object. Not here: what is in no part (coverage.py).

An object that no manifest vouches for still names the root of its segments in its key, so that it can be checked
against the ledger: a manifest that was lost or altered does not hide what happened to the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.errors import ManifestError, RetiredSignatureError
from compliance_pipelines.archive.layout import PREFIX, PartKey, parse_key
from compliance_pipelines.archive.readback import ColdArchive
from compliance_pipelines.encryption.data_keys import DataKeys
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.verification.bucket_ledger import note_unknown
from compliance_pipelines.verification.expiries import StatedExpiries, but_for_its_key, note_expired, unfinished
from compliance_pipelines.verification.findings import Finding, Kind, Note, NoteKind, Undecided
from compliance_pipelines.verification.guard import guarded, reason_of
from compliance_pipelines.verification.parts import (
    bounded_manifest,
    check_committed,
    check_uncommitted,
    contradictions,
    run_leading_to,
)
from compliance_pipelines.verification.progress import RowCount, Stage
from compliance_pipelines.verification.segment_index import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.encryption.key_encryption import KeyEncryptionKeys
    from compliance_pipelines.ledger.key_chain import KeyChain
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.verification.findings import Journal
    from compliance_pipelines.verification.parts import PartOutcome
    from compliance_pipelines.verification.progress import Progress
    from compliance_pipelines.verification.segment_index import SegmentIndex

_MOST_UNVOUCHED: Final = 10_000


@dataclass(frozen=True)
class _Unvouched:
    """A part that no manifest vouches for, because it is missing or damaged."""

    key: PartKey
    manifest_is_there: bool


class BucketParts:
    """All parts of one bucket.

    Args:
        store: the cold store.
        keys: of the ledger, of which one must have signed each manifest, in its time.
        index: gets the records of the manifests; holds those of the ledger when the objects are checked.
        archive_keys: what unwraps the keys of encrypted objects; with none, these are compared by their hash alone.
        journal: is told what is wrong.
        progress: told of manifests, parts and rows read.

    Attributes:
        listed: how many parts there are.
        unclear_days: days of which it is not known what their parts hold.
    """

    def __init__(  # noqa: PLR0913 - what one verification needs
        self,
        store: ObjectStore,
        keys: KeyChain,
        index: SegmentIndex,
        *,
        archive_keys: KeyEncryptionKeys,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self._store = store
        data_keys = DataKeys(store, archive_keys)
        self._archive = ColdArchive(
            store, keys, object_with=index.object_with, keys=data_keys, hash_only_without_keys=True
        )
        self._index = index
        self._journal = journal
        self._progress = progress
        self._on_rows = RowCount(progress)
        self._unvouched: list[_Unvouched] = []
        self._expiries = StatedExpiries()
        self._days: set[date] = set()
        self.listed = 0
        self.unclear_days: set[date] = set()

    def read_manifests(self) -> None:
        """Read the manifest of every part, of several revisions the newest that is one, and take in its records.

        Raises:
            ObjectStoreError: the store cannot be listed.
        """
        for revisions in self._parts(self._note_unknown):
            self.listed += 1
            unvouched: list[_Unvouched] = []
            for key in reversed(revisions):
                manifest = self._readable(key) if key.is_manifest else None
                if manifest is None:
                    unvouched.append(_Unvouched(key, key.is_manifest))
                    continue
                self._index.add(Source.MANIFESTS, manifest.segments)
                self._index.add_part(key, manifest.segments, manifest.object_sha256)
                self._note_replaced(key, [each for each in revisions if each.revision < key.revision])
                break
            for part in reversed(unvouched):
                self._cannot_vouch(part)
            self._progress(Stage.MANIFESTS, self.listed, None)

    def _note_unknown(self, key: str) -> None:
        note_unknown(self._journal, key)

    def _note_replaced(self, by: PartKey, revisions: Sequence[PartKey]) -> None:
        for key in revisions:
            message = f"{key.object_key} was replaced by {by.object_key}, whose manifest is signed; it is not read"
            self._journal.note(
                Note(kind=NoteKind.PART_REPLACED, day=key.day, part=key.part, key=key.object_key, message=message)
            )

    def _parts(self, on_unknown: Callable[[str], None]) -> Iterator[list[PartKey]]:
        """The revisions of each part, oldest first."""
        for _, revisions in groupby(self._keys(on_unknown), key=lambda key: key.family):
            yield sorted(revisions, key=lambda key: key.revision)

    def _keys(self, on_unknown: Callable[[str], None]) -> Iterator[PartKey]:
        """One key for each revision: the manifest's, which comes first in the listing, or the object's if alone."""
        manifest: PartKey | None = None
        for info in self._store.list(PREFIX):
            key = parse_key(info.key)
            if key is None:
                on_unknown(info.key)
            elif key.is_manifest:
                manifest = key
                yield key
            elif manifest is None or manifest.object_key != key.object_key:
                yield key

    def _cannot_vouch(self, part: _Unvouched) -> None:
        if len(self._unvouched) < _MOST_UNVOUCHED:
            self._unvouched.append(part)
        else:
            self._journal.cannot_tell(Undecided(f"{part.key.object_key}: one of too many without a manifest"))

    def _readable(self, key: PartKey) -> Manifest | None:
        """The manifest, or None after saying what is wrong with it."""
        with guarded(lambda error: self._cannot_tell(key, key.manifest_key, error)):
            try:
                return bounded_manifest(self._archive, key.manifest_key)
            except RetiredSignatureError as error:
                self._find(Kind.SIGNATURE_BY_RETIRED_KEY, key, str(error))
            except ManifestError as error:
                self._find(Kind.MANIFEST_ALTERED, key, str(error))
            except ObjectMissingError:
                self._find(Kind.MANIFEST_MISSING, key, f"{key.manifest_key} is no longer there")
        return None

    def _cannot_tell(self, key: PartKey, name: str, error: Exception) -> None:
        self._journal.cannot_tell(Undecided(f"{name} could not be read: {reason_of(error)}", day=key.day))

    def _find(self, kind: Kind, key: PartKey, message: str) -> None:
        """Something is wrong with a manifest."""
        self._journal.find(Finding(kind=kind, day=key.day, part=key.part, key=key.manifest_key, message=message))

    def check_objects(self, expiries: StatedExpiries) -> None:
        """Check every object against its manifest, and those without one against the ledger.

        Args:
            expiries: what the ledger states about parts that expired.

        Raises:
            ObjectStoreError: the store cannot be listed.
        """
        unvouched = {part.key.object_key for part in self._unvouched}
        self._expiries = expiries
        seen = set()
        for number, revisions in enumerate(self._parts(lambda _: None), start=1):
            seen.add(revisions[-1].family)
            vouched = [key for key in revisions if key.is_manifest and key.object_key not in unvouched]
            if vouched and not self._is_going(vouched[-1]):
                self._check(vouched[-1], self._committed)
            self._progress(Stage.PARTS, number, self.listed)
        for part in self._unvouched:
            self._judge_unvouched(part)
        for family, stated in expiries.by_family.items():
            if family not in seen:
                note_expired(self._journal, stated)
                self._index.add_part(stated.key, stated.segments)
        self._journal.checked.days = len(self._days)

    def _is_going(self, key: PartKey) -> bool:
        """Whether the object of a part is gone, as the ledger states; what is still there is read as any other."""
        stated = self._expiries.of(key.object_key)
        if stated is None:
            return False
        is_there = self._store.stat(key.object_key) is not None
        self._journal.note(unfinished(stated, "it is still there" if is_there else "its manifest is still there"))
        return not is_there

    def _committed(self, key: PartKey) -> PartOutcome:
        manifest = bounded_manifest(self._archive, key.manifest_key)
        # What the ledger does not have, because a checkpoint is missing, contradicts nothing.
        ledger = {each.seq: self._index.one(Source.LEDGER, each.seq) or each for each in manifest.segments}
        for finding in contradictions(manifest, ledger):
            self._journal.find(finding)
        return check_committed(self._archive, manifest, self._on_rows)

    def _check(self, key: PartKey, check: Callable[[PartKey], PartOutcome]) -> None:
        with guarded(lambda error: self._cannot_tell(key, key.object_key, error)):
            outcome = check(key)
            for finding in but_for_its_key(outcome.findings, self._expiries.of(key.object_key)):
                self._journal.find(finding)
            self._journal.checked.parts += 1
            self._journal.checked.parts_by_hash += not outcome.decrypted
            self._journal.checked.archived_entries += outcome.entries
            self._days.add(key.day)

    def _judge_unvouched(self, part: _Unvouched) -> None:
        key = part.key
        stated = self._expiries.of(key.object_key)
        if stated is not None and not part.manifest_is_there:
            self._journal.note(unfinished(stated, "its object is there without its manifest"))
            self._index.add_part(key, stated.segments)
            return
        segments = self._segments_named_by(key)
        if segments is None:
            self.unclear_days.add(key.day)
            if not part.manifest_is_there:
                self._note_uncommitted(key, "its key belongs to no sealed segments")
            return
        if len(self._index.held_among(segments)) == len(segments):
            if not part.manifest_is_there:
                self._note_uncommitted(key, "other parts hold its segments: it was left behind")
            return
        if not part.manifest_is_there:
            self._find(
                Kind.MANIFEST_MISSING,
                key,
                f"{key.manifest_key} is missing from the cold store, or the archive run that put the object beside it "
                "was interrupted and has not been repeated",
            )
        self._index.add_part(key, segments)
        self._check(key, lambda key: check_uncommitted(self._archive, key, segments, self._on_rows))

    def _segments_named_by(self, key: PartKey) -> list[Segment] | None:
        """The segments whose root is in the key. A part begins with the day, or where another part ends."""
        of_day = self._index.of_day(Source.LEDGER, key.day)
        held = self._index.held_among(of_day)
        starts = (
            {each.seq for before, each in pairwise(of_day) if before.seq in held} | {of_day[0].seq} if of_day else ()
        )
        return run_leading_to(of_day, lambda root: PartKey.of(key.day, key.part, root).family == key.family, starts)

    def _note_uncommitted(self, key: PartKey, why: str) -> None:
        message = f"{key.object_key} has no manifest; {why}"
        self._journal.note(
            Note(kind=NoteKind.OBJECT_UNCOMMITTED, day=key.day, part=key.part, key=key.object_key, message=message)
        )
