"""One committed part: its manifest against the ledger and the catalogue, its object against its manifest.

Here: the part that the catalogue knows, and the part of which there is nothing but the bucket. What can be wrong with a
manifest and an object is found and named by the archive's own read-back. Not here: whether a day has all its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from compliance_pipelines.archive.errors import ManifestError
from compliance_pipelines.archive.examination import DayBounds
from compliance_pipelines.archive.layout import PartKey, parse_key, part_root
from compliance_pipelines.archive.manifest import MOST_BYTES
from compliance_pipelines.archive.readback import (
    Damage,
    ExpectedObject,
    ObjectCheck,
    PartFinding,
    check_object,
    check_part,
    read_manifest,
)
from compliance_pipelines.ledger.merkle import CompactRange
from compliance_pipelines.object_store.port import ObjectMissingError
from compliance_pipelines.verification.findings import Finding, Kind
from compliance_pipelines.verification.segment_index import fits_index

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import date

    import pyarrow as pa

    from compliance_pipelines.archive.catalogue import ArchivedPart
    from compliance_pipelines.archive.manifest import Manifest
    from compliance_pipelines.archive.readback import ColdArchive
    from compliance_pipelines.ledger.records import LedgerRecord
    from compliance_pipelines.ledger.segments import Segment

    OnRows = Callable[[int], None]

_MOST_MANIFEST_BYTES: Final = MOST_BYTES
_MOST_SEGMENTS_TRIED: Final = 1_500
_SHOWN: Final = 10


@dataclass(frozen=True)
class PartOutcome:
    """What was found out about a part.

    Attributes:
        held: seq of the segments that it holds, according to the best witness there is.
        object_is_there: whether the store has its object, in whatever state.
        entries: rows that were hashed.
        decrypted: False where the object was compared by its hash alone, because there is no key-encryption key.
    """

    held: frozenset[int]
    object_is_there: bool
    entries: int
    findings: tuple[Finding, ...]
    decrypted: bool = True


class _Rows:
    """Passes on how many rows were read, and looks at their times."""

    def __init__(self, day: date, on_rows: OnRows) -> None:
        self._bounds = DayBounds(day)
        self._on_rows = on_rows

    def on_batch(self, batch: pa.RecordBatch) -> None:
        self._bounds.feed(batch)
        self._on_rows(batch.num_rows)

    def findings(self, day: date, part: int, key: str, outside: int = 0) -> list[Finding]:
        """The finding that there are entries of another day, `outside` among those that were not passed on."""
        outside += self._bounds.outside
        if not outside:
            return []
        message = f"{key} holds {outside:,} entries whose timestamp is not of {day}"
        return [Finding(kind=Kind.ENTRY_OUTSIDE_DAY, day=day, part=part, key=key, message=message)]


def bounded_manifest(archive: ColdArchive, key: str) -> Manifest:
    """A manifest of the store, unless it is larger than any manifest.

    Raises:
        ObjectMissingError: it is not there.
        ManifestError: it is malformed, contradicts itself or its key, or is not signed by the verifier key.
        ObjectStoreError: the store failed.
    """
    info = archive.store.stat(key)
    if info is not None and info.size > _MOST_MANIFEST_BYTES:
        raise ManifestError(f"{key} has {info.size:,} bytes, and no manifest has more than {_MOST_MANIFEST_BYTES:,}")
    manifest, _ = read_manifest(archive, key)
    if not all(map(fits_index, manifest.segments)):
        raise ManifestError(f"{key} holds a segment record that no sealing can have written")
    return manifest


def contradictions(manifest: Manifest, ledger: Mapping[int, LedgerRecord]) -> list[Finding]:
    """The finding that a signed manifest holds other segment records than the ledger, if it does."""
    differing = [segment.seq for segment in manifest.segments if ledger.get(segment.seq) != segment]
    if not differing:
        return []
    key = manifest.manifest_key
    return [
        Finding(
            kind=Kind.MANIFEST_CONTRADICTS_LEDGER,
            day=manifest.day,
            part=manifest.part,
            key=key,
            segment=differing[0],
            message=f"{key} is signed, and its records of segment {_listed(differing)} are not those of the ledger",
        )
    ]


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    return shown if len(numbers) <= _SHOWN else f"{shown} and {len(numbers) - _SHOWN} more"


def _converted(found: PartFinding) -> Finding:
    return Finding(kind=Kind(found.kind), day=found.day, part=found.part, key=found.key, message=found.message)


class RecordedPart:
    """A part that the catalogue knows, to be checked against the ledger.

    Args:
        archive: where it is.
        part: the catalogue's row.
        recorded: seq of the segments that it holds according to archived_segments.
        ledger: the day's segments by seq.

    Raises:
        ObjectStoreError: the store failed.
    """

    def __init__(
        self, archive: ColdArchive, part: ArchivedPart, recorded: Collection[int], ledger: Mapping[int, Segment]
    ) -> None:
        self._archive = archive.at(part)
        self._part = part
        self._ledger = ledger
        self._findings: list[Finding] = []
        manifest = self._readable_manifest()
        self._root_is_known = True
        if manifest is not None:
            self._held = frozenset(segment.seq for segment in manifest.segments)
            self._findings += contradictions(manifest, ledger)
        else:
            run = run_leading_to(list(ledger.values()), lambda root: root == part.root)
            self._held = frozenset(recorded if run is None else (segment.seq for segment in run))
            self._root_is_known = run is not None
        self._check_catalogue(recorded)

    def _check_catalogue(self, recorded: Collection[int]) -> None:
        part, held = self._part, sorted(self._held)
        key = parse_key(part.object_key)
        if (
            key is None
            or key.is_manifest
            or key.family != PartKey.of(part.day, part.part, part.root).family
            or key.manifest_key != part.manifest_key
        ):
            self._find_catalogue("its keys are not those of its day, number and root")
        if held != sorted(recorded):
            listed = _listed(sorted(recorded)) or "none"
            self._find_catalogue(f"archived_segments gives it segment {listed}, and it holds {_listed(held)}")
        elif not self._root_is_known:
            self._find_catalogue("the segments that archived_segments gives it do not lead to its root")

    def _readable_manifest(self) -> Manifest | None:
        """The manifest, where it can be believed; what is wrong with it is named by the read-back."""
        try:
            manifest = bounded_manifest(self._archive, self._part.manifest_key)
        except (ManifestError, ObjectMissingError):
            return None
        return manifest if (manifest.day, manifest.part) == (self._part.day, self._part.part) else None

    def _segments(self) -> list[Segment]:
        return [self._ledger[seq] for seq in sorted(self._held) if seq in self._ledger]

    def _find_catalogue(self, what: str) -> None:
        part = self._part
        self._findings.append(
            Finding(
                kind=Kind.CATALOGUE_ALTERED,
                day=part.day,
                part=part.part,
                key=part.manifest_key,
                message=f"the catalogue's record of part {part.part} of {part.day} was altered: {what}",
            )
        )

    def _named_already(self) -> set[Damage]:
        """What the read-back finds and this class names better; its rows cannot be judged without their segments."""
        return {Damage.SEGMENT_ALTERED} if self._root_is_known else {Damage.SEGMENT_ALTERED, Damage.OBJECT_ALTERED}

    def check(self, on_rows: OnRows) -> PartOutcome:
        """Read manifest and object back.

        Raises:
            ObjectStoreError: the store failed.
            TransientError: reading broke off.
        """
        part = self._part
        rows = _Rows(part.day, on_rows)
        checked = check_part(self._archive, part, self._segments(), on_batch=rows.on_batch)
        damaged = [found for found in checked.findings if found.kind not in self._named_already()]
        self._findings += map(_converted, damaged)
        self._findings += rows.findings(part.day, part.part, part.object_key)
        there = all(found.kind is not Damage.OBJECT_MISSING for found in damaged)
        return PartOutcome(self._held, there, checked.entry_count, tuple(self._findings), checked.decrypted)


def run_leading_to(
    segments: Sequence[Segment], is_root: Callable[[bytes], bool], starts: Collection[int] | None = None
) -> list[Segment] | None:
    """The consecutive segments of a day that a part of some root holds; None where there are none.

    Every part takes all segments that no part holds, so that those of a part follow each other.

    Args:
        segments: of the day.
        is_root: whether a root is the part's.
        starts: seq of the segments that it may begin with; None for any, which takes the square of the time.
    """
    in_order = sorted(segments, key=lambda segment: segment.seq)
    if starts is None:
        in_order = in_order[:_MOST_SEGMENTS_TRIED]
    for start, first in enumerate(in_order):
        if starts is not None and first.seq not in starts:
            continue
        tree = CompactRange()
        for end, segment in enumerate(in_order[start:], start + 1):
            tree.append(segment.leaf_hash())
            if is_root(tree.root()):
                return in_order[start:end]
    return None


def check_uncommitted(archive: ColdArchive, key: PartKey, segments: Sequence[Segment], on_rows: OnRows) -> PartOutcome:
    """Check an object that no manifest vouches for against the segments that its key names.

    Raises:
        ObjectStoreError: the store failed.
        TransientError: reading broke off, or the object is too large to be copied.
    """
    root = part_root(segments)
    rows = _Rows(key.day, on_rows)
    expected = ExpectedObject(key.day, key.part, key.object_key, None, None, root, tuple(segments))
    checked = check_object(archive, expected)
    on_rows(checked.entry_count)
    return _outcome(expected, checked, rows)


def check_committed(archive: ColdArchive, manifest: Manifest, on_rows: OnRows) -> PartOutcome:
    """Check the object of a manifest that was read, with nothing but the bucket.

    Raises:
        ObjectStoreError: the store failed.
        TransientError: reading broke off.
    """
    expected = ExpectedObject.of_manifest(manifest)
    rows = _Rows(manifest.day, on_rows)
    checked = check_object(archive, expected, on_batch=rows.on_batch)
    return _outcome(expected, checked, rows)


def _outcome(expected: ExpectedObject, checked: ObjectCheck, rows: _Rows) -> PartOutcome:
    held = frozenset(segment.seq for segment in expected.segments)
    outside = rows.findings(expected.day, expected.part, expected.object_key, checked.outside_day)
    findings = (*map(_converted, checked.findings), *outside)
    there = all(found.kind is not Damage.OBJECT_MISSING for found in checked.findings)
    return PartOutcome(held, there, checked.entry_count, findings, checked.decrypted)
