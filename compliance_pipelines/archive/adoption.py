"""What a killed process left in the cold store: parts that the catalogue does not know, objects without a manifest.

Here: finding them and deciding which segments they hold. Not here: recording them (recording.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from compliance_pipelines.archive.errors import AdoptionError, ManifestError, OrphanObjectError
from compliance_pipelines.archive.layout import PartKey, day_prefix, object_key, parse_key, part_root
from compliance_pipelines.archive.manifest import Manifest
from compliance_pipelines.archive.parquet import WrittenFile
from compliance_pipelines.archive.readback import ColdArchive, ExpectedObject, ObjectCheck, check_object, read_manifest
from compliance_pipelines.encryption.data_key import Encryption
from compliance_pipelines.ledger.merkle import CompactRange

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import date

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.progress import Progress
    from compliance_pipelines.encryption.data_key import DataKey
    from compliance_pipelines.ledger.segments import Segment
    from compliance_pipelines.object_store.port import ObjectStore
    from compliance_pipelines.services import Services


@dataclass(frozen=True)
class StoredDay:
    """The keys of a day in the cold store that the catalogue does not know.

    Attributes:
        committed: parts with a manifest, in order; of several revisions the newest.
        orphans: objects without a manifest whose number is above every committed part, in order.
        left_behind: the others, in order: passed by because they were damaged, or put by a process that had lost its
            lock. Committed parts hold the segments that they were made for.
        replacements: manifests of revisions of parts that the catalogue knows, newer than the one that it knows: a
            repair was interrupted before it could record them.
        last_part: the largest part number in store and catalogue, 0 where there is none.
    """

    committed: tuple[PartKey, ...]
    orphans: tuple[PartKey, ...]
    left_behind: tuple[PartKey, ...]
    last_part: int
    replacements: tuple[PartKey, ...] = ()


@dataclass(frozen=True)
class AdoptedObject:
    """An orphan that holds exactly these sealed segments."""

    expected: ExpectedObject
    check: ObjectCheck

    def manifest(self) -> Manifest:
        """What commits it."""
        expected, check = self.expected, self.check
        written = WrittenFile(check.entry_count, check.object_bytes, check.object_sha256)
        key = PartKey.of(expected.day, expected.part, expected.root)
        return manifest_of(key, expected.segments, written, check.canonical_bytes, check.key)


def manifest_of(
    key: PartKey, segments: Sequence[Segment], written: WrittenFile, canonical_bytes: int, data_key: DataKey | None
) -> Manifest:
    """What commits the first revision of a part, made now.

    Args:
        key: of its object.
        segments: that it holds, in order.
        written: its object.
        canonical_bytes: length of the canonical encodings of its rows.
        data_key: what its object is encrypted with.
    """
    return Manifest(
        day=key.day,
        part=key.part,
        object_key=key.object_key,
        object_sha256=written.sha256,
        object_bytes=written.size,
        entry_count=written.rows,
        canonical_bytes=canonical_bytes,
        first_id=min(segment.first_id for segment in segments),
        last_id=max(segment.last_id for segment in segments),
        root=part_root(segments),
        segments=tuple(segments),
        created_at=datetime.now(UTC),
        encryption=Encryption.of(data_key),
    )


def stored_day(store: ObjectStore, day: date, known: Collection[ArchivedPart]) -> StoredDay:
    """List what the store holds of a day and sort out what is known. Revisions that were replaced are passed over."""
    keys = sorted(
        (parsed for info in store.list(day_prefix(day)) if (parsed := parse_key(info.key)) is not None),
        key=lambda key: (key.part, key.root_prefix, key.revision),
    )
    known_objects = {part.object_key for part in known}
    revisions = {key.family: key.revision for part in known if (key := parse_key(part.object_key)) is not None}
    manifests = [key for key in keys if key.is_manifest]
    newest = {key.family: key for key in manifests}
    last_committed = max((*(key.part for key in manifests), *(part.part for part in known)), default=0)
    committed_objects = known_objects | {key.object_key for key in manifests}
    uncommitted = [
        key
        for key in keys
        if not key.is_manifest
        and key.object_key not in committed_objects
        and not _is_replaced(key, revisions.get(key.family), newest.get(key.family))
    ]
    return StoredDay(
        committed=tuple(key for key in newest.values() if key.family not in revisions),
        orphans=tuple(key for key in uncommitted if key.part > last_committed),
        left_behind=tuple(key for key in uncommitted if key.part <= last_committed),
        last_part=max((last_committed, *(key.part for key in keys))),
        replacements=tuple(key for key in manifests if key.revision > revisions.get(key.family, key.revision)),
    )


def _is_replaced(key: PartKey, recorded: int | None, newest: PartKey | None) -> bool:
    """Whether a revision counts in place of this one: the one of the catalogue, or where it knows none, the newest."""
    counts = recorded if recorded is not None else None if newest is None else newest.revision
    return counts is not None and key.revision < counts


def committed_part(services: Services, key: PartKey, pending: Sequence[Segment]) -> tuple[Manifest, bytes]:
    """A committed part that the catalogue does not know, if it holds nothing but segments that no part holds.

    Raises:
        AdoptionError: its manifest is not ours, or its segments are not those of the ledger.
    """
    try:
        manifest, data = read_manifest(ColdArchive.of(services), key.manifest_key)
    except ManifestError as error:
        raise AdoptionError(
            f"the cold store has a manifest for {key.day} that the catalogue does not know, and it cannot be adopted: "
            f"{error}. Find out who wrote it and move it out of the store"
        ) from error
    by_number = {segment.seq: segment for segment in pending}
    strange = [segment.seq for segment in manifest.segments if by_number.get(segment.seq) != segment]
    if strange:
        raise AdoptionError(
            f"the cold store has a committed part {key.object_key} that the catalogue does not know. Its segments "
            f"{', '.join(map(str, strange))} are not in the database's ledger as they are in it, or another part holds "
            f"them: run `compliance verify {key.day}`; if the database was restored to an older state, see "
            f"`compliance ledger recover`"
        )
    return manifest, data


def _segments_of_orphan(orphan: PartKey, pending: Sequence[Segment]) -> tuple[bytes, Sequence[Segment]] | None:
    """The first segments of `pending` whose root is in the orphan's key.

    More segments may have been sealed since the orphan was put, never before those that it holds.
    """
    tree = CompactRange()
    for count, segment in enumerate(pending, start=1):
        tree.append(segment.leaf_hash())
        root = tree.root()
        if object_key(orphan.day, orphan.part, root) == orphan.object_key:
            return root, pending[:count]
    return None


def adoptable_orphan(
    services: Services, orphan: PartKey, pending: Sequence[Segment], progress: Progress
) -> AdoptedObject:
    """Read an orphan and tell which segments it holds.

    Raises:
        OrphanObjectError: it holds no pending segments, or not as they were sealed.
    """
    found = _segments_of_orphan(orphan, pending)
    if found is None:
        raise _unusable(services, orphan, "its key belongs to no sealed segments that wait for their archive")
    root, segments = found
    expected = ExpectedObject(orphan.day, orphan.part, orphan.object_key, None, None, root, tuple(segments))
    check = check_object(ColdArchive.of(services), expected, progress=progress)
    if check.findings:
        raise _unusable(services, orphan, "; ".join(finding.message for finding in check.findings))
    return AdoptedObject(expected, check)


def _unusable(services: Services, orphan: PartKey, reason: str) -> OrphanObjectError:
    return OrphanObjectError(
        f"{services.store.locate(orphan.object_key)} has no manifest, and it cannot be adopted: {reason}. It is never "
        f"overwritten: move it out of the store and run again, or, where the store does not let it go, run "
        f"`compliance archive --beside-damaged {orphan.day}`, which makes the part under the next number"
    )
